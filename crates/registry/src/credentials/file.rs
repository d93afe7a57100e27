//! One file of credentials: docker's `config.json` or podman's `auth.json`.

use std::{
    collections::BTreeMap,
    io::{self, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::Path,
};

use base64::{
    Engine as _,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Credential, CredentialError, helper};
use crate::{Secret, config::HUB};

/// Bytes of a file that are read.
const MAX_FILE: u64 = 4 << 20;

/// With padding or without, as files have it.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What is of use in it.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct File {
    pub(super) auths: BTreeMap<String, Auth>,
    creds_store: Option<String>,
    cred_helpers: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct Auth {
    #[serde(rename = "auth")]
    pair: String,
    username: String,
    password: String,
    identitytoken: String,
    registrytoken: String,
}

/// What a registry is called in files and by helpers, the nearest first.
pub(crate) fn keys(registry: &str, repository: &str) -> Vec<String> {
    let hub = ["https://index.docker.io/v1/", "docker.io", "index.docker.io"];
    let hosts: &[&str] = if registry == HUB { &hub } else { &[registry] };
    let mut keys = Vec::new();
    let mut path = repository;
    while !path.is_empty() {
        keys.push(format!("{registry}/{path}"));
        path = path.rsplit_once('/').map_or("", |(above, _)| above);
    }
    for host in hosts {
        keys.push((*host).to_owned());
    }
    for host in hosts.iter().filter(|host| !host.contains("://")) {
        for (scheme, version) in
            [("https", ""), ("https", "/"), ("https", "/v1/"), ("https", "/v2/"), ("http", "")]
        {
            keys.push(format!("{scheme}://{host}{version}"));
        }
    }
    keys
}

impl File {
    /// Reads `path`; none if it is not there or empty.
    pub(super) fn read(path: &Path) -> Result<Option<Self>, CredentialError> {
        let Some(bytes) = read(path)? else { return Ok(None) };
        Self::parse(path, &bytes).map(Some)
    }

    /// Reads what `path` holds.
    pub(crate) fn parse(path: &Path, bytes: &[u8]) -> Result<Self, CredentialError> {
        // The library's message names a place and a type, and no value.
        let invalid = |e: serde_json::Error| {
            let why = format!("line {}, column {}", e.line(), e.column());
            CredentialError::Invalid { path: path.to_owned(), why }
        };
        serde_json::from_slice(bytes).map_err(invalid)
    }

    /// What the file itself holds of a registry.
    pub(crate) fn held(
        &self,
        path: &Path,
        keys: &[String],
    ) -> Result<Option<Credential>, CredentialError> {
        let found = keys.iter().find_map(|key| self.auths.get(key)?.credential(path).transpose());
        found.transpose()
    }

    /// The helper that keeps logins to this registry.
    pub(crate) fn helper(&self, registry: &str) -> Option<&str> {
        let for_host = keys(registry, "").into_iter().find_map(|key| self.cred_helpers.get(&key));
        for_host.or(self.creds_store.as_ref()).map(String::as_str).filter(|name| !name.is_empty())
    }

    /// Who we are to a registry.
    pub(super) fn find(
        &self,
        path: &Path,
        registry: &str,
        repository: &str,
    ) -> Result<Option<Credential>, CredentialError> {
        let keys = keys(registry, repository);
        if let Some(helper) = self.helper(registry) {
            // Helpers know hosts only, under the one name that a login gave them.
            let host = if registry == HUB { keys.iter().find(|k| k.contains("://")) } else { None };
            let host = host.map_or(registry, String::as_str);
            if let Some(found) = helper::get(helper, host)? {
                return Ok(Some(found));
            }
        }
        self.held(path, &keys)
    }
}

impl Auth {
    fn credential(&self, path: &Path) -> Result<Option<Credential>, CredentialError> {
        if !self.registrytoken.is_empty() {
            return Ok(Some(Credential::Bearer(Secret::new(&*self.registrytoken))));
        }
        if !self.identitytoken.is_empty() {
            return Ok(Some(Credential::Identity(Secret::new(&*self.identitytoken))));
        }
        if !self.pair.is_empty() {
            let invalid = || CredentialError::Invalid {
                path: path.to_owned(),
                why: "an `auth` is not a name and a password in base64".into(),
            };
            let pair = LENIENT.decode(self.pair.trim()).map_err(|_| invalid())?;
            let pair = String::from_utf8(pair).map_err(|_| invalid())?;
            let (username, password) = pair.split_once(':').ok_or_else(invalid)?;
            let password = Secret::new(password.trim_end_matches('\0'));
            return Ok(Some(Credential::Password { username: username.into(), password }));
        }
        if !self.username.is_empty() {
            let password = Secret::new(&*self.password);
            return Ok(Some(Credential::Password { username: self.username.clone(), password }));
        }
        // What a helper keeps leaves an empty entry here.
        Ok(None)
    }
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, CredentialError> {
    let failed = |source| CredentialError::File { path: path.to_owned(), source };
    let file = match fs_err::File::open(path) {
        Ok(file) => file,
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(source) => return Err(failed(source)),
    };
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(file, MAX_FILE + 1), &mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(failed(io::ErrorKind::FileTooLarge.into()));
    }
    Ok(Some(bytes).filter(|bytes| !bytes.trim_ascii().is_empty()))
}

/// Changes the logins that a file holds, and nothing else in it; whole or not at all, for its owner's eyes only.
pub(super) fn change(
    path: &Path,
    change: impl FnOnce(&mut Map<String, Value>),
) -> Result<(), CredentialError> {
    let invalid =
        |why: &str| CredentialError::Invalid { path: path.to_owned(), why: why.to_owned() };
    let mut document = match read(path)? {
        Some(bytes) => serde_json::from_slice(&bytes).map_err(|_| invalid("it is no JSON"))?,
        None => Value::Object(Map::new()),
    };
    let object = document.as_object_mut().ok_or_else(|| invalid("it is no object"))?;
    let auths = object.entry("auths").or_insert_with(|| Value::Object(Map::new()));
    change(auths.as_object_mut().ok_or_else(|| invalid("`auths` is no object"))?);
    let text = serde_json::to_vec_pretty(&document).expect("it was JSON before");
    let write = || -> io::Result<()> {
        // Where it is a link, as into a repository of dot files, what it leads to is changed.
        let path = fs_err::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let directory = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
        fs_err::create_dir_all(directory)?;
        let mut file = tempfile::Builder::new()
            .permissions(std::fs::Permissions::from_mode(0o600))
            .tempfile_in(directory)?;
        file.write_all(&text)?;
        file.write_all(b"\n")?;
        file.as_file().sync_all()?;
        file.persist(&path).map_err(|e| e.error)?;
        Ok(())
    };
    write().map_err(|source| CredentialError::File { path: path.to_owned(), source })
}

//! Who we are to registries: docker's `config.json`, podman's `auth.json`, and the helpers that they name.
//!
//! In a file, a helper for the very host comes first (`credHelpers`), then the helper for all (`credsStore`), then what
//! the file itself holds (`auths`), where a key with a path is for what lies below it. The first file that knows a
//! registry holds. Read once a registry; helpers have half a minute.

pub(crate) mod file;
mod helper;

use std::{io, path::PathBuf};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use file::{File, keys};
use thiserror::Error;

use crate::{Secret, config::HUB};

/// Credentials that cannot be had or kept.
#[derive(Debug, Error)]
pub enum CredentialError {
    /// A file that cannot be read or written.
    #[error("The credentials in {} cannot be used", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file that is not what it should be.
    #[error("{} is not valid: {why}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong; never what it holds.
        why: String,
    },
    /// A helper that failed.
    #[error("The credential helper `docker-credential-{name}` failed: {why}")]
    Helper {
        /// Its name, without `docker-credential-`.
        name: String,
        /// What it says.
        why: String,
    },
    /// There is no file to keep them in.
    #[error("There is no file to keep credentials in")]
    NoFile,
}

/// Who we are to a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// A name and a password.
    Password {
        /// The name.
        username: String,
        /// The password.
        password: Secret,
    },
    /// A token that stands for a login and is exchanged for others.
    Identity(Secret),
    /// A token that is shown as it is.
    Bearer(Secret),
}

/// Where credentials are looked for, and kept.
#[derive(Debug, Clone, Default)]
pub struct Credentials {
    /// The files, in order; the first is the one that logins go to.
    pub files: Vec<PathBuf>,
}

/// What became of a login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Login {
    /// It is kept in this file, in the clear.
    File(PathBuf),
    /// A helper of this name keeps it.
    Helper(String),
}

impl Credential {
    /// As `Authorization: Basic` has it.
    pub(crate) fn basic(username: &str, password: &Secret) -> String {
        let pair = format!("{username}:{}", password.reveal());
        format!("Basic {}", BASE64_STANDARD.encode(pair))
    }
}

impl Credentials {
    /// Who we are to this registry, for a repository in it.
    pub fn find(
        &self,
        registry: &str,
        repository: &str,
    ) -> Result<Option<Credential>, CredentialError> {
        for path in &self.files {
            let Some(file) = File::read(path)? else { continue };
            if let Some(credential) = file.find(path, registry, repository)? {
                return Ok(Some(credential));
            }
        }
        Ok(None)
    }

    /// Keeps who we are to this registry, where the machine wants it kept.
    pub fn store(
        &self,
        registry: &str,
        username: &str,
        password: &Secret,
    ) -> Result<Login, CredentialError> {
        let path = self.files.first().ok_or(CredentialError::NoFile)?;
        let file = File::read(path)?.unwrap_or_default();
        let key = login_key(registry);
        if let Some(helper) = file.helper(registry) {
            helper::store(helper, key, username, password)?;
            return Ok(Login::Helper(helper.to_owned()));
        }
        let auth = BASE64_STANDARD.encode(format!("{username}:{}", password.reveal()));
        file::change(path, |auths| {
            auths.insert(key.to_owned(), serde_json::json!({ "auth": auth }));
        })?;
        Ok(Login::File(path.clone()))
    }

    /// Forgets who we are to this registry, in every file and helper; says whether any knew.
    pub fn erase(&self, registry: &str) -> Result<bool, CredentialError> {
        let mut known = false;
        for path in &self.files {
            let Some(file) = File::read(path)? else { continue };
            if let Some(helper) = file.helper(registry) {
                for key in keys(registry, "") {
                    if helper::get(helper, &key)?.is_some() {
                        helper::erase(helper, &key)?;
                        known = true;
                    }
                }
            }
            if keys(registry, "").iter().any(|key| file.auths.contains_key(key)) {
                known = true;
                file::change(path, |auths| {
                    for key in keys(registry, "") {
                        auths.remove(&key);
                    }
                })?;
            }
        }
        Ok(known)
    }
}

/// The key under which docker keeps a login.
fn login_key(registry: &str) -> &str {
    if registry == HUB { "https://index.docker.io/v1/" } else { registry }
}

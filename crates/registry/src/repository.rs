//! One repository: what is read from it.

use std::{cell::RefCell, fs::File, io::Read};

use reimage_castore::Sha256;
use reimage_http::{
    Answer, Expected, Failure as HttpFailure, HeaderValue, HttpError, Method, Part, Request, header,
};
use reimage_oci::{DOCKER_INDEX, DOCKER_MANIFEST, Descriptor, INDEX, MANIFEST};

use crate::{
    Progress, Registry, RegistryError,
    auth::{Access, scope},
    config::Place,
    registry::{Call, Failure, Host, Sent},
};

/// Bytes that a manifest or an index may have: 8 MiB.
pub(crate) const MAX_DOCUMENT: u64 = 8 << 20;

/// One repository of a registry.
#[derive(Debug, Clone)]
pub struct Repository<'r> {
    pub(crate) registry: &'r Registry,
    pub(crate) name: String,
    pub(crate) path: String,
}

/// A document as a registry gives it.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// Its media type, digest and size.
    pub descriptor: Descriptor,
    /// Its bytes, which have that digest.
    pub bytes: Vec<u8>,
}

/// A tag or a digest.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Name<'a> {
    Tag(&'a str),
    Digest(Sha256),
}

impl std::fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tag(tag) => f.write_str(tag),
            Self::Digest(digest) => write!(f, "{digest}"),
        }
    }
}

impl Repository<'_> {
    /// The registry as names of images call it.
    pub fn registry_name(&self) -> &str {
        &self.name
    }

    /// Its path in the registry.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The manifest or index that this tag names now; none if there is no such tag.
    pub fn tagged(&self, tag: &str) -> Result<Option<Found>, RegistryError> {
        found(self.somewhere(|host| self.manifest_at(host, Name::Tag(tag))))
    }

    /// The manifest or index of this digest; none if it is not there.
    pub fn manifest(&self, digest: Sha256) -> Result<Option<Found>, RegistryError> {
        found(self.somewhere(|host| self.manifest_at(host, Name::Digest(digest))))
    }

    /// What a digest names, or else a tag, of which one must be given; it must be there.
    pub fn find(&self, tag: Option<&str>, digest: Option<Sha256>) -> Result<Found, RegistryError> {
        let tag = tag.unwrap_or("latest");
        self.somewhere(|host| self.manifest_at(host, digest.map_or(Name::Tag(tag), Name::Digest)))
    }

    /// Downloads a blob into `file`; what that holds already is taken for its beginning.
    pub fn fetch(
        &self,
        digest: Sha256,
        size: u64,
        file: &mut File,
        progress: Progress<'_>,
    ) -> Result<(), RegistryError> {
        let file = RefCell::new(file);
        self.somewhere(|host| self.blob_at(host, digest, size, &mut file.borrow_mut(), progress))
    }

    /// A blob as it comes, from the registry itself, neither verified nor resumed; none if it is not there, or not as
    /// large.
    pub fn read(
        &self,
        digest: Sha256,
        size: u64,
    ) -> Result<Option<impl Read + use<>>, RegistryError> {
        let host = self.own();
        let what = format!("the blob {digest} of `{}`", self.path);
        let at = format!("blobs/{digest}");
        let scopes = [scope(&self.scoped(&host), Access::Pull)];
        let call = Call::new(Method::GET, &at, &what, &scopes);
        self.registry.retrying(|| {
            let answer = self.registry.send(&host, self, &call, &mut nothing)?;
            match answer.status.as_u16() {
                200 if has_length(&answer, size) => Ok(Some(answer.into_reader())),
                200 | 404 => Ok(None),
                _ => Err(Registry::refused(&host, &what, answer).into()),
            }
        })
    }

    /// Whether the registry itself, and no mirror of it, has a blob.
    pub fn has(&self, digest: Sha256, size: u64) -> Result<bool, RegistryError> {
        self.has_for(digest, size, Access::Pull)
    }

    /// The same, by who may do so much.
    pub(crate) fn has_for(
        &self,
        digest: Sha256,
        size: u64,
        access: Access,
    ) -> Result<bool, RegistryError> {
        let host = self.own();
        let what = format!("the blob {digest}");
        let at = format!("blobs/{digest}");
        let scopes = [scope(&self.scoped(&host), access)];
        let call = Call::new(Method::HEAD, &at, &what, &scopes);
        self.registry.retrying(|| {
            let answer = self.registry.send(&host, self, &call, &mut nothing)?;
            match answer.status.as_u16() {
                200 => Ok(has_length(&answer, size)),
                404 => Ok(false),
                _ => Err(Registry::refused(&host, &what, answer).into()),
            }
        })
    }

    /// The registry itself.
    pub(crate) fn own(&self) -> std::sync::Arc<Host> {
        self.registry.host(&Place::of(&self.name))
    }

    /// That a document that must be there is not.
    pub(crate) fn missing(&self, digest: Sha256) -> RegistryError {
        let what = format!("`{}@{digest}`", self.path);
        RegistryError::Missing { what, host: self.name.clone(), detail: String::new() }
    }

    /// The path by which a host knows this repository.
    pub(crate) fn scoped(&self, host: &Host) -> String {
        format!("{}{}", host.prefix, self.path)
    }

    /// A manifest or index that is to be pushed onto, as the registry itself has it.
    pub(crate) fn own_manifest(
        &self,
        name: Name<'_>,
        access: Access,
    ) -> Result<Option<Found>, RegistryError> {
        found(self.manifest_of(&self.own(), name, access))
    }

    /// Asks the mirrors in turn, then the registry; the failures of all if none has it.
    fn somewhere<T>(
        &self,
        ask: impl Fn(&Host) -> Result<T, RegistryError>,
    ) -> Result<T, RegistryError> {
        let mut failures = Vec::new();
        for place in self.registry.places(&self.name) {
            match ask(&self.registry.host(&place)) {
                Ok(found) => return Ok(found),
                // The disk is the same whoever is asked.
                Err(error @ (RegistryError::Io(_) | RegistryError::Offline { .. })) => {
                    return Err(error);
                }
                Err(error) => failures.push(error),
            }
        }
        Err(match failures.len() {
            1 => failures.remove(0),
            _ => RegistryError::All(failures),
        })
    }

    fn manifest_at(&self, host: &Host, name: Name<'_>) -> Result<Found, RegistryError> {
        self.manifest_of(host, name, Access::Pull)
    }

    fn manifest_of(
        &self,
        host: &Host,
        name: Name<'_>,
        access: Access,
    ) -> Result<Found, RegistryError> {
        let what = match name {
            Name::Tag(tag) => format!("`{}:{tag}`", self.path),
            Name::Digest(digest) => format!("`{}@{digest}`", self.path),
        };
        let at = format!("manifests/{name}");
        let scopes = [scope(&self.scoped(host), access)];
        let mut call = Call::new(Method::GET, &at, &what, &scopes);
        let accept = [MANIFEST, INDEX, DOCKER_MANIFEST, DOCKER_INDEX].join(", ");
        let accept = HeaderValue::from_str(&accept).expect("media types are ASCII");
        call.headers.push((header::ACCEPT, accept));
        self.registry.retrying(|| {
            let answer = self.registry.send(host, self, &call, &mut nothing)?;
            if !answer.status.is_success() {
                return Err(Registry::refused(host, &what, answer).into());
            }
            let kind = answer.header(&header::CONTENT_TYPE).unwrap_or_default();
            let kind = kind.split(';').next().unwrap_or_default().trim().to_owned();
            let says = answer.headers.get("docker-content-digest");
            let says = says.and_then(|says| says.to_str().ok()?.parse::<Sha256>().ok());
            let url = answer.url.clone();
            let bytes = answer.read(MAX_DOCUMENT).map_err(|source| {
                let passes = source.kind() != std::io::ErrorKind::FileTooLarge;
                let error = HttpError::Broken { url: reimage_http::redact(&url), at: 0, source };
                let error = RegistryError::http(&what, &host.name, error);
                Failure { error, passes, after: None }
            })?;
            let got = Sha256::of(&bytes);
            let wanted = match name {
                Name::Digest(digest) => Some(digest),
                Name::Tag(_) => says,
            };
            if wanted.is_some_and(|wanted| wanted != got) {
                let (what, host) = (what.clone(), host.name.clone());
                return Err(RegistryError::Digest { what, host, got }.into());
            }
            let descriptor = Descriptor::new(&media_type(&kind, &bytes), got, bytes.len() as u64);
            Ok(Found { descriptor, bytes })
        })
    }

    fn blob_at(
        &self,
        host: &Host,
        digest: Sha256,
        size: u64,
        file: &mut File,
        progress: Progress<'_>,
    ) -> Result<(), RegistryError> {
        let what = format!("the blob {digest} of `{}`", self.path);
        let at = format!("blobs/{digest}");
        let scopes = [scope(&self.scoped(host), Access::Pull)];
        let failed = RefCell::new(None);
        let get = |from: u64, tag: Option<&str>| {
            let mut call = Call::new(Method::GET, &at, &what, &scopes);
            call.headers = Request::get("").from(from, tag).headers;
            let answer = match self.registry.send(host, self, &call, &mut nothing) {
                Ok(answer) => answer,
                Err(Failure { error, passes, after }) => {
                    *failed.borrow_mut() = Some(error);
                    let error = HttpError::Status { url: String::new(), status: 0 };
                    return Err(if passes {
                        HttpFailure::Passing { error, after }
                    } else {
                        HttpFailure::Final(error)
                    });
                }
            };
            failed.borrow_mut().take();
            if matches!(answer.status.as_u16(), 200 | 206 | 416) {
                return Part::of(&what, from, answer);
            }
            let status = answer.status.as_u16();
            *failed.borrow_mut() = Some(Registry::refused(host, &what, answer));
            Err(HttpFailure::Final(HttpError::Status { url: String::new(), status }))
        };
        let expected = Expected::Exact { sha256: digest, size };
        let report = |at: u64, _: Option<u64>| progress(&digest, at, size);
        let url = host.url(&self.path, &at);
        let fetched = self.registry.client.download(&url, &get, expected, file, &report);
        match (fetched, failed.take()) {
            (Ok(_), _) => Ok(()),
            (Err(HttpError::File { source, .. }), _) => Err(source.into()),
            (Err(HttpError::Status { .. }), Some(error)) => Err(error),
            (Err(error), _) => Err(RegistryError::http(&what, &host.name, error)),
        }
    }
}

/// Whether an answer says to be of this size, if it says anything.
fn has_length(answer: &Answer, size: u64) -> bool {
    let length = answer.header(&header::CONTENT_LENGTH).and_then(|length| length.parse().ok());
    length.is_none_or(|length: u64| length == size)
}

/// A request that sends nothing.
#[expect(clippy::unnecessary_wraps, reason = "what is sent may have to be opened, and that fails")]
pub(crate) fn nothing() -> Result<Sent<'static>, RegistryError> {
    Ok(Sent::Nothing)
}

fn found(found: Result<Found, RegistryError>) -> Result<Option<Found>, RegistryError> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.is_missing() => Ok(None),
        Err(error) => Err(error),
    }
}

/// What a document says to be, or else what the server says.
fn media_type(header: &str, bytes: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Typed {
        #[serde(rename = "mediaType")]
        media_type: Option<String>,
    }
    let typed = serde_json::from_slice::<Typed>(bytes).ok().and_then(|typed| typed.media_type);
    typed.unwrap_or_else(|| header.to_owned())
}

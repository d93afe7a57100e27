//! What is written to a repository: blobs, each mounted or sent whole, and manifests.

use std::io::Read;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reimage_castore::Sha256;
use reimage_http::{Answer, HeaderValue, Method, StatusCode, header, join, origin};

use crate::{
    Found, Registry, RegistryError, Repository,
    auth::{Access, scope},
    registry::{Call, Failure, Host, Sent, Watched},
    repository::{Name, nothing},
};

/// Opens a blob's bytes from their beginning, each time it is called.
pub type Open<'a> = &'a dyn Fn() -> Result<Box<dyn Read + 'a>, RegistryError>;

/// How a blob came to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Uploaded {
    /// Its bytes were sent.
    Sent,
    /// The registry had it in another repository.
    Mounted,
}

impl Repository<'_> {
    /// Puts a blob there, from another repository of the registry if it is in one of `mounts`.
    ///
    /// What breaks off begins anew: servers forget an upload that was torn.
    pub fn upload(
        &self,
        digest: Sha256,
        size: u64,
        mounts: &[String],
        open: Open<'_>,
    ) -> Result<Uploaded, RegistryError> {
        let host = self.own();
        let mut mounts = mounts.iter().filter(|path| **path != self.path);
        let mut mount = mounts.next();
        let mut torn = false;
        self.registry.retrying(|| {
            // The answer that broke off may have been the one that said that it is done.
            if std::mem::replace(&mut torn, true) && self.has_for(digest, size, Access::Push)? {
                return Ok(Uploaded::Sent);
            }
            loop {
                let Some(at) = self.begin(&host, digest, mount)? else {
                    return Ok(Uploaded::Mounted);
                };
                // A mount that came to nothing has begun an upload, which the next mount would leave behind.
                match mounts.next() {
                    Some(next) if mount.is_some() => {
                        self.cancel(&host, &at);
                        mount = Some(next);
                    }
                    _ => {
                        mount = None;
                        let sent = self.finish(&host, digest, size, &at, open);
                        if let Err(Failure { error: RegistryError::Layout(_), .. }) = sent {
                            // There is nothing to send.
                            self.cancel(&host, &at);
                        }
                        return sent.map(|()| Uploaded::Sent);
                    }
                }
            }
        })
    }

    /// Begins an upload; none if the blob was mounted.
    fn begin(
        &self,
        host: &Host,
        digest: Sha256,
        mount: Option<&String>,
    ) -> Result<Option<String>, Failure> {
        let what = format!("an upload to `{}`", self.path);
        let mut at = "blobs/uploads/".to_owned();
        let mut scopes = vec![scope(&self.scoped(host), Access::Push)];
        if let Some(from) = mount {
            let from = format!("{}{from}", host.prefix);
            let text = utf8_percent_encode(&from, NON_ALPHANUMERIC);
            at = format!("{at}?mount={digest}&from={text}");
            scopes.push(scope(&from, Access::Pull));
        }
        let call = Call::new(Method::POST, &at, &what, &scopes);
        let mut empty = || Ok(Sent::Bytes(b""));
        let answer = self.registry.send(host, self, &call, &mut empty);
        let answer = match answer {
            Ok(answer) if answer.status.is_success() || mount.is_none() => answer,
            // A repository that we may not read from, or a registry that does not know mounts.
            Ok(_) | Err(Failure { error: RegistryError::Denied { .. }, .. }) if mount.is_some() => {
                return self.begin(host, digest, None);
            }
            Ok(answer) => answer,
            Err(failure) => return Err(failure),
        };
        match answer.status {
            StatusCode::CREATED => Ok(None),
            StatusCode::ACCEPTED => Ok(Some(location(host, &answer)?)),
            StatusCode::NOT_FOUND => {
                let what = format!("the repository `{}`", self.path);
                Err(Registry::refused(host, &what, answer).into())
            }
            _ => Err(Registry::refused(host, &what, answer).into()),
        }
    }

    fn finish(
        &self,
        host: &Host,
        digest: Sha256,
        size: u64,
        at: &str,
        open: Open<'_>,
    ) -> Result<(), Failure> {
        let what = format!("the upload of the blob {digest} to `{}`", self.path);
        let mark = if at.contains('?') { '&' } else { '?' };
        let at = format!(
            "{at}{mark}digest={}",
            utf8_percent_encode(&digest.to_string(), NON_ALPHANUMERIC)
        );
        let scopes = [scope(&self.scoped(host), Access::Push)];
        let mut call = Call::new(Method::PUT, &at, &what, &scopes);
        let kind = HeaderValue::from_static("application/octet-stream");
        call.headers.push((header::CONTENT_TYPE, kind));
        let answer = self.registry.send(host, self, &call, &mut || {
            Ok(Sent::Stream { reader: Watched::new(open()?), size })
        })?;
        match answer.status.as_u16() {
            200..300 => Ok(()),
            // The server forgot the upload, as one does that was started anew: the next try begins another.
            404 => Err(Failure {
                error: Registry::refused(host, &what, answer),
                passes: true,
                after: None,
            }),
            _ => Err(Registry::refused(host, &what, answer).into()),
        }
    }

    /// Gives an upload up; a server that does not know how forgets it in time.
    fn cancel(&self, host: &Host, at: &str) {
        let scopes = [scope(&self.scoped(host), Access::Push)];
        let call = Call::new(Method::DELETE, at, "an upload", &scopes);
        let _ = self.registry.send(host, self, &call, &mut nothing);
    }

    /// Puts a manifest or index there, under its digest and, if one is given, a tag.
    pub fn put(&self, document: &Found, tag: Option<&str>) -> Result<(), RegistryError> {
        self.put_document(document, tag).map(drop)
    }

    /// The same; says whether the registry took note of what it refers to.
    pub(crate) fn put_document(
        &self,
        document: &Found,
        tag: Option<&str>,
    ) -> Result<bool, RegistryError> {
        let host = self.own();
        let digest = document.descriptor.digest;
        let name = tag.map_or(Name::Digest(digest), Name::Tag);
        let what = match name {
            Name::Tag(tag) => format!("the upload of `{}:{tag}`", self.path),
            Name::Digest(digest) => format!("the upload of `{}@{digest}`", self.path),
        };
        let at = format!("manifests/{name}");
        let scopes = [scope(&self.scoped(&host), Access::Push)];
        let mut call = Call::new(Method::PUT, &at, &what, &scopes);
        let kind = HeaderValue::from_str(&document.descriptor.media_type).map_err(|_| {
            let media_type = document.descriptor.media_type.clone();
            RegistryError::NotAnImage { what: digest.to_string(), media_type }
        })?;
        call.headers.push((header::CONTENT_TYPE, kind));
        let mut bytes = || Ok(Sent::Bytes(&document.bytes));
        self.registry.retrying(|| {
            let answer = self.registry.send(&host, self, &call, &mut bytes)?;
            if !answer.status.is_success() {
                return Err(Registry::refused(&host, &what, answer).into());
            }
            let says = answer.headers.get("docker-content-digest");
            let says = says.and_then(|says| says.to_str().ok()?.parse::<Sha256>().ok());
            match says {
                Some(got) if got != digest => {
                    let (what, host) = (what.clone(), host.name.clone());
                    Err(RegistryError::Digest { what, host, got }.into())
                }
                _ => Ok(answer.headers.contains_key("oci-subject")),
            }
        })
    }
}

/// Where an upload goes on.
fn location(host: &Host, answer: &Answer) -> Result<String, RegistryError> {
    let missing = || RegistryError::Protocol {
        host: host.name.clone(),
        why: "it begins an upload and does not say where it goes on".into(),
    };
    let location = answer.header(&header::LOCATION).ok_or_else(missing)?;
    let location = join(&answer.url, location).ok_or_else(missing)?;
    // One behind a proxy that does not know that it is spoken to with encryption.
    if let (Some(own), Some(other)) = (origin(&host.base), origin(&location))
        && own.0 == "https"
        && other.0 == "http"
        && own.1 == other.1
    {
        let rest = location.splitn(4, '/').nth(3).unwrap_or_default();
        return Ok(format!("{}/{rest}", host.base));
    }
    Ok(location)
}

//! Names of images as docker writes them: `[registry/]path[:tag][@digest]`.

use std::{fmt, str::FromStr};

use reimage_castore::Sha256;
use thiserror::Error;

const HUB: &str = "docker.io";

/// A string that is no reference.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[error("`{text}` is no image reference: {why}")]
pub struct ReferenceError {
    /// The string, shortened.
    pub text: String,
    /// What is wrong with it.
    pub why: &'static str,
}

/// A name in full: registry and path always, tag or digest or both if they were written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    registry: String,
    path: String,
    tag: Option<String>,
    digest: Option<Sha256>,
}

impl Reference {
    /// `docker.io` if none was written.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The repository's path in its registry: `library/debian`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The tag, if one was written.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, if one was written.
    pub fn digest(&self) -> Option<Sha256> {
        self.digest
    }

    /// The same with the tag `latest` if it has neither tag nor digest.
    #[must_use]
    pub fn or_latest(mut self) -> Self {
        if self.tag.is_none() && self.digest.is_none() {
            self.tag = Some("latest".into());
        }
        self
    }

    /// In full: `docker.io/library/web:1.0`.
    pub fn full(&self) -> String {
        self.with_name(&format!("{}/{}", self.registry, self.path))
    }

    /// As people write it: `web:1.0`.
    pub fn familiar(&self) -> String {
        match (&*self.registry, self.path.strip_prefix("library/")) {
            (HUB, Some(name)) if !name.contains('/') => self.with_name(name),
            (HUB, _) => self.with_name(&self.path),
            _ => self.full(),
        }
    }

    fn with_name(&self, name: &str) -> String {
        let tag = self.tag.as_ref().map(|tag| format!(":{tag}")).unwrap_or_default();
        let digest = self.digest.map(|digest| format!("@{digest}")).unwrap_or_default();
        format!("{name}{tag}{digest}")
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.familiar())
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        parse(text).map_err(|why| ReferenceError { text: text.chars().take(300).collect(), why })
    }
}

fn parse(text: &str) -> Result<Reference, &'static str> {
    if text.is_empty() {
        return Err("it is empty");
    }
    if text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err("64 hexadecimal digits are a digest: write `sha256:` before them");
    }
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) => {
            let digest = digest.parse();
            let why =
                "what follows `@` is no digest: `sha256:` and 64 lower-case hexadecimal digits";
            (rest, Some(digest.map_err(|_| why)?))
        }
        None => (text, None),
    };
    // A colon after the last slash begins the tag; one before it, a port.
    let name_at = rest.rfind('/').map_or(0, |at| at + 1);
    let (name, tag) = match rest[name_at..].split_once(':') {
        Some((last, tag)) => (&rest[..name_at + last.len()], Some(check_tag(tag)?.to_owned())),
        None => (rest, None),
    };
    let (registry, path) = match name.split_once('/') {
        Some((first, path)) if is_registry(first) => (check_registry(first)?, path.to_owned()),
        _ => (HUB, name.to_owned()),
    };
    let registry = if registry == "index.docker.io" { HUB } else { registry };
    check_path(&path)?;
    let path =
        if registry == HUB && !path.contains('/') { format!("library/{path}") } else { path };
    if registry.len() + 1 + path.len() > 255 {
        return Err("a name has at most 255 characters");
    }
    Ok(Reference { registry: registry.into(), path, tag, digest })
}

fn check_tag(tag: &str) -> Result<&str, &'static str> {
    let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    match tag.as_bytes() {
        [] => Err("the tag is empty"),
        [b'.' | b'-', ..] => Err("a tag does not begin with `.` or `-`"),
        bytes if bytes.len() > 128 => Err("a tag has at most 128 characters"),
        bytes if !bytes.iter().all(|b| good(*b)) => {
            Err("a tag has only letters, digits, `_`, `.` and `-`")
        }
        _ => Ok(tag),
    }
}

/// Docker's rule: the first part is a registry if it looks like a host.
fn is_registry(first: &str) -> bool {
    first == "localhost"
        || first.contains(['.', ':'])
        || first.bytes().any(|b| b.is_ascii_uppercase())
}

fn check_registry(registry: &str) -> Result<&str, &'static str> {
    let (host, port) = match registry.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (registry, None),
    };
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    if !host.split('.').all(label) {
        return Err("its first part is no host name");
    }
    if port.is_some_and(|port| port.is_empty() || !port.bytes().all(|b| b.is_ascii_digit())) {
        return Err("the registry's port is no number");
    }
    Ok(registry)
}

fn check_path(path: &str) -> Result<(), &'static str> {
    if path.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err("names of repositories are lower-case");
    }
    if path.split('/').any(str::is_empty) {
        return Err("a part of the name is empty");
    }
    if path.split('/').all(is_part) {
        Ok(())
    } else {
        Err(
            "a name has only lower-case letters and digits, separated by `/`, `.`, `_`, `__` or `-`",
        )
    }
}

/// Runs of letters and digits, between them one `.`, one or two `_`, or any number of `-`.
fn is_part(part: &str) -> bool {
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = part.as_bytes();
    if !bytes.first().is_some_and(|b| word(*b)) || !bytes.last().is_some_and(|b| word(*b)) {
        return false;
    }
    bytes.split(|b| word(*b)).all(|between| {
        matches!(between, [] | [b'.' | b'_'] | [b'_', b'_']) || between.iter().all(|b| *b == b'-')
    })
}

#[cfg(test)]
mod tests;

//! What can go wrong with a registry.

use std::{io, time::Duration};

use reimage_castore::Sha256;
use reimage_http::{Answer, HttpError, StatusCode};
use reimage_oci::{DocumentError, LayoutError};
use serde::Deserialize;
use thiserror::Error;

use crate::CredentialError;

/// Bytes of an answer that are looked at for what went wrong.
const MAX_ERROR: u64 = 16 << 10;
/// Characters of it that are shown.
const SHOWN: usize = 300;

/// Why a registry did not do what was asked.
#[derive(Debug, Error)]
pub enum RegistryError {
    /// It cannot be reached, or broke off.
    #[error("{what} cannot be had from {host}")]
    Http {
        /// What was asked for.
        what: String,
        /// Of whom.
        host: String,
        /// Why not.
        #[source]
        source: Box<HttpError>,
    },
    /// The network may not be used.
    #[error("{what} is not here, and `--offline` forbids to ask {host} for it")]
    Offline {
        /// What was asked for.
        what: String,
        /// Of whom.
        host: String,
    },
    /// It wants to know who we are, or knows and says no.
    #[error("{host} denies {what}{}", said(.detail))]
    Denied {
        /// What was asked for.
        what: String,
        /// Who denies it.
        host: String,
        /// Whether it was told who we are.
        known: bool,
        /// What it says, perhaps nothing.
        detail: String,
    },
    /// It has no such thing.
    #[error("{host} does not have {what}{}", said(.detail))]
    Missing {
        /// What was asked for.
        what: String,
        /// Of whom.
        host: String,
        /// What it says, perhaps nothing.
        detail: String,
    },
    /// It answers with an error.
    #[error("{host} answered {status} when asked for {what}{}", said(.detail))]
    Refused {
        /// What was asked for.
        what: String,
        /// Of whom.
        host: String,
        /// The status.
        status: u16,
        /// How long it asks to wait.
        after: Option<Duration>,
        /// What it says, perhaps nothing.
        detail: String,
    },
    /// It answers something that the protocol does not know.
    #[error("{host} does not speak as a registry does: {why}")]
    Protocol {
        /// Who.
        host: String,
        /// What is wrong.
        why: String,
    },
    /// Other bytes than were asked for.
    #[error("{host} gives {what} with the digest {got}")]
    Digest {
        /// What was asked for.
        what: String,
        /// Of whom.
        host: String,
        /// The digest of what came.
        got: Sha256,
    },
    /// Who we are is not known.
    #[error(transparent)]
    Credentials(#[from] CredentialError),
    /// Something here that is to be sent cannot be read, or what comes not written.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// A document that is not what it should be.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// The disk says no.
    #[error("The disk cannot be used")]
    Io(#[from] io::Error),
    /// An image for several platforms within one.
    #[error("The index {outer} holds another index, {inner}: indexes within indexes are not taken")]
    Nested {
        /// The index.
        outer: Sha256,
        /// The one in it.
        inner: Sha256,
    },
    /// No manifest for a platform.
    #[error("There is nothing for {wanted} in it: it is for {}", .there.join(", "))]
    Platform {
        /// What was wanted.
        wanted: String,
        /// What is there.
        there: Vec<String>,
    },
    /// Something else than an image.
    #[error("{what} is no image: its media type is `{media_type}`")]
    NotAnImage {
        /// What was asked for.
        what: String,
        /// What it says to be.
        media_type: String,
    },
    /// Mirrors and the registry itself failed.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    All(Vec<RegistryError>),
}

fn said(detail: &str) -> String {
    if detail.is_empty() { String::new() } else { format!(": {detail}") }
}

impl RegistryError {
    /// What an answer that is an error means; `known`: whether it was told who we are.
    pub(crate) fn refused(what: &str, host: &str, known: bool, answer: Answer) -> Self {
        let (what, host) = (what.to_owned(), host.to_owned());
        let (status, after) = (answer.status, answer.retry_after());
        let detail = detail(&answer.beginning(MAX_ERROR));
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Self::Denied { what, host, known, detail }
            }
            StatusCode::NOT_FOUND => Self::Missing { what, host, detail },
            status => Self::Refused { what, host, status: status.as_u16(), after, detail },
        }
    }

    /// What a failed request means.
    pub(crate) fn http(what: &str, host: &str, source: HttpError) -> Self {
        let (what, host) = (what.to_owned(), host.to_owned());
        match source {
            HttpError::Offline { .. } => Self::Offline { what, host },
            HttpError::Digest { got, .. } => Self::Digest { what, host, got },
            source => Self::Http { what, host, source: Box::new(source) },
        }
    }

    /// Whether the registry says that it has no such thing.
    pub fn is_missing(&self) -> bool {
        match self {
            Self::Missing { .. } => true,
            Self::All(all) => all.iter().all(Self::is_missing),
            _ => false,
        }
    }
}

/// What the body of an error says, on one short line.
pub(crate) fn detail(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Errors {
        errors: Vec<One>,
    }
    #[derive(Deserialize)]
    struct One {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    let text = match serde_json::from_slice::<Errors>(body) {
        Ok(Errors { errors }) => {
            let one = |One { code, message }: One| match (code.is_empty(), message.is_empty()) {
                (false, false) => format!("{message} ({code})"),
                (true, _) => message,
                (_, true) => code,
            };
            errors.into_iter().map(one).collect::<Vec<_>>().join("; ")
        }
        // A page for people says nothing that helps.
        Err(_) if body.trim_ascii_start().starts_with(b"<") => String::new(),
        Err(_) => String::from_utf8_lossy(body).into_owned(),
    };
    let printable = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    printable.take(SHOWN).collect::<String>().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_are_short_and_plain() {
        let of = |body: &str| detail(body.as_bytes());
        let errors = r#"{"errors":[{"code":"DENIED","message":"no\u001b[31m"},{"code":"X"}]}"#;
        assert_eq!(of(errors), "no [31m (DENIED); X");
        assert_eq!(of("<html>nginx"), "");
        assert_eq!(of("plain\nwords\n"), "plain words");
        assert_eq!(of(&"é".repeat(1000)).chars().count(), 300);
    }
}

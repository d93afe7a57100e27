//! What can go wrong with a download.

use reimage_castore::Sha256;
use std::{error::Error, io, iter::successors, path::PathBuf, time::Duration};

use crate::client::is_certificate;

/// Why a download failed.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The network may not be used.
    #[error(
        "{url} is neither in the store nor in a lock bundle, and `--offline` forbids to fetch it"
    )]
    Offline {
        /// The URL.
        url: String,
    },
    /// There is no place to fetch from.
    #[error("There is no URL to fetch from")]
    NoUrl,
    /// The URL is not one that is understood.
    #[error("`{url}` is not a URL of `http` or `https`")]
    BadUrl {
        /// The URL.
        url: String,
    },
    /// The proxy that is configured is not one.
    #[error("`{proxy}` is not the URL of a proxy")]
    BadProxy {
        /// The proxy.
        proxy: String,
    },
    /// Certificates of a host that cannot be used.
    #[error("{} cannot be used", path.display())]
    Certificate {
        /// The file, or the directory that holds it.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The server leads elsewhere, to no end.
    #[error("{url} leads to no answer: it is redirected without end, or to what is no URL")]
    Redirect {
        /// The URL.
        url: String,
    },
    /// The server has no such file.
    #[error("{url} does not exist: the server answered {status}")]
    Missing {
        /// The URL.
        url: String,
        /// The status: 404 or 410.
        status: u16,
    },
    /// The server answered with an error.
    #[error("{url} cannot be fetched: the server answered {status}")]
    Status {
        /// The URL.
        url: String,
        /// The status.
        status: u16,
    },
    /// No answer came.
    #[error("{url} cannot be reached")]
    Unreachable {
        /// The URL.
        url: String,
        /// What the client says.
        source: Box<ureq::Error>,
    },
    /// The connection broke in the middle.
    #[error("{url} broke off after {at} bytes")]
    Broken {
        /// The URL.
        url: String,
        /// The bytes that had come.
        at: u64,
        /// What the connection says.
        source: io::Error,
    },
    /// The answer comes so slowly that it would never end.
    #[error("{url} is too slow: {bytes} bytes came in {time:?}")]
    Slow {
        /// The URL.
        url: String,
        /// The bytes that came.
        bytes: u64,
        /// In this time.
        time: Duration,
    },
    /// The answer ended too early.
    #[error("{url} ended after {size} of {wanted} bytes")]
    Short {
        /// The URL.
        url: String,
        /// The bytes that came.
        size: u64,
        /// The bytes that were announced or expected.
        wanted: u64,
    },
    /// The answer is larger than expected.
    #[error("{url} is larger than the {limit} bytes that are expected")]
    TooLarge {
        /// The URL.
        url: String,
        /// The bound in bytes.
        limit: u64,
    },
    /// It is not as large as it should be.
    #[error("{url} has {got} bytes, not {wanted}: it changed since it was locked, or on its way")]
    Size {
        /// The URL.
        url: String,
        /// The size expected, in bytes.
        wanted: u64,
        /// The size that it has.
        got: u64,
    },
    /// It is not what it should be.
    #[error("{url} has digest {got}, not {wanted}: it changed since it was locked, or on its way")]
    Digest {
        /// The URL.
        url: String,
        /// The digest expected.
        wanted: Sha256,
        /// The digest that it has.
        got: Sha256,
    },
    /// The file on disk failed.
    #[error("{url} cannot be written to disk")]
    File {
        /// The URL.
        url: String,
        /// What the system says.
        source: io::Error,
    },
    /// Each of several URLs failed.
    #[error("None of {} places has it: {}", .failures.len(), list(.failures))]
    All {
        /// What each failed with.
        failures: Vec<HttpError>,
    },
}

impl HttpError {
    /// Returns whether the answer was something else than what was expected, of the last place asked.
    pub fn is_other_content(&self) -> bool {
        match self {
            Self::Digest { .. } | Self::Size { .. } => true,
            Self::All { failures } => failures.last().is_some_and(Self::is_other_content),
            _ => false,
        }
    }

    /// Returns whether it may be otherwise next time.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable { source, .. } => !is_certificate(source),
            Self::Broken { .. } | Self::Short { .. } | Self::Slow { .. } => true,
            _ => false,
        }
    }

    /// Returns whether the answer was that there is no such file, of every place asked.
    pub fn is_missing(&self) -> bool {
        match self {
            Self::Missing { .. } => true,
            Self::All { failures } => failures.iter().all(Self::is_missing),
            _ => false,
        }
    }
}

fn list(failures: &[HttpError]) -> String {
    let all = failures.iter().map(|failure| {
        let causes = successors(Some(failure as &(dyn Error + 'static)), |&error| error.source());
        causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
    });
    all.collect::<Vec<_>>().join("; ")
}

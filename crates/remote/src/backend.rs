//! What keeps a cache: the little that a directory, a registry and an HTTP server can all do.
//!
//! A backend moves bytes and judges nothing. Deadlines, retries, digests and signatures are its users'
//! ([`crate::Remote`], [`crate::Cache`]): written once, the same for every backend.

use std::{
    error::Error,
    fmt,
    io::{self, Read, Write},
    time::Duration,
};

use reimage_castore::{Digest, Sha256};
use serde::{Deserialize, Serialize};

/// Bytes in a cache, named by what registries name them by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Blob {
    /// Their digest.
    pub digest: Sha256,
    /// Their number.
    pub size: u64,
}

/// Where a cache lies.
///
/// Calls block, come from many threads at once, and may be given up by whoever waits for them. A blob or record is
/// there as a whole or not at all, however a call ends.
pub trait Backend: fmt::Debug + Send + Sync {
    /// Which of these blobs are there, in their order.
    fn has(&self, blobs: &[Blob]) -> Result<Vec<bool>, BackendError>;

    /// Writes a blob to `into`; false: it is not there.
    fn get(&self, blob: &Blob, into: &mut dyn Write) -> Result<bool, BackendError>;

    /// Keeps a blob. If reading `from` fails, nothing is kept.
    fn put(&self, blob: &Blob, from: &mut dyn Read) -> Result<(), BackendError>;

    /// The record of `key`, which is no larger than [`MAX_RECORD`].
    fn record(&self, key: &Digest) -> Result<Option<Vec<u8>>, BackendError>;

    /// Keeps a record; the `blobs` that it names are there. One that is there stays, and the answer is false, unless
    /// it is `refused`: these very bytes, which no good record has, may be replaced.
    fn put_record(
        &self,
        key: &Digest,
        record: &[u8],
        blobs: &[Blob],
        refused: Option<&[u8]>,
    ) -> Result<bool, BackendError>;
}

/// The largest record: 4 MiB.
pub const MAX_RECORD: u64 = 4 << 20;

/// A backend that fails.
#[derive(Debug)]
pub struct BackendError {
    /// Whether it is worth a second try.
    pub again: Again,
    /// How long it asks to wait before that.
    pub after: Option<Duration>,
    source: Box<dyn Error + Send + Sync>,
}

/// Whether a failed call is worth a second try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// It may go well the next time.
    Soon,
    /// This will never go well, whereas others may.
    Others,
    /// Nothing of this kind will be allowed or possible.
    Never,
}

impl BackendError {
    /// A failure that may pass.
    pub fn passing(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(Again::Soon, source)
    }

    /// A failure that stays.
    pub fn lasting(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(Again::Never, source)
    }

    /// A failure, and whether it stays.
    pub fn new(again: Again, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { again, after: None, source: source.into() }
    }
}

impl fmt::Display for BackendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The whole chain: it ends in a warning of one line.
        write!(f, "{}", self.source)?;
        let mut source = self.source.source();
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}

impl Error for BackendError {}

impl From<io::Error> for BackendError {
    fn from(error: io::Error) -> Self {
        use io::ErrorKind as Kind;
        match error.kind() {
            Kind::PermissionDenied
            | Kind::ReadOnlyFilesystem
            | Kind::StorageFull
            | Kind::QuotaExceeded
            | Kind::NotFound
            | Kind::NotADirectory
            | Kind::Unsupported => Self::lasting(error),
            _ => Self::passing(error),
        }
    }
}

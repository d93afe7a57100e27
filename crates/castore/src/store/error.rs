//! What can go wrong with the store on disk.

use std::{
    io,
    path::{Path, PathBuf},
};

use rustix::io::Errno;
use thiserror::Error;

use crate::{DecodeError, Digest, TreeError, TreePath};

/// A failure of the store; [`StoreError::is_miss`] tells those that running the step again heals.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The file system or the quota is full.
    #[error("No space left to {action} `{path}`")]
    Full {
        /// What was being done.
        action: &'static str,
        /// To which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file system does not take writes.
    #[error("Cannot {action} `{path}`: the file system is read-only")]
    ReadOnly {
        /// What was being done.
        action: &'static str,
        /// To which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The user may not.
    #[error("No permission to {action} `{path}`")]
    Permission {
        /// What was being done.
        action: &'static str,
        /// To which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Anything else that the system refused.
    #[error("Cannot {action} `{path}`")]
    Io {
        /// What was being done.
        action: &'static str,
        /// To which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// What is to be stored cannot be read.
    #[error("Cannot read what is to be stored")]
    Source {
        /// What the reader said.
        #[source]
        source: io::Error,
    },
    /// A newer reimage made this store.
    #[error(
        "The store `{path}` is of version {found}, and this reimage knows version {known}: use a newer reimage or another store"
    )]
    Newer {
        /// The store.
        path: PathBuf,
        /// Its version.
        found: u64,
        /// The highest version known here.
        known: u64,
    },
    /// Something that is no store lies at the store's place.
    #[error(
        "`{path}` is not a store: there are files in it, and none is `{file}` that begins with `reimage store`"
    )]
    NotAStore {
        /// The place.
        path: PathBuf,
        /// The file that says so.
        file: PathBuf,
    },
    /// A blob is not there.
    #[error("The blob {digest} is not in the store")]
    Missing {
        /// Its digest.
        digest: Digest,
    },
    /// A blob had other bytes than its digest says; it has been taken away.
    #[error("The blob {digest} was corrupted on disk and is set aside as `{quarantine}`")]
    Corrupt {
        /// Its digest.
        digest: Digest,
        /// Where it lies now.
        quarantine: PathBuf,
    },
    /// A blob is intact but not of this kind.
    #[error("The blob {digest} is no {what}")]
    Decode {
        /// Its digest.
        digest: Digest,
        /// What was expected.
        what: &'static str,
        /// What is wrong with it.
        #[source]
        source: DecodeError,
    },
    /// A diff does not fit on what it is to stand on.
    #[error("The diff {digest} does not fit on what lies below it")]
    Misfit {
        /// The diff.
        digest: Digest,
        /// What does not fit.
        #[source]
        source: TreeError,
    },
    /// A node that no directory on disk can show.
    #[error("Cannot lay out `{path}`: {why}")]
    Layout {
        /// The path in its tree.
        path: TreePath,
        /// The reason.
        why: String,
    },
    /// An export would replace what reimage did not make.
    #[error(
        "`{path}` is there and was not made by reimage: move it away or choose another directory"
    )]
    NotOurs {
        /// What would be replaced.
        path: PathBuf,
    },
}

impl StoreError {
    /// Names the action and the file of an error of the system.
    pub(crate) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
        source: impl Into<io::Error>,
    ) -> Self {
        let (path, source) = (path.into(), source.into());
        match Errno::from_io_error(&source) {
            Some(Errno::NOSPC | Errno::DQUOT) => Self::Full { action, path, source },
            Some(Errno::ROFS) => Self::ReadOnly { action, path, source },
            Some(Errno::ACCESS | Errno::PERM) => Self::Permission { action, path, source },
            _ => Self::Io { action, path, source },
        }
    }

    /// Whether a blob is gone, so that making it again is all that is needed; it says which.
    pub fn is_miss(&self) -> Option<Digest> {
        match self {
            Self::Missing { digest } | Self::Corrupt { digest, .. } => Some(*digest),
            _ => None,
        }
    }
}

/// Adds what was being done, and to which file, to an error of the system.
pub(crate) trait Context<T> {
    /// The same with its context.
    fn at(self, action: &'static str, path: impl AsRef<Path>) -> Result<T, StoreError>;
}

impl<T, E: Into<io::Error>> Context<T> for Result<T, E> {
    fn at(self, action: &'static str, path: impl AsRef<Path>) -> Result<T, StoreError> {
        self.map_err(|source| StoreError::io(action, path.as_ref(), source))
    }
}

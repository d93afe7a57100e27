//! Debian repositories: which packages a list of names means, where their files are, and how they are installed.

pub mod deb;
pub(crate) mod fuzz;
pub mod install;
mod keyring;
mod lock;
mod mirrors;
mod relation;
mod release;
mod repository;
mod resolve;
mod sources;
mod universe;
mod version;

pub use keyring::{Keyring, KeyringError, Verified};
pub use lock::{Archives, DebianError, DebianLocked, DebianQuery};
pub use mirrors::{DebianConfig, MirrorError, Place};
pub use release::{Release, ReleaseCheck, ReleaseError};
pub use repository::RepositoryError;
pub use resolve::{Request, ResolveError, resolve};
pub use sources::{AptConfig, AptSource, SignedBy, SourcesError};
pub use universe::{IndexError, IndexOrigin, Universe};
pub use version::DebVersion;

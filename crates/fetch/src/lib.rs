//! Resolves and fetches the sources of reimage: opens sockets, runs nothing.

mod archive;
pub mod debian;

pub use archive::{ArchiveError, Limits, Refusal, unpack};

//! Resolves and fetches the sources of reimage: speaks HTTP, runs nothing.

mod archive;
mod bundle;
pub mod debian;
mod fuzz;
mod sources;

pub use archive::{ArchiveError, Limits, Refusal, unpack};
pub use bundle::{Bundle, BundleError, BundleWriter};
pub use fuzz::FUZZ_TARGETS;
pub use sources::{Sources, SourcesConfig};

//! Resolves and fetches the sources of reimage: opens sockets, runs nothing.

mod archive;
mod bundle;
pub mod debian;
mod fuzz;
mod http;
mod sources;

pub use archive::{ArchiveError, Limits, Refusal, unpack};
pub use bundle::{Bundle, BundleError, BundleWriter};
pub use fuzz::FUZZ_TARGETS;
pub use http::{Downloader, Expected, Fetched, HttpConfig, HttpError, Progress, Proxies};
pub use sources::{Sources, SourcesConfig};

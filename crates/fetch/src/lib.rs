//! Resolves and fetches the sources of reimage: opens sockets, runs nothing.

pub mod debian;
mod http;
mod sources;

pub use http::{Downloader, Expected, Fetched, HttpConfig, HttpError, Progress, Proxies};
pub use sources::{Sources, SourcesConfig};

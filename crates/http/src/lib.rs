//! HTTP as reimage speaks it: the one crate that opens sockets.
//!
//! [`Client`] sends one request at a time: through the machine's proxies, trusting the machine's certificates and those
//! of a host's own, following redirects without carrying credentials to another host. [`Downloader`] makes downloads of
//! it: resumed where they broke off, bounded, verified. What may pass is tried again, later each time and never in
//! step with others.

mod certs;
mod client;
mod download;
mod error;
mod parallel;
mod retry;
mod slots;
#[cfg(test)]
mod tests;
mod url;

pub use client::{Answer, Client, HttpConfig, Payload, Proxies, Request};
pub use download::{Downloader, Expected, Failure, Fetched, Get, Part, Progress};
pub use error::HttpError;
pub use parallel::parallel;
pub use retry::Waits;
pub use slots::{Slot, Slots};
pub use ureq::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
pub use url::{join, origin, redact};

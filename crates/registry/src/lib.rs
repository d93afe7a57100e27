//! A client of container registries, as OCI's distribution specification 1.1 has them.
//!
//! | layer | what it does |
//! |---|---|
//! | [`Credentials`] | what docker's and podman's files and their helpers know of a registry |
//! | [`Registry`] | where a registry is, who we are to it, one request until it is answered |
//! | [`Repository`] | manifests and blobs by digest and tag, referrers |
//! | [`push`], [`pull`] | whole images: what is missing and nothing else, the name last |
//!
//! Documents are the bytes that they are and never written again. A blob is verified while it comes, and goes on where
//! it broke off; one that goes out begins anew, since servers forget what was torn. No secret is ever shown.

mod auth;
mod config;
mod credentials;
mod error;
mod fuzz;
mod platforms;
mod pull;
mod push;
mod referrers;
mod registry;
mod repository;
mod secret;
#[cfg(test)]
mod tests;
mod upload;

pub use config::RegistryConfig;
pub use credentials::{Credential, CredentialError, Credentials, Login};
pub use error::RegistryError;
pub use fuzz::FUZZ_TARGETS;
pub use platforms::{Platforms, flat, select};
pub use pull::{Pulled, pull};
pub use push::{Pushed, Source, push};
pub use registry::Registry;
pub use repository::{Found, Repository};
pub use secret::Secret;
pub use upload::{Open, Uploaded};

/// Told of a blob on its way: its digest, the bytes that are there, the bytes in all.
pub type Progress<'a> = &'a (dyn Fn(&reimage_castore::Sha256, u64, u64) + Sync);

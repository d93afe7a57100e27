//! Caches that several machines share: what one of them made, the others take.
//!
//! A cache is a *peer* that blobs and records are copied to and from, never another store. It can be slow or useless;
//! it can never fail a build and never make it wrong. A [`Backend`] is where it lies, a [`Remote`] what is made of one
//! so that it always answers, a [`Cache`] several of them with whose word counts and what is still to be sent.

mod backend;
mod cache;
mod directory;
mod fuzz;
mod pack;
mod record;
mod remote;
mod repository;
mod sign;
mod upload;

pub use backend::{Again, Backend, BackendError, Blob, MAX_RECORD};
pub use cache::{Cache, CacheConfig};
pub use directory::Directory;
pub use fuzz::FUZZ_TARGETS;
pub use pack::{Content, packs, read_pack, write_pack};
pub use record::Record;
pub use remote::{Metrics, Patience, Remote, Unavailable, Warn};
pub use repository::Repository;
pub use sign::{KeyError, PrivateKey, PublicKey, Refused, Trust, open, seal};
pub use upload::{Sent, Upload};

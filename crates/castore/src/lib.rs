//! Content-addressed values and the store that keeps them.
//!
//! Digests name bytes, a [`Tree`] names a file system, a [`Diff`] names what one step changed in it, an
//! [`Action`](crate::Action) names a piece of work by everything that can influence its result. Nothing here
//! knows of specs, images, networks or sandboxes.

mod action;
mod attrs;
mod diff;
mod digest;
mod encoding;
mod export;
mod files;
mod fuzz;
mod lay;
mod layout;
mod links;
mod local;
mod materialize;
mod node;
mod path;
mod patterns;
mod result;
mod store;
mod tree;
mod view;

pub use action::{
    Action, ActionDigest, Clock, CopyAction, DebAction, DebianAction, Demand, Demands, LayerAction,
    RunAction, Scripts, Source, UnpackAction,
};
pub use attrs::{Attrs, XattrError, xattr_allowed};
pub use diff::{Change, Diff};
pub use digest::{Digest, DigestError, Hasher, Sha256, Sha256Hasher, hex};
pub use encoding::{DecodeError, Decoder, Encoder};
pub use files::{disk_size, empty, read_dir_sorted, read_full, remove_all};
pub use fuzz::{FUZZ_TARGETS, FuzzTarget};
pub use lay::LayError;
pub use layout::{CAPABILITY_XATTR, DEVICE_XATTR, OWNER_XATTR};
pub use links::{LinkError, Links};
pub use local::{Local, LocalError, LocalOptions, ingest};
pub use materialize::{Materialize, Materialized, Owners};
pub use node::{Entry, Node};
pub use path::{PathComponent, PathError, TreePath};
pub use patterns::{PatternError, Patterns};
pub use result::{ActionResult, Output};
pub use store::{
    Amount, BlobReader, Device, Once, Partial, Policy, Pruned, PutResult, Store, StoreError,
    Verified, touch,
};
pub use tree::{Tree, TreeError};
pub use view::{Captured, View};

//! The store on disk: blobs, action results and what is derived from them.
//!
//! ```text
//! $root/                 0700, by default $XDG_CACHE_HOME/reimage
//!   version              `reimage store 1`
//!   objects-v1/ab/cd…    blobs by their BLAKE3: file contents, trees, diffs, logs
//!   actions-v1/ab/cd…    action results by ActionDigest
//!   memos-v1/ab/cd…      memos of targets, evaluations and more, opaque here
//!   complete-v1/ab/cd…   which trees and diffs had all their blobs, and when
//!   roots-v1/<key>/      diffs laid out as directories for overlayfs
//!   devices-v1/<name>/   files that stand for devices in sandboxes
//!   stat-v1/<key>        stat caches of local trees
//!   pinned-v1/ab/cd…     where the locks lie that were built from
//!   indexes/             package indexes, left to `fetch`
//!   oci/                 an OCI layout, left to `oci`
//!   partial/<sha256>     downloads that have not ended, locked by who downloads
//!   quarantine/          blobs and records found corrupted
//!   tombstones/          what was evicted, and when
//!   leases/<session>     locked as long as a process has the store open
//!   locks/<key>          locked as long as a step runs
//!   tmp/<session>/       files being written
//! ```
//!
//! Many processes use a store at once and there is no daemon: a file is written under `tmp` and renamed, so it
//! is there whole or not at all; files are immutable, but for memos. Nothing is fsynced: after a power cut a
//! blob may be short or empty, and whoever uses one checks its size or its digest, so that a bad one is found,
//! set aside and made again.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::{DirBuilderExt, PermissionsExt},
    },
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, atomic::AtomicU64},
    time::SystemTime,
};

use rustix::fs::{Mode, OFlags};

use crate::{
    Diff, Digest, Tree,
    files::{Locked, read_dir_sorted, remove_all},
};
pub(crate) use error::Context;
pub use error::StoreError;

mod blobs;
mod devices;
mod error;
mod listing;
mod memos;
mod once;
mod partial;
mod pinned;
mod prune;
mod record;
mod results;
mod values;
mod verify;

pub use blobs::BlobReader;
pub use devices::Device;
pub(crate) use memos::Generation;
pub use once::Once;
pub use partial::Partial;
pub use prune::{Amount, Policy, Pruned};
pub use record::touch;
pub use results::PutResult;
pub use verify::Verified;

/// The version of the store as a whole; buckets have their own in their names.
const VERSION: u64 = 1;

const BUCKETS: [&str; 14] = [
    "objects-v1",
    "actions-v1",
    "memos-v1",
    "complete-v1",
    "roots-v1",
    "devices-v1",
    "stat-v1",
    "pinned-v1",
    "partial",
    "quarantine",
    "tombstones",
    "leases",
    "locks",
    "tmp",
];

/// A store that is open; clones are the same one. As long as it is open, `prune` keeps what it has used.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    root: PathBuf,
    objects: OwnedFd,
    tmp: OwnedFd,
    tmp_path: PathBuf,
    /// When the store was opened, by the clock of its file system: what is older has not been used by us.
    opened: SystemTime,
    next_temp: AtomicU64,
    trees: Mutex<BTreeMap<Digest, Arc<Tree>>>,
    diffs: Mutex<BTreeMap<Digest, Arc<Diff>>>,
    /// Roots whose seals were found right.
    sealed: Mutex<BTreeSet<PathBuf>>,
    /// What was found damaged, for whoever asks.
    damaged: Mutex<Vec<String>>,
    _lease: Locked,
}

impl Store {
    /// Opens the store at `root`, an absolute path; makes it if nothing is there.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let root = root.into();
        let mut private = std::fs::DirBuilder::new();
        private.recursive(true).mode(0o700);
        private.create(&root).at("make the store", &root)?;
        check_version(&root)?;
        let mode = root.metadata().at("stat", &root)?.permissions().mode();
        if mode & 0o7777 != 0o700 {
            let private = std::fs::Permissions::from_mode(0o700);
            std::fs::set_permissions(&root, private).at("make private", &root)?;
        }
        for bucket in BUCKETS {
            let path = root.join(bucket);
            private.create(&path).at("make", &path)?;
        }
        let (lease, name) = new_session(&root)?;
        let opened = lease.file().metadata().and_then(|m| m.modified());
        let opened = opened.at("stat", root.join("leases").join(&name))?;
        let tmp_path = root.join("tmp").join(&name);
        private.create(&tmp_path).at("make", &tmp_path)?;
        remove_dead_sessions(&root);
        let objects = open_dir(&root.join("objects-v1"))?;
        let tmp = open_dir(&tmp_path)?;
        Ok(Self(Arc::new(Inner {
            root,
            objects,
            tmp,
            tmp_path,
            opened,
            next_temp: AtomicU64::new(0),
            trees: Mutex::default(),
            diffs: Mutex::default(),
            sealed: Mutex::default(),
            damaged: Mutex::default(),
            _lease: lease,
        })))
    }

    /// Where it lies.
    pub fn root(&self) -> &Path {
        &self.0.root
    }

    /// The OCI layout inside; made and filled by the crate `oci`.
    pub fn oci_dir(&self) -> PathBuf {
        self.0.root.join("oci")
    }

    /// A directory of this session for temporary files, on the store's file system; it goes with the session.
    pub fn tmp_dir(&self) -> &Path {
        &self.0.tmp_path
    }

    /// A name that is new in [`Self::tmp_dir`].
    pub fn tmp_name(&self) -> PathBuf {
        self.0.tmp_path.join(self.temp_number())
    }

    /// What was found damaged since this was asked last, a sentence each: it is set aside, and made again when needed.
    pub fn damage(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.damaged.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn say_damaged(&self, what: String) {
        self.0.damaged.lock().unwrap_or_else(PoisonError::into_inner).push(what);
    }

    pub(crate) fn remember_sealed(&self, root: &Path) {
        self.0.sealed.lock().unwrap_or_else(PoisonError::into_inner).insert(root.to_owned());
    }

    pub(crate) fn is_remembered_sealed(&self, root: &Path) -> bool {
        self.0.sealed.lock().unwrap_or_else(PoisonError::into_inner).contains(root)
    }

    fn temp_number(&self) -> String {
        self.0.next_temp.fetch_add(1, std::sync::atomic::Ordering::Relaxed).to_string()
    }

    fn bucket(&self, name: &str) -> PathBuf {
        self.0.root.join(name)
    }

    fn objects(&self) -> impl AsFd + '_ {
        self.0.objects.as_fd()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // What cannot go now goes when the next session finds the lease unlocked.
        let _ = remove_all(&self.tmp_path);
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Store").field(&self.0.root).finish()
    }
}

fn open_dir(path: &Path) -> Result<OwnedFd, StoreError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).at("open", path)
}

fn check_version(root: &Path) -> Result<(), StoreError> {
    let file = root.join("version");
    // Images may have come first: they lie in a layout of their own.
    let others = || {
        read_dir_sorted(root).is_ok_and(|there| there.iter().any(|one| one.file_name() != "oci"))
    };
    let text = match std::fs::read_to_string(&file) {
        // Empty: it was being written when the power went.
        Ok(text) if !text.is_empty() => text,
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(StoreError::io("read", file, error));
        }
        Err(_) if others() && !file.exists() => {
            return Err(StoreError::NotAStore { path: root.into(), file });
        }
        _ => return std::fs::write(&file, format!("reimage store {VERSION}\n")).at("write", &file),
    };
    let version = text.strip_prefix("reimage store ").and_then(|v| v.trim_end().parse().ok());
    match version {
        Some(VERSION) => Ok(()),
        Some(found) => Err(StoreError::Newer { path: root.into(), found, known: VERSION }),
        None => Err(StoreError::NotAStore { path: root.into(), file }),
    }
}

/// A lease of a name that nobody has; process ids repeat among containers that share a store.
fn new_session(root: &Path) -> Result<(Locked, String), StoreError> {
    let leases = root.join("leases");
    for number in 0_u64.. {
        let name = format!("{}-{number}", std::process::id());
        let path = leases.join(&name);
        if let Some(lease) = Locked::attempt(&path, true).at("lock", &path)?
            && remove_all(&root.join("tmp").join(&name)).is_ok()
        {
            return Ok((lease, name));
        }
    }
    unreachable!("numbers do not end before file names do")
}

/// Takes away what processes left that are no more. What resists stays: it is in nobody's way.
fn remove_dead_sessions(root: &Path) {
    let (leases, tmp) = (root.join("leases"), root.join("tmp"));
    let names = |dir| read_dir_sorted(dir).unwrap_or_default();
    for entry in names(&tmp) {
        let lease = leases.join(entry.file_name());
        if let Ok(Some(_lease)) = Locked::attempt(&lease, true) {
            let _ = remove_all(&entry.path());
        }
    }
    for entry in names(&leases) {
        // Without a directory in `tmp` it is a session that ended, or one that is about to begin: locked.
        if !tmp.join(entry.file_name()).exists() {
            drop(Locked::attempt(&entry.path(), false));
        }
    }
}

#[cfg(test)]
mod tests;

//! Lays diffs out as directories that overlayfs takes as lower layers.
//!
//! What is removed is a whiteout (a character device 0:0); no directory is opaque, since a diff lists every
//! path that goes. A directory that a diff only passes through shows the attributes it has below: the topmost
//! layer that has a directory decides what a step sees of it.
//!
//! A root is made once for each key (the diff, those attributes, owners, times) under `tmp`, and renamed. Its
//! content was verified when it was written; it is not synced, so after another start of the machine every
//! size is looked at again before it is used.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use rayon::prelude::*;

use crate::{
    Attrs, Change, Diff, Digest, Encoder, Entry, Node, Store, StoreError, TreeError, TreePath,
    View,
    files::{Locked, remove_all},
    layout::{Kind, Layout},
    store::{Context, touch},
    tree::encode_entry,
};

const BUCKET: &str = "roots-v1";

/// How the owners of nodes are kept on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owners {
    /// As owners: the process has the right to give files away, at least in its user namespace. Devices are
    /// devices where it may make them, else as with [`Owners::Recorded`].
    Physical,
    /// In [`OWNER_XATTR`](crate::OWNER_XATTR) where they are not root; devices are empty files with
    /// [`DEVICE_XATTR`](crate::DEVICE_XATTR).
    Recorded,
}

/// How to lay a diff out.
#[derive(Debug, Clone, Copy)]
pub struct Materialize<'a> {
    /// What the diff stands on.
    pub below: &'a View,
    /// How owners are kept.
    pub owners: Owners,
    /// The baseline's file time F, in seconds since 1970: the time of nodes without one.
    pub time: i64,
    /// The nanoseconds of that time: 0 for what a step made, 1 for sources (design §4).
    pub nanos: u32,
}

/// A diff laid out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Materialized {
    /// The directory to mount. Equal diffs of a stack are the same directory, and overlayfs takes none twice:
    /// leave out all but the highest.
    pub path: PathBuf,
    /// Owners that no extended attribute can hold, of links and named pipes; only with [`Owners::Recorded`].
    pub owners: Vec<(TreePath, u32, u32)>,
}

impl Store {
    /// Lays a diff out, or finds it laid out. Its directory stays as long as the store is open.
    pub fn materialize(
        &self,
        digest: &Digest,
        how: &Materialize<'_>,
    ) -> Result<Materialized, StoreError> {
        let diff = self.diff(digest)?;
        let implied = implied(digest, &diff, how.below)?;
        let key = key(digest, &implied, how);
        let home = self.root().join(BUCKET).join(key.to_string());
        if !self.is_laid_out(&home, &diff)? {
            let lock = self.root().join("locks").join(format!("root-{key}"));
            let _lock = Locked::wait(&lock).at("lock", &lock)?;
            if !self.is_laid_out(&home, &diff)? {
                self.lay_out(&home, &diff, &implied, how)?;
            }
        }
        Ok(Materialized { path: home.join("root"), owners: unrecorded(&diff, how.owners) })
    }

    /// The same, if it is laid out already or costs nothing: a diff whose blob is gone is not.
    pub fn materialized(
        &self,
        digest: &Digest,
        how: &Materialize<'_>,
    ) -> Result<Option<Materialized>, StoreError> {
        let diff = match self.diff(digest) {
            Err(error) if error.is_miss().is_some() => return Ok(None),
            diff => diff?,
        };
        let Ok(implied) = implied(digest, &diff, how.below) else { return Ok(None) };
        let home = self.root().join(BUCKET).join(key(digest, &implied, how).to_string());
        let there = self.is_laid_out(&home, &diff)?;
        let owners = unrecorded(&diff, how.owners);
        Ok(there.then(|| Materialized { path: home.join("root"), owners }))
    }

    fn lay_out(
        &self,
        home: &Path,
        diff: &Diff,
        implied: &BTreeMap<TreePath, Attrs>,
        how: &Materialize<'_>,
    ) -> Result<(), StoreError> {
        let kind = match how.owners {
            Owners::Physical => Kind::Physical,
            Owners::Recorded => Kind::Recorded,
        };
        let layout = Layout { store: self, kind, time: Some((how.time, how.nanos)) };
        let temp = self.tmp_name();
        fs::create_dir(&temp).at("make", &temp)?;
        let made = layout.write(&temp.join("root"), diff, implied).and_then(|()| {
            fs::write(temp.join("boot"), boot()).at("write", temp.join("boot"))?;
            fs::rename(&temp, home).at("make", home)
        });
        if made.is_err() {
            let _ = remove_all(&temp);
        }
        made
    }

    /// Whether it is there and can be relied on; what cannot be goes.
    fn is_laid_out(&self, home: &Path, diff: &Diff) -> Result<bool, StoreError> {
        let made = match fs::read(home.join("boot")) {
            Ok(made) => made,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // A root whose removal was interrupted, or none.
                remove_all(home).at("remove", home)?;
                return Ok(false);
            }
            Err(error) => return Err(StoreError::io("read", home.join("boot"), error)),
        };
        let boot = boot();
        if made != boot || boot.is_empty() {
            if !has_all_sizes(&home.join("root"), diff) {
                remove_all(home).at("remove", home)?;
                return Ok(false);
            }
            let temp = self.tmp_name();
            fs::write(&temp, boot).at("write", &temp)?;
            fs::rename(&temp, home.join("boot")).at("write", home.join("boot"))?;
        }
        let _ = touch(home);
        Ok(true)
    }
}

/// The directories that a diff does not put but passes through, the root always among them or put.
fn implied(
    digest: &Digest,
    diff: &Diff,
    below: &View,
) -> Result<BTreeMap<TreePath, Attrs>, StoreError> {
    let mut implied = BTreeMap::new();
    let mut pass = |above: TreePath, path: &TreePath| {
        if implied.contains_key(&above) {
            return Ok(());
        }
        let put = diff.get(&above);
        match put.map_or_else(|| below.get(&above), Change::entry) {
            Some(entry) if entry.is_directory() => {
                if put.is_none() {
                    implied.insert(above, entry.attrs.clone());
                }
            }
            None if above.is_root() => {
                implied.insert(above, Attrs::directory());
            }
            other => {
                let path = path.clone();
                let source = match other.map(|entry| entry.node.kind()) {
                    Some(kind) => TreeError::NotBelowDirectory { path, above, kind },
                    None => TreeError::NoParent { path },
                };
                return Err(StoreError::Misfit { digest: *digest, source });
            }
        }
        Ok(())
    };
    pass(TreePath::root(), &TreePath::root())?;
    let mut last = TreePath::root();
    for (path, _) in diff {
        let Some(parent) = path.parent() else { continue };
        if parent != last {
            path.ancestors().try_for_each(|above| pass(above, path))?;
            last = parent;
        }
    }
    Ok(implied)
}

/// What tells one root from another.
fn key(digest: &Digest, implied: &BTreeMap<TreePath, Attrs>, how: &Materialize<'_>) -> Digest {
    let mut e = Encoder::new("reimage root 1\n");
    e.raw(digest.as_bytes());
    e.list(implied.iter(), |e, (path, attrs)| {
        e.bytes(path.as_bytes());
        encode_entry(e, &Entry { node: Node::Directory, attrs: attrs.clone() });
    });
    e.number(match how.owners {
        Owners::Physical => 1,
        Owners::Recorded => 2,
    });
    // The same numbers are other owners on disk in another user namespace.
    for map in ["/proc/self/uid_map", "/proc/self/gid_map"] {
        e.bytes(&fs::read(map).unwrap_or_default());
    }
    e.signed(how.time).number(how.nanos.into());
    Digest::of(&e.finish())
}

/// Owners other than root of nodes that take no extended attribute.
fn unrecorded(diff: &Diff, owners: Owners) -> Vec<(TreePath, u32, u32)> {
    if owners == Owners::Physical {
        return Vec::new();
    }
    let entries = diff.iter().filter_map(|(path, change)| Some((path, change.entry()?)));
    entries
        .filter(|(_, e)| matches!(e.node, Node::Symlink { .. } | Node::Fifo))
        .filter(|(_, e)| (e.attrs.uid, e.attrs.gid) != (0, 0))
        .map(|(path, e)| (path.clone(), e.attrs.uid, e.attrs.gid))
        .collect()
}

/// After a power cut a file may be there and be short; nothing else is lost that a directory still names.
fn has_all_sizes(root: &Path, diff: &Diff) -> bool {
    let changes: Vec<_> = diff.iter().collect();
    changes.into_par_iter().with_min_len(256).all(|(path, change)| {
        let Ok(found) = path.on(root).symlink_metadata() else { return false };
        match change {
            Change::Put(Entry { node: Node::File { size, .. }, .. }) => {
                found.is_file() && found.len() == *size
            }
            Change::Put(Entry { node: Node::Symlink { target }, .. }) => {
                found.is_symlink() && found.len() == target.len() as u64
            }
            Change::Put(entry) => found.is_dir() == entry.is_directory(),
            Change::Remove => true,
        }
    })
}

/// What changes with every start of the machine; empty if it cannot be known.
fn boot() -> Vec<u8> {
    fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_default()
}

#[cfg(test)]
mod tests;

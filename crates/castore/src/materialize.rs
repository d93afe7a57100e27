//! Lays diffs out as directories that overlayfs takes as lower layers.
//!
//! What is removed is a whiteout (a character device 0:0); no directory is opaque, since a diff lists every
//! path that goes. A directory that a diff only passes through shows the attributes it has below: the topmost
//! layer that has a directory decides what a step sees of it.
//!
//! A root is made once for each key (the diff, those attributes, owners, times) under `tmp`, and renamed. Its
//! content was verified when it was written, and sealed: before a process uses it, it looks whether the seal still
//! fits, and lays out again what somebody changed or a power cut left short.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use crate::{
    Attrs, Change, Diff, Digest, Encoder, Entry, Node, Store, StoreError, TreeError, TreePath,
    View,
    files::{Locked, read_dir_sorted, remove_all},
    layout::{Kind, Layout},
    store::{Context, touch},
    tree::encode_entry,
};

mod seal;

use seal::{Seal, is_as_written, seal};

const BUCKET: &str = "roots-v1";
const SEAL: &str = "seal";

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
        if !self.is_laid_out(&home, digest, &diff)? {
            let lock = self.root().join("locks").join(format!("root-{key}"));
            let _lock = Locked::wait(&lock).at("lock", &lock)?;
            if !self.is_laid_out(&home, digest, &diff)? {
                if home.join(SEAL).exists() {
                    self.say_damaged(format!(
                        "{} was changed; it is laid out again",
                        home.display()
                    ));
                }
                // A root that cannot be relied on, one whose removal was interrupted, or none.
                remove_all(&home).at("remove", &home)?;
                self.lay_out(&home, digest, &diff, &implied, how)?;
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
        let there = self.is_laid_out(&home, digest, &diff)?;
        let owners = unrecorded(&diff, how.owners);
        Ok(there.then(|| Materialized { path: home.join("root"), owners }))
    }

    fn lay_out(
        &self,
        home: &Path,
        digest: &Digest,
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
            let root = temp.join("root");
            let stats = seal(&root, diff).ok_or_else(|| gone(&root))?;
            let seal = Seal { diff: *digest, stats };
            fs::write(temp.join(SEAL), seal.encode()).at("write", temp.join(SEAL))?;
            fs::rename(&temp, home).at("make", home)
        });
        match made {
            Ok(()) => self.remember_sealed(home),
            Err(_) => drop(remove_all(&temp)),
        }
        made
    }

    /// Whether it is there and can be relied on.
    fn is_laid_out(&self, home: &Path, digest: &Digest, diff: &Diff) -> Result<bool, StoreError> {
        let Some(sealed) = Seal::read(&home.join(SEAL)).at("read", home.join(SEAL))? else {
            return Ok(false);
        };
        // One look in the life of a process: nobody but us writes there, and never to what is there.
        if !self.is_remembered_sealed(home) {
            if sealed.diff != *digest || seal(&home.join("root"), diff) != Some(sealed.stats) {
                return Ok(false);
            }
            self.remember_sealed(home);
        }
        let _ = touch(home);
        Ok(true)
    }

    /// Reads everything that is laid out; takes away, and returns, what is not as it was. What is of a diff that is gone
    /// goes, too, and is no damage.
    pub(crate) fn verify_roots(&self) -> Result<(usize, Vec<PathBuf>), StoreError> {
        let top = self.root().join(BUCKET);
        let (mut good, mut bad) = (0, Vec::new());
        for entry in read_dir_sorted(&top).at("read", &top)? {
            let home = entry.path();
            let sealed = Seal::read(&home.join(SEAL)).at("read", home.join(SEAL))?;
            let diff = match sealed.map(|sealed| self.diff(&sealed.diff)) {
                Some(Err(error)) if error.is_miss().is_some() => {
                    remove_all(&home).at("remove", &home)?;
                    continue;
                }
                diff => diff.transpose()?,
            };
            let root = home.join("root");
            let is_good = sealed.zip(diff).is_some_and(|(sealed, diff)| {
                seal(&root, &diff) == Some(sealed.stats) && is_as_written(&root, &diff)
            });
            if is_good {
                good += 1;
            } else {
                remove_all(&home).at("remove", &home)?;
                bad.push(home);
            }
        }
        Ok((good, bad))
    }
}

/// The error of a path that went while it was laid out.
fn gone(root: &Path) -> StoreError {
    StoreError::io("lay out", root, std::io::Error::from(std::io::ErrorKind::NotFound))
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

#[cfg(test)]
mod tests;

//! What one layer changes: the canonical difference of two trees.
//!
//! A path is put or removed; equal nodes are not listed, a directory is listed only if its own attributes
//! change, and there are no opaque marks: whatever captured a diff, it is the same.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    DecodeError, Decoder, Digest, Encoder, Entry, Links, Node, Tree, TreeError, TreePath,
    tree::{check_group, decode_entry, decode_links, decode_path, encode_entry, encode_links},
};

const MAGIC: &str = "reimage diff 1\n";

/// What happens to one path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The path becomes this; what lay below stays only if it was and is a directory.
    Put(Entry),
    /// The path and all below it go; no path below a removed one is listed.
    Remove,
}

impl Change {
    /// The entry, if one is put.
    pub fn entry(&self) -> Option<&Entry> {
        match self {
            Self::Put(entry) => Some(entry),
            Self::Remove => None,
        }
    }
}

/// A sorted map of changes, and the hard links among what is put.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Diff {
    changes: BTreeMap<TreePath, Change>,
    links: Links,
}

impl Diff {
    /// Nothing changes.
    pub fn new() -> Self {
        Self::default()
    }

    /// What makes `upper` out of `lower`.
    pub fn between(lower: &Tree, upper: &Tree) -> Self {
        let mut diff = Self::new();
        for (path, entry) in upper {
            if !lower.get(path).is_some_and(|lower| lower.same(entry)) {
                diff.changes.insert(path.clone(), Change::Put(explicit(entry)));
            }
        }
        for (path, _) in lower {
            if upper.get(path).is_none()
                && !diff.removes_above(path)
                && upper_has_parent(upper, path)
            {
                diff.changes.insert(path.clone(), Change::Remove);
            }
        }
        // A group that stays as it is needs no word; every other one is put whole, as are paths that left one.
        let changed = |diff: &Self, path: &TreePath| diff.changes.contains_key(path);
        let mut again = BTreeSet::new();
        for group in lower.links().iter() {
            let kept: Vec<_> =
                group.iter().filter(|p| upper.get(p).is_some() && !changed(&diff, p)).collect();
            let same = kept.first().and_then(|p| upper.links().group(p));
            if kept.len() > 1 && !same.is_some_and(|same| same.iter().eq(kept.iter().copied())) {
                again.extend(kept.into_iter().cloned());
            }
        }
        for group in upper.links().iter() {
            let stays = lower.links().group(&group[0]).is_some_and(|lower| {
                lower.iter().filter(|p| upper.get(p).is_some() && !changed(&diff, p)).eq(group)
            });
            if !stays {
                again.extend(group.iter().cloned());
                diff.links.insert(group.to_vec()).expect("groups of one tree are disjoint");
            }
        }
        for path in again {
            let entry = upper.get(&path).expect("it was looked up in `upper`").clone();
            diff.changes.insert(path, Change::Put(entry));
        }
        diff
    }

    /// All of `tree`, over nothing; an implied root is not listed.
    pub fn of_tree(tree: &Tree) -> Self {
        Self::between(&Tree::default(), tree)
    }

    fn removes_above(&self, path: &TreePath) -> bool {
        path.ancestors().any(|above| self.changes.get(&above) == Some(&Change::Remove))
    }

    /// Says what happens to `path`; an implied directory is put with default attributes.
    pub fn insert(&mut self, path: TreePath, change: Change) {
        self.links.remove(&path);
        let change = match change {
            Change::Put(entry) => Change::Put(explicit(&entry)),
            Change::Remove => Change::Remove,
        };
        self.changes.insert(path, change);
    }

    /// Takes a change back.
    pub fn forget(&mut self, path: &TreePath) {
        self.links.remove(path);
        self.changes.remove(path);
    }

    /// Says that these paths, all put here and equal, are one inode.
    pub fn link(&mut self, group: Vec<TreePath>) -> Result<(), TreeError> {
        check_group(&group, |path| self.changes.get(path).and_then(Change::entry))?;
        Ok(self.links.insert(group)?)
    }

    /// What happens to `path`, if anything.
    pub fn get(&self, path: &TreePath) -> Option<&Change> {
        self.changes.get(path)
    }

    /// All changes in the order of their paths.
    pub fn iter(&self) -> std::collections::btree_map::Iter<'_, TreePath, Change> {
        self.changes.iter()
    }

    /// All changes at and below `path`.
    pub fn below<'a>(
        &'a self,
        path: &'a TreePath,
    ) -> impl Iterator<Item = (&'a TreePath, &'a Change)> {
        self.changes.range(path..).take_while(move |(p, _)| p.starts_with(path))
    }

    /// The groups of hard links among what is put.
    pub fn links(&self) -> &Links {
        &self.links
    }

    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// The number of changes.
    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// Digests of all files that are put, with their sizes in bytes, in the order of their paths.
    pub fn blobs(&self) -> impl Iterator<Item = (Digest, u64)> {
        self.changes.values().filter_map(|change| match change.entry()?.node {
            Node::File { digest, size } => Some((digest, size)),
            _ => None,
        })
    }

    /// Changes `tree`. Fails if a path has no directory to lie in: then the diff is of another tree.
    pub fn apply(&self, tree: &mut Tree) -> Result<(), TreeError> {
        for (path, change) in &self.changes {
            match change {
                Change::Remove => tree.remove(path),
                Change::Put(entry) => tree.insert(path.clone(), entry.clone())?,
            }
        }
        for group in self.links.iter() {
            tree.link(group.to_vec())?;
        }
        Ok(())
    }

    /// The canonical encoding.
    pub fn encode(&self) -> Vec<u8> {
        let mut encoder = Encoder::new(MAGIC);
        encoder.list(self.changes.iter(), |e, (path, change)| {
            e.bytes(path.as_bytes());
            match change {
                Change::Remove => {
                    e.number(0);
                }
                Change::Put(entry) => encode_entry(e.number(1), entry),
            }
        });
        encode_links(&mut encoder, &self.links);
        encoder.finish()
    }

    /// Reads a canonical encoding; anything else is an error.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut decoder = Decoder::new(bytes, MAGIC)?;
        let mut changes: Vec<(TreePath, Change)> = Vec::new();
        // The nearest path above that is no directory any more: nothing may be listed below it.
        let mut closed: Option<usize> = None;
        decoder.list(|d| {
            let path = decode_path(d)?;
            let change = match d.number()? {
                0 if path.is_root() => return Err(d.error("a removed root")),
                0 => Change::Remove,
                1 => match decode_entry(d)? {
                    Entry { node: Node::Implied, .. } => {
                        return Err(d.error("an implied directory in a diff"));
                    }
                    entry => Change::Put(entry),
                },
                other => return Err(d.error(format!("an unknown kind of change, {other}"))),
            };
            if changes.last().is_some_and(|(last, _)| *last >= path) {
                return Err(d.error("paths that are not sorted or come twice"));
            }
            if closed.is_some_and(|closed| path.starts_with(&changes[closed].0)) {
                return Err(d.error("a path below one that is no directory"));
            }
            if !change.entry().is_some_and(Entry::is_directory) {
                closed = Some(changes.len());
            }
            changes.push((path, change));
            Ok(())
        })?;
        let mut diff = Self { changes: changes.into_iter().collect(), links: Links::new() };
        for group in decode_links(&mut decoder)? {
            diff.link(group).map_err(|e| decoder.error(e.to_string()))?;
        }
        decoder.finish()?;
        Ok(diff)
    }

    /// The digest of the canonical encoding.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.encode())
    }
}

/// An implied directory as one with the default attributes; any other entry as it is.
fn explicit(entry: &Entry) -> Entry {
    if entry.node == Node::Implied { Entry::directory() } else { entry.clone() }
}

/// Whether the directory of `path` is still a directory: only then a removal needs a word.
fn upper_has_parent(upper: &Tree, path: &TreePath) -> bool {
    path.parent().and_then(|p| upper.get(&p)).is_some_and(Entry::is_directory)
}

impl<'a> IntoIterator for &'a Diff {
    type Item = (&'a TreePath, &'a Change);
    type IntoIter = std::collections::btree_map::Iter<'a, TreePath, Change>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

#[cfg(test)]
mod tests;

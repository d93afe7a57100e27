//! Lays the files of packages upon a root as dpkg does.
//!
//! Directories go through links to directories, and one that is there keeps its attributes: the first package
//! that has it decides. Files never replace files; who needs that leaves it to dpkg.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use reimage_castore::{Change, Diff, Entry, Node, TreePath, View};

use super::file;
use crate::debian::deb::Package;

/// Links on the way to one directory: as many as Linux follows.
const MAX_LINKS: usize = 40;

/// Directories that lie in `/usr`, with links to them in the root.
const MERGED: [&str; 4] = ["bin", "lib", "lib64", "sbin"];

/// Something in the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clash {
    /// The path.
    pub path: TreePath,
    /// What is there.
    pub kind: &'static str,
}

impl fmt::Display for Clash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "there is a {} at `{}` already", self.kind, self.path)
    }
}

/// A root and what has been laid upon it.
pub(super) struct Merge<'a> {
    view: &'a View,
    diff: Diff,
    groups: Vec<Vec<TreePath>>,
    /// Where directories really are.
    resolved: BTreeMap<TreePath, TreePath>,
}

impl<'a> Merge<'a> {
    pub(super) fn new(view: &'a View) -> Self {
        Self { view, diff: Diff::new(), groups: Vec::new(), resolved: BTreeMap::new() }
    }

    /// Makes an empty root one whose `/bin`, `/lib` and so on are links into `/usr`, as Debian's have been born
    /// since bookworm.
    pub(super) fn merged_usr(&mut self) {
        self.diff.insert(file("usr"), Change::Put(Entry::directory()));
        for name in MERGED {
            let within = format!("usr/{name}");
            self.diff.insert(file(&within), Change::Put(Entry::directory()));
            self.diff.insert(file(name), Change::Put(Entry::symlink(within)));
        }
    }

    fn get(&self, path: &TreePath) -> Option<&Entry> {
        match self.diff.get(path) {
            Some(change) => change.entry(),
            None => self.view.get(path),
        }
    }

    /// Where the directory `path` really is; none if there is no such directory.
    fn resolve(&mut self, path: &TreePath) -> Option<TreePath> {
        if let Some(known) = self.resolved.get(path) {
            return Some(known.clone());
        }
        let mut rest: Vec<Vec<u8>> = path.components().rev().map(<[u8]>::to_vec).collect();
        let (mut at, mut links) = (TreePath::root(), 0);
        while let Some(name) = rest.pop() {
            if name == b".." {
                at = at.parent().unwrap_or_default();
                continue;
            }
            let next = at.join(&TreePath::new(&name).ok()?).ok()?;
            match self.get(&next).map(|entry| &entry.node) {
                Some(Node::Symlink { target }) => {
                    links += 1;
                    if links > MAX_LINKS {
                        return None;
                    }
                    if target.first() == Some(&b'/') {
                        at = TreePath::root();
                    }
                    let names = target.split(|b| *b == b'/').rev();
                    rest.extend(
                        names.filter(|name| !matches!(*name, b"" | b".")).map(<[u8]>::to_vec),
                    );
                }
                Some(Node::Directory | Node::Implied) => at = next,
                _ => return None,
            }
        }
        self.resolved.insert(path.clone(), at.clone());
        Some(at)
    }

    /// Lays the files of a package, all or none. With `deferred` conffiles get the name that dpkg unpacks them to.
    pub(super) fn add(&mut self, package: &Package, deferred: bool) -> Result<(), Clash> {
        let conffiles: BTreeSet<_> = package.conffiles.iter().map(|c| &c.path).collect();
        let (mut new, mut placed, mut taken) = (Vec::new(), BTreeMap::new(), BTreeSet::new());
        // Directories of this package that are not there yet: known only here, for it is all or none.
        let mut made: BTreeMap<TreePath, TreePath> = BTreeMap::new();
        for (path, entry) in &package.data {
            let (Some(parent), Some(name)) = (path.parent(), path.name()) else { continue };
            let clash = |at: &TreePath, kind| Clash { path: at.clone(), kind };
            let above = match made.get(&parent) {
                Some(above) => above.clone(),
                None => self.resolve(&parent).ok_or_else(|| clash(&parent, "file"))?,
            };
            let mut name = name.to_vec();
            if deferred && conffiles.contains(path) {
                name.extend_from_slice(b".dpkg-new");
            }
            let at = TreePath::new(&name).ok().and_then(|name| above.join(&name).ok());
            let at = at.ok_or_else(|| clash(path, "path that is too long"))?;
            let there = self.get(&at).map(|entry| entry.node.clone());
            if entry.is_directory() {
                match there {
                    None => {
                        made.insert(path.clone(), at.clone());
                        new.push((at, entry.clone()));
                    }
                    Some(Node::Directory | Node::Implied) => {}
                    Some(other) => {
                        if self.resolve(&at).is_none() {
                            return Err(clash(&at, other.kind()));
                        }
                    }
                }
                continue;
            }
            if let Some(other) = there {
                return Err(clash(&at, other.kind()));
            }
            if !taken.insert(at.clone()) {
                return Err(clash(&at, "file of the same package"));
            }
            placed.insert(path.clone(), at.clone());
            new.push((at, entry.clone()));
        }
        for (at, entry) in new {
            self.diff.insert(at, Change::Put(entry));
        }
        for group in package.data.links().iter() {
            self.groups.push(group.iter().map(|path| placed[path].clone()).collect());
        }
        Ok(())
    }

    /// Makes a directory that is not there yet.
    pub(super) fn directory(&mut self, path: &str) {
        let path = file(path);
        for above in path.ancestors().skip(1).chain([path.clone()]) {
            if self.get(&above).is_none() {
                self.diff.insert(above, Change::Put(Entry::directory()));
            }
        }
    }

    /// What changes in the root.
    pub(super) fn finish(mut self) -> Diff {
        for group in self.groups {
            self.diff.link(group).expect("a group of one package went to places of its own");
        }
        self.diff
    }
}

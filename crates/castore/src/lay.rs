//! Laying a tree or a diff upon what is there: the merge that every layer goes through.
//!
//! A directory of the upper tree that meets a link to a directory goes where the link points: `Copy` to
//! `/bin/x` on a root whose `/bin` is a link to `usr/bin` puts `/usr/bin/x` and leaves the link, as dpkg does.

use std::collections::BTreeMap;

use thiserror::Error;

use crate::{Change, Diff, Entry, Node, Tree, TreePath, View};

/// As many links as Linux follows in one path.
const MAX_LINKS: usize = 40;

/// A tree that cannot be laid upon a view.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum LayError {
    /// Something that is no directory is in the way of one.
    #[error("The directory `{path}` cannot be laid upon the {kind} `{at}`")]
    InTheWay {
        /// The directory to be laid.
        path: TreePath,
        /// Where it would go.
        at: TreePath,
        /// What lies there.
        kind: &'static str,
    },
    /// The root of the tree is a file.
    #[error("It is a {kind}, and a layer is a directory")]
    NotADirectory {
        /// What it is.
        kind: &'static str,
    },
    /// Symbolic links that lead in a circle or out of all bounds.
    #[error("Too many symbolic links on the way to `{path}`")]
    Links {
        /// Where to.
        path: TreePath,
    },
}

impl View {
    /// Follows symbolic links within this view, the last one too, as a process whose root it is would;
    /// what lies there need not be. Fails after 40 links.
    pub fn resolve(&self, path: &TreePath) -> Result<TreePath, LayError> {
        let error = || LayError::Links { path: path.clone() };
        let mut rest: Vec<Vec<u8>> = path.components().rev().map(<[u8]>::to_vec).collect();
        let mut at = TreePath::root();
        let mut links = 0;
        while let Some(name) = rest.pop() {
            if name.as_slice() == b".." {
                at = at.parent().unwrap_or_default();
                continue;
            }
            let name = TreePath::new(&name).map_err(|_| error())?;
            let next = at.join(&name).map_err(|_| error())?;
            match self.get(&next).map(|entry| &entry.node) {
                Some(Node::Symlink { target }) => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(error());
                    }
                    if target.first() == Some(&b'/') {
                        at = TreePath::root();
                    }
                    let names = target.split(|b| *b == b'/').rev();
                    rest.extend(
                        names.filter(|name| !matches!(*name, b"" | b".")).map(<[u8]>::to_vec),
                    );
                }
                _ => at = next,
            }
        }
        Ok(at)
    }

    /// What changes here when `tree` is laid upon it.
    ///
    /// Directories of the tree go through links to directories; implied ones change nothing that is there.
    /// Files and links replace files and links. Fails if a directory meets something else, and the other way.
    pub fn lay(&self, tree: &Tree) -> Result<Diff, LayError> {
        if !tree.root().is_directory() {
            return Err(LayError::NotADirectory { kind: tree.root().node.kind() });
        }
        let mut diff = Diff::new();
        // Where each directory of the tree went.
        let mut went: BTreeMap<&TreePath, TreePath> = BTreeMap::new();
        let mut placed: BTreeMap<&TreePath, TreePath> = BTreeMap::new();
        for (path, entry) in tree {
            let at = self.place(path, entry, &went)?;
            if entry.is_directory() {
                went.insert(path, at.clone());
                let followed = Some(&at) != landing(path, &went).as_ref();
                let there = self.get(&at).filter(|e| e.is_directory());
                let keep = entry.node == Node::Implied || followed;
                match there {
                    Some(there) if keep || there.same(entry) => {}
                    None if at.is_root() && (keep || Entry::directory().same(entry)) => {}
                    // Another directory of the tree may have come here through a link.
                    _ if keep && diff.get(&at).is_some() => {}
                    _ => diff.insert(at, Change::Put(entry.clone())),
                }
                continue;
            }
            if self.get(&at).is_some_and(Entry::is_directory) {
                let kind = "directory";
                return Err(LayError::InTheWay { path: path.clone(), at, kind });
            }
            diff.insert(at.clone(), Change::Put(entry.clone()));
            placed.insert(path, at);
        }
        self.finish_lay(tree, &placed, &mut diff);
        Ok(diff)
    }

    fn place(
        &self,
        path: &TreePath,
        entry: &Entry,
        went: &BTreeMap<&TreePath, TreePath>,
    ) -> Result<TreePath, LayError> {
        let Some(at) = landing(path, went) else { return Ok(TreePath::root()) };
        if !entry.is_directory() {
            return Ok(at);
        }
        match self.get(&at) {
            Some(Entry { node: Node::Symlink { .. }, .. }) => {
                let to = self.resolve(&at)?;
                let there = self.get(&to);
                if there.is_some_and(Entry::is_directory) || to.is_root() {
                    return Ok(to);
                }
                Err(LayError::InTheWay { path: path.clone(), at, kind: "symbolic link" })
            }
            Some(other) if !other.is_directory() => {
                Err(LayError::InTheWay { path: path.clone(), at, kind: other.node.kind() })
            }
            _ => Ok(at),
        }
    }

    /// Links what is linked in the tree, and drops what is as it was.
    fn finish_lay(&self, tree: &Tree, placed: &BTreeMap<&TreePath, TreePath>, diff: &mut Diff) {
        let mut grouped = Vec::new();
        for group in tree.links().iter() {
            let mut group: Vec<_> =
                group.iter().filter_map(|path| placed.get(path).cloned()).collect();
            group.sort();
            group.dedup();
            if group.len() > 1 {
                grouped.push(group);
            }
        }
        let linked: std::collections::BTreeSet<_> = grouped.iter().flatten().cloned().collect();
        let same: Vec<_> = placed
            .values()
            .filter(|at| !linked.contains(at) && self.group(at).is_none())
            .filter(|at| diff.get(at).and_then(Change::entry) == self.get(at))
            .cloned()
            .collect();
        for at in same {
            diff.forget(&at);
        }
        for group in grouped {
            let unchanged = group.iter().all(|at| {
                diff.get(at).and_then(Change::entry) == self.get(at)
                    && self.group(at).as_ref() == Some(&group)
            });
            if unchanged {
                for at in &group {
                    diff.forget(at);
                }
            } else {
                // Two groups can meet at one path only if the later tree entry replaced the earlier.
                let _ = diff.link(group);
            }
        }
    }

    /// `diff`, made over some other view, as what it changes here: equal nodes and removals of nothing go,
    /// directories that only the other view had are put with default attributes.
    pub fn rebase(&self, diff: &Diff) -> Diff {
        let mut rebased = Diff::new();
        for (path, change) in diff {
            match change {
                Change::Remove if self.get(path).is_none() => {}
                Change::Remove => rebased.insert(path.clone(), Change::Remove),
                Change::Put(entry) => {
                    for above in path.ancestors().skip(1) {
                        let there =
                            rebased.get(&above).map_or_else(|| self.get(&above), Change::entry);
                        if !there.is_some_and(Entry::is_directory) {
                            rebased.insert(above, Change::Put(Entry::directory()));
                        }
                    }
                    let linked =
                        diff.links().group(path).map(<[TreePath]>::to_vec) != self.group(path);
                    let there = self.get(path).is_some_and(|there| there.same(entry));
                    if linked || !there {
                        rebased.insert(path.clone(), Change::Put(entry.clone()));
                    }
                }
            }
        }
        for group in diff.links().iter() {
            if group.iter().any(|path| rebased.get(path).is_some()) {
                for path in group {
                    if let Some(change) = diff.get(path) {
                        rebased.insert(path.clone(), change.clone());
                    }
                }
                rebased
                    .link(group.to_vec())
                    .expect("the whole group was just put as it is in `diff`");
            }
        }
        rebased
    }
}

/// Where `path` of a tree comes to lie before links at its last name are followed.
fn landing(path: &TreePath, went: &BTreeMap<&TreePath, TreePath>) -> Option<TreePath> {
    let parent = path.parent()?;
    let name = TreePath::new(path.name()?).ok()?;
    went.get(&parent)?.join(&name).ok()
}

#[cfg(test)]
mod tests;

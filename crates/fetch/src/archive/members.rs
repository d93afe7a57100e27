//! Collects the members of an archive into a tree, refusing those that have no place in one.

use std::collections::{BTreeMap, BTreeSet};

use reimage_castore::{Entry, Node, PathError, Tree, TreeError, TreePath};

use super::{ArchiveError, Limits, Refusal, shown};

/// The members so far.
pub(crate) struct Members<'a> {
    archive: &'a str,
    limits: Limits,
    strip: usize,
    tree: Tree,
    count: u64,
    /// Hard links: each linked path and the number of its group.
    linked: BTreeMap<TreePath, usize>,
    groups: Vec<BTreeSet<TreePath>>,
    order: Option<Vec<TreePath>>,
}

impl<'a> Members<'a> {
    pub(crate) fn new(archive: &'a str, limits: Limits, strip: u32) -> Self {
        let strip = usize::try_from(strip).unwrap_or(usize::MAX);
        let (linked, groups) = (BTreeMap::new(), Vec::new());
        Self {
            archive,
            limits,
            strip,
            tree: Tree::default(),
            count: 0,
            linked,
            groups,
            order: None,
        }
    }

    /// From here on the order of the members is remembered.
    pub(crate) fn remember_order(&mut self) {
        self.order.get_or_insert_default();
    }

    /// The paths of the members in their order.
    pub(crate) fn order(&self) -> &[TreePath] {
        self.order.as_deref().unwrap_or_default()
    }

    /// How errors call the archive.
    pub(crate) fn archive(&self) -> &'a str {
        self.archive
    }

    /// Counts one more member.
    pub(crate) fn count(&mut self) -> Result<(), ArchiveError> {
        self.count += 1;
        if self.count > self.limits.entries {
            let limit = self.limits.entries;
            return Err(ArchiveError::Entries { archive: self.archive.to_owned(), limit });
        }
        Ok(())
    }

    /// An error of this member.
    pub(crate) fn refuse(&self, member: &[u8], refusal: Refusal) -> ArchiveError {
        ArchiveError::Member { archive: self.archive.to_owned(), member: shown(member), refusal }
    }

    /// Where a member goes; none if nothing is left of its path.
    pub(crate) fn place(&self, member: &[u8]) -> Result<Option<TreePath>, ArchiveError> {
        let path = clean(member).map_err(|refusal| self.refuse(member, refusal))?;
        let names: Vec<_> = path.components().skip(self.strip).collect();
        if names.is_empty() {
            return Ok(None);
        }
        TreePath::new(names.join(&b'/'))
            .map(Some)
            .map_err(|error| self.refuse(member, refusal(&error)))
    }

    /// Puts a member at its place; the last of several wins.
    pub(crate) fn insert(
        &mut self,
        member: &[u8],
        path: &TreePath,
        entry: Entry,
    ) -> Result<(), ArchiveError> {
        if !entry.is_directory() {
            let filled = self.tree.get(path).is_some_and(Entry::is_directory)
                && self.tree.below(path).nth(1).is_some();
            if filled {
                let kind = entry.node.kind();
                return Err(self.refuse(member, Refusal::OverDirectory { kind }));
            }
        }
        self.unlink(path);
        if let Some(order) = &mut self.order {
            order.push(path.clone());
        }
        self.tree.insert_deep(path.clone(), entry).map_err(|error| {
            let refusal = match error {
                TreeError::NotBelowDirectory { above, kind, .. } => {
                    Refusal::Below { above: shown(above.as_bytes()), kind }
                }
                // `insert_deep` makes what is missing above, and a member that exists is no link yet.
                TreeError::NoParent { .. } | TreeError::Link { .. } | TreeError::Links(_) => {
                    Refusal::Long
                }
            };
            self.refuse(member, refusal)
        })
    }

    /// Makes a member one inode with `target`, which came before it.
    pub(crate) fn hard_link(
        &mut self,
        member: &[u8],
        path: &TreePath,
        target: &[u8],
    ) -> Result<(), ArchiveError> {
        let missing = || self.refuse(member, Refusal::Link { target: shown(target) });
        let at = self.place(target)?.ok_or_else(missing)?;
        let entry = self.tree.get(&at).filter(|e| !e.is_directory()).ok_or_else(missing)?.clone();
        if at == *path {
            return Ok(());
        }
        self.insert(member, path, entry)?;
        let group = *self.linked.entry(at.clone()).or_insert_with(|| {
            self.groups.push(BTreeSet::from([at]));
            self.groups.len() - 1
        });
        self.groups[group].insert(path.clone());
        self.linked.insert(path.clone(), group);
        Ok(())
    }

    fn unlink(&mut self, path: &TreePath) {
        if let Some(group) = self.linked.remove(path) {
            self.groups[group].remove(path);
        }
    }

    /// The tree of all members.
    pub(crate) fn finish(mut self) -> Result<Tree, ArchiveError> {
        if self.strip > 0 && self.count > 0 && self.tree.len() == 1 {
            let strip = u32::try_from(self.strip).unwrap_or(u32::MAX);
            return Err(ArchiveError::Stripped { archive: self.archive.to_owned(), strip });
        }
        for group in self.groups {
            if group.len() > 1 {
                self.tree
                    .link(group.into_iter().collect())
                    .expect("a group is of equal members, and each is in one group");
            }
        }
        Ok(self.tree)
    }
}

/// A member's path without `.` and empty names; the trailing `/` of directories goes, too.
fn clean(member: &[u8]) -> Result<TreePath, Refusal> {
    if member.first() == Some(&b'/') {
        return Err(Refusal::Absolute);
    }
    if member.len() > 3 * 4096 {
        return Err(Refusal::Long);
    }
    let names: Vec<_> =
        member.split(|b| *b == b'/').filter(|name| !matches!(*name, b"" | b".")).collect();
    TreePath::new(names.join(&b'/')).map_err(|error| refusal(&error))
}

fn refusal(error: &PathError) -> Refusal {
    match error {
        PathError::Dot { .. } => Refusal::Parent,
        PathError::Byte { .. } => Refusal::Nul,
        PathError::Long { .. } | PathError::Empty { .. } => Refusal::Long,
    }
}

/// A symbolic link, if its target can be one.
pub(crate) fn symlink(target: &[u8]) -> Result<Node, Refusal> {
    if target.is_empty() || target.len() > 4095 || target.contains(&0) {
        return Err(Refusal::Target);
    }
    Ok(Node::Symlink { target: target.into() })
}

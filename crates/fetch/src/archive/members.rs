//! Collects the members of an archive into a tree, refusing those that have no place in one.

use std::collections::{BTreeMap, BTreeSet};

use reimage_castore::{Attrs, Entry, Node, PathError, Tree, TreeError, TreePath};

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
    groups: Vec<Group>,
    order: Option<Vec<TreePath>>,
}

/// The names of one inode.
struct Group {
    paths: BTreeSet<TreePath>,
    /// What the last of its members said, if that counts.
    attrs: Option<Attrs>,
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

    /// Meets the root itself, which is there already.
    pub(crate) fn root(&mut self) {
        self.order.iter_mut().for_each(|order| order.push(TreePath::root()));
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

    /// Makes a member one inode with `target`, which came before it; with `attrs` it has these from here on.
    pub(crate) fn hard_link(
        &mut self,
        member: &[u8],
        path: &TreePath,
        target: &[u8],
        attrs: Option<Attrs>,
    ) -> Result<(), ArchiveError> {
        let missing = || self.refuse(member, Refusal::Link { target: shown(target) });
        let at = self.place(target)?.ok_or_else(missing)?;
        let entry = self.tree.get(&at).filter(|e| !e.is_directory()).ok_or_else(missing)?.clone();
        if at == *path {
            return Ok(());
        }
        self.insert(member, path, entry)?;
        let group = *self.linked.entry(at.clone()).or_insert_with(|| {
            self.groups.push(Group { paths: BTreeSet::from([at]), attrs: None });
            self.groups.len() - 1
        });
        self.groups[group].paths.insert(path.clone());
        self.groups[group].attrs = attrs;
        self.linked.insert(path.clone(), group);
        Ok(())
    }

    fn unlink(&mut self, path: &TreePath) {
        if let Some(group) = self.linked.remove(path) {
            self.groups[group].paths.remove(path);
        }
    }

    /// The paths of all members in the order in which they came, and their tree.
    pub(crate) fn finish_in_order(mut self) -> Result<(Vec<TreePath>, Tree), ArchiveError> {
        let order = self.order.take().unwrap_or_default();
        Ok((order, self.finish()?))
    }

    /// The tree of all members.
    pub(crate) fn finish(mut self) -> Result<Tree, ArchiveError> {
        if self.strip > 0 && self.count > 0 && self.tree.len() == 1 {
            let strip = u32::try_from(self.strip).unwrap_or(u32::MAX);
            return Err(ArchiveError::Stripped { archive: self.archive.to_owned(), strip });
        }
        for Group { paths, attrs } in self.groups {
            for (path, attrs) in paths.iter().zip(attrs.iter().cycle()) {
                let node = self.tree.get(path).expect("a linked member is there").node.clone();
                let entry = Entry { node, attrs: attrs.clone() };
                self.tree.insert(path.clone(), entry).expect("it replaces one of its kind");
            }
            if paths.len() > 1 {
                self.tree
                    .link(paths.into_iter().collect())
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
    Node::symlink(target).ok_or(Refusal::Target)
}

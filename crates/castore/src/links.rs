//! Groups of hard-linked paths.
//!
//! Two equal files are two files; that they are one inode under two names is a fact of its own, visible to
//! programs and kept in images, so a tree says it explicitly.

use std::collections::BTreeMap;

use thiserror::Error;

use crate::TreePath;

/// Groups that cannot be.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum LinkError {
    /// A path lies in two groups.
    #[error("`{path}` is hard-linked into two groups")]
    Twice {
        /// The path.
        path: TreePath,
    },
    /// A group of fewer than two paths, or one that is not sorted.
    #[error("A group of hard links needs two or more sorted paths")]
    Group,
}

/// Disjoint groups of two or more paths, each sorted; the groups are sorted by their first path.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Links {
    /// By the first path of each group: the whole group.
    groups: BTreeMap<TreePath, Vec<TreePath>>,
    /// Each path that is not the first of its group, and the first.
    first: BTreeMap<TreePath, TreePath>,
}

impl Links {
    /// No groups.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a group: two or more distinct paths, none of them in another group.
    pub fn insert(&mut self, mut group: Vec<TreePath>) -> Result<(), LinkError> {
        group.sort();
        group.dedup();
        if group.len() < 2 {
            return Err(LinkError::Group);
        }
        if let Some(path) = group.iter().find(|p| self.group(p).is_some()) {
            return Err(LinkError::Twice { path: path.clone() });
        }
        for path in &group[1..] {
            self.first.insert(path.clone(), group[0].clone());
        }
        self.groups.insert(group[0].clone(), group);
        Ok(())
    }

    /// The group that `path` lies in, itself included.
    pub fn group(&self, path: &TreePath) -> Option<&[TreePath]> {
        let first = self.first.get(path).unwrap_or(path);
        self.groups.get(first).map(Vec::as_slice)
    }

    /// Takes `path` out of its group, which ends when only one path is left.
    pub fn remove(&mut self, path: &TreePath) {
        let Some(group) = self.group(path) else { return };
        let mut group = group.to_vec();
        self.groups.remove(&group[0]);
        for member in &group {
            self.first.remove(member);
        }
        group.retain(|member| member != path);
        if group.len() > 1 {
            self.insert(group).expect("the rest of a group is a group");
        }
    }

    /// All groups in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[TreePath]> {
        self.groups.values().map(Vec::as_slice)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(names: &[&str]) -> Vec<TreePath> {
        names.iter().map(|n| TreePath::new(n).expect("a good path")).collect()
    }

    #[test]
    fn groups_shrink_and_end() {
        let mut links = Links::new();
        links.insert(paths(&["b", "a", "c"])).expect("a group");
        assert_eq!(links.group(&paths(&["c"])[0]), Some(&paths(&["a", "b", "c"])[..]));
        assert_eq!(
            links.insert(paths(&["c", "d"])),
            Err(LinkError::Twice { path: paths(&["c"]).remove(0) })
        );
        assert_eq!(links.insert(paths(&["x", "x"])), Err(LinkError::Group));
        links.remove(&paths(&["a"])[0]);
        assert_eq!(links.group(&paths(&["c"])[0]), Some(&paths(&["b", "c"])[..]));
        links.remove(&paths(&["c"])[0]);
        assert!(links.is_empty());
    }
}

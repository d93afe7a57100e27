//! What a stack of diffs looks like from above, without building the tree.
//!
//! A step that changes ten paths of a root of a hundred thousand must not cost a hundred thousand, so a
//! [`View`] answers for one path by looking through the diffs from the highest down.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{Change, Diff, Entry, Tree, TreeError, TreePath};

/// Diffs, lowest first, over an empty root.
#[derive(Debug, Clone, Default)]
pub struct View {
    layers: Vec<Arc<Diff>>,
}

/// What a file system over a view was found to hold: the raw material of a [`Diff`].
#[derive(Debug, Clone, Default)]
pub struct Captured {
    /// What lies there now: an entry, or none where something was deleted.
    pub entries: BTreeMap<TreePath, Option<Entry>>,
    /// Directories that show nothing of what lies below them in the view; so do all directories within.
    pub opaque: BTreeSet<TreePath>,
    /// Groups of hard links among `entries`.
    pub links: Vec<Vec<TreePath>>,
}

impl View {
    /// Looks at `layers`, lowest first.
    pub fn new(layers: Vec<Arc<Diff>>) -> Self {
        Self { layers }
    }

    /// The diffs, lowest first.
    pub fn layers(&self) -> &[Arc<Diff>] {
        &self.layers
    }

    /// Puts one diff more on top.
    pub fn push(&mut self, diff: Arc<Diff>) {
        self.layers.push(diff);
    }

    /// What lies at `path`; the root may be listed nowhere, then it is none and has default attributes.
    pub fn get(&self, path: &TreePath) -> Option<&Entry> {
        self.find(path, self.layers.len()).map(|(_, entry)| entry)
    }

    /// What lies at `path` seen from below layer `top`, and the number of the layer that put it there.
    fn find(&self, path: &TreePath, top: usize) -> Option<(usize, &Entry)> {
        for (number, layer) in self.layers[..top].iter().enumerate().rev() {
            match layer.get(path) {
                Some(Change::Put(entry)) => return Some((number, entry)),
                Some(Change::Remove) => return None,
                None => {}
            }
            let closed = |above| {
                layer.get(&above).is_some_and(|c| !c.entry().is_some_and(Entry::is_directory))
            };
            if path.ancestors().any(closed) {
                return None;
            }
        }
        None
    }

    /// The paths directly in the directory `path`.
    pub fn children(&self, path: &TreePath) -> BTreeSet<TreePath> {
        let depth = path.components().count() + 1;
        let listed = self.layers.iter().flat_map(|layer| layer.below(path));
        let names: BTreeSet<_> =
            listed.map(|(p, _)| p).filter(|p| p.components().count() == depth).cloned().collect();
        names.into_iter().filter(|p| self.get(p).is_some()).collect()
    }

    /// The hard links of `path`, itself included, as far as no higher layer has touched them.
    pub fn group(&self, path: &TreePath) -> Option<Vec<TreePath>> {
        let (number, _) = self.find(path, self.layers.len())?;
        let group = self.layers[number].links().group(path)?;
        let whole = group
            .iter()
            .filter(|p| self.find(p, self.layers.len()).is_some_and(|(n, _)| n == number));
        let whole: Vec<_> = whole.cloned().collect();
        (whole.len() > 1).then_some(whole)
    }

    /// All of it as a tree. Fails if the diffs do not belong on each other.
    pub fn tree(&self) -> Result<Tree, TreeError> {
        let mut tree = Tree::default();
        for layer in &self.layers {
            layer.apply(&mut tree)?;
        }
        Ok(tree)
    }

    /// The canonical difference between this view and what was found over it.
    pub fn diff(&self, captured: &Captured) -> Result<Diff, TreeError> {
        let Captured { entries, opaque, links } = captured;
        let mut diff = Diff::new();
        let grouped: BTreeMap<&TreePath, &Vec<TreePath>> =
            links.iter().flat_map(|group| group.iter().map(move |path| (path, group))).collect();
        for (path, found) in entries {
            let below = self.get(path);
            match found {
                None if below.is_some() => diff.insert(path.clone(), Change::Remove),
                None => {}
                Some(entry) if entry.is_directory() => {
                    let shut = opaque.contains(path)
                        || path.ancestors().any(|above| opaque.contains(&above));
                    if shut && below.is_some_and(Entry::is_directory) {
                        for child in
                            self.children(path).into_iter().filter(|c| !entries.contains_key(c))
                        {
                            diff.insert(child, Change::Remove);
                        }
                    }
                    let root = Entry::directory();
                    let below = below.or(path.is_root().then_some(&root));
                    if !below.is_some_and(|below| below.same(entry)) {
                        diff.insert(path.clone(), Change::Put(entry.clone()));
                    }
                }
                Some(entry) => {
                    let group = grouped.get(path).map(|group| group.as_slice());
                    if below != Some(entry) || self.group(path).as_deref() != group {
                        diff.insert(path.clone(), Change::Put(entry.clone()));
                    }
                }
            }
        }
        for group in links {
            if group.iter().any(|path| diff.get(path).is_some()) {
                // One of them is new, so that all of them are one group is new.
                for path in group {
                    if let Some(Some(entry)) = entries.get(path) {
                        diff.insert(path.clone(), Change::Put(entry.clone()));
                    }
                }
                diff.link(group.clone())?;
            }
        }
        Ok(diff)
    }

    /// What makes, of this view with `near` on it, this view with `wanted` on it: at most `most` changes, and only where
    /// that is plain to see (nothing comes back from below, nothing turns from a directory into something else, no
    /// hard links). Work of the size of the two diffs, not of the view.
    pub fn step_over(&self, near: &Diff, wanted: &Diff, most: usize) -> Option<Diff> {
        if !near.links().is_empty() || !wanted.links().is_empty() {
            return None;
        }
        let mut step = Diff::new();
        let directory = |change: &Change| change.entry().map(Entry::is_directory);
        for (path, change) in wanted {
            match near.get(path) {
                Some(before) if before == change => continue,
                Some(before) if directory(before) == directory(change) => {}
                None if change.entry().is_some() && self.get(path).is_none() => {}
                _ => return None,
            }
            step.insert(path.clone(), change.clone());
            if step.len() > most {
                return None;
            }
        }
        for (path, _) in near {
            if wanted.get(path).is_some() {
                continue;
            }
            if self.get(path).is_some() || near.get(path).is_some_and(|c| c.entry().is_none()) {
                return None;
            }
            if path.ancestors().all(|above| step.get(&above) != Some(&Change::Remove)) {
                step.insert(path.clone(), Change::Remove);
            }
            if step.len() > most {
                return None;
            }
        }
        Some(step)
    }

    /// `lower` and then `upper`, both over this view, as one diff that makes the same tree.
    pub fn compose(&self, lower: &Diff, upper: &Diff) -> Diff {
        let mut both = lower.clone();
        for (path, change) in upper {
            if change.entry().is_some_and(Entry::is_directory) {
                let reopened =
                    both.get(path).is_some_and(|c| !c.entry().is_some_and(Entry::is_directory));
                both.insert(path.clone(), change.clone());
                if reopened && self.get(path).is_some_and(Entry::is_directory) {
                    // It is a directory again; what this view has in it was gone and stays gone.
                    for child in self.children(path) {
                        both.insert(child, Change::Remove);
                    }
                }
            } else {
                let gone: Vec<_> = both.below(path).map(|(p, _)| p.clone()).collect();
                for path in gone {
                    both.forget(&path);
                }
                both.insert(path.clone(), change.clone());
            }
        }
        for group in upper.links().iter() {
            both.link(group.to_vec()).expect("the group is put by `upper` as it is");
        }
        both
    }
}

#[cfg(test)]
mod tests;

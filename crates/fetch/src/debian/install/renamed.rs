//! Hard links to files that a diversion has renamed in the step.
//!
//! A file of a lower layer is copied when it is renamed, and its other names stay where they are: two files of equal
//! content, where on any other file system it is one. dpkg's list of diversions tells which they are.

use std::collections::{BTreeMap, BTreeSet};

use reimage_castore::{Captured, Node, Store, StoreError, TreePath, View};

use super::{file, status::diversions};

/// Makes the names of diverted files one again: `captured` is what the step wrote upon `before`.
pub fn link_renamed(
    store: &Store,
    before: &View,
    captured: &mut Captured,
) -> Result<(), StoreError> {
    let Some(Some(list)) = captured.entries.get(&file("var/lib/dpkg/diversions")) else {
        return Ok(());
    };
    let Node::File { digest, .. } = list.node else { return Ok(()) };
    let place = |path: &TreePath| {
        let parent = before.resolve(&path.parent()?).ok()?;
        parent.join(&TreePath::new(path.name()?).ok()?).ok()
    };
    let mut groups: BTreeMap<Vec<TreePath>, BTreeSet<TreePath>> = BTreeMap::new();
    for (from, to) in diversions(&store.read(&digest)?) {
        let (Some(from), Some(to)) = (place(&from), place(&to)) else { continue };
        let Some(group) = before.group(&from) else { continue };
        let same =
            captured.entries.get(&to).is_some_and(|entry| entry.as_ref() == before.get(&from));
        let linked = captured.links.iter().any(|group| group.contains(&to));
        if same && !linked && before.get(&to).is_none() {
            groups.entry(group).or_default().insert(to);
        }
    }
    for (group, mut names) in groups {
        for path in group.into_iter().filter(|path| before.get(path).is_some()) {
            if !captured.entries.contains_key(&path) {
                captured.entries.insert(path.clone(), before.get(&path).cloned());
                names.insert(path);
            }
        }
        if names.len() > 1 {
            captured.links.push(names.into_iter().collect());
        }
    }
    captured.links.sort();
    Ok(())
}

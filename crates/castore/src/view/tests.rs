//! Views: they agree with the trees that they stand for.

use proptest::prelude::*;

use super::*;
use crate::{Digest, tree::tests::any_tree};

/// Three trees and the diffs that lead from one to the next.
fn stack(trees: &[Tree]) -> View {
    let mut view = View::default();
    let mut lower = Tree::default();
    for tree in trees {
        view.push(Arc::new(Diff::between(&lower, tree)));
        lower = tree.clone();
    }
    view
}

/// What overlayfs would hold in its upper directory if every path of `upper` had been written anew.
fn rewritten(lower: &Tree, upper: &Tree) -> Captured {
    let mut captured = Captured::default();
    for (path, entry) in upper {
        captured.entries.insert(path.clone(), Some(entry.clone()));
    }
    captured.opaque.insert(TreePath::root());
    for (path, _) in lower {
        if upper.get(path).is_none() {
            let parent_there =
                path.parent().and_then(|p| upper.get(&p)).is_some_and(Entry::is_directory);
            if parent_there {
                captured.entries.insert(path.clone(), None);
            }
        }
    }
    captured.links = upper.links().iter().map(<[TreePath]>::to_vec).collect();
    captured
}

proptest! {
    #[test]
    fn sees_what_the_tree_has(a in any_tree(), b in any_tree(), c in any_tree()) {
        let view = stack(&[a.clone(), b.clone(), c.clone()]);
        prop_assert_eq!(&view.tree()?, &c);
        for tree in [&a, &b, &c] {
            for (path, _) in tree.iter().filter(|(p, _)| !p.is_root()) {
                prop_assert_eq!(view.get(path), c.get(path));
                let group = c.links().group(path).map(<[TreePath]>::to_vec);
                prop_assert_eq!(view.group(path), group);
                let children: BTreeSet<_> = c.iter().map(|(p, _)| p).filter(|p| p.parent().as_ref() == Some(path)).cloned().collect();
                prop_assert_eq!(view.children(path), children);
            }
        }
    }

    #[test]
    fn a_captured_diff_is_the_canonical_one(a in any_tree(), b in any_tree(), c in any_tree()) {
        let view = stack(&[a, b.clone()]);
        let diff = view.diff(&rewritten(&b, &c))?;
        let mut made = b.clone();
        diff.apply(&mut made)?;
        prop_assert_eq!(&made, &c);
        if b.links().is_empty() && c.links().is_empty() {
            prop_assert_eq!(diff, Diff::between(&b, &c));
        }
    }

    #[test]
    fn a_step_over_makes_the_same_tree(a in any_tree(), b in any_tree(), c in any_tree()) {
        let below = stack(std::slice::from_ref(&a));
        for (near, wanted) in [(&b, &c), (&a, &c), (&b, &a)] {
            let (near, wanted) = (Diff::between(&a, near), Diff::between(&a, wanted));
            let Some(step) = below.step_over(&near, &wanted, usize::MAX) else { continue };
            let (mut made, mut direct) = (a.clone(), a.clone());
            near.apply(&mut made)?;
            step.apply(&mut made)?;
            wanted.apply(&mut direct)?;
            prop_assert_eq!(made, direct);
            let less = step.len().checked_sub(1).and_then(|most| below.step_over(&near, &wanted, most));
            prop_assert_eq!(less, None);
        }
    }

    #[test]
    fn composed_diffs_make_the_same_tree(a in any_tree(), b in any_tree(), c in any_tree()) {
        let below = stack(std::slice::from_ref(&a));
        let composed = below.compose(&Diff::between(&a, &b), &Diff::between(&b, &c));
        let mut made = a;
        composed.apply(&mut made)?;
        prop_assert_eq!(made, c);
    }
}

#[test]
fn one_changed_file_is_one_step() {
    let file = |text: &str| Entry::file(Digest::of(text.as_bytes()), 1);
    let path = |path: &str| TreePath::new(path).expect("a path");
    let diff = |files: &[(&str, &str)]| {
        let mut diff = Diff::new();
        diff.insert(path("app"), Change::Put(Entry::directory()));
        for (name, text) in files {
            diff.insert(path(&format!("app/{name}")), Change::Put(file(text)));
        }
        diff
    };
    let near = diff(&[("a", "1"), ("b", "2"), ("c", "3")]);
    let wanted = diff(&[("a", "1"), ("b", "other"), ("d", "4")]);
    let step = View::default().step_over(&near, &wanted, 3).expect("nothing is in the way");
    let changes: Vec<_> = step.iter().map(|(p, c)| (p.to_string(), c.entry().is_some())).collect();
    let expected = [("/app/b", true), ("/app/c", false), ("/app/d", true)];
    assert_eq!(changes, expected.map(|(p, put)| (p.to_owned(), put)));
}

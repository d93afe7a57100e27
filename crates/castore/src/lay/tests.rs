//! Laying: links to directories are followed, what is as it was is not listed.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::{Attrs, Digest, tree::tests::any_tree};

fn path(text: &str) -> TreePath {
    TreePath::new(text).expect("a good path")
}

fn file(content: &str) -> Entry {
    Entry::file(Digest::of(content.as_bytes()), content.len() as u64)
}

fn tree(entries: &[(&str, Entry)]) -> Tree {
    let mut tree = Tree::default();
    for (at, entry) in entries {
        tree.insert_deep(path(at), entry.clone()).expect("fits");
    }
    tree
}

fn view(tree: &Tree) -> View {
    View::new(vec![Arc::new(Diff::of_tree(tree))])
}

fn merged_usr() -> View {
    let sticky = Entry { node: Node::Directory, attrs: Attrs::mode(0o1777) };
    view(&tree(&[
        ("usr/bin/sh", file("sh")),
        ("bin", Entry::symlink("usr/bin")),
        ("loop", Entry::symlink("loop")),
        ("tmp", sticky),
        ("root", Entry { node: Node::Directory, attrs: Attrs::mode(0o700) }),
        ("etc/x", file("x")),
    ]))
}

#[test]
fn goes_through_links_and_keeps_attributes() {
    let diff = merged_usr()
        .lay(&tree(&[("bin/x", file("1")), ("tmp/x", file("2")), ("root/x", file("3"))]))
        .expect("it can be laid");
    let paths: Vec<_> = diff.iter().map(|(p, _)| p.to_string()).collect();
    assert_eq!(paths, ["/root/x", "/tmp/x", "/usr/bin/x"]);
}

#[test]
fn explicit_directories_set_attributes_but_not_through_links() {
    let diff = merged_usr()
        .lay(&tree(&[
            ("bin", Entry { node: Node::Directory, attrs: Attrs::mode(0o700) }),
            ("tmp", Entry { node: Node::Directory, attrs: Attrs::mode(0o700) }),
        ]))
        .expect("it can be laid");
    let paths: Vec<_> = diff.iter().map(|(p, _)| p.to_string()).collect();
    assert_eq!(paths, ["/tmp"]);
}

#[test]
fn refuses_what_is_in_the_way() {
    let lay = |entries: &[(&str, Entry)]| merged_usr().lay(&tree(entries));
    assert!(matches!(lay(&[("etc/x/y", file("1"))]), Err(LayError::InTheWay { kind: "file", .. })));
    assert!(matches!(
        lay(&[("usr/bin", file("1"))]),
        Err(LayError::InTheWay { kind: "directory", .. })
    ));
    assert!(matches!(lay(&[("loop/x", file("1"))]), Err(LayError::Links { .. })));
    let root = Tree::new(file("1"));
    assert_eq!(merged_usr().lay(&root), Err(LayError::NotADirectory { kind: "file" }));
}

#[test]
fn resolves_as_a_process_would() {
    let view = view(&tree(&[
        ("a/b/c", file("1")),
        ("a/up", Entry::symlink("../../../../a/b")),
        ("abs", Entry::symlink("/a/./b/../up")),
    ]));
    assert_eq!(view.resolve(&path("abs/c")), Ok(path("a/b/c")));
    assert_eq!(view.resolve(&path("abs/none/x")), Ok(path("a/b/none/x")));
}

proptest! {
    #[test]
    fn laid_twice_changes_nothing(a in any_tree(), b in any_tree()) {
        let mut below = view(&a);
        if let Ok(diff) = below.lay(&b) {
            below.push(Arc::new(diff));
            if b.iter().all(|(_, e)| !matches!(e.node, Node::Symlink { .. })) {
                prop_assert!(below.lay(&b)?.is_empty());
            }
        }
    }

    #[test]
    fn laid_upon_nothing_it_is_itself(a in any_tree()) {
        prop_assert_eq!(View::default().lay(&a)?, Diff::of_tree(&a));
    }

    #[test]
    fn rebased_upon_its_own_view_it_stays(a in any_tree(), b in any_tree()) {
        let diff = Diff::between(&a, &b);
        let rebased = view(&a).rebase(&diff);
        let (mut one, mut two) = (a.clone(), a);
        diff.apply(&mut one)?;
        rebased.apply(&mut two)?;
        prop_assert_eq!(one, two);
    }
}

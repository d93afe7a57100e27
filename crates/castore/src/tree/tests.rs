//! Trees: what cannot be is refused, and an encoding is a value.

use proptest::prelude::*;

use super::*;

fn path(text: &str) -> TreePath {
    TreePath::new(text).expect("a good path")
}

/// Any tree over few names, so that two of them often meet.
pub(crate) fn any_tree() -> impl Strategy<Value = Tree> {
    let name = prop_oneof!["a", "b", "c-d"];
    let path = proptest::collection::vec(name, 1..4).prop_map(|names| names.join("/"));
    let entry = prop_oneof![
        3 => (0..3u8, 0..2u32).prop_map(|(content, uid)| {
            let mut entry = Entry::file(Digest::of(&[content]), 1);
            entry.attrs.uid = uid;
            entry
        }),
        2 => prop_oneof![Just(0o755), Just(0o1777)].prop_map(|mode| Entry { node: Node::Directory, attrs: Attrs::mode(mode) }),
        1 => "[xy]".prop_map(Entry::symlink),
        1 => Just(Entry { node: Node::CharDevice { major: 1, minor: 3 }, attrs: Attrs::mode(0o666) }),
    ];
    let links = proptest::collection::vec(any::<prop::sample::Index>(), 0..4);
    (proptest::collection::vec((path, entry), 0..14), links).prop_map(|(entries, links)| {
        let mut tree = Tree::default();
        for (at, entry) in entries {
            // What does not fit (below a file) is left out: the strategy makes trees, not errors.
            let _ = tree.insert_deep(path_of(&at), entry);
        }
        let files: Vec<_> =
            tree.iter().filter(|(_, e)| !e.is_directory()).map(|(p, _)| p.clone()).collect();
        for pair in links.chunks(2) {
            if let ([a, b], false) = (pair, files.is_empty()) {
                let _ = tree.link(vec![a.get(&files).clone(), b.get(&files).clone()]);
            }
        }
        tree
    })
}

fn path_of(text: &str) -> TreePath {
    path(text)
}

#[test]
fn refuses_what_cannot_be() {
    let mut tree = Tree::default();
    assert_eq!(
        tree.insert(path("a/b"), Entry::directory()),
        Err(TreeError::NoParent { path: path("a/b") })
    );
    tree.insert_deep(path("a/b"), Entry::file(Digest::EMPTY, 0)).expect("fits");
    assert!(matches!(
        tree.insert_deep(path("a/b/c"), Entry::directory()),
        Err(TreeError::NotBelowDirectory { kind: "file", .. })
    ));
    assert!(tree.link(vec![path("a"), path("a/b")]).is_err());
    assert!(tree.link(vec![path("a/b"), path("a/c")]).is_err());
    tree.insert(path("a"), Entry::symlink("x")).expect("replaces the directory and all in it");
    assert_eq!(tree.len(), 2);
}

#[test]
fn golden_encoding() {
    let mut tree = Tree::default();
    let mut entry = Entry::file(Digest::of(b"hello\n"), 6);
    entry.attrs.mtime = Some(-1);
    entry.attrs.set_xattr(b"user.a", b"b").expect("allowed");
    tree.insert_deep(path("usr/bin/a"), entry.clone()).expect("fits");
    tree.insert(path("usr/bin/b"), entry).expect("fits");
    tree.link(vec![path("usr/bin/a"), path("usr/bin/b")]).expect("equal files");
    tree.insert(path("bin"), Entry::symlink("usr/bin")).expect("fits");
    assert_eq!(
        tree.digest().to_string(),
        "4cb92fd890697611dcaf23d85257590981d9f44891bc44a02b88eea42a0f3446"
    );
    assert_eq!(
        Tree::default().digest().to_string(),
        "935f177f58c9076827b84786c322dc3f199b55d1d32be0660bf6ed02b6b8d4ba"
    );
}

proptest! {
    #[test]
    fn an_encoding_is_a_value(tree in any_tree()) {
        let bytes = tree.encode();
        prop_assert_eq!(Tree::decode(&bytes)?, tree);
    }

    #[test]
    fn only_the_canonical_encoding_decodes(tree in any_tree(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = tree.encode();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(decoded) = Tree::decode(&bytes) {
            prop_assert_eq!(decoded.encode(), bytes);
        }
    }
}

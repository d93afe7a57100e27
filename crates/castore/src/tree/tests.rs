//! Trees: what cannot be is refused, and an encoding is a value.

use proptest::prelude::*;

use super::*;

fn path(text: &str) -> TreePath {
    TreePath::new(text).expect("a good path")
}

/// Any tree over few names, so that two of them often meet.
pub(crate) fn any_tree() -> impl Strategy<Value = Tree> {
    let name = prop_oneof!["a", "b", "c-d"];
    let at = proptest::collection::vec(name, 1..4).prop_map(|names| names.join("/"));
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
    (proptest::collection::vec((at, entry), 0..14), links).prop_map(|(entries, links)| {
        let mut tree = Tree::default();
        for (at, entry) in entries {
            for above in path(&at).ancestors().skip(1) {
                if tree.get(&above).is_none() {
                    let _ = tree.insert_deep(above, Entry::directory());
                }
            }
            // What does not fit (below a file) is left out: the strategy makes trees, not errors.
            let _ = tree.insert_deep(path(&at), entry);
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
fn decoding_refuses_what_cannot_be() {
    let encoding = |paths: &[(&str, Entry)]| {
        let mut encoder = Encoder::new(MAGIC);
        encoder.list(paths.iter(), |e, (path, entry)| {
            e.bytes(path.as_bytes());
            encode_entry(e, entry);
        });
        encode_links(&mut encoder, &Links::new());
        encoder.finish()
    };
    let (directory, file) = (Entry::directory(), Entry::file(Digest::EMPTY, 0));
    let root = || ("", Entry::implied());
    for (paths, why) in [
        (vec![], "without its root"),
        (vec![("a", file.clone())], "without its root"),
        (vec![root(), ("a/b", file.clone())], "a directory that is not there"),
        (vec![root(), ("a", directory.clone()), ("a/b/c", file.clone())], "not there"),
        (vec![root(), ("a", file.clone()), ("a/b", file.clone())], "`/a` is a file"),
        (vec![("", file.clone()), ("a", file.clone())], "`/` is a file"),
        (vec![root(), ("b", file.clone()), ("a", file.clone())], "not sorted"),
        (vec![root(), ("a", file.clone()), ("a", file.clone())], "come twice"),
        (vec![root(), ("/a", file.clone())], "begins with `/`"),
        (vec![root(), ("..", file)], "contains `.` or `..`"),
        (
            vec![root(), ("a", directory.clone()), ("a-b", directory.clone()), ("a/c", directory)],
            "not sorted",
        ),
    ] {
        let error = Tree::decode(&encoding(&paths)).expect_err(why).to_string();
        assert!(error.contains(why), "{error}");
    }
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
        "f6425cf4156a5b4f917e056e80ac7c7f54379f7e9ed299ea2d415856959d4e63"
    );
    assert_eq!(
        Tree::default().digest().to_string(),
        "e35d53cbef5cf7d12fcf7a2a5f9b057517e1c8f7755690c73d1c077565a2fc90"
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

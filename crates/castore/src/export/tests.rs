//! Exports: plain files, whatever the umask, and nothing of the user's is lost.

use std::os::unix::fs::{MetadataExt, PermissionsExt};

use super::*;
use crate::{Attrs, Entry, Node};

fn path(text: &str) -> TreePath {
    TreePath::new(text).expect("a good path")
}

/// A store, a directory to export to, and a tree with a program and a link.
fn fixture() -> (tempfile::TempDir, Store, Tree) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let store = Store::open(dir.path().join("store")).expect("a new store");
    let mut tree = Tree::default();
    let mut program = Entry::file(store.put(b"#!").expect("put"), 2);
    program.attrs = Attrs::mode(0o6755).owned(33, 33);
    tree.insert_deep(path("bin/tool"), program.clone()).expect("fits");
    tree.insert_deep(path("bin/same"), program).expect("fits");
    tree.link(vec![path("bin/tool"), path("bin/same")]).expect("equal");
    tree.insert_deep(path("link"), Entry::symlink("bin/tool")).expect("fits");
    (dir, store, tree)
}

#[test]
fn a_directory_of_plain_files() {
    let (dir, store, tree) = fixture();
    let to = dir.path().join("dist");
    for _ in 0..2 {
        store.export(&tree, &to, Some(7)).expect("exported");
        let tool = fs::metadata(to.join("link")).expect("there");
        assert_eq!(tool.permissions().mode() & 0o7777, 0o755, "no special bits");
        assert_eq!(tool.uid(), rustix::process::geteuid().as_raw());
        assert_eq!((tool.mtime(), tool.nlink()), (7, 2));
        assert_eq!(fs::metadata(&to).expect("there").permissions().mode() & 0o7777, 0o755);
    }
    let mut less = tree.clone();
    less.remove(&path("link"));
    store.export(&less, &to, None).expect("replaced");
    assert!(!to.join("link").is_symlink() && to.join("bin/same").exists());
    assert_eq!(read_dir_sorted(dir.path()).expect("there").len(), 2, "store, dist, no temporary");
}

#[test]
fn a_file() {
    let (dir, store, _) = fixture();
    let to = dir.path().join("cli");
    fs::write(&to, "an older one").expect("ours");
    let mut entry = Entry::file(store.put(b"new").expect("put"), 3);
    entry.attrs = Attrs::mode(0o755);
    store.export(&Tree::new(entry), &to, None).expect("replaced");
    assert_eq!(fs::read(&to).expect("there"), b"new");
    assert_eq!(fs::metadata(&to).expect("there").permissions().mode() & 0o777, 0o755);
    store.export(&Tree::new(Entry::symlink("x")), &to, None).expect("replaced");
    assert_eq!(fs::read_link(&to).expect("a link"), Path::new("x"));
}

#[test]
fn what_the_user_made_stays() {
    let (dir, store, tree) = fixture();
    let to = dir.path().join("src");
    fs::create_dir(&to).expect("ours");
    store.export(&tree, &to, None).expect("an empty directory is no loss");
    remove_all(&to).expect("ours");
    fs::create_dir(&to).expect("ours");
    fs::write(to.join("thesis"), "").expect("ours");
    let error = store.export(&tree, &to, None).expect_err("not ours").to_string();
    assert!(error.contains("was not made by reimage"), "{error}");
    assert!(to.join("thesis").exists());
    let file = dir.path().join("file");
    fs::write(&file, "").expect("ours");
    assert!(matches!(store.export(&tree, &file, None), Err(StoreError::NotOurs { .. })));
    let file = Tree::new(Entry::file(store.put(b"").expect("put"), 0));
    assert!(store.export(&file, &to, None).is_err(), "a file does not replace a directory");
    assert_eq!(read_dir_sorted(dir.path()).expect("there").len(), 3);
}

#[test]
fn devices_are_refused_by_name() {
    let (dir, store, mut tree) = fixture();
    let null = Node::CharDevice { major: 1, minor: 3 };
    tree.insert_deep(path("dev/null"), Entry { node: null, attrs: Attrs::file() }).expect("fits");
    let error = store.export(&tree, &dir.path().join("x"), None).expect_err("a device").to_string();
    assert!(error.contains("/dev/null") && error.contains("character device"), "{error}");
    assert_eq!(read_dir_sorted(dir.path()).expect("there").len(), 1);
}

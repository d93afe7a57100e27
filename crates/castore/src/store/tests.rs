//! The store: what is put is found, what is damaged is found out, and others may use it at once.

use std::{fs, io::Read, os::unix::fs::PermissionsExt};

use super::*;
use crate::{Action, ActionResult, Entry, Output, TreePath, UnpackAction};

fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let store = Store::open(dir.path().join("store")).expect("a new store");
    (dir, store)
}

fn path(text: &str) -> TreePath {
    TreePath::new(text).expect("a good path")
}

fn action(text: &str) -> crate::ActionDigest {
    Action::Unpack(UnpackAction { archive: crate::Sha256::of(text.as_bytes()), strip: 0 }).digest()
}

/// A tree of one file, in the store with it.
fn tree_of(store: &Store, content: &[u8]) -> Digest {
    let mut tree = Tree::default();
    let digest = store.put(content).expect("put");
    tree.insert(path("f"), Entry::file(digest, content.len() as u64)).expect("fits");
    store.put_tree(tree).expect("put")
}

fn count(dir: &Path) -> usize {
    read_dir_sorted(dir).expect("there").len()
}

/// Changes a blob on disk.
fn damage(store: &Store, digest: &Digest, bytes: &[u8]) {
    let path = store.object_path(digest);
    fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).expect("ours");
    fs::write(path, bytes).expect("ours");
}

#[test]
fn what_is_put_is_read() {
    let (_dir, store) = store();
    for size in [0, 1, 100_000, 3_000_000] {
        let bytes = vec![7; size];
        let digest = store.put(&bytes).expect("put");
        assert_eq!(digest, Digest::of(&bytes));
        let mut streamed = bytes.as_slice();
        assert_eq!(store.put_reader(&mut streamed).expect("put"), (digest, size as u64));
        assert_eq!(store.read(&digest).expect("read"), bytes);
        let mut read = Vec::new();
        let mut reader = store.reader(&digest, size as u64).expect("there");
        reader.read_to_end(&mut read).expect("intact");
        assert_eq!(read, bytes);
        let path = store.tmp_name();
        fs::write(&path, &bytes).expect("write");
        let file = fs::File::open(&path).expect("open");
        assert_eq!(store.put_file(&file).expect("put"), (digest, size as u64));
        fs::remove_file(path).expect("remove");
    }
    assert!(count(store.tmp_dir()) == 0, "no temporary file is left");
}

#[test]
fn a_large_blob_is_streamed_whole() {
    let (_dir, store) = store();
    let bytes: Vec<u8> = (0..2_500_001_u32).flat_map(u32::to_le_bytes).collect();
    let (digest, size) = store.put_reader(bytes.as_slice()).expect("put");
    assert_eq!((digest, size), (Digest::of(&bytes), bytes.len() as u64));
    assert_eq!(store.read(&digest).expect("read"), bytes);
}

#[test]
fn damage_is_found_set_aside_and_healed() {
    let (_dir, store) = store();
    let content = vec![b'x'; 5000];
    let other: Vec<u8> = content.iter().map(|_| b'y').collect();
    for bad in [&b""[..], &content[..4999], &other] {
        let digest = store.put(&content).expect("put");
        damage(&store, &digest, bad);
        assert!(matches!(store.read(&digest), Err(StoreError::Corrupt { .. })));
        assert!(matches!(store.read(&digest), Err(StoreError::Missing { .. })));
        store.put(&content).expect("put again");
        damage(&store, &digest, bad);
        let read = store.reader(&digest, 5000).and_then(|mut reader| {
            let mut all = Vec::new();
            reader.read_to_end(&mut all).map_err(|e| e.downcast().expect("ours"))
        });
        assert!(matches!(read, Err(StoreError::Corrupt { .. })));
        assert!(!store.has(&digest));
    }
    assert_eq!(count(&store.bucket("quarantine")), 6);
}

#[test]
fn a_reader_gives_nothing_of_the_end_of_a_bad_blob() {
    let (_dir, store) = store();
    let digest = store.put(b"good").expect("put");
    damage(&store, &digest, b"evil");
    let mut reader = store.reader(&digest, 4).expect("of the right size");
    let mut four = [0; 4];
    assert!(reader.read_exact(&mut four).is_err());
    assert!(matches!(store.reader(&Digest::EMPTY, 0), Err(StoreError::Missing { .. })));
}

#[test]
fn an_empty_blob_of_a_power_cut_is_written_again() {
    let (_dir, store) = store();
    let digest = store.put(b"hello").expect("put");
    damage(&store, &digest, b"");
    assert!(store.has(&digest) && !store.has_sized(&digest, 5));
    store.put(b"hello").expect("put");
    assert_eq!(store.read(&digest).expect("healed"), b"hello");
}

#[test]
fn results_are_complete_or_misses() {
    let (_dir, store) = store();
    let key = action("a");
    assert_eq!(store.result(&key).expect("works"), None);
    let tree = tree_of(&store, b"content");
    let result = ActionResult::new(Output::Tree(tree));
    assert_eq!(store.put_result(&key, &result).expect("works"), PutResult::Stored);
    assert_eq!(store.result(&key).expect("works"), Some(result.clone()));
    assert_eq!(store.put_result(&key, &result).expect("works"), PutResult::Same);

    let other = ActionResult::new(Output::Tree(tree_of(&store, b"other")));
    let put = store.put_result(&key, &other).expect("works");
    assert_eq!(put, PutResult::Differs(result.clone()), "what is there stays");
    assert_eq!(store.result(&key).expect("works"), Some(result.clone()));

    for gone in [Digest::of(b"content"), tree] {
        let store = Store::open(store.root()).expect("another session knows nothing");
        fs::remove_file(store.object_path(&gone)).expect("there");
        assert_eq!(store.result(&key).expect("works"), None);
        assert_eq!(
            store.put_result(&key, &other).expect("works"),
            PutResult::Replaced(result.clone())
        );
        tree_of(&store, b"content");
        assert!(matches!(store.put_result(&key, &result), Ok(PutResult::Differs(_))));
        store.forget_result(&key).expect("works");
        store.put_result(&key, &result).expect("works");
    }
}

#[test]
fn what_was_complete_is_looked_at_again_when_a_blob_was_missed() {
    let (_dir, store) = store();
    let mut tree = Tree::default();
    for number in 0..600_u32 {
        let digest = store.put(&number.to_le_bytes()).expect("put");
        tree.insert(path(&number.to_string()), Entry::file(digest, 4)).expect("fits");
    }
    let tree = store.put_tree(tree).expect("put");
    assert!(store.tree_is_complete(&tree).expect("there"));
    let gone = Digest::of(&7_u32.to_le_bytes());
    fs::remove_file(store.object_path(&gone)).expect("there");
    // Nobody has noticed yet; whoever reads it does, and from then on it is known.
    assert!(store.read(&gone).is_err());
    assert!(!store.tree_is_complete(&tree).expect("there"));
    store.put(&7_u32.to_le_bytes()).expect("put");
    assert!(store.tree_is_complete(&tree).expect("there"));
}

#[test]
fn a_damaged_or_misplaced_record_is_a_miss() {
    let (_dir, store) = store();
    let tree = tree_of(&store, b"content");
    let result = ActionResult::new(Output::Tree(tree));
    let key = action("a");
    store.put_result(&key, &result).expect("works");
    let record = store.record_path("actions-v1", key.digest());
    let bytes = fs::read(&record).expect("there");
    for at in 0..bytes.len() {
        let mut bad = bytes.clone();
        bad[at] ^= 4;
        fs::write(&record, &bad).expect("ours");
        assert_eq!(store.result(&key).expect("works"), None);
        assert!(!record.exists(), "it is set aside");
    }
    store.put_result(&key, &result).expect("works");
    let elsewhere = store.record_path("actions-v1", action("b").digest());
    fs::create_dir_all(elsewhere.parent().expect("a bucket")).expect("ours");
    fs::copy(&record, elsewhere).expect("ours");
    assert_eq!(store.result(&action("b")).expect("works"), None);
}

#[test]
fn targets_are_opaque_and_replaced() {
    let (_dir, store) = store();
    let key = Digest::of(b"target");
    assert_eq!(store.memo(&key).expect("works"), None);
    store.put_memo(&key, b"one").expect("works");
    store.put_memo(&key, b"").expect("works");
    assert_eq!(store.memo(&key).expect("works"), Some(vec![]));
}

#[test]
fn one_runs_and_the_others_wait() {
    let (_dir, store) = store();
    let key = action("a");
    let running = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..50 {
                    let _once = store.once(&key).expect("works");
                    let others = running.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                    assert_eq!(others, 0);
                    running.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                }
            });
        }
    });
    let once = store.try_once(&key).expect("works");
    assert!(once.is_some());
    assert!(store.try_once(&key).expect("works").is_none());
    drop(once);
    assert_eq!(count(&store.bucket("locks")), 0);
}

#[test]
fn what_is_not_ours_is_refused() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    fs::write(dir.path().join("thesis.tex"), "").expect("ours");
    assert!(matches!(Store::open(dir.path()), Err(StoreError::NotAStore { .. })));
    let newer = dir.path().join("newer");
    Store::open(&newer).expect("a new store");
    fs::write(newer.join("version"), "reimage store 7\n").expect("ours");
    let error = Store::open(&newer).expect_err("newer").to_string();
    assert!(error.contains("version 7") && error.contains("newer"), "{error}");
    fs::write(newer.join("version"), "").expect("ours");
    Store::open(&newer).expect("the power went while it was made");
    let file = dir.path().join("file");
    fs::write(&file, "").expect("ours");
    assert!(Store::open(&file).is_err());
}

#[test]
fn sessions_end_clean() {
    let (_dir, store) = store();
    let root = store.root().to_owned();
    let mode = fs::metadata(&root).expect("there").permissions().mode();
    assert_eq!(mode & 0o7777, 0o700);
    let second = Store::open(&root).expect("several at once");
    assert_eq!(count(&root.join("leases")), 2);
    drop(second);
    assert_eq!(count(&root.join("leases")), 1);
    assert_eq!(count(&root.join("tmp")), 1);
    // What a dead process left.
    let dead = root.join("tmp/999999-0/x");
    fs::create_dir_all(&dead).expect("ours");
    fs::write(root.join("leases/999999-0"), "").expect("ours");
    fs::write(root.join("leases/999998-0"), "").expect("ours");
    let locked = dead.parent().expect("a directory");
    fs::set_permissions(&dead, PermissionsExt::from_mode(0o000)).expect("ours");
    drop(Store::open(&root).expect("works"));
    assert!(!locked.exists());
    assert_eq!(count(&root.join("leases")), 1);
}

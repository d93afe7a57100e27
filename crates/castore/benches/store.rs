//! How long the store takes: `cargo bench -p reimage-castore`.
//!
//! `stat_walk` is the measure of the others: one thread that lists the same 5,000 files and looks at each.

use std::{
    fs,
    hint::black_box,
    path::Path,
    sync::{Arc, LazyLock},
};

use divan::{Bencher, counter::ItemsCount};
use reimage_castore::{
    Action, ActionResult, Attrs, Change, Diff, Digest, Entry, LocalOptions, Materialize, Output,
    Owners, Sha256, Store, Tree, TreePath, UnpackAction, View, ingest, read_dir_sorted,
};

fn main() {
    divan::main();
}

const APP: usize = 5_000;
const ROOT: usize = 10_000;

/// A project of a Python application, and a store that knows it.
struct Project {
    dir: tempfile::TempDir,
    store: Store,
}

static PROJECT: LazyLock<Project> = LazyLock::new(|| {
    let dir = tempfile::tempdir().expect("a temporary directory");
    write_files(&dir.path().join("app"), APP);
    fs::write(dir.path().join("app/.gitignore"), "__pycache__/\n*.pyc\n/dist\n").expect("ours");
    let store = Store::open(dir.path().join("store")).expect("a new store");
    // Twice with a pause: what is too young is not remembered.
    std::thread::sleep(std::time::Duration::from_millis(100));
    take(&store, &dir.path().join("app"));
    assert_eq!(take(&store, &dir.path().join("app")), 0, "everything is remembered");
    Project { dir, store }
});

/// Files of 0.5 to 8 KiB, 25 in a directory, three levels deep.
fn write_files(root: &Path, number: usize) {
    for file in 0..number {
        let directory = root.join(format!("package{}/module{}", file / 500, file / 25));
        if file % 25 == 0 {
            fs::create_dir_all(&directory).expect("ours");
        }
        fs::write(directory.join(format!("file{file}.py")), content(file)).expect("ours");
    }
}

fn content(file: usize) -> Vec<u8> {
    format!("# {file}\n").repeat(64 << (file % 5)).into_bytes()
}

fn take(store: &Store, root: &Path) -> usize {
    let options =
        LocalOptions { project: root.to_owned(), gitignore: true, ..LocalOptions::default() };
    ingest(store, root, &options).expect("a good tree").read
}

#[divan::bench]
fn stat_walk(bencher: Bencher<'_, '_>) {
    fn walk(path: &Path) -> usize {
        let entries = read_dir_sorted(path).expect("ours");
        let count = |e: &std::path::PathBuf| {
            let stat = e.symlink_metadata().expect("ours");
            if stat.is_dir() { walk(e) } else { 1 }
        };
        entries.iter().map(|e| count(&e.path())).sum()
    }
    let root = PROJECT.dir.path().join("app");
    bencher.counter(ItemsCount::new(APP)).bench_local(|| black_box(walk(&root)));
}

#[divan::bench]
fn ingest_no_op(bencher: Bencher<'_, '_>) {
    let root = PROJECT.dir.path().join("app");
    bencher.counter(ItemsCount::new(APP)).bench_local(|| take(&PROJECT.store, &root));
}

#[divan::bench(sample_count = 10, sample_size = 1)]
fn ingest_cold(bencher: Bencher<'_, '_>) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    write_files(&dir.path().join("root"), ROOT);
    let mut stores = 0;
    bencher
        .counter(ItemsCount::new(ROOT))
        .with_inputs(|| {
            // Each in a place of its own: what is removed would weigh on what is measured.
            stores += 1;
            Store::open(dir.path().join(format!("store{stores}"))).expect("a new store")
        })
        .bench_local_values(|store| (take(&store, &dir.path().join("root")), store));
}

/// A root file system of `ROOT` files, in a store.
fn root(store: &Store) -> Digest {
    let mut tree = Tree::default();
    for file in 0..ROOT {
        let content = content(file);
        let mut entry = Entry::file(store.put(&content).expect("put"), content.len() as u64);
        entry.attrs = Attrs::mode(if file % 7 == 0 { 0o755 } else { 0o644 });
        let path = format!("usr/share/package{}/module{}/file{file}", file / 500, file / 25);
        tree.insert_deep(TreePath::new(path).expect("good"), entry).expect("fits");
    }
    store.put_diff(Diff::of_tree(&tree)).expect("put")
}

#[divan::bench(sample_count = 10, sample_size = 1)]
fn materialize(bencher: Bencher<'_, '_>) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let store = Store::open(dir.path().join("store")).expect("a new store");
    let diff = root(&store);
    let below = View::default();
    let mut time = 0;
    bencher.counter(ItemsCount::new(ROOT)).bench_local(|| {
        time += 1; // Another time is another root.
        let how = Materialize { below: &below, owners: Owners::Recorded, time, nanos: 0 };
        store.materialize(&diff, &how).expect("laid out")
    });
}

#[divan::bench]
fn materialized_already(bencher: Bencher<'_, '_>) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let store = Store::open(dir.path().join("store")).expect("a new store");
    let diff = root(&store);
    let below = View::default();
    let how = Materialize { below: &below, owners: Owners::Recorded, time: 0, nanos: 0 };
    store.materialize(&diff, &how).expect("laid out");
    bencher.bench_local(|| store.materialize(&diff, &how).expect("laid out"));
}

#[divan::bench]
fn is_complete(bencher: Bencher<'_, '_>) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let store = Store::open(dir.path().join("store")).expect("a new store");
    let diff = root(&store);
    bencher
        .counter(ItemsCount::new(ROOT))
        .bench_local(|| assert!(store.diff_is_complete(&diff).expect("there")));
}

/// All that a step which writes one small file asks of the store, on top of 200 others.
#[divan::bench]
fn tiny_step(bencher: Bencher<'_, '_>) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let store = Store::open(dir.path().join("store")).expect("a new store");
    let step = |number: u64, below: &View| {
        let archive = Sha256::of(&number.to_le_bytes());
        let action = Action::Unpack(UnpackAction { archive, strip: 0 }).digest();
        assert_eq!(store.result(&action).expect("works"), None);
        let _once = store.once(&action).expect("works");
        let content = number.to_le_bytes();
        let entry = Entry::file(store.put(&content).expect("put"), 8);
        let mut diff = Diff::new();
        diff.insert(
            TreePath::new(format!("file{}", number % 7)).expect("good"),
            Change::Put(entry),
        );
        let diff = Arc::new(diff);
        let digest = store.put_diff(diff.clone()).expect("put");
        let how = Materialize { below, owners: Owners::Recorded, time: 0, nanos: 0 };
        store.materialize(&digest, &how).expect("laid out");
        store.put_result(&action, &ActionResult::new(Output::Diff(digest))).expect("put");
        diff
    };
    let mut below = View::default();
    for number in 0..200 {
        let diff = step(number, &below);
        below.push(diff);
    }
    let mut number = 200;
    bencher.bench_local(|| {
        number += 1;
        step(number, &below)
    });
}

#[divan::bench]
fn encode(bencher: Bencher<'_, '_>) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let store = Store::open(dir.path().join("store")).expect("a new store");
    let diff = store.diff(&root(&store)).expect("there");
    bencher.counter(ItemsCount::new(ROOT)).bench_local(|| Digest::of(&diff.encode()));
}

#[divan::bench]
fn decode(bencher: Bencher<'_, '_>) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let store = Store::open(dir.path().join("store")).expect("a new store");
    let bytes = store.diff(&root(&store)).expect("there").encode();
    bencher.counter(ItemsCount::new(ROOT)).bench_local(|| Diff::decode(&bytes).expect("good"));
}

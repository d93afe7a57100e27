//! A process that is killed at any moment leaves a store that the next one takes without complaint.
//!
//! The victim is this very binary, started again with a test that writes to a store without end; it is killed
//! after a time that grows from run to run, so that every phase is hit.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use reimage_castore::{
    Action, ActionDigest, ActionResult, Change, Diff, Entry, Local, LocalOptions, Materialize,
    Output, Owners, Sha256, Store, TreePath, UnpackAction, View, ingest, read_dir_sorted,
};

/// Where the victim finds the store: tests take no arguments, and the environment is not ours to read.
const PLACE: &str = "reimage-kill-test";

fn action(number: usize) -> ActionDigest {
    let archive = Sha256::of(&number.to_le_bytes());
    Action::Unpack(UnpackAction { archive, strip: 0 }).digest()
}

/// Blobs, a diff of them, its root, its result: all that a step does to a store.
fn build(store: &Store, number: usize) {
    let _once = store.once(&action(number)).expect("works");
    if let Some(result) = store.result(&action(number)).expect("works") {
        let Output::Diff(digest) = result.output else { panic!("a diff was stored") };
        lay_out(store, &digest);
        return;
    }
    let mut diff = Diff::new();
    for file in 0..20 {
        let content = format!("{number} {file}\n").repeat(1 << (file % 18));
        let digest = store.put(content.as_bytes()).expect("works");
        let path = TreePath::new(format!("file{file}")).expect("good");
        diff.insert(path, Change::Put(Entry::file(digest, content.len() as u64)));
    }
    let large = vec![u8::try_from(number % 251).expect("small"); 3 << 20];
    let (digest, size) = store.put_reader(large.as_slice()).expect("works");
    diff.insert(TreePath::new("large").expect("good"), Change::Put(Entry::file(digest, size)));
    let digest = store.put_diff(Arc::new(diff)).expect("works");
    lay_out(store, &digest);
    let result = ActionResult::new(Output::Diff(digest));
    store.put_result(&action(number), &result).expect("works");
    store.put_memo(&digest, number.to_string().as_bytes()).expect("works");
}

fn lay_out(store: &Store, digest: &reimage_castore::Digest) {
    let below = View::default();
    let how = Materialize { below: &below, owners: Owners::Recorded, time: 7, nanos: 0 };
    let root = store.materialize(digest, &how).expect("works").path;
    let diff = store.diff(digest).expect("there");
    for (path, change) in diff.iter() {
        let Some(Entry { node: reimage_castore::Node::File { size, .. }, .. }) = change.entry()
        else {
            panic!("only files were put")
        };
        let found = path.on(&root).metadata().expect("a root is whole or not there");
        assert_eq!((found.len(), found.permissions().readonly()), (*size, false));
    }
}

fn local(store: &Store, dir: &Path) -> Local {
    let project = dir.join("project");
    let options = LocalOptions { gitignore: true, project, ..LocalOptions::default() };
    ingest(store, &options.project, &options).expect("works")
}

/// The victim: it is told where by its working directory, and does nothing in any other.
#[test]
#[ignore = "run by the other test"]
fn victim() {
    let dir = PathBuf::from(".").canonicalize().expect("a working directory");
    if !dir.join(PLACE).exists() {
        return;
    }
    let store = Store::open(dir.join("store")).expect("works");
    println!("ready");
    for number in 0.. {
        local(&store, &dir);
        build(&store, number % 40);
    }
}

fn start(dir: &Path) -> Child {
    let mut child = Command::new("/proc/self/exe")
        .args(["--exact", "victim", "--ignored", "--nocapture", "--test-threads=1"])
        .current_dir(dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it runs already");
    let lines = BufReader::new(child.stdout.as_mut().expect("piped")).lines();
    let ready = lines.map(|line| line.expect("text")).any(|line| line.contains("ready"));
    assert!(ready, "the victim opens the store that the one before left");
    child
}

fn project(dir: &Path) {
    std::fs::write(dir.join(PLACE), "").expect("ours");
    std::fs::create_dir(dir.join("project")).expect("ours");
    for file in 0..50 {
        std::fs::write(dir.join(format!("project/{file}")), file.to_string()).expect("ours");
    }
}

#[test]
fn killed_at_any_moment() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    project(dir.path());
    for round in 0..24 {
        // Two at once, so that a dead one's locks and temporaries lie in a living one's way.
        let mut victims = [start(dir.path()), start(dir.path())];
        std::thread::sleep(Duration::from_millis(3 * round));
        for victim in &mut victims {
            victim.kill().expect("it runs");
            let status = victim.wait().expect("it ends");
            assert_eq!(status.code(), None, "killed, not failed");
        }
        let store = Store::open(dir.path().join("store")).expect("works");
        let found = store.verify(true).expect("works");
        assert!(found.is_good(), "{found:?}");
        assert_eq!((found.incomplete, found.foreign), (vec![], vec![]));
        let count = |bucket: &str| read_dir_sorted(store.root().join(bucket)).expect("there").len();
        assert_eq!((count("leases"), count("tmp"), count("quarantine")), (1, 1, 0));
    }
    let store = Store::open(dir.path().join("store")).expect("works");
    let tree = local(&store, dir.path());
    for number in 0..40 {
        build(&store, number);
    }
    let fresh = Store::open(dir.path().join("fresh")).expect("works");
    assert_eq!(local(&fresh, dir.path()).digest, tree.digest);
    for number in 0..40 {
        build(&fresh, number);
        let result = |store: &Store| store.result(&action(number)).expect("works");
        assert_eq!(result(&store).expect("there"), result(&fresh).expect("there"));
    }
}

#[test]
fn the_same_step_of_two_processes_runs_once() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    project(dir.path());
    let store = Store::open(dir.path().join("store")).expect("works");
    let once = store.once(&action(0)).expect("works");
    let mut victim = start(dir.path());
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(store.result(&action(0)).expect("works"), None, "it waits for us");
    drop(once);
    let mut tries = 0;
    while store.result(&action(1)).expect("works").is_none() {
        std::thread::sleep(Duration::from_millis(5));
        tries += 1;
        assert!(tries < 2000, "it goes on");
    }
    victim.kill().expect("it runs");
    victim.wait().expect("it ends");
}

//! Pruning and verifying: what is needed stays, what is damaged is found.

use std::io::Write as _;

use super::*;
use crate::{
    Action, ActionResult, Diff, Entry, Materialize, Output, Owners, Sha256, TreePath, UnpackAction,
    View,
};

const DAY: Duration = Duration::from_hours(24);

struct Fixture {
    _dir: tempfile::TempDir,
    root: PathBuf,
    now: SystemTime,
}

fn action(name: &str) -> ActionDigest {
    let archive = Sha256::of(name.as_bytes());
    Action::Unpack(UnpackAction { archive, strip: 0 }).digest()
}

/// What the step `name` makes: 40 kB of its own, and a file that all share.
fn build(store: &Store, name: &str) -> Digest {
    let mut diff = Diff::new();
    for (path, content) in [("own", name.repeat(40_000)), ("shared", "shared".to_owned())] {
        let digest = store.put(content.as_bytes()).expect("put");
        let entry = Entry::file(digest, content.len() as u64);
        diff.insert(TreePath::new(path).expect("good"), crate::Change::Put(entry));
    }
    let digest = store.put_diff(diff).expect("put");
    let result = ActionResult::new(Output::Diff(digest));
    store.put_result(&action(name), &result).expect("put");
    digest
}

impl Fixture {
    /// A store in which each of `steps` was built so many days ago.
    fn new(steps: &[(&str, u32)]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let root = dir.path().join("store");
        let now = SystemTime::UNIX_EPOCH + 20_000 * DAY;
        let fixture = Self { _dir: dir, root, now };
        let mut steps = steps.to_vec();
        // The oldest first: what is shared was used by the youngest.
        steps.sort_by_key(|(_, days)| std::cmp::Reverse(*days));
        for (name, days) in steps {
            let store = fixture.open();
            let began = store.0.opened;
            build(&store, name);
            drop(store);
            fixture.age(began, now - days * DAY);
        }
        fixture
    }

    fn open(&self) -> Store {
        Store::open(&self.root).expect("works")
    }

    /// What was used since `began` was used at `then`.
    fn age(&self, began: SystemTime, then: SystemTime) {
        for bucket in ["objects-v1", "actions-v1", "roots-v1"] {
            for top in read_dir_sorted(self.root.join(bucket)).expect("there") {
                let mut files = vec![top.path()];
                if bucket != "roots-v1" && top.path().is_dir() {
                    let below = read_dir_sorted(top.path()).expect("there");
                    files = below.iter().map(fs_err::DirEntry::path).collect();
                }
                for file in files {
                    let used = file.metadata().and_then(|m| m.modified()).expect("there");
                    if used >= began {
                        let file = fs::File::open(&file).expect("ours");
                        file.set_modified(then).expect("ours");
                    }
                }
            }
        }
    }

    fn policy(&self) -> Policy {
        Policy {
            now: self.now,
            max_size: None,
            min_free: None,
            max_age: None,
            keep: BTreeSet::new(),
            dry_run: false,
        }
    }

    fn there(&self, names: &[&str]) -> Vec<bool> {
        let store = self.open();
        names.iter().map(|n| store.result(&action(n)).expect("works").is_some()).collect()
    }
}

#[test]
fn what_is_old_goes_and_what_is_shared_stays() {
    let f = Fixture::new(&[("a", 40), ("b", 20), ("c", 1)]);
    let policy = Policy { max_age: Some(30 * DAY), ..f.policy() };
    let dry = f.open().prune(&Policy { dry_run: true, ..policy.clone() }).expect("works");
    assert_eq!(f.there(&["a", "b", "c"]), [true; 3]);
    let f = Fixture::new(&[("a", 40), ("b", 20), ("c", 1)]);
    let pruned = f.open().prune(&policy).expect("works");
    assert_eq!(pruned, dry);
    assert_eq!((pruned.results.count, pruned.blobs.count, pruned.roots.count), (1, 2, 0));
    assert!(pruned.freed() >= 40_000 && pruned.kept >= 80_000, "{pruned:?}");
    assert_eq!(f.there(&["a", "b", "c"]), [false, true, true]);
    let store = f.open();
    assert_eq!(store.evicted(&action("a")), Some(f.now));
    assert_eq!(store.evicted(&action("b")), None);
    assert!(store.verify(true).expect("works").is_good());
    assert_eq!(store.verify(true).expect("works").incomplete, []);
    let again = f.open().prune(&policy).expect("works");
    assert_eq!((again.results.count, again.blobs.count), (0, 0));
}

#[test]
fn the_least_recently_used_goes_first_and_only_as_much_as_must() {
    let f = Fixture::new(&[("a", 40), ("b", 20), ("c", 1)]);
    let policy = Policy { max_size: Some(120_000), ..f.policy() };
    let pruned = f.open().prune(&policy).expect("works");
    assert!(pruned.kept <= 120_000, "{pruned:?}");
    assert_eq!(f.there(&["a", "b", "c"]), [false, true, true]);
    let keep = BTreeSet::from([action("b")]);
    f.open().prune(&Policy { max_size: Some(0), keep, ..f.policy() }).expect("works");
    assert_eq!(f.there(&["b", "c"]), [true, false]);
    f.open().prune(&Policy { max_size: Some(0), ..f.policy() }).expect("works");
    let left = f.open().verify(false).expect("works");
    assert_eq!((left.blobs, left.results), (0, 0));
}

#[test]
fn blobs_that_nothing_needs_go_by_age_or_need() {
    let f = Fixture::new(&[("a", 5)]);
    let store = f.open();
    let began = store.0.opened;
    let stray = store.put(&vec![1; 50_000]).expect("put");
    drop(store);
    f.age(began, f.now - 10 * DAY);
    f.open().prune(&f.policy()).expect("works");
    assert!(f.open().has(&stray), "no reason to go");
    f.open().prune(&Policy { max_size: Some(60_000), ..f.policy() }).expect("works");
    assert!(!f.open().has(&stray));
    assert_eq!(f.there(&["a"]), [true]);
}

#[test]
fn roots_go_before_results() {
    let f = Fixture::new(&[("a", 5)]);
    let store = f.open();
    let began = store.0.opened;
    let diff = build(&store, "a");
    let below = View::default();
    let how = Materialize { below: &below, owners: Owners::Recorded, time: 0, nanos: 0 };
    let path = store.materialize(&diff, &how).expect("laid out").path;
    let used = store.prune(&Policy { max_size: Some(0), ..f.policy() }).expect("works");
    assert_eq!(used.roots.count, 0);
    assert!(path.exists(), "this session uses it");
    drop(store);
    f.age(began, f.now - DAY);
    let pruned = f.open().prune(&Policy { max_size: Some(60_000), ..f.policy() }).expect("works");
    assert_eq!((pruned.roots.count, pruned.results.count), (1, 0));
    assert!(!path.exists());
}

#[test]
fn old_memos_go() {
    let f = Fixture::new(&[]);
    let store = f.open();
    let key = Digest::of(b"target");
    store.put_memo(&key, b"memo").expect("put");
    let policy = Policy { now: SystemTime::UNIX_EPOCH + 100_000 * DAY, ..f.policy() };
    let policy = Policy { max_age: Some(DAY), ..policy };
    store.prune(&policy).expect("works");
    assert!(store.memo(&key).expect("works").is_some(), "this session has used it");
    drop(store);
    let dry = f.open().prune(&Policy { dry_run: true, ..policy.clone() }).expect("works");
    assert_eq!(dry.memos.count, 1);
    assert!(f.open().memo(&key).expect("works").is_some(), "only looked at");
    assert_eq!(f.open().prune(&policy).expect("works"), dry);
    assert_eq!(f.open().memo(&key).expect("works"), None);
}

#[test]
fn a_download_goes_unless_somebody_is_at_it() {
    let f = Fixture::new(&[]);
    let store = f.open();
    let [left, running] = [b"left", b"runs"].map(|name| Sha256::of(name));
    let begin = |sha256| {
        let partial = store.partial(&sha256).expect("works");
        (&partial.file).write_all(&[1; 5000]).expect("writable");
        partial.file.set_modified(f.now - 40 * DAY).expect("ours");
        partial
    };
    drop(begin(left));
    let running = begin(running);
    let policy = Policy { max_age: Some(30 * DAY), ..f.policy() };
    let pruned = f.open().prune(&policy).expect("works");
    assert_eq!((pruned.partial.count, pruned.freed()), (1, pruned.partial.bytes));
    assert!(pruned.freed() >= 5000, "{pruned:?}");
    running.done().expect("it was left alone");
    assert_eq!(read_dir_sorted(f.root.join("partial")).expect("there").len(), 0);
}

#[test]
fn free_space_is_made() {
    let f = Fixture::new(&[("a", 40), ("b", 20)]);
    let prune = |min_free| {
        f.open().prune(&Policy { min_free: Some(min_free), ..f.policy() }).expect("works")
    };
    assert_eq!(prune(0).freed(), 0, "there is enough");
    assert!(prune(u64::MAX).freed() > 80_000);
    assert_eq!(f.there(&["a", "b"]), [false, false]);
}

#[test]
fn locks_are_remembered_until_they_are_forgotten() {
    let f = Fixture::new(&[]);
    let [a, b] = ["/project/a/reimage.lock", "/project/b/reimage.lock"].map(PathBuf::from);
    for path in [&b, &a, &b] {
        f.open().remember_lock(path).expect("works");
    }
    assert_eq!(f.open().locks().expect("works"), [a.clone(), b.clone()]);
    f.open().prune(&Policy { max_age: Some(Duration::ZERO), ..f.policy() }).expect("works");
    f.open().forget_lock(&a).expect("works");
    f.open().forget_lock(&a).expect("it is gone");
    assert_eq!(f.open().locks().expect("works"), [b]);
}

#[test]
fn a_lease_protects_what_was_used_since() {
    let f = Fixture::new(&[("a", 40), ("b", 40)]);
    let builder = f.open();
    assert!(builder.result(&action("a")).expect("works").is_some(), "a hit is a use");
    let all = Policy { max_size: Some(0), max_age: Some(DAY), ..f.policy() };
    let pruned = f.open().prune(&all).expect("works");
    assert_eq!(pruned.results.count, 1);
    let result = builder.result(&action("a")).expect("works").expect("still there");
    assert!(builder.result_is_complete(&result).expect("works"));
    drop(builder);
    // Made up as of now, and used by nobody that lives.
    f.age(SystemTime::UNIX_EPOCH, f.now - 2 * DAY);
    assert_eq!(f.open().prune(&all).expect("works").results.count, 1);
}

#[test]
fn verify_finds_what_is_damaged() {
    let f = Fixture::new(&[("a", 1), ("b", 1), ("c", 1)]);
    let store = f.open();
    let bad = Digest::of("a".repeat(40_000).as_bytes());
    let object = store.object_path(&bad);
    fs::remove_file(&object).expect("ours");
    fs::write(&object, "b".repeat(40_000)).expect("ours");
    let record = store.record_path("actions-v1", action("b").digest());
    let bytes = fs::read(&record).expect("there");
    fs::write(&record, &bytes[1..]).expect("ours");
    fs::write(f.root.join("objects-v1/notes.txt"), "").expect("ours");
    let quick = store.verify(false).expect("works");
    assert_eq!((quick.corrupt, quick.bad_results), (vec![], vec![action("b")]));
    let full = store.verify(true).expect("works");
    assert!(!full.is_good());
    assert_eq!((full.corrupt, full.incomplete), (vec![bad], vec![action("a")]));
    assert_eq!(full.foreign, [f.root.join("objects-v1/notes.txt")]);
    assert_eq!((full.blobs, full.results), (7, 2));
    build(&store, "a");
    assert!(store.verify(true).expect("works").is_good());
}

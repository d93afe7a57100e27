//! Local trees: what is in them, what is not, and that the memory never lies.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::{
        fs::{PermissionsExt, symlink},
        net::UnixListener,
    },
};

use super::*;
use crate::TreePath;

/// A project and a store beside it.
struct Fixture {
    dir: tempfile::TempDir,
    store: Store,
}

impl Fixture {
    fn new(files: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let store = Store::open(dir.path().join("store")).expect("a new store");
        let fixture = Self { dir, store };
        fs::create_dir(fixture.project()).expect("ours");
        for (path, text) in files {
            fixture.write(path, text);
        }
        fixture
    }

    fn project(&self) -> PathBuf {
        self.dir.path().join("project")
    }

    fn path(&self, path: &str) -> PathBuf {
        self.project().join(path)
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().expect("not the root")).expect("ours");
        fs::write(path, text).expect("ours");
    }

    fn options(&self) -> LocalOptions {
        LocalOptions { project: self.project(), gitignore: true, ..LocalOptions::default() }
    }

    fn take(&self, path: &str, options: &LocalOptions) -> Result<Local, LocalError> {
        ingest(&self.store, &self.path(path), options)
    }

    /// The files that are taken.
    fn files(&self, path: &str, options: &LocalOptions) -> Vec<String> {
        let local = self.take(path, options).expect("a good tree");
        let files = local.tree.iter().filter(|(_, e)| !e.is_directory());
        files.map(|(p, _)| p.to_string()).collect()
    }
}

/// Lets files become as old as the memory wants them: their changes would show.
fn settle() {
    std::thread::sleep(std::time::Duration::from_millis(60));
}

fn patterns(patterns: &[&str]) -> Patterns {
    Patterns::new(patterns).expect("good patterns")
}

#[test]
fn content_executable_bit_and_link_target() {
    let f = Fixture::new(&[("a/run.sh", "#!"), ("a/b/data", "x"), ("empty/.git/x", "")]);
    fs::set_permissions(f.path("a/run.sh"), PermissionsExt::from_mode(0o4711)).expect("ours");
    fs::set_permissions(f.path("a/b/data"), PermissionsExt::from_mode(0o600)).expect("ours");
    fs::set_permissions(f.path("a/b"), PermissionsExt::from_mode(0o700)).expect("ours");
    symlink("/nowhere", f.path("a/link")).expect("ours");
    symlink(".", f.path("a/loop")).expect("ours");
    let local = f.take("", &f.options()).expect("a good tree");
    let mut expected = Tree::default();
    let mut run = Entry::file(Digest::of(b"#!"), 2);
    run.attrs = Attrs::mode(0o755);
    for (path, entry) in [
        ("a/run.sh", run),
        ("a/b/data", Entry::file(Digest::of(b"x"), 1)),
        ("a/link", Entry::symlink("/nowhere")),
        ("a/loop", Entry::symlink(".")),
    ] {
        expected.insert_deep(TreePath::new(path).expect("good"), entry).expect("fits");
    }
    assert_eq!(*local.tree, expected);
    assert_eq!(local.digest, expected.digest());
    assert!(f.store.tree_is_complete(&local.digest).expect("there"));
}

#[test]
fn a_file_or_a_link_is_a_tree_of_its_own() {
    let f = Fixture::new(&[("spec.ncl", "{}"), (".gitignore", "*.ncl")]);
    symlink("spec.ncl", f.path("link")).expect("ours");
    let file = f.take("spec.ncl", &f.options()).expect("named, so taken");
    assert_eq!(*file.tree, Tree::new(Entry::file(Digest::of(b"{}"), 2)));
    let link = f.take("link", &f.options()).expect("not followed");
    assert_eq!(*link.tree, Tree::new(Entry::symlink("spec.ncl")));
    assert!(matches!(f.take("nothing", &f.options()), Err(LocalError::NotThere { .. })));
    assert!(matches!(f.take("spec.ncl/x", &f.options()), Err(LocalError::NotThere { .. })));
}

#[test]
fn what_is_never_in_it() {
    let f = Fixture::new(&[
        (".git/HEAD", ""),
        ("sub/.git", "gitdir: elsewhere"),
        ("reimage.lock", ""),
        ("reimage.lock.d/sha256/x", ""),
        ("sub/reimage.lock.d/.gitattributes", ""),
        ("spec.ncl", ""),
        ("lib/a.ncl", ""),
        ("lib/a.rs", ""),
        ("nothing/b.ncl", ""),
    ]);
    assert_eq!(f.files("", &f.options()), ["/lib/a.rs"]);
    let local = f.take("", &f.options()).expect("a good tree");
    assert_eq!(local.tree.len(), 3, "no directory without anything in it");
    let include = |p: &[&str]| LocalOptions { include: Some(patterns(p)), ..f.options() };
    assert_eq!(f.files("", &include(&["lib"])), ["/lib/a.rs"]);
    assert_eq!(f.files("", &include(&["lib", "lib/*.ncl"])), ["/lib/a.ncl", "/lib/a.rs"]);
    let empty = f.take("", &include(&["x"])).expect("an empty tree");
    assert_eq!(*empty.tree, Tree::default());
}

#[test]
fn include_and_exclude() {
    let f = Fixture::new(&[("src/a.rs", ""), ("src/gen/b.rs", ""), ("doc/c.md", ""), ("d", "")]);
    let options = |include: &[&str], exclude: &[&str]| LocalOptions {
        include: Some(patterns(include)),
        exclude: patterns(exclude),
        ..f.options()
    };
    assert_eq!(f.files("", &options(&["src"], &["**/gen"])), ["/src/a.rs"]);
    assert_eq!(f.files("", &options(&["**/*.rs"], &[])), ["/src/a.rs", "/src/gen/b.rs"]);
    assert_eq!(f.files("", &options(&["**"], &["src", "d"])), ["/doc/c.md"]);
    assert!(f.files("", &options(&[], &[])).is_empty(), "no pattern matches nothing");
    assert_eq!(f.files("src", &options(&["gen"], &[])), ["/gen/b.rs"]);
}

#[test]
fn gitignore_files_of_the_project_and_no_others() {
    let f = Fixture::new(&[
        (".gitignore", "*.o\n/build/\n!keep.o\nnode_modules\n\\#x\nsub/only\n# comment\n[bad\n"),
        ("a.o", ""),
        ("keep.o", ""),
        ("build/x", ""),
        ("sub/build/x", ""),
        ("sub/.gitignore", "!b.o\nlocal\r\n"),
        ("sub/b.o", ""),
        ("sub/c.o", ""),
        ("sub/local", ""),
        ("sub/only", ""),
        ("node_modules/m/index.js", ""),
        ("#x", ""),
        (".git/info/exclude", "sub"),
    ]);
    // A file above the project, and the user's own, have no say.
    fs::write(f.dir.path().join(".gitignore"), "*\n").expect("ours");
    let all = ["/.gitignore", "/keep.o", "/sub/.gitignore", "/sub/b.o", "/sub/build/x"];
    assert_eq!(f.files("", &f.options()), all);
    assert_eq!(f.files("sub", &f.options()), ["/.gitignore", "/b.o", "/build/x"]);
    assert_eq!(f.files("build", &f.options()), ["/x"], "what is named is taken");
    let off = LocalOptions { gitignore: false, ..f.options() };
    assert_eq!(f.files("", &off).len(), 12);
}

#[test]
fn what_no_tree_can_hold_is_an_error() {
    let f = Fixture::new(&[("a/x", "")]);
    let _socket = UnixListener::bind(f.path("a/socket")).expect("ours");
    let error = f.take("", &f.options()).expect_err("a socket").to_string();
    assert!(error.contains("a/socket` is a socket"), "{error}");
    let options = LocalOptions { exclude: patterns(&["a/socket"]), ..f.options() };
    assert_eq!(f.files("", &options), ["/a/x"]);
    let fifo = f.path("fifo");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from(0o600),
        0,
    )
    .expect("ours");
    assert!(f.take("fifo", &f.options()).expect_err("a pipe").to_string().contains("named pipe"));
    fs::remove_file(fifo).expect("ours");

    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n";
    f.write("big.bin", pointer);
    let options = LocalOptions { exclude: patterns(&["a"]), ..f.options() };
    for _ in 0..2 {
        let error = f.take("", &options).expect_err("a pointer").to_string();
        assert!(error.contains("big.bin") && error.contains("git lfs pull"), "{error}");
    }
}

#[test]
fn what_cannot_be_read_is_an_error() {
    let f = Fixture::new(&[("a/x", "")]);
    fs::set_permissions(f.path("a"), PermissionsExt::from_mode(0o000)).expect("ours");
    let taken = f.take("", &f.options());
    fs::set_permissions(f.path("a"), PermissionsExt::from_mode(0o700)).expect("ours");
    if !rustix::process::geteuid().is_root() {
        let error = taken.expect_err("no permission").to_string();
        assert!(error.contains("Cannot read") && error.contains("/a"), "{error}");
    }
}

#[test]
fn a_second_look_reads_nothing_and_sees_every_change() {
    let f = Fixture::new(&[("a", "one"), ("b", "two"), ("sub/c", "three")]);
    settle();
    assert_eq!(f.take("", &f.options()).expect("good").read, 3);
    let before = f.take("", &f.options()).expect("good");
    assert_eq!(before.read, 0);

    f.write("a", "eno");
    settle();
    let changed = f.take("", &f.options()).expect("good");
    assert_eq!(changed.read, 1);
    assert_ne!(changed.digest, before.digest);

    // The same size and the same mtime: the time of change tells.
    let times = fs::metadata(f.path("b")).and_then(|m| m.modified()).expect("there");
    f.write("b", "owt");
    let file = fs::File::options().write(true).open(f.path("b")).expect("ours");
    file.set_modified(times).expect("ours");
    let again = f.take("", &f.options()).expect("good");
    assert!(again.tree.iter().any(|(_, e)| e.node == Entry::file(Digest::of(b"owt"), 3).node));

    fs::set_permissions(f.path("sub/c"), PermissionsExt::from_mode(0o755)).expect("ours");
    let executable = f.take("", &f.options()).expect("good");
    assert_ne!(executable.digest, again.digest);
    fs::rename(f.path("sub/c"), f.path("sub/d")).expect("ours");
    fs::remove_file(f.path("a")).expect("ours");
    assert_eq!(f.files("", &f.options()), ["/b", "/sub/d"]);
}

#[test]
fn a_file_as_young_as_the_memory_is_read_again() {
    let f = Fixture::new(&[("a", "one")]);
    // Written in the very tick of the first look, and again within it: no time tells.
    let first = f.take("", &f.options()).expect("good");
    f.write("a", "two");
    let second = f.take("", &f.options()).expect("good");
    assert_ne!(first.digest, second.digest);
    assert_eq!(second.read, 1);
}

#[test]
fn a_memory_that_is_damaged_or_outlives_its_blobs_costs_a_second_look() {
    let f = Fixture::new(&[("a", "one"), ("b", "two")]);
    settle();
    let first = f.take("", &f.options()).expect("good");
    let memory = crate::read_dir_sorted(f.store.root().join("stat-v1")).expect("there");
    let memory = crate::read_dir_sorted(memory[0].path()).expect("there").remove(0).path();
    let bytes = fs::read(&memory).expect("there");
    for at in [0, bytes.len() / 2, bytes.len() - 1] {
        let mut bad = bytes.clone();
        bad[at] ^= 1;
        fs::write(&memory, bad).expect("ours");
        let again = f.take("", &f.options()).expect("good");
        assert_eq!((again.digest, again.read), (first.digest, 2));
    }
    // A blob that was found to be gone, and a bucket that somebody emptied.
    let one = Digest::of(b"one");
    fs::remove_file(f.store.object_path(&one)).expect("there");
    assert!(f.store.read(&one).is_err());
    assert_eq!(f.take("", &f.options()).expect("good").read, 1);
    assert_eq!(f.take("", &f.options()).expect("good").read, 0);
    let root = f.store.root().to_owned();
    fs::remove_dir_all(root.join("objects-v1")).expect("ours");
    let store = Store::open(root).expect("works");
    assert_eq!(ingest(&store, &f.project(), &f.options()).expect("good").read, 2);
    assert_eq!(store.read(&one).expect("there"), b"one");
}

#[test]
fn other_patterns_over_the_same_directory_have_a_memory_of_their_own() {
    let f = Fixture::new(&[("a", "one"), ("b", "two")]);
    settle();
    let other = LocalOptions { exclude: patterns(&["b"]), ..f.options() };
    for read in [(2, 1), (0, 0)] {
        assert_eq!(f.take("", &f.options()).expect("good").read, read.0);
        assert_eq!(f.take("", &other).expect("good").read, read.1);
    }
}

#[test]
fn what_never_holds_still_is_an_error_and_what_comes_to_rest_is_taken() {
    let f = Fixture::new(&[("log", ""), ("other", "x")]);
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut number = 0_u64;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                number += 1;
                f.write("log", &number.to_string().repeat(100_000));
            }
        });
        let taken = f.take("", &f.options());
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        // Whatever the timing: an error that names it, or exactly what was there at one moment.
        match taken {
            Err(LocalError::Changing { path }) => assert!(path.starts_with(f.project())),
            Err(other) => panic!("{other}"),
            Ok(local) => assert!(f.store.tree_is_complete(&local.digest).expect("there")),
        }
    });
    assert_eq!(f.files("", &f.options()), ["/log", "/other"]);
}

#[test]
fn order_names_and_depth_do_not_matter() {
    let names = ["z", "a-b", "a", "a.b", "ä", "A", " "];
    let mut files = BTreeMap::new();
    for name in names {
        files.insert(format!("{name}/{name}/file"), name);
        files.insert(format!("{name}-file"), name);
    }
    let forward: Vec<_> = files.iter().map(|(p, t)| (p.as_str(), *t)).collect();
    let backward: Vec<_> = forward.iter().rev().copied().collect();
    let digest = |files: &[(&str, &str)]| {
        let f = Fixture::new(files);
        f.take("", &f.options()).expect("good").digest
    };
    assert_eq!(digest(&forward), digest(&backward));
}

//! Roots: what is laid out is what the diff says, and what overlayfs shows of a stack is the tree.

use std::{
    io::Read,
    os::unix::fs::{FileTypeExt, MetadataExt},
    process::{Command, Stdio},
    sync::Arc,
};

use proptest::prelude::*;

use super::*;
use crate::{DEVICE_XATTR, OWNER_XATTR, Tree, tree::tests::any_tree};

const F: i64 = 1_793_491_200;

fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let store = Store::open(dir.path().join("store")).expect("a new store");
    (dir, store)
}

fn path(text: &str) -> TreePath {
    TreePath::new(text).expect("a good path")
}

fn file(store: &Store, content: &[u8]) -> Entry {
    Entry::file(store.put(content).expect("put"), content.len() as u64)
}

fn node(node: Node, attrs: Attrs) -> Change {
    Change::Put(Entry { node, attrs })
}

fn how(below: &View) -> Materialize<'_> {
    Materialize { below, owners: Owners::Recorded, time: F, nanos: 0 }
}

fn xattr(path: &Path, name: &str) -> Option<String> {
    let mut value = [0_u8; 64];
    let len = rustix::fs::lgetxattr(path, name, &mut value).ok()?;
    Some(String::from_utf8_lossy(&value[..len]).into_owned())
}

/// A diff with one of everything, over a `/tmp` that anybody may write.
fn everything(store: &Store) -> (View, Diff) {
    let mut lower = Diff::new();
    lower.insert(path("tmp"), node(Node::Directory, Attrs::mode(0o1777)));
    lower.insert(path("gone"), Change::Put(file(store, b"old")));
    let mut diff = Diff::new();
    diff.insert(path("gone"), Change::Remove);
    diff.insert(path("tmp/x"), Change::Put(file(store, b"x")));
    let mut sudo = file(store, &vec![b's'; 3_000_000]);
    sudo.attrs = Attrs::mode(0o4755).owned(0, 33);
    sudo.attrs.set_xattr(b"user.note", b"hi").expect("allowed");
    diff.insert(path("bin"), node(Node::Directory, Attrs::mode(0o555).owned(1, 2)));
    diff.insert(path("bin/sudo"), Change::Put(sudo.clone()));
    diff.insert(path("bin/sudo2"), Change::Put(sudo));
    diff.link(vec![path("bin/sudo"), path("bin/sudo2")]).expect("equal");
    let mut secret = file(store, b"secret");
    secret.attrs = Attrs { mtime: Some(12), ..Attrs::mode(0o000) };
    diff.insert(path("secret"), Change::Put(secret));
    diff.insert(
        path("link"),
        node(Node::Symlink { target: (*b"bin/sudo").into() }, Attrs::symlink().owned(5, 6)),
    );
    diff.insert(path("pipe"), node(Node::Fifo, Attrs::mode(0o622)));
    let null = Node::CharDevice { major: 1, minor: 3 };
    diff.insert(path("null"), node(null, Attrs::mode(0o666).owned(0, 7)));
    diff.insert(path("shut"), node(Node::Directory, Attrs::mode(0)));
    diff.insert(path("shut/in"), Change::Put(file(store, b"in")));
    (View::new(vec![Arc::new(lower)]), diff)
}

#[test]
fn recorded() {
    let (_dir, store) = store();
    let (below, diff) = everything(&store);
    let digest = store.put_diff(diff).expect("put");
    let made = store.materialize(&digest, &how(&below)).expect("laid out");
    assert_eq!(made.owners, [(path("link"), 5, 6)]);
    let at = |name: &str| path(name).on(&made.path);
    let stat = |name: &str| at(name).symlink_metadata().expect(name);
    assert_eq!(stat("tmp").mode() & 0o7777, 0o1777, "as below");
    assert_eq!(stat("bin").mode() & 0o7777, 0o555);
    assert_eq!(xattr(&at("bin"), OWNER_XATTR).as_deref(), Some("1:2"));
    assert_eq!(stat("bin/sudo").mode() & 0o7777, 0o4755);
    assert_eq!(stat("bin/sudo").len(), 3_000_000);
    assert_eq!(stat("bin/sudo").ino(), stat("bin/sudo2").ino());
    assert_eq!(xattr(&at("bin/sudo"), OWNER_XATTR).as_deref(), Some("0:33"));
    assert_eq!(xattr(&at("bin/sudo"), "user.note").as_deref(), Some("hi"));
    assert_eq!(xattr(&at("tmp/x"), OWNER_XATTR), None);
    assert_eq!((stat("secret").mode() & 0o7777, stat("secret").mtime()), (0, 12));
    assert_eq!(fs::read_link(at("link")).expect("a link"), Path::new("bin/sudo"));
    assert!(stat("pipe").file_type().is_fifo());
    assert_eq!(stat("pipe").mode() & 0o7777, 0o622);
    assert!(stat("null").is_file() && stat("null").len() == 0);
    assert_eq!(xattr(&at("null"), DEVICE_XATTR).as_deref(), Some("c 1 3"));
    assert_eq!(xattr(&at("null"), OWNER_XATTR).as_deref(), Some("0:7"));
    assert!(stat("gone").file_type().is_char_device() && stat("gone").rdev() == 0);
    for name in ["", "tmp", "tmp/x", "bin", "bin/sudo", "link", "pipe", "null", "shut"] {
        assert_eq!((stat(name).mtime(), stat(name).mtime_nsec()), (F, 0), "{name}");
    }
}

#[test]
fn physical() {
    if !rustix::process::geteuid().is_root() {
        return; // Only root can; the recorded way is tested for everybody.
    }
    let (_dir, store) = store();
    let (below, diff) = everything(&store);
    let digest = store.put_diff(diff).expect("put");
    let how = Materialize { owners: Owners::Physical, nanos: 1, ..how(&below) };
    let made = store.materialize(&digest, &how).expect("laid out");
    assert_eq!(made.owners, []);
    let stat = |name: &str| path(name).on(&made.path).symlink_metadata().expect(name);
    let owner = |name: &str| (stat(name).uid(), stat(name).gid());
    assert_eq!((owner("bin"), owner("link"), owner("tmp")), ((1, 2), (5, 6), (0, 0)));
    assert_eq!((owner("bin/sudo"), stat("bin/sudo").mode() & 0o7777), ((0, 33), 0o4755));
    assert_eq!(xattr(&path("bin/sudo").on(&made.path), OWNER_XATTR), None);
    assert_eq!(stat("tmp/x").mtime_nsec(), 1);
    let null = stat("null");
    let recorded = xattr(&path("null").on(&made.path), DEVICE_XATTR);
    assert!(null.file_type().is_char_device() || recorded.as_deref() == Some("c 1 3"));
    assert_eq!(owner("null"), (0, 7));
}

#[test]
fn made_once_and_for_each_way_of_its_own() {
    let (_dir, store) = store();
    let (below, diff) = everything(&store);
    let digest = store.put_diff(diff).expect("put");
    let inode = |how: &Materialize<'_>| {
        let made = store.materialize(&digest, how).expect("laid out");
        made.path.metadata().expect("there").ino()
    };
    let first = inode(&how(&below));
    assert_eq!(inode(&how(&below)), first);
    assert_ne!(inode(&Materialize { nanos: 1, ..how(&below) }), first);
    assert_ne!(inode(&Materialize { time: 0, ..how(&below) }), first);
    let mut lower = Diff::new();
    lower.insert(path("tmp"), Change::Put(Entry::directory()));
    assert_ne!(inode(&how(&View::new(vec![Arc::new(lower)]))), first, "/tmp has other attributes");
    assert_eq!(read_dir_sorted(store.root().join(BUCKET)).expect("there").len(), 4);
    assert!(read_dir_sorted(store.tmp_dir()).expect("there").is_empty());
}

#[test]
fn a_bad_blob_is_found_and_nothing_is_left() {
    let (_dir, store) = store();
    for size in [10, 2_000_000] {
        let content = vec![b'a'; size];
        let mut diff = Diff::new();
        diff.insert(path("f"), Change::Put(file(&store, &content)));
        let digest = store.put_diff(diff).expect("put");
        let blob = Digest::of(&content);
        let object = store.object_path(&blob);
        fs::remove_file(&object).expect("ours");
        fs::write(&object, vec![b'b'; size]).expect("ours");
        let below = View::default();
        let error = store.materialize(&digest, &how(&below)).expect_err("corrupted");
        assert_eq!(error.is_miss(), Some(blob));
        let error = store.materialize(&digest, &how(&below)).expect_err("missing");
        assert_eq!(error.is_miss(), Some(blob));
        assert!(read_dir_sorted(store.root().join(BUCKET)).expect("there").is_empty());
        assert!(read_dir_sorted(store.tmp_dir()).expect("there").is_empty());
        store.put(&content).expect("put");
        let made = store.materialize(&digest, &how(&below)).expect("healed");
        assert_eq!(fs::read(made.path.join("f")).expect("there"), content);
        remove_all(made.path.parent().expect("its home")).expect("ours");
    }
}

#[test]
fn what_was_changed_is_found_and_laid_out_again() {
    let (dir, store) = store();
    let mut diff = Diff::new();
    diff.insert(path("d/a"), Change::Put(file(&store, b"content")));
    diff.insert(path("d"), Change::Put(Entry::directory()));
    diff.insert(path("b"), Change::Put(file(&store, b"other")));
    diff.insert(path("l"), Change::Put(Entry::symlink("b")));
    let digest = store.put_diff(diff).expect("put");
    let below = View::default();
    // What a process has looked at once it does not look at again.
    let look = || {
        let store = Store::open(dir.path().join("store")).expect("it is one");
        let made = store.materialize(&digest, &how(&below)).expect("laid out").path;
        (made, store.damage().len())
    };
    let (root, _) = look();
    let inode = || root.join("d/a").metadata().expect("there").ino();
    let before = inode();
    assert_eq!((look().1, inode()), (0, before), "nothing has changed");
    let a = root.join("d/a");
    let damages: [(&str, &dyn Fn()); 7] = [
        ("shortened, as by a power cut", &|| fs::write(&a, "").expect("ours")),
        ("other bytes of the same size", &|| fs::write(&a, "CONTENT").expect("ours")),
        ("removed", &|| fs::remove_file(&a).expect("ours")),
        ("another mode", &|| {
            fs::set_permissions(&a, std::os::unix::fs::PermissionsExt::from_mode(0o600))
                .expect("ours");
        }),
        ("one more", &|| fs::write(root.join("d/more"), "").expect("ours")),
        ("another link", &|| {
            fs::remove_file(root.join("l")).expect("ours");
            std::os::unix::fs::symlink("a", root.join("l")).expect("ours");
        }),
        ("a seal of something else", &|| {
            let seal = Seal { diff: digest, stats: Digest::EMPTY };
            fs::write(root.with_file_name(SEAL), seal.encode()).expect("ours");
        }),
    ];
    for (what, damage) in damages {
        damage();
        assert_eq!(look(), (root.clone(), 1), "{what}");
        assert_eq!(fs::read(&a).expect("there"), b"content", "{what}");
        assert!(!root.join("d/more").exists(), "{what}");
        assert_eq!(look().1, 0, "{what}");
        damage();
        let store = Store::open(dir.path().join("store")).expect("it is one");
        let found = store.verify(true).expect("works");
        assert_eq!((found.roots, found.bad_roots.len(), found.is_good()), (0, 1, false), "{what}");
        let _ = look();
        let found = store.verify(true).expect("works");
        assert_eq!((found.roots, found.bad_roots.len(), found.is_good()), (1, 0, true), "{what}");
    }
}

#[test]
fn bits_that_turned_by_themselves_are_found_by_reading() {
    let (_dir, store) = store();
    let mut diff = Diff::new();
    diff.insert(path("a"), Change::Put(file(&store, b"content")));
    let digest = store.put_diff(diff.clone()).expect("put");
    let below = View::default();
    let root = store.materialize(&digest, &how(&below)).expect("laid out").path;
    fs::write(root.join("a"), "CONTENT").expect("ours");
    // No time tells: the seal is made to fit.
    let stats = seal(&root, &diff).expect("all is there");
    let sealed = Seal { diff: digest, stats };
    fs::write(root.with_file_name(SEAL), sealed.encode()).expect("ours");
    let found = store.verify(true).expect("works");
    assert_eq!(found.bad_roots, [root.parent().expect("its home")]);
    assert!(!root.exists());
}

#[test]
fn a_diff_of_something_else_does_not_fit() {
    let (_dir, store) = store();
    let mut lower = Diff::new();
    lower.insert(path("bin"), Change::Put(Entry::symlink("usr/bin")));
    let below = View::new(vec![Arc::new(lower)]);
    for at in ["bin/x", "opt/x"] {
        let mut diff = Diff::new();
        diff.insert(path(at), Change::Put(file(&store, b"x")));
        let digest = store.put_diff(diff).expect("put");
        let error = store.materialize(&digest, &how(&below)).expect_err(at);
        assert!(matches!(error, StoreError::Misfit { .. }), "{error}");
    }
    let mut diff = Diff::new();
    diff.insert(TreePath::root(), Change::Put(file(&store, b"x")));
    let digest = store.put_diff(diff).expect("put");
    let error = store.materialize(&digest, &how(&View::default())).expect_err("a file");
    assert!(matches!(error, StoreError::Misfit { .. }), "{error}");
}

/// How to get a mount namespace here, if at all.
fn unshare() -> Option<&'static str> {
    let works = |how: &&str| {
        Command::new("unshare").args([how, "true"]).output().is_ok_and(|o| o.status.success())
    };
    ["-rm", "-m"].into_iter().find(works)
}

/// Mounts layers, lowest first, in a namespace of its own, and reads what is there.
fn mounted(unshare: &str, work: &Path, layers: &[PathBuf]) -> Tree {
    fs::create_dir_all(work.join("m")).expect("ours");
    fs::create_dir_all(work.join("empty")).expect("ours");
    let mut lower = vec!["empty".to_owned()];
    for (number, layer) in layers.iter().enumerate() {
        if layers[number + 1..].contains(layer) {
            continue; // overlayfs takes no directory twice; the highest says it all.
        }
        std::os::unix::fs::symlink(layer, work.join(number.to_string())).expect("ours");
        lower.insert(0, number.to_string());
    }
    let lower = lower.join(":");
    let script = format!("mount -t overlay o -o userxattr,lowerdir={lower} m && echo ok && read x");
    let mut child = Command::new("unshare")
        .args([unshare, "sh", "-c", &script])
        .current_dir(work)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it ran before");
    let mut ok = [0; 3];
    child.stdout.take().expect("piped").read_exact(&mut ok).expect("mounted");
    let root = PathBuf::from(format!("/proc/{}/root", child.id()))
        .join(work.strip_prefix("/").expect("absolute"))
        .join("m");
    let mut tree = Tree::default();
    let mut inodes: BTreeMap<u64, Vec<TreePath>> = BTreeMap::new();
    read(&root, &TreePath::root(), &mut tree, &mut inodes);
    for group in inodes.into_values().filter(|group| group.len() > 1) {
        tree.link(group).expect("equal");
    }
    drop(child.stdin.take());
    child.wait().expect("it ends");
    tree
}

fn read(root: &Path, at: &TreePath, tree: &mut Tree, inodes: &mut BTreeMap<u64, Vec<TreePath>>) {
    let here = at.on(root);
    let stat = here.symlink_metadata().expect("there");
    assert_eq!((stat.mtime(), stat.mtime_nsec()), (F, 0));
    let mut attrs = Attrs::mode(stat.mode());
    if let Some(owner) = xattr(&here, OWNER_XATTR) {
        let (uid, gid) = owner.split_once(':').expect("two numbers");
        attrs = attrs.owned(uid.parse().expect("a number"), gid.parse().expect("a number"));
    }
    let node = if stat.is_dir() {
        Node::Directory
    } else if stat.is_symlink() {
        let target = fs::read_link(&here).expect("a link");
        Node::Symlink { target: target.as_os_str().as_encoded_bytes().into() }
    } else if xattr(&here, DEVICE_XATTR).is_some() {
        Node::CharDevice { major: 1, minor: 3 }
    } else {
        let content = fs::read(&here).expect("a file");
        Node::File { digest: Digest::of(&content), size: content.len() as u64 }
    };
    if !stat.is_dir() {
        inodes.entry(stat.ino()).or_default().push(at.clone());
    }
    tree.insert(at.clone(), Entry { node, attrs }).expect("its directory was read");
    if stat.is_dir() {
        for entry in read_dir_sorted(&here).expect("a directory") {
            let name = crate::PathComponent::new(entry.file_name().as_encoded_bytes());
            let below = at.child(&name.expect("a name")).expect("short");
            read(root, &below, tree, inodes);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn overlayfs_shows_the_tree(
        trees in proptest::collection::vec(any_tree(), 1..4),
        order in proptest::collection::vec(any::<prop::sample::Index>(), 1..7),
    ) {
        let Some(unshare) = unshare() else { return Ok(()) };
        let (dir, store) = store();
        for content in 0..3_u8 {
            store.put(&[content]).expect("put");
        }
        let mut below = View::default();
        let mut layers = Vec::new();
        let mut lower = Tree::default();
        for tree in order.iter().map(|index| index.get(&trees)) {
            let diff = Arc::new(Diff::between(&lower, tree));
            let digest = store.put_diff(diff.clone()).expect("put");
            layers.push(store.materialize(&digest, &how(&below)).expect("laid out").path);
            below.push(diff);
            lower = tree.clone();
        }
        let work = dir.path().join("work");
        // What is mounted has a root of its own; where no tree says more of it, it is the default one.
        if lower.root().node == Node::Implied {
            lower.insert(TreePath::root(), Entry::directory()).expect("a directory for another");
        }
        let seen = mounted(unshare, &work, &layers);
        prop_assert_eq!(Diff::between(&lower, &seen), Diff::new());
        prop_assert_eq!(Diff::between(&seen, &lower), Diff::new());
    }
}

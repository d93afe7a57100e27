//! Independent readers: skopeo, umoci and GNU tar see in our images what we put there, and we in theirs.
//!
//! They must be installed; CI does so.

use std::{
    collections::BTreeMap,
    io,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
    process::Command,
};

use fs_err as fs;
use reimage_castore::{Attrs, Change, Diff, Digest, Entry, Node, Tree, TreePath, View};
use reimage_oci::{
    Archive, Config, Image, ImageLayer, LayerContent, Layout, Limits, Platform, Profile,
    StoredImage, assemble, export_archive, export_oci_dir, export_rootfs_tar, import_archive,
    import_layout, rootfs, unpack, write_tar,
};

const F: i64 = 1_793_491_200;

/// Runs a tool that must be there and succeed; gives its output.
fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .env("LC_ALL", "C.UTF-8")
        .output()
        .unwrap_or_else(|e| panic!("`{program}` must be installed for this test: {e}"));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {error}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn text(path: &Path) -> &str {
    path.to_str().expect("temporary directories have UTF-8 names")
}

fn path(text: impl AsRef<[u8]>) -> TreePath {
    TreePath::new(text).expect("a good path")
}

#[derive(Default)]
struct Contents(BTreeMap<Digest, Vec<u8>>);

impl Contents {
    fn file(&mut self, content: &[u8]) -> Entry {
        let digest = Digest::of(content);
        self.0.insert(digest, content.to_vec());
        Entry::file(digest, content.len() as u64)
    }

    fn open(&self, digest: &Digest) -> io::Result<&[u8]> {
        self.0.get(digest).map(Vec::as_slice).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|m| m.uid() == 0)
}

/// Two layers with everything that a reader may stumble over; owners and devices only where root tests.
fn layers(contents: &mut Contents) -> [Diff; 2] {
    let mut lower = Diff::new();
    let mut put = |at: &str, entry: Entry| lower.insert(path(at), Change::Put(entry));
    for at in ["etc", "usr", "usr/bin", "gone", "gone/deep"] {
        put(at, Entry::directory());
    }
    put("tmp", Entry { node: Node::Directory, attrs: Attrs::mode(0o1777) });
    put("bin", Entry::symlink("usr/bin"));
    put("gone/deep/file", contents.file(b"gone"));
    let mut shell = contents.file(b"#!/bin/sh\n");
    shell.attrs.mode = 0o755;
    put("usr/bin/a", shell.clone());
    put("usr/bin/b", shell);
    put("etc/empty", contents.file(b""));
    put("etc/big", contents.file(&b"0123456789abcdef".repeat(200_000)));
    let long = ["long".repeat(30), "name".repeat(40)];
    put(&long[0], Entry::directory());
    put(&long.join("/"), contents.file(b"long"));
    put("etc/target", Entry::symlink("t".repeat(300)));
    let mut old = contents.file(b"old");
    old.attrs.mtime = Some(1_000_000_000);
    put("etc/\u{fc}ml\u{e4}ut", old);
    if is_root() {
        let mut shadow = contents.file(b"root:*:\n");
        shadow.attrs = Attrs::mode(0o640).owned(0, 42);
        put("etc/shadow", shadow);
        let mut large = contents.file(b"large");
        large.attrs = Attrs::mode(0o4755).owned(3_000_000, 2_500_000);
        put("etc/large-id", large);
        put(
            "null",
            Entry { node: Node::CharDevice { major: 1, minor: 3 }, attrs: Attrs::mode(0o666) },
        );
    }
    lower.link(vec![path("usr/bin/a"), path("usr/bin/b")]).expect("equal files");
    let mut upper = Diff::new();
    upper.insert(path("gone"), Change::Remove);
    upper.insert(path("etc/empty"), Change::Remove);
    upper.insert(path("tmp/new"), Change::Put(contents.file(b"new")));
    upper.insert(path("etc/big"), Change::Put(Entry::symlink("empty")));
    upper.insert(path("usr/bin/c"), Change::Put(contents.file(b"c")));
    [lower, upper]
}

struct Stored {
    dir: tempfile::TempDir,
    layout: Layout,
    image: StoredImage,
    tree: Tree,
}

fn stored(profile: Profile) -> Stored {
    let dir = tempfile::tempdir().expect("a directory");
    let layout = Layout::open_or_create(dir.path().join("oci")).expect("a layout");
    let mut contents = Contents::default();
    let mut view = View::default();
    let session = layout.session().expect("a session");
    let mut packed = Vec::new();
    for diff in layers(&mut contents) {
        let content = LayerContent::new(&view, &diff).expect("a good layer");
        let layer = session.pack(&content, profile, F, |d| contents.open(d)).expect("it packs");
        packed.push(ImageLayer::Packed { packed: layer, created_by: "a test".into() });
        view.push(diff.into());
    }
    let image = Image {
        config: Config {
            cmd: Some(vec!["/usr/bin/a".into()]),
            env: BTreeMap::from([("A".into(), "1".into())]),
            ..Config::default()
        },
        platform: Platform { architecture: "amd64".into(), os: "linux".into(), variant: None },
        created: F,
        layers: packed,
        annotations: BTreeMap::from([("org.example.note".into(), "x".into())]),
    };
    let image = assemble(&image).expect("a good image");
    session.add(&image, &["web:1.0".parse().expect("a good name")]).expect("it is added");
    drop(session);
    let image = layout.find("web:1.0").expect("found");
    Stored { dir, layout, image, tree: view.tree().expect("the layers fit") }
}

/// What lies on disk, as a tree of what we compare: no owners unless root, directories without times.
#[expect(clippy::disallowed_methods, reason = "a tree is sorted")]
fn read_tree(root: &Path) -> Tree {
    fn walk(root: &Path, dir: &Path, tree: &mut Tree, inodes: &mut BTreeMap<u64, Vec<TreePath>>) {
        for entry in fs::read_dir(dir).expect("readable") {
            let at = entry.expect("readable").path();
            let found = fs::symlink_metadata(&at).expect("readable");
            let below = path(at.strip_prefix(root).expect("it lies below").as_os_str().as_bytes());
            let mut attrs = Attrs::mode(found.mode());
            if is_root() {
                attrs = attrs.owned(found.uid(), found.gid());
            }
            attrs.mtime = (!found.is_dir() && found.mtime() != F).then_some(found.mtime());
            let node = match found.mode() & 0o170_000 {
                0o040_000 => Node::Directory,
                0o100_000 => {
                    let content = fs::read(&at).expect("readable");
                    Node::File { digest: Digest::of(&content), size: found.size() }
                }
                0o120_000 => {
                    let target = fs::read_link(&at).expect("readable");
                    Node::Symlink { target: target.as_os_str().as_bytes().into() }
                }
                0o020_000 => Node::CharDevice {
                    major: rustix::fs::major(found.rdev()),
                    minor: rustix::fs::minor(found.rdev()),
                },
                kind => panic!("{below} is of a kind {kind:o}"),
            };
            tree.insert_deep(below.clone(), Entry { node, attrs }).expect("it fits");
            if found.is_dir() {
                walk(root, &at, tree, inodes);
            } else if found.nlink() > 1 {
                inodes.entry(found.ino()).or_default().push(below);
            }
        }
    }
    let (mut tree, mut inodes) = (Tree::default(), BTreeMap::new());
    walk(root, root, &mut tree, &mut inodes);
    for group in inodes.into_values() {
        tree.link(group).expect("all of an inode's names are in the tree");
    }
    tree
}

fn assert_same(found: &Tree, expected: &Tree) {
    for (at, entry) in expected {
        let Some(there) = found.get(at) else { panic!("{at} is missing") };
        if !at.is_root() {
            assert!(there.same(entry), "{at}: {there:?} is not {entry:?}");
        }
    }
    for (at, _) in found {
        assert!(expected.get(at).is_some(), "{at} is too much");
    }
    assert_eq!(found.links(), expected.links());
}

#[test]
fn skopeo_keeps_the_digest() {
    for profile in [Profile::Gzip1, Profile::Zstd1] {
        let Stored { dir, layout, image, .. } = stored(profile);
        let digest = image.descriptor.digest.to_string();
        let store = format!("oci:{}:web:1.0", text(layout.dir()));
        assert_eq!(run("skopeo", &["inspect", "--format", "{{.Digest}}", &store]).trim(), digest);
        let archive = dir.path().join("web.tar");
        export_archive(
            &layout,
            &image,
            Archive::Oci,
            &mut fs::File::create(&archive).expect("made"),
        )
        .expect("it leaves");
        // There and back again.
        let from = format!("oci-archive:{}:web:1.0", text(&archive));
        assert_eq!(run("skopeo", &["inspect", "--format", "{{.Digest}}", &from]).trim(), digest);
        let copied = dir.path().join("copied");
        let to = format!("oci:{}:web:1.0", text(&copied));
        run("skopeo", &["copy", "--quiet", "--preserve-digests", &from, &to]);
        let other = Layout::open_or_create(dir.path().join("other")).expect("a layout");
        let session = other.session().expect("a session");
        let source = Layout::open(&copied).expect("a layout");
        let imported = import_layout(&session, &source, Limits::default()).expect("it enters");
        assert_eq!(imported[0].descriptor.digest, image.descriptor.digest);
        assert_eq!(imported[0].names[0].familiar(), "web:1.0");
    }
}

#[test]
fn skopeo_reads_and_writes_docker_archives() {
    for profile in [Profile::Gzip1, Profile::Plain] {
        let Stored { dir, layout, image, tree } = stored(profile);
        let archive = dir.path().join("docker.tar");
        export_archive(
            &layout,
            &image,
            Archive::Docker,
            &mut fs::File::create(&archive).expect("made"),
        )
        .expect("it leaves");
        let from = format!("docker-archive:{}", text(&archive));
        let inspected = run("skopeo", &["inspect", "--config", &from]);
        assert!(inspected.contains("\"/usr/bin/a\""), "{inspected}");
        let back = dir.path().join("back.tar");
        let to = format!("docker-archive:{}:example.org/other:2", text(&back));
        run("skopeo", &["copy", "--quiet", &from, &to]);
        let other = Layout::open_or_create(dir.path().join("other")).expect("a layout");
        let session = other.session().expect("a session");
        let back = fs::File::open(&back).expect("written");
        let imported = import_archive(&session, back, Limits::default()).expect("it enters");
        assert_eq!(imported[0].names[0].familiar(), "example.org/other:2");
        let (found, _) =
            rootfs(&other, &other.find("example.org/other:2").expect("found")).expect("whole");
        assert_same(&at_f(&found), &tree);
    }
}

/// Times that are F as none.
fn at_f(tree: &Tree) -> Tree {
    let mut plain = tree.clone();
    for (at, entry) in tree {
        if entry.attrs.mtime == Some(F) {
            plain.set_attrs(at, Attrs { mtime: None, ..entry.attrs.clone() });
        }
    }
    plain
}

#[test]
fn umoci_unpacks_our_tree() {
    let Stored { dir, layout, image, tree } = stored(Profile::Gzip1);
    let out = dir.path().join("out");
    export_oci_dir(&layout, &image, &out).expect("it leaves");
    let bundle = dir.path().join("bundle");
    let from = format!("{}:web:1.0", text(&out));
    let mut arguments = vec!["unpack", "--image", from.as_str()];
    if !is_root() {
        arguments.push("--rootless");
    }
    arguments.push(text(&bundle));
    run("umoci", &arguments);
    assert_same(&read_tree(&bundle.join("rootfs")), &tree);
}

#[test]
fn what_umoci_packs_is_unpacked() {
    let dir = tempfile::tempdir().expect("a directory");
    let out = dir.path().join("out");
    let image = format!("{}:new", text(&out));
    run("umoci", &["init", "--layout", text(&out)]);
    run("umoci", &["new", "--image", &image]);
    let first = dir.path().join("first");
    fs::create_dir_all(first.join("a/b")).expect("made");
    fs::write(first.join("a/b/c"), "c").expect("written");
    fs::write(first.join("a/d"), "d").expect("written");
    fs::hard_link(first.join("a/d"), first.join("a/e")).expect("linked");
    fs::create_dir_all(first.join("n".repeat(200)).join("m".repeat(200))).expect("made");
    let second = dir.path().join("second");
    fs::create_dir_all(second.join("b")).expect("made");
    fs::write(second.join("b/new"), "new").expect("written");
    let rootless: &[&str] = if is_root() { &[] } else { &["--rootless"] };
    let insert = |more: &[&str]| {
        run("umoci", &[&["insert", "--image", &image][..], rootless, more].concat())
    };
    insert(&[text(&first), "/"]);
    insert(&["--opaque", text(&second.join("b")), "/a/b"]);
    insert(&["--whiteout", "/a/e"]);
    let bundle = dir.path().join("bundle");
    let unpack = [&["unpack", "--image", &image][..], rootless, &[text(&bundle)]].concat();
    run("umoci", &unpack);
    let other = Layout::open_or_create(dir.path().join("other")).expect("a layout");
    let session = other.session().expect("a session");
    let source = Layout::open(&out).expect("a layout");
    let imported = import_layout(&session, &source, Limits::default()).expect("it enters");
    let digest = imported[0].descriptor.digest.to_string();
    let (found, _) = rootfs(&other, &other.find(&digest).expect("found")).expect("whole");
    let mut found = at_f(&found);
    for (at, entry) in &found.clone() {
        let attrs = if is_root() { entry.attrs.clone() } else { entry.attrs.clone().owned(0, 0) };
        found.set_attrs(at, attrs);
    }
    assert_same(&found, &read_tree(&bundle.join("rootfs")));
    assert_eq!(found.get(&path("a/b/c")), None);
    assert_eq!(found.get(&path("a/e")), None);
}

#[test]
fn gnu_tar_extracts_our_root() {
    let Stored { dir, layout, image, tree } = stored(Profile::Gzip1);
    let archive = dir.path().join("root.tar");
    let mut file = fs::File::create(&archive).expect("made");
    export_rootfs_tar(&layout, &image, &mut file).expect("it leaves");
    let root = dir.path().join("root");
    fs::create_dir(&root).expect("made");
    run("tar", &["-C", text(&root), "--numeric-owner", "-p", "-xf", text(&archive)]);
    assert_same(&read_tree(&root), &tree);
}

#[test]
fn what_gnu_tar_packs_is_unpacked() {
    let Stored { dir, layout, image, tree } = stored(Profile::Gzip1);
    let archive = dir.path().join("root.tar");
    let mut file = fs::File::create(&archive).expect("made");
    export_rootfs_tar(&layout, &image, &mut file).expect("it leaves");
    let root: PathBuf = dir.path().join("root");
    fs::create_dir(&root).expect("made");
    run("tar", &["-C", text(&root), "--numeric-owner", "-p", "-xf", text(&archive)]);
    for format in ["gnu", "oldgnu", "pax"] {
        let again = dir.path().join(format);
        let format = format!("--format={format}");
        run("tar", &["-C", text(&root), "--numeric-owner", &format, "-cf", text(&again), "."]);
        let file = fs::File::open(&again).expect("written");
        let diff = unpack(file, &View::default(), F, Limits::default(), |content| {
            let mut all = Vec::new();
            content.read_to_end(&mut all)?;
            Ok((Digest::of(&all), all.len() as u64))
        });
        let mut found = Tree::default();
        diff.expect("a good layer").apply(&mut found).expect("it fits");
        for (at, entry) in &found.clone() {
            let mut attrs = entry.attrs.clone();
            if entry.is_directory() {
                attrs.mtime = None;
            }
            found.set_attrs(at, if is_root() { attrs } else { attrs.owned(0, 0) });
        }
        assert_same(&found, &tree);
    }
}

#[test]
fn a_layer_of_many_times_its_memory() {
    // 400 MiB of content from one buffer: the peak stays below 256 MiB.
    let content = b"0123456789abcdef".repeat(1 << 16);
    let digest = Digest::of(&content);
    let mut diff = Diff::new();
    for number in 0..400 {
        let entry = Entry::file(digest, content.len() as u64);
        diff.insert(path(format!("{number}")), Change::Put(entry));
    }
    let layer = LayerContent::new(&View::default(), &diff).expect("a good layer");
    for profile in Profile::ALL {
        let packed =
            reimage_oci::pack(&layer, profile, F, |_| Ok(content.as_slice()), &mut io::sink());
        assert!(packed.expect("it packs").size > 1000);
    }
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    let kilobytes: u64 = peak.trim().trim_end_matches(" kB").parse().expect("a number");
    assert!(kilobytes < 256 << 10, "{kilobytes} kB");
    let plain = write_tar(&layer, F, |_| Ok(content.as_slice()), io::sink());
    assert!(plain.is_ok());
}

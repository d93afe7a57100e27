//! Unpacking: the inverse of packing, whiteouts as others write them, and members that no layer may have.

use std::sync::Arc;

use proptest::prelude::*;
use reimage_castore::{Change, Tree};

use super::*;
use crate::{LayerContent, write_tar};

const F: i64 = 1_793_491_200;
const CONTENTS: [&[u8]; 3] = [b"", b"one\n", b"two two\n"];

fn path(text: &str) -> TreePath {
    TreePath::new(text).expect("a good path")
}

fn file(content: &[u8]) -> Entry {
    Entry::file(Digest::of(content), content.len() as u64)
}

fn put(content: &mut dyn Read) -> io::Result<(Digest, u64)> {
    let mut all = Vec::new();
    content.read_to_end(&mut all)?;
    Ok((Digest::of(&all), all.len() as u64))
}

fn open(digest: &Digest) -> io::Result<&'static [u8]> {
    let found = CONTENTS.into_iter().find(|content| Digest::of(content) == *digest);
    found.ok_or_else(|| io::ErrorKind::NotFound.into())
}

fn unpacked(archive: &[u8], beneath: &View) -> Result<Diff, UnpackError> {
    unpack(archive, beneath, F, Limits::default(), put)
}

fn tree(entries: &[(&str, Entry)]) -> Tree {
    let mut tree = Tree::default();
    for (at, entry) in entries {
        for above in path(at).ancestors() {
            if tree.get(&above).is_none() {
                tree.insert(above, Entry::directory()).expect("fits");
            }
        }
        tree.insert(path(at), entry.clone()).expect("fits");
    }
    tree
}

fn view(tree: &Tree) -> View {
    View::new(vec![Arc::new(Diff::of_tree(tree))])
}

/// Trees over few names, so that two of them often meet.
fn any_tree() -> impl Strategy<Value = Tree> {
    let at = proptest::collection::vec(prop_oneof!["a", "b", "c-d", "\u{e9}{60}"], 1..4)
        .prop_map(|names| names.join("/"));
    let time = prop_oneof![Just(None), Just(Some(0)), Just(Some(-7)), Just(Some(1 << 34))];
    let entry = prop_oneof![
        3 => (0..3_usize, prop_oneof![Just(0), Just(5_000_000)], time).prop_map(|(content, uid, mtime)| {
            let mut entry = file(CONTENTS[content]);
            entry.attrs.uid = uid;
            entry.attrs.mtime = mtime;
            if content == 1 {
                entry.attrs.set_xattr(b"user.x", b"a\n=\0").expect("allowed");
            }
            entry
        }),
        2 => prop_oneof![Just(0o755), Just(0o1777)]
            .prop_map(|mode| Entry { node: Node::Directory, attrs: Attrs::mode(mode) }),
        1 => "[xy]{1,120}".prop_map(Entry::symlink),
        1 => Just(Entry { node: Node::CharDevice { major: 1, minor: 3 }, attrs: Attrs::mode(0o666) }),
        1 => Just(Entry { node: Node::Fifo, attrs: Attrs::mode(0o600) }),
    ];
    let links = proptest::collection::vec(any::<prop::sample::Index>(), 0..4);
    (proptest::collection::vec((at, entry), 0..14), links).prop_map(|(entries, links)| {
        let mut tree = Tree::default();
        for (at, entry) in entries {
            for above in path(&at).ancestors().skip(1) {
                if tree.get(&above).is_none() {
                    let _ = tree.insert(above, Entry::directory());
                }
            }
            // What does not fit (below a file) is left out.
            let _ = tree.insert(path(&at), entry);
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

/// Names that lie on and below each other.
const NAMES: [&str; 7] = ["a", "a/b", "a/c", "c", "c/b", "e", "f"];

proptest! {
    #[test]
    fn what_was_packed_is_unpacked(lower in any_tree(), upper in any_tree()) {
        let beneath = view(&lower);
        let diff = Diff::between(&lower, &upper);
        let content = LayerContent::new(&beneath, &diff)?;
        let archive = write_tar(&content, F, open, Vec::new())?;
        let back = unpacked(&archive, &beneath)?;
        prop_assert!(Diff::decode(&back.encode()).is_ok(), "it is canonical: {:?}", back);
        let mut made = lower.clone();
        back.apply(&mut made)?;
        prop_assert_eq!(&made, &upper);
        if lower.links().is_empty() && upper.links().is_empty() {
            prop_assert_eq!(&back, &diff);
        }
        let again = LayerContent::new(&beneath, &back)?;
        if back == diff {
            prop_assert!(write_tar(&again, F, open, Vec::new())? == archive);
        }
    }

    /// Members of every kind, over each other in any order: a canonical diff that fits, or an error.
    #[test]
    fn members_in_any_order(members in proptest::collection::vec((0..6_u8, 0..7_usize, 0..7_usize), 1..9)) {
        let beneath = Archive::default().dir("a").file("a/b").dir("c").file("e");
        let beneath = ["a/c", "c/b", "f"].into_iter().fold(beneath, |all, name| all.add(name, b'1', "a/b", b""));
        let mut tree = Tree::default();
        unpacked(&beneath.0, &View::default())?.apply(&mut tree)?;
        let archive = members.iter().fold(Archive::default(), |all, (kind, name, to)| {
            let (name, to) = (NAMES[*name], NAMES[*to]);
            let (above, last) = name.rsplit_once('/').map_or(("", name), |(above, last)| (above, last));
            match kind {
                0 => all.dir(name),
                1 => all.file(name),
                2 => all.add(name, b'1', to, b""),
                3 => all.add(name, b'2', to, b""),
                4 => all.file(&format!("{above}/.wh.{last}")),
                _ => all.file(&format!("{name}/.wh..wh..opq")),
            }
        });
        if let Ok(diff) = unpacked(&archive.0, &view(&tree)) {
            prop_assert_eq!(Diff::decode(&diff.encode()), Ok(diff.clone()));
            diff.apply(&mut tree)?;
        }
    }

    /// Whatever comes, the answer is a canonical diff or an error.
    #[test]
    fn damaged_archives(upper in any_tree(), at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>()) {
        let content = LayerContent::new(&View::default(), &Diff::of_tree(&upper))?;
        let mut archive = write_tar(&content, F, open, Vec::new())?;
        let at = at.index(archive.len());
        archive[at] = byte;
        let _ = unpacked(&archive[..cut.index(archive.len())], &View::default());
        // Checksums mended, so that the damage is seen by what comes after them.
        for header in archive.chunks_exact_mut(512) {
            let sum: u32 = header[..148].iter().chain(&header[156..]).map(|b| u32::from(*b)).sum();
            header[148..156].copy_from_slice(format!("{:06o}\0 ", sum + 256).as_bytes());
        }
        if let Ok(diff) = unpacked(&archive, &view(&upper)) {
            prop_assert!(Diff::decode(&diff.encode()).is_ok(), "{:?}", diff);
        }
    }
}

/// Writes archives as others may.
#[derive(Default)]
struct Archive(Vec<u8>);

impl Archive {
    fn add(mut self, name: &str, kind: u8, link: &str, content: &[u8]) -> Self {
        let mut header = tar::Header::new_gnu();
        header.as_gnu_mut().expect("GNU's").name[..name.len()].copy_from_slice(name.as_bytes());
        header.as_gnu_mut().expect("GNU's").linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(tar::EntryType::new(kind));
        header.set_mode(if kind == b'5' { 0o755 } else { 0o644 });
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(F.cast_unsigned());
        header.set_size(content.len() as u64);
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    fn file(self, name: &str) -> Self {
        self.add(name, b'0', "", b"one\n")
    }

    fn dir(self, name: &str) -> Self {
        self.add(name, b'5', "", b"")
    }

    fn upon(&self, beneath: &Tree) -> Result<Vec<String>, UnpackError> {
        let diff = unpacked(&self.0, &view(beneath))?;
        assert!(Diff::decode(&diff.encode()).is_ok(), "it is canonical: {diff:?}");
        let show = |(path, change): (&TreePath, &Change)| match change {
            Change::Put(entry) => format!("{path} {}", entry.node.kind()),
            Change::Remove => format!("{path} gone"),
        };
        Ok(diff.iter().map(show).collect())
    }
}

fn lower() -> Tree {
    tree(&[
        ("a/b/c", file(b"")),
        ("a/b/d", file(b"")),
        ("a/e", file(b"")),
        ("bin", Entry::symlink("a")),
        ("x", file(b"")),
    ])
}

#[test]
fn whiteouts_in_any_order() {
    let check = |archive: Archive, expected: &[&str]| {
        assert_eq!(archive.upon(&lower()).expect("a good layer"), expected);
    };
    let new = Archive::default;
    check(new().file("a/.wh.e").file(".wh.none"), &["/a/e gone"]);
    check(new().file(".wh.a"), &["/a gone"]);
    check(new().file(".wh.a").file("a/.wh.b").file("a/b/.wh.c"), &["/a gone"]);
    for archive in [
        new().dir("a/").file("a/.wh..wh..opq").file("a/n"),
        new().file("a/n").file("a/.wh..wh..opq"),
        new().file(".wh.a").dir("a/").file("a/n"),
        new().file(".wh.a").file("a/n"),
        new().file("a/n").file(".wh.a"),
        new().dir("a").file(".wh.a").file("a/n"),
        new().file("a/n").file("a/.wh..wh..opq").file("a/b/.wh.c"),
    ] {
        check(archive, &["/a/b gone", "/a/e gone", "/a/n file"]);
    }
    check(
        new().file("a/b/n").file("a/.wh..wh..opq"),
        &["/a/b/c gone", "/a/b/d gone", "/a/b/n file", "/a/e gone"],
    );
    check(new().file(".wh..wh..opq").file("n"), &["/a gone", "/bin gone", "/n file", "/x gone"]);
    check(new().file("a/.wh..wh.plnk").file(".wh..wh.aufs"), &[]);
}

#[test]
fn as_overlay2_unpacks() {
    // Nothing goes through the link /bin -> a: it becomes a directory.
    let archive = Archive::default().file("bin/n");
    assert_eq!(archive.upon(&lower()).expect("a good layer"), ["/bin directory", "/bin/n file"]);
    let archive = Archive::default().file("./x//y/").file("/usr/./bin/z");
    assert_eq!(
        archive.upon(&lower()).expect("a good layer"),
        [
            "/usr directory",
            "/usr/bin directory",
            "/usr/bin/z file",
            "/x directory",
            "/x/y directory"
        ]
    );
    let archive = Archive::default().file("x").dir("x").file("x/y").file("x").dir("./");
    assert_eq!(archive.upon(&lower()).expect("a good layer"), ["/x file"]);
    // What was put into a directory goes with it, mentioned or not.
    let archive = Archive::default().dir("a/n").file("a");
    assert_eq!(archive.upon(&lower()).expect("a good layer"), ["/a file"]);
}

#[test]
fn hard_links() {
    let link = |archive: Archive, name, to| archive.add(name, b'1', to, b"");
    let archive = link(link(Archive::default().file("f"), "g", "./f"), "h", "g");
    let diff = unpacked(&archive.0, &View::default()).expect("a good layer");
    let group = [path("f"), path("g"), path("h")];
    assert_eq!(diff.links().group(&path("g")), Some(&group[..]));
    // One more name for what lies beneath.
    let diff = unpacked(&link(Archive::default(), "n", "x").0, &view(&lower())).expect("good");
    assert_eq!(diff.links().group(&path("n")), Some(&[path("n"), path("x")][..]));
    // A name that becomes another file leaves its group.
    let archive = link(Archive::default().file("f"), "g", "f").add("f", b'0', "", b"");
    let diff = unpacked(&archive.0, &View::default()).expect("a good layer");
    assert!(diff.links().is_empty());
    for (name, to) in [("n", "none"), ("n", "a"), ("n", "n"), ("n", "/")] {
        let error = link(Archive::default(), name, to).upon(&lower()).expect_err("refused");
        assert!(matches!(error, UnpackError::Link { .. }), "{error}");
    }
}

#[test]
fn refuses_what_leads_elsewhere() {
    let error = |archive: Archive| archive.upon(&lower()).expect_err("refused").to_string();
    let new = Archive::default;
    for name in ["../x", "a/../../x", "a/.."] {
        assert_eq!(error(new().file(name)), "The layer has a member that no tree can hold");
    }
    assert_eq!(
        error(new().add("n", b'1', "../x", b"")),
        "The layer has a member that no tree can hold"
    );
    assert_eq!(
        error(new().add("l", b'2', "/etc", b"").file("l/passwd")),
        "The layer puts `/l/passwd` below `/l`, which is a symbolic link"
    );
    assert_eq!(
        error(new().file(".wh.")),
        "The layer's member `/` cannot be: it removes something that is no name"
    );
    assert_eq!(
        error(new().add("s", b'S', "", b"")),
        "The layer's member `/s` is of a kind that layers do not have: type `S`"
    );
    assert_eq!(
        error(new().add("l", b'2', "", b"")),
        "The layer's member `/l` cannot be: its target has no or more than 4095 bytes, or NUL in it"
    );
    assert_eq!(
        error(new().add("x", b'x', "", b"16 linkpath=a\0b\n").add("l", b'2', "a", b"")),
        "The layer's member `/l` cannot be: its target has no or more than 4095 bytes, or NUL in it"
    );
    for (kind, link) in [(b'0', ""), (b'1', "f"), (b'2', "f"), (b'6', "")] {
        assert_eq!(
            error(new().file("f").add(".", kind, link, b"")),
            "The layer's member `/` cannot be: the root is a directory"
        );
    }
    let mut short = new().file("f");
    short.0.truncate(600);
    short.0[124..136].copy_from_slice(b"00000001000\0");
    let sum: u32 = short.0[..148].iter().chain(&short.0[156..512]).map(|b| u32::from(*b)).sum();
    short.0[148..156].copy_from_slice(format!("{:06o}\0 ", sum + 256).as_bytes());
    assert_eq!(error(short), "The layer's member `/f` cannot be: the archive ends within it");
    let mut bad = new().file("f");
    bad.0[0] ^= 1;
    assert_eq!(
        error(bad),
        "The layer is not a valid archive at byte 0: a header whose checksum is wrong"
    );
    let many = new().file("1").file("2").file("3");
    let limits = Limits { members: 2, ..Limits::default() };
    let error = unpack(many.0.as_slice(), &View::default(), F, limits, put).expect_err("refused");
    assert_eq!(error.to_string(), "The layer has more than 2 members");
}

#[test]
fn long_names_of_gnu_and_times_of_pax() {
    let long = "d/".repeat(120) + "f";
    let mut records = Vec::new();
    for (key, value) in
        [("mtime", "-1.25"), ("SCHILY.xattr.trusted.x", "y"), ("SCHILY.xattr.user.x", "\n")]
    {
        crate::tar::write_record(&mut records, key.as_bytes(), value.as_bytes());
    }
    let archive = Archive::default()
        .add("././@LongLink", b'L', "", format!("{long}\0").as_bytes())
        .file("short")
        .add("././@LongLink", b'K', "", "t".repeat(300).as_bytes())
        .add("l", b'2', "short", b"")
        .add("pax", b'x', "", &records)
        .file("p")
        .add(
            "pax_global_header",
            b'g',
            "",
            b"52 comment=0123456789012345678901234567890123456789\n",
        );
    let diff = unpacked(&archive.0, &View::default()).expect("a good layer");
    assert!(diff.get(&path(&long)).is_some());
    let entry = |at: &str| diff.get(&path(at)).and_then(Change::entry).expect("put");
    assert_eq!(*entry("l"), Entry::symlink("t".repeat(300)));
    assert_eq!(entry("p").attrs.mtime, Some(-2));
    let xattrs: Vec<_> = entry("p").attrs.xattrs.iter().map(|(k, v)| (&**k, &**v)).collect();
    assert_eq!(xattrs, [(&b"user.x"[..], &b"\n"[..])]);
}

//! Archives made here, good and hostile.

use std::{
    io::{Cursor, Write},
    sync::LazyLock,
};

use proptest::prelude::*;
use reimage_castore::{Entry, Node, Store, Tree, TreePath};
use tar::{EntryType, Header};
use tempfile::TempDir;

use super::*;

/// A member of a tar: its name is written as it is, whatever it is.
pub(crate) fn member(kind: EntryType, name: &str, link: &str, mode: u32, data: &[u8]) -> Vec<u8> {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(data.len() as u64);
    header.set_mtime(1_000_000_000);
    header.set_uid(7);
    header.set_gid(8);
    if matches!(kind, EntryType::Char | EntryType::Block) {
        header.set_device_major(1).and_then(|()| header.set_device_minor(3)).expect("they fit");
    }
    let old = header.as_old_mut();
    old.name[..name.len()].copy_from_slice(name.as_bytes());
    old.linkname[..link.len()].copy_from_slice(link.as_bytes());
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend_from_slice(data);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

pub(crate) fn file(name: &str, data: &str) -> Vec<u8> {
    member(EntryType::Regular, name, "", 0o644, data.as_bytes())
}

pub(crate) fn tar_of(members: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = members.concat();
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

pub(crate) fn store() -> (Store, TempDir) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    (Store::open(directory.path().join("store")).expect("it is new"), directory)
}

const LIMITS: Limits = Limits { bytes: 1 << 20, entries: 1000 };

fn read(bytes: &[u8], strip: u32) -> Result<Tree, String> {
    // Making a store takes longer than reading a small archive.
    static STORE: LazyLock<(Store, TempDir)> = LazyLock::new(store);
    unpack(&STORE.0, "a.tar", Cursor::new(bytes), strip, LIMITS).map_err(|error| error.to_string())
}

fn paths(tree: &Tree) -> Vec<String> {
    tree.iter().skip(1).map(|(path, entry)| format!("{path} {:o}", entry.attrs.mode)).collect()
}

fn at(path: &str) -> TreePath {
    TreePath::new(path).expect("a good path")
}

fn good() -> Vec<u8> {
    tar_of(&[
        member(EntryType::Directory, "./", "", 0o700, b""),
        member(EntryType::Directory, "top/", "", 0o750, b""),
        member(EntryType::Regular, "top/run", "", 0o4755, b"run"),
        member(EntryType::Symlink, "top/link", "run", 0o777, b""),
        member(EntryType::Link, "top/again", "top/run", 0o644, b""),
        file("other/deep/x", "x"),
    ])
}

#[test]
fn whatever_compresses_it() {
    let good = good();
    let want = read(&good, 0).expect("it is good");
    assert_eq!(
        paths(&want),
        [
            "/other 755",
            "/other/deep 755",
            "/other/deep/x 644",
            "/top 750",
            "/top/again 4755",
            "/top/link 777",
            "/top/run 4755"
        ]
    );
    assert_eq!(want.links().group(&at("top/run")), Some(&[at("top/again"), at("top/run")][..]));
    let run = want.get(&at("top/run")).expect("it is there");
    assert_eq!((run.attrs.uid, run.attrs.gid, run.attrs.mtime), (0, 0, None));
    assert_eq!(
        want.root().node,
        Node::Implied,
        "what an archive says of its top is nobody's business"
    );
    for packed in [gzip(&good), bzip2(&good), xz(&good), zstd(&good)] {
        assert_eq!(read(&packed, 0), Ok(want.clone()));
        for cut in (0..packed.len()).step_by(7) {
            assert!(read(&packed[..cut], 0).is_err(), "cut at {cut} of {}", packed.len());
        }
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

fn bzip2(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ::bzip2::write::BzEncoder::new(Vec::new(), ::bzip2::Compression::fast());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

pub(crate) fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    ::zstd::encode_all(bytes, 1).expect("memory")
}

#[test]
fn leading_names_are_dropped() {
    let good = good();
    let tree = read(&good, 1).expect("it is good");
    let names = ["/again 4755", "/deep 755", "/deep/x 644", "/link 777", "/run 4755"];
    assert_eq!(paths(&tree), names);
    assert_eq!(read(&good, 9), Err("Nothing of `a.tar` is left after `strip = 9`".into()));
}

#[test]
fn hostile_members_are_refused() {
    let link = member(EntryType::Symlink, "d", "/etc", 0o777, b"");
    let cases: [(&[Vec<u8>], &str); 12] = [
        (&[file("/etc/x", "")], "The member `/etc/x` of `a.tar` has an absolute path"),
        (&[file("a/../x", "")], "The member `a/../x` of `a.tar` has `..` in its path"),
        (
            &[link.clone(), file("d/x", "")],
            "The member `d/x` of `a.tar` lies below `d`, which is a symbolic link in the archive",
        ),
        (
            &[file("d", ""), file("d/x", "")],
            "The member `d/x` of `a.tar` lies below `d`, which is a file in the archive",
        ),
        (
            &[file("d/x", ""), file("d", "")],
            "The member `d` of `a.tar` is a file where the archive has a directory that is not empty",
        ),
        (&[member(EntryType::Char, "c", "", 0, b"")], "The member `c` of `a.tar` is a device"),
        (&[member(EntryType::Block, "c", "", 0, b"")], "The member `c` of `a.tar` is a device"),
        (
            &[member(EntryType::Symlink, "l", "", 0, b"")],
            "The member `l` of `a.tar` is a symbolic link with an empty or impossible target",
        ),
        (
            &[member(EntryType::Link, "l", "no", 0, b"")],
            "The member `l` of `a.tar` is a hard link to `no`, which is no file before it in the archive",
        ),
        (
            &[member(EntryType::Link, "l", "../no", 0, b"")],
            "The member `../no` of `a.tar` has `..` in its path",
        ),
        (
            &[member(EntryType::new(b'V'), "v", "", 0, b"")],
            "The member `v` of `a.tar` is of an unknown kind (type flag 'V')",
        ),
        (
            &[file("big", &"x".repeat(1 << 20)), file("more", "x")],
            "`a.tar` unpacks to more than 1048576 bytes",
        ),
    ];
    for (members, want) in cases {
        assert_eq!(read(&tar_of(members), 0), Err(want.into()));
    }
}

#[test]
fn the_last_of_several_wins() {
    let one = member(EntryType::Link, "b", "a", 0, b"");
    let tree = read(&tar_of(&[file("a", "1"), one, file("a", "22")]), 0).expect("it is good");
    let size = |path| match tree.get(&at(path)).map(|entry| &entry.node) {
        Some(Node::File { size, .. }) => Some(*size),
        _ => None,
    };
    assert_eq!((size("a"), size("b")), (Some(2), Some(1)));
    assert!(tree.links().is_empty());
}

#[test]
fn long_names_and_links() {
    let long = format!("{}/{}", "d".repeat(200), "f".repeat(255));
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = Header::new_gnu();
    header.set_size(1);
    header.set_mode(0o644);
    builder.append_data(&mut header, &long, &b"x"[..]).expect("memory");
    let mut pax = builder.into_inner().expect("memory");
    assert!(read(&pax, 0).expect("it is good").get(&at(&long)).is_some());

    // The same as a PAX header has it.
    let record = format!("path={long}\n");
    let mut size = record.len() + 4;
    if format!("{size} {record}").len() != size {
        size = format!("{size} {record}").len();
    }
    let record = format!("{size} {record}");
    let header = member(EntryType::XHeader, "pax", "", 0, record.as_bytes());
    pax = tar_of(&[header, file("short", "x")]);
    assert!(read(&pax, 0).expect("it is good").get(&at(&long)).is_some());

    let name = "n".repeat(256);
    let long =
        member(EntryType::GNULongName, "././@LongLink", "", 0, format!("{name}\0").as_bytes());
    let error = read(&tar_of(&[long, file("short", "x")]), 0).expect_err("it is too long");
    assert!(error.contains("has a path that is too long"), "{error}");

    let (store, _directory) = store();
    let huge = member(EntryType::GNULongName, "././@LongLink", "", 0, &vec![b'n'; 3 << 20]);
    let wide = Limits { bytes: 1 << 30, entries: 10 };
    let tar = tar_of(&[huge, file("short", "x")]);
    let error = unpack(&store, "a.tar", Cursor::new(tar), 0, wide).expect_err("it is too long");
    assert!(matches!(error, ArchiveError::Damaged { .. }), "{error}");
}

#[test]
fn holes_count_as_bytes() {
    let mut sparse = member(EntryType::GNUSparse, "hole", "", 0o644, b"");
    // The real size, and one empty piece of data at the end of the hole.
    let mut header = Header::new_gnu();
    header.as_mut_bytes().copy_from_slice(&sparse[..512]);
    let gnu = header.as_gnu_mut().expect("it is GNU's");
    gnu.set_real_size(8 << 30);
    gnu.sparse[0].set_offset(8 << 30);
    gnu.sparse[0].set_length(0);
    header.set_cksum();
    sparse[..512].copy_from_slice(header.as_bytes());
    assert_eq!(
        read(&tar_of(&[sparse]), 0),
        Err("`a.tar` unpacks to more than 1048576 bytes".into())
    );
}

#[test]
fn holes_of_the_pax_format_are_not_taken_for_content() {
    let record = "22 GNU.sparse.major=1\n";
    let header = member(EntryType::XHeader, "pax", "", 0, record.as_bytes());
    assert_eq!(
        read(&tar_of(&[header, file("hole", "1\n0\n")]), 0),
        Err("The member `hole` of `a.tar` is a sparse file in the PAX format: pack it without `--sparse`, or with `--format=gnu`".into())
    );
}

#[test]
fn too_many_members() {
    let members: Vec<_> = (0..1001).map(|n| file(&n.to_string(), "")).collect();
    let wide = Limits { bytes: 1 << 30, entries: 1000 };
    let (store, _directory) = store();
    let error = unpack(&store, "a.tar", Cursor::new(tar_of(&members)), 0, wide);
    let error = error.expect_err("too many").to_string();
    assert_eq!(error, "`a.tar` has more than 1000 members");
}

#[test]
fn what_is_no_archive() {
    let unknown = "`a.tar` is neither a tar archive (plain, or compressed by gzip, bzip2, xz or zstd) nor a zip";
    assert_eq!(read(b"#!/bin/sh\necho\n", 0), Err(unknown.into()));
    assert_eq!(read(&[b'x'; 2000], 0), Err(unknown.into()));
    assert_eq!(read(&gzip(&[b'x'; 2000]), 0), Err("`a.tar` is truncated or damaged".into()));
    let cut = &tar_of(&[file("a", &"x".repeat(3000))])[..1000];
    assert_eq!(read(cut, 0), Err("`a.tar` is truncated or damaged".into()));
}

fn zip_of(build: impl FnOnce(&mut ::zip::ZipWriter<Cursor<Vec<u8>>>)) -> Vec<u8> {
    let mut zip = ::zip::ZipWriter::new(Cursor::new(Vec::new()));
    build(&mut zip);
    zip.finish().expect("memory").into_inner()
}

#[test]
fn zips() {
    let options = ::zip::write::SimpleFileOptions::default();
    let bytes = zip_of(|zip| {
        zip.start_file("top/run", options.unix_permissions(0o755)).expect("memory");
        zip.write_all(b"run").expect("memory");
        zip.add_symlink("top/link", "run", options).expect("memory");
        zip.add_directory("top/empty", options.unix_permissions(0o700)).expect("memory");
    });
    let tree = read(&bytes, 1).expect("it is good");
    assert_eq!(paths(&tree), ["/empty 700", "/link 777", "/run 755"]);
    assert_eq!(tree.get(&at("link")), Some(&Entry::symlink("run")));
    for cut in 1..bytes.len() {
        assert!(read(&bytes[..cut], 0).is_err(), "cut at {cut} of {}", bytes.len());
    }
    let bad = |name: &str| {
        let bytes = zip_of(|zip| zip.start_file(name, options).expect("memory"));
        read(&bytes, 0).expect_err("it is bad")
    };
    assert_eq!(bad("../x"), "The member `../x` of `a.tar` has `..` in its path");
    assert_eq!(bad("/x"), "The member `/x` of `a.tar` has an absolute path");
    let bomb = zip_of(|zip| {
        zip.start_file("bomb", options).expect("memory");
        zip.write_all(&vec![0; 2 << 20]).expect("memory");
    });
    assert_eq!(read(&bomb, 0), Err("`a.tar` unpacks to more than 1048576 bytes".into()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_packed_comes_out(names in proptest::collection::btree_map("[a-c]/[a-c]{1,3}", ".{0,40}", 0..9)) {
        let members: Vec<_> = names.iter().map(|(name, data)| file(name, data)).collect();
        prop_assume!(!members.is_empty());
        let (store, _directory) = store();
        let tree = unpack(&store, "a", Cursor::new(tar_of(&members)), 0, LIMITS).expect("it is good");
        let files = tree.iter().filter(|(_, entry)| !entry.is_directory()).count();
        prop_assert_eq!(files, names.len());
        for (name, data) in &names {
            let Some(Node::File { digest, .. }) = tree.get(&at(name)).map(|e| &e.node) else { panic!() };
            prop_assert_eq!(store.read(digest).expect("it was kept"), data.as_bytes());
        }
    }
}

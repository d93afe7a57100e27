//! `unpack`: archives of every kind, and hostile ones refused by the name of the member

use std::io::{Cursor, Write};

use flate2::{Compression, write::GzEncoder};
use reimage_tests::{Ran, TestEnv};
use tar::{EntryType, Header};

/// A member of a tar: its name is written as it is, whatever it is.
fn member(kind: EntryType, name: &str, link: &str, data: &[u8]) -> Vec<u8> {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_size(data.len() as u64);
    let old = header.as_old_mut();
    old.name[..name.len()].copy_from_slice(name.as_bytes());
    old.linkname[..link.len()].copy_from_slice(link.as_bytes());
    if matches!(kind, EntryType::Char | EntryType::Block) {
        header.set_device_major(1).and_then(|()| header.set_device_minor(3)).expect("they fit");
    }
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend_from_slice(data);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

fn file(name: &str, data: &str) -> Vec<u8> {
    member(EntryType::Regular, name, "", data.as_bytes())
}

fn tar(members: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = members.concat();
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

/// A file that is one hole of so many bytes.
fn hole(size: u64) -> Vec<u8> {
    let mut header = Header::new_gnu();
    header.as_mut_bytes().copy_from_slice(&member(EntryType::GNUSparse, "hole", "", b""));
    let gnu = header.as_gnu_mut().expect("it is GNU's");
    gnu.set_real_size(size);
    gnu.sparse[0].set_offset(size);
    gnu.sparse[0].set_length(0);
    header.set_cksum();
    header.as_bytes().to_vec()
}

fn env(archive: &[u8], strip: u32) -> TestEnv {
    let env = TestEnv::new();
    env.file("a.tar", archive).file(
        "spec.ncl",
        format!(
            "let re = import \"reimage.ncl\" in\n\
             {{ exports.tree = re.local {{ path = \"a.tar\", unpack = true, strip = {strip} }} }}\n"
        ),
    );
    env
}

fn unpack(archive: &[u8], strip: u32) -> (TestEnv, Ran) {
    let env = env(archive, strip);
    let ran = env.reimage(["build", "--output", "out"]);
    (env, ran)
}

/// What is said of an archive that is refused.
#[track_caller]
fn refused(archive: &[u8]) -> String {
    let (env, ran) = unpack(archive, 0);
    let ran = ran.expect(1);
    assert!(!env.path("out").exists(), "nothing of it is written");
    let text = ran.err();
    let text = text.strip_prefix("  failed exports.tree\n").unwrap_or(&text);
    let (first, rest) = text.split_once('\n').unwrap_or((text, ""));
    let rest = rest.lines().filter(|line| !line.starts_with("  Caused by: "));
    assert_eq!(rest.collect::<Vec<_>>(), ["hint: it is written at spec.ncl:2:27"], "{text}");
    let head = "error: Step `exports.tree`: ";
    first.strip_prefix(head).unwrap_or_else(|| panic!("{text}")).replace("[ROOT]/work/", "")
}

#[test]
fn whatever_compresses_it() {
    let plain = tar(&[
        member(EntryType::Directory, "top/", "", b""),
        file("top/file", "one"),
        member(EntryType::Link, "top/again", "top/file", b""),
        member(EntryType::Symlink, "top/link", "file", b""),
    ]);
    let packed = |program: &str| {
        let mut child = std::process::Command::new(program)
            .arg("-c")
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("every Linux machine has it");
        child.stdin.take().expect("piped").write_all(&plain).expect("it reads");
        child.wait_with_output().expect("it ends").stdout
    };
    let (first, ran) = unpack(&plain, 1);
    let digest = ran.expect(0).out();
    assert_eq!(first.read("out/tree/again"), "one");
    assert_eq!(first.read("out/tree/link"), "one");
    for program in ["gzip", "bzip2", "xz", "zstd"] {
        let (_, ran) = unpack(&packed(program), 1);
        assert_eq!(ran.expect(0).out(), digest, "{program}");
    }
}

#[test]
fn zip() {
    type Zip = zip::ZipWriter<Cursor<Vec<u8>>>;
    let options = zip::write::SimpleFileOptions::default();
    let zip_of = |build: &dyn Fn(&mut Zip)| {
        let mut zip = Zip::new(Cursor::new(Vec::new()));
        build(&mut zip);
        zip.finish().expect("memory").into_inner()
    };
    let good = zip_of(&|zip| {
        zip.start_file("top/file", options).expect("memory");
        zip.write_all(b"one").expect("memory");
        zip.add_symlink("top/link", "file", options).expect("memory");
    });
    let (env, ran) = unpack(&good, 1);
    let _ = ran.expect(0);
    assert_eq!(env.read("out/tree/link"), "one");
    let named = |name: &str| zip_of(&|zip| zip.start_file(name, options).expect("memory"));
    let through = zip_of(&|zip| {
        zip.add_symlink("d", "/etc", options).expect("memory");
        zip.start_file("d/passwd", options).expect("memory");
    });
    let cases = [
        (named("../x"), "The member `../x` of `a.tar` has `..` in its path"),
        (named("/x"), "The member `/x` of `a.tar` has an absolute path"),
        (
            through,
            "The member `d/passwd` of `a.tar` lies below `d`, which is a symbolic link in the archive",
        ),
        (good[..good.len() - 9].to_vec(), "`a.tar` is truncated or damaged"),
    ];
    for (archive, text) in cases {
        assert_eq!(refused(&archive), text);
    }
}

#[test]
fn hostile_members_are_refused() {
    let link = member(EntryType::Symlink, "d", "/etc", b"");
    let long = format!("{}\0", "n".repeat(256));
    let deep = format!("{}x\0", "d/".repeat(2048));
    let named = |name: &str| {
        [
            member(EntryType::GNULongName, "././@LongLink", "", name.as_bytes()),
            file("short", "x"),
        ]
    };
    let cases: Vec<(Vec<Vec<u8>>, &str)> = vec![
        (vec![file("/etc/x", "")], "The member `/etc/x` of `a.tar` has an absolute path"),
        (vec![file("a/../../x", "")], "The member `a/../../x` of `a.tar` has `..` in its path"),
        (
            vec![link.clone(), file("d/passwd", "")],
            "The member `d/passwd` of `a.tar` lies below `d`, which is a symbolic link in the archive",
        ),
        (
            vec![link, member(EntryType::Directory, "d/x/", "", b"")],
            "The member `d/x/` of `a.tar` lies below `d`, which is a symbolic link in the archive",
        ),
        (vec![member(EntryType::Char, "null", "", b"")], "The member `null` of `a.tar` is a device"),
        (vec![member(EntryType::Block, "sda", "", b"")], "The member `sda` of `a.tar` is a device"),
        (
            vec![member(EntryType::Link, "l", "../outside", b"")],
            "The member `../outside` of `a.tar` has `..` in its path",
        ),
        (
            vec![member(EntryType::Link, "l", "/etc/passwd", b"")],
            "The member `/etc/passwd` of `a.tar` has an absolute path",
        ),
        (
            vec![member(EntryType::Link, "l", "later", b""), file("later", "")],
            "The member `l` of `a.tar` is a hard link to `later`, which is no file before it in the archive",
        ),
        (
            vec![member(EntryType::Symlink, "l", "", b"")],
            "The member `l` of `a.tar` is a symbolic link with an empty or impossible target",
        ),
        (
            vec![member(EntryType::new(b'Z'), "z", "", b"")],
            "The member `z` of `a.tar` is of an unknown kind (type flag 'Z')",
        ),
        (
            vec![file("d/x", ""), file("d", "")],
            "The member `d` of `a.tar` is a file where the archive has a directory that is not empty",
        ),
        (vec![hole(1 << 40)], "`a.tar` unpacks to more than 68719476736 bytes"),
    ];
    for (members, text) in cases {
        assert_eq!(refused(&tar(&members)), text);
    }
    for name in [&long, &deep] {
        let text = refused(&tar(&named(name)));
        assert!(
            text.ends_with("of `a.tar` has a path that is too long: names have at most 255 bytes, paths 4095"),
            "{text}"
        );
    }
}

#[test]
fn the_last_of_several_members_wins() {
    let (env, ran) = unpack(&tar(&[file("a", "1"), file("b", ""), file("a", "22")]), 0);
    let _ = ran.expect(0);
    assert_eq!(env.read("out/tree/a"), "22");
}

#[test]
fn a_million_members_and_one() {
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    for number in 0..=1_000_000 {
        let directory = member(EntryType::Directory, &format!("{number:07}/"), "", b"");
        packed.write_all(&directory).expect("memory");
    }
    packed.write_all(&[0; 1024]).expect("memory");
    let packed = packed.finish().expect("memory");
    assert_eq!(refused(&packed), "`a.tar` has more than 1000000 members");
}

#[test]
fn what_is_no_archive() {
    let unknown = "`a.tar` is neither a tar archive (plain, or compressed by gzip, bzip2, xz or zstd) nor a zip";
    assert_eq!(refused(b""), unknown);
    assert_eq!(refused(b"#!/bin/sh\necho\n"), unknown);
    let whole = tar(&[file("a", &"x".repeat(3000))]);
    assert_eq!(refused(&whole[..1000]), "`a.tar` is truncated or damaged");
    let (_, ran) = unpack(&whole, 2);
    assert!(ran.expect(1).err().contains("Nothing of `"));
}

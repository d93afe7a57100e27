//! Archives: other readers see what was put in, and the bytes stay.

use reimage_castore::{Attrs, Digest};

use super::*;

const F: i64 = 1_793_491_200;

fn path(text: impl AsRef<[u8]>) -> TreePath {
    TreePath::new(text).expect("a good path")
}

fn header(member: &Member<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_header(&mut bytes, member, F).expect("a vector takes everything");
    bytes
}

/// What the tar crate reads of one header: path, link, PAX records.
type Seen = (Vec<u8>, Option<Vec<u8>>, Vec<(String, Vec<u8>)>);

fn read_back(mut bytes: Vec<u8>) -> Seen {
    bytes.resize(bytes.len() + 1024, 0);
    let mut archive = tar::Archive::new(bytes.as_slice());
    let mut entries = archive.entries().expect("an archive");
    let mut entry = entries.next().expect("a member").expect("a good member");
    let path = entry.path_bytes().into_owned();
    let link = entry.link_name_bytes().map(std::borrow::Cow::into_owned);
    let records = entry.pax_extensions().expect("readable").map_or_else(Vec::new, |records| {
        records
            .map(|r| r.expect("a good record"))
            .map(|r| (r.key().expect("UTF-8").to_owned(), r.value_bytes().to_owned()))
            .collect()
    });
    (path, link, records)
}

#[test]
fn a_header_is_plain_ustar() {
    let (at, entry) = (path("usr/bin/env"), Entry::file(Digest::EMPTY, 0o1234));
    let bytes = header(&Member::Entry { path: &at, entry: &entry });
    assert_eq!(bytes.len(), 512);
    assert_eq!(&bytes[..12], b"usr/bin/env\0");
    assert_eq!(
        &bytes[100..157],
        b"0000644\x000000000\x000000000\x0000000001234\x0015271500400\x000010072\x000"
    );
    assert_eq!(&bytes[257..265], b"ustar\x0000");
    assert!(bytes[265..].iter().all(|b| *b == 0), "no names, no prefix");
}

#[test]
fn long_names_are_split_and_then_go_to_pax() {
    let entry = Entry::file(Digest::EMPTY, 0);
    let directory = Entry::directory();
    for (at, entry, headers) in [
        ("x".repeat(100), &entry, 1),
        ("x".repeat(100), &directory, 3),
        ("x".repeat(99), &directory, 1),
        (format!("{}/{}", "d".repeat(155), "x".repeat(100)), &entry, 1),
        (format!("{}/{}", "d".repeat(155), "x".repeat(99)), &directory, 1),
        (format!("{}/{}", "d".repeat(156), "x".repeat(10)), &entry, 3),
        (format!("{}/{}", "d".repeat(10), "x".repeat(101)), &entry, 3),
        (format!("{0}/{0}/{0}", "d".repeat(70)), &entry, 1),
        (["e"; 400].join("/"), &entry, 4),
    ] {
        let bytes = header(&Member::Entry { path: &path(&at), entry });
        assert_eq!(bytes.len(), headers * 512, "{at}");
        let mut expected = at.into_bytes();
        if entry.is_directory() {
            expected.push(b'/');
        }
        assert_eq!(read_back(bytes).0, expected);
    }
}

#[test]
fn what_ustar_cannot_say_is_said_by_pax() {
    let mut entry = Entry::symlink(vec![b't'; 101]);
    entry.attrs = Attrs { mtime: Some(-5), ..Attrs::symlink() }.owned(3_000_000, 2_097_152);
    entry.attrs.set_xattr(b"user.b", b"\0\xff").expect("allowed");
    entry.attrs.set_xattr(b"user.a", b"").expect("allowed");
    let bytes = header(&Member::Entry { path: &path(b"\xff".repeat(120)), entry: &entry });
    let (name, link, records) = read_back(bytes);
    assert_eq!(name, b"\xff".repeat(120));
    assert_eq!(link, Some(vec![b't'; 101]));
    let records: Vec<_> = records.iter().map(|(k, v)| (k.as_str(), v.as_slice())).collect();
    assert_eq!(
        records,
        [
            ("SCHILY.xattr.user.a", &b""[..]),
            ("SCHILY.xattr.user.b", b"\0\xff"),
            ("gid", b"2097152"),
            ("hdrcharset", b"BINARY"),
            ("linkpath", &[b't'; 101]),
            ("mtime", b"-5"),
            ("path", &b"\xff".repeat(120)),
            ("uid", b"3000000"),
        ]
    );
}

#[test]
fn huge_sizes_and_late_times() {
    let mut entry = Entry::file(Digest::EMPTY, MAX_11_DIGITS + 1);
    entry.attrs.mtime = Some(1 << 40);
    let (_, _, records) = read_back(header(&Member::Entry { path: &path("x"), entry: &entry }));
    let keys: Vec<_> = records.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(keys, ["mtime", "size"]);
}

#[test]
fn records_count_their_own_digits() {
    for size in 0..1200 {
        let mut body = Vec::new();
        write_record(&mut body, b"k", &vec![b'v'; size]);
        let digits = body.iter().position(|b| *b == b' ').expect("a space");
        let length: usize = String::from_utf8_lossy(&body[..digits]).parse().expect("a number");
        assert_eq!(length, body.len());
    }
}

#[test]
fn whiteouts_links_and_the_root() {
    let entry = Entry::file(Digest::EMPTY, 7);
    assert_eq!(read_back(header(&Member::Whiteout(&path("a/b")))).0, b"a/.wh.b");
    assert_eq!(read_back(header(&Member::Whiteout(&path("b")))).0, b".wh.b");
    let link = Member::Link { path: &path("a/b"), entry: &entry, first: &path("a/a") };
    let bytes = header(&link);
    assert_eq!(bytes[156], b'1');
    assert_eq!(&bytes[124..136], b"00000000000\0", "a link has no content");
    assert_eq!(read_back(bytes).1, Some(b"a/a".to_vec()));
    let root = Entry::directory();
    assert_eq!(
        read_back(header(&Member::Entry { path: &TreePath::root(), entry: &root })).0,
        b"./"
    );
}

#[test]
fn devices_and_pipes() {
    let entry = Entry { node: Node::CharDevice { major: 5, minor: 1 }, attrs: Attrs::mode(0o600) };
    let bytes = header(&Member::Entry { path: &path("dev/console"), entry: &entry });
    assert_eq!(bytes[156], b'3');
    assert_eq!(&bytes[329..345], b"0000005\x000000001\0");
    let pipe = Entry { node: Node::Fifo, attrs: Attrs::mode(0o600) };
    assert_eq!(header(&Member::Entry { path: &path("p"), entry: &pipe })[156], b'6');
}

#[test]
fn blocks_are_filled_up() {
    for (size, padding) in [(0, 0), (1, 511), (511, 1), (512, 0), (513, 511)] {
        let mut out = Vec::new();
        write_padding(&mut out, size).expect("a vector takes everything");
        assert_eq!(out.len(), padding);
    }
    let mut end = Vec::new();
    write_end(&mut end).expect("a vector takes everything");
    assert_eq!(end, [0; 1024]);
}

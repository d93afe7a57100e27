//! Packages made here, good and bad.

use reimage_castore::{Node, Patterns, Sha256, Store, Tree};
use tar::EntryType;

use super::*;
use crate::archive::tests::{member, store, tar_of, xz};

/// A package in the making.
pub(crate) struct Deb {
    control: Vec<Vec<u8>>,
    data: Vec<Vec<u8>>,
}

impl Deb {
    /// With this control file; the architecture is `all`.
    pub(crate) fn new(name: &str, fields: &str) -> Self {
        let text = format!(
            "Package: {name}\nVersion: 1\nArchitecture: all\nMaintainer: Nobody <n@example.org>\n\
             {fields}Description: {name}\n"
        );
        Self { control: Vec::new(), data: Vec::new() }.control("control", &text)
    }

    /// A control member; scripts are executable.
    pub(crate) fn control(mut self, name: &str, text: &str) -> Self {
        let mode = if text.starts_with("#!") { 0o755 } else { 0o644 };
        let name = format!("./{name}");
        self.control.push(member(EntryType::Regular, &name, "", mode, text.as_bytes()));
        self
    }

    /// A file, with its directories.
    pub(crate) fn file(self, name: &str, text: &str) -> Self {
        let names: Vec<_> = name.split('/').collect();
        let deb = (1..names.len()).fold(self, |deb, end| {
            let name = format!("./{}/", names[..end].join("/"));
            deb.member(EntryType::Directory, &name, "", 0o755, "")
        });
        deb.member(EntryType::Regular, &format!("./{name}"), "", 0o644, text)
    }

    /// Any member.
    pub(crate) fn member(
        mut self,
        kind: EntryType,
        name: &str,
        link: &str,
        mode: u32,
        text: &str,
    ) -> Self {
        let new = member(kind, name, link, mode, text.as_bytes());
        if !(kind == EntryType::Directory && self.data.contains(&new)) {
            self.data.push(new);
        }
        self
    }

    /// The .deb.
    pub(crate) fn build(&self) -> Vec<u8> {
        let data = xz(&tar_of(&self.data));
        ar(&[
            ("debian-binary", b"2.0\n"),
            ("control.tar", &tar_of(&self.control)),
            ("data.tar.xz", &data),
        ])
    }

    /// Unpacked.
    pub(crate) fn package(&self, store: &Store) -> Package {
        let bytes = self.build();
        let tree = read(store, &bytes).expect("it is good");
        Package::open(store, "x.deb", Sha256::of(&bytes), &tree).expect("it is good")
    }
}

fn ar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = b"!<arch>\n".to_vec();
    for (name, data) in members {
        bytes.extend(
            format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 0, "100644", data.len())
                .bytes(),
        );
        bytes.extend_from_slice(data);
        if data.len() % 2 == 1 {
            bytes.push(b'\n');
        }
    }
    bytes
}

const TIME: i64 = 1_500_000_000;

fn read(store: &Store, bytes: &[u8]) -> Result<Tree, DebError> {
    let exclude = Patterns::new(["usr/share/doc"]).expect("it is good");
    let limits = Limits { bytes: 1 << 20, entries: 1000 };
    unpack_deb(store, "x.deb", bytes, &UnpackOptions { exclude: &exclude, file_time: TIME, limits })
}

fn example() -> Deb {
    Deb::new("x", "Multi-Arch: foreign\n")
        .control("conffiles", "/etc/x.conf\nremove-on-upgrade /etc/old\n")
        .control("postinst", "#!/bin/sh\n")
        .file("etc/x.conf", "conf")
        .file("usr/bin/x", "x")
        .file("usr/share/doc/x", "doc")
        .member(EntryType::Link, "./usr/bin/y", "./usr/bin/x", 0o644, "")
        .member(EntryType::Regular, "./usr/bin/su", "", 0o4755, "su")
        .member(EntryType::Char, "./usr/null", "", 0o666, "")
}

/// Members of an archive: name and content.
type Members<'a> = &'a [(&'a str, &'a [u8])];

#[test]
fn what_a_package_holds() {
    let (store, _directory) = store();
    let package = example().package(&store);
    assert_eq!(package.control.name(), "x");
    let path = |path| TreePath::new(path).expect("a good path");
    assert_eq!(
        package.conffiles,
        [
            Conffile { path: path("etc/x.conf"), remove: false },
            Conffile { path: path("etc/old"), remove: true }
        ]
    );
    let names: Vec<_> = package.data.iter().map(|(path, _)| path.to_string()).collect();
    assert_eq!(
        names,
        [
            "/",
            "/etc",
            "/etc/x.conf",
            "/usr",
            "/usr/bin",
            "/usr/bin/su",
            "/usr/bin/x",
            "/usr/bin/y",
            "/usr/null",
            "/usr/share"
        ]
    );
    let attrs = &package.data.get(&path("usr/bin/su")).expect("it is there").attrs;
    assert_eq!((attrs.mode, attrs.uid, attrs.gid), (0o4755, 7, 8));
    assert_eq!(attrs.mtime, Some(1_000_000_000));
    let group = package.data.links().group(&path("usr/bin/x"));
    assert_eq!(group, Some(&[path("usr/bin/x"), path("usr/bin/y")][..]));
    // Made for a package that has none: of all names of all files, excluded ones too.
    let sums = package.member(&store, "md5sums").expect("it is kept");
    let sum = |text: &str, path: &str| format!("{}  {path}\n", hex(&Md5::digest(text)));
    let expected = [
        sum("conf", "etc/x.conf"),
        sum("x", "usr/bin/x"),
        sum("doc", "usr/share/doc/x"),
        sum("x", "usr/bin/y"),
        sum("su", "usr/bin/su"),
    ];
    assert_eq!(sums, expected.concat());
    let list = store.read(&package.list.0).expect("it is kept");
    let list = String::from_utf8(list).expect("it is text");
    assert!(list.starts_with("/etc\n/etc/x.conf\n/usr\n/usr/bin\n"), "{list}");
    assert!(list.contains("/usr/share/doc/x\n"), "what is excluded is still the package's: {list}");
}

#[test]
fn links_come_last_and_the_second_name_decides() {
    let (store, _directory) = store();
    let package = Deb::new("x", "")
        .member(EntryType::Symlink, "./link", "b", 0o777, "")
        .member(EntryType::Directory, "./", "", 0o755, "")
        .file("b", "b")
        .member(EntryType::Link, "./a", "./b", 0o4750, "")
        .package(&store);
    let list = store.read(&package.list.0).expect("it is kept");
    assert_eq!(String::from_utf8_lossy(&list), "/.\n/b\n/a\n/link\n");
    for path in ["a", "b"] {
        let path = TreePath::new(path).expect("a good path");
        assert_eq!(package.data.get(&path).expect("it is there").attrs.mode, 0o4750);
    }
}

#[test]
fn times_from_f_on_are_f() {
    let (store, _directory) = store();
    let bytes = example().build();
    let exclude = Patterns::default();
    let limits = Limits::default();
    let options = UnpackOptions { exclude: &exclude, file_time: 1_000_000_000, limits };
    let tree = unpack_deb(&store, "x.deb", &*bytes, &options).expect("it is good");
    assert!(tree.iter().all(|(_, entry)| entry.attrs.mtime.is_none()));
}

#[test]
fn cut_anywhere() {
    let (store, _directory) = store();
    let bytes = example().build();
    for cut in 0..bytes.len() {
        let error = read(&store, &bytes[..cut]).expect_err("it is cut");
        assert!(error.to_string().contains("`x.deb"), "{error}");
    }
}

#[test]
fn what_is_no_package() {
    let (store, _directory) = store();
    let error = |bytes: &[u8]| read(&store, bytes).expect_err("it is bad").to_string();
    assert_eq!(error(b""), "`x.deb` is no Debian package: it is empty");
    assert_eq!(error(b"<html>404</html>"), "`x.deb` is no Debian package: it is no `ar` archive");
    let version: (&str, &[u8]) = ("debian-binary", b"2.0\n");
    let tar = tar_of(&[]);
    let cases: [(Members<'_>, &str); 5] = [
        (&[("debian-binary", b"3.0\n")], "it is not of version 2"),
        (&[("x", b"")], "its first member is not `debian-binary`"),
        (&[version], "it has no `control.tar`"),
        (&[version, ("data.tar", &tar)], "`data.tar` is not in its place"),
        (&[version, ("control.tar", &tar)], "it has no control file"),
    ];
    for (members, why) in cases {
        assert_eq!(error(&ar(members)), format!("`x.deb` is no Debian package: {why}"));
    }
    let mut bytes = example().build();
    let at = bytes.len() - 60;
    bytes[at] ^= 0x55;
    assert_eq!(error(&bytes), "`x.deb: data.tar.xz` is truncated or damaged");
    let hostile = Deb::new("h", "").member(EntryType::Regular, "../../etc/passwd", "", 0o644, "");
    assert_eq!(
        error(&hostile.build()),
        "The member `../../etc/passwd` of `x.deb: data.tar.xz` has `..` in its path"
    );
}

#[test]
fn a_bad_control_file() {
    let (store, _directory) = store();
    let bytes = Deb::new("../x", "").build();
    let tree = read(&store, &bytes).expect("its archives are good");
    let error = Package::open(&store, "x.deb", Sha256::of(&bytes), &tree).expect_err("it is bad");
    assert_eq!(error.to_string(), "The control file of `x.deb` is bad");
    assert!(matches!(tree.get(&at("list")).map(|e| &e.node), Some(Node::File { .. })));
}

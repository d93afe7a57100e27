//! Installations of packages made here.

use std::sync::Arc;

use reimage_castore::{Change, Diff, Node, Store, Tree, TreePath, View};
use tar::EntryType;

use super::*;
use crate::{archive::tests::store, debian::deb::tests::Deb};

fn content(store: &Store, diff: &Diff, path: &str) -> String {
    let entry = diff.get(&file(path)).and_then(Change::entry);
    let Some(Node::File { digest, .. }) = entry.map(|entry| &entry.node) else {
        panic!("no file {path}: {entry:?}")
    };
    String::from_utf8(store.read(digest).expect("it is kept")).expect("it is text")
}

fn install(store: &Store, view: &View, debs: &[Deb]) -> Install {
    let packages: Vec<_> = debs.iter().map(|deb| deb.package(store)).collect();
    let none = |_: &_| Ok::<_, InstallError>((Digest::EMPTY, 0));
    prepare(store, view, &packages, none).expect("it can be installed")
}

fn driver(store: &Store, install: &Install) -> Vec<String> {
    let Some(Node::File { digest, .. }) = install.input.get(&file("driver")).map(|e| &e.node)
    else {
        panic!("no driver")
    };
    let text = String::from_utf8(store.read(digest).expect("it is kept")).expect("it is text");
    let calls = text.lines().filter(|l| l.starts_with("dpkg_run --") || l.starts_with("preinst "));
    calls.map(str::to_owned).collect()
}

fn essential() -> [Deb; 2] {
    [
        Deb::new("shell", "Essential: yes\nPre-Depends: lib (>= 1) | other\n")
            .control("conffiles", "/etc/shell\n")
            .control("preinst", "#!/bin/sh\ntouch /etc/made\n")
            .control("triggers", "interest-noawait /usr/share/shells\ninterest cache\n")
            .file("etc/shell", "conf")
            .file("bin/sh", "sh"),
        Deb::new("lib", "Multi-Arch: same\n").file("lib/x/lib.so", "lib"),
    ]
}

#[test]
fn an_empty_root() {
    let (store, _directory) = store();
    let install = install(&store, &View::default(), &essential());
    let status = content(&store, &install.diff, "var/lib/dpkg/status");
    let (lib, shell) = status.split_once("\n\n").expect("two paragraphs");
    assert!(lib.starts_with("Package: lib\nStatus: install ok unpacked\n"), "{lib}");
    let conf = "Conffiles:\n /etc/shell 3a8e4c06e471595f6eb262bb9b5582d9\nDescription: shell\n";
    assert!(shell.contains(conf), "what is essential has its conffiles in place: {shell}");
    // Through the links that a root is born with.
    for path in ["usr/bin/sh", "usr/lib/x/lib.so", "etc/shell"] {
        content(&store, &install.diff, path);
    }
    let link = install.diff.get(&file("lib64")).and_then(Change::entry);
    assert_eq!(link, Some(&Entry::symlink("usr/lib64")));
    content(&store, &install.diff, "var/lib/dpkg/info/lib:all.list");
    let interests = content(&store, &install.diff, "var/lib/dpkg/triggers/File");
    assert_eq!(interests, "/usr/share/shells shell/noawait\n");
    assert_eq!(content(&store, &install.diff, "var/lib/dpkg/triggers/cache"), "shell\n");
    assert_eq!(
        driver(&store, &install),
        [
            "preinst shell shell all",
            "dpkg_run --no-triggers --configure lib shell",
            "dpkg_run --configure --pending"
        ]
    );
}

/// A root that has the essential packages, configured.
fn root(store: &Store) -> View {
    let install = install(store, &View::default(), &essential());
    let mut diff = install.diff;
    let status = content(store, &diff, "var/lib/dpkg/status").replace("unpacked", "installed");
    put_file(store, &mut diff, "var/lib/dpkg/status", status.as_bytes()).expect("it is kept");
    let diverted = "/usr/bin/tool\n/usr/bin/tool.real\nshell\n";
    put_file(store, &mut diff, "var/lib/dpkg/diversions", diverted.as_bytes()).expect("it is kept");
    View::new(vec![Arc::new(diff)])
}

#[test]
fn upon_a_root() {
    let (store, _directory) = store();
    let view = root(&store);
    let conf = Deb::new("conf", "")
        .control("conffiles", "/etc/conf\n")
        .file("etc/conf", "conf")
        .file("usr/share/shells/conf", "x")
        .file("lib/x/other.so", "other")
        .control("triggers", "activate cache\n");
    let install = install(&store, &view, &[conf]);
    assert_eq!(install.unpacked_by_dpkg, [""; 0]);
    content(&store, &install.diff, "etc/conf.dpkg-new");
    assert_eq!(install.diff.get(&file("etc/conf")), None);
    // The directory is there: it is not put again, nor is the link on the way to it.
    assert_eq!(install.diff.get(&file("usr/lib/x")), None);
    assert_eq!(install.diff.get(&file("lib")), None);
    content(&store, &install.diff, "usr/lib/x/other.so");
    let status = content(&store, &install.diff, "var/lib/dpkg/status");
    assert!(status.contains("Conffiles:\n /etc/conf newconffile\n"), "{status}");
    assert_eq!(status.matches("install ok installed").count(), 2);
    let triggers = content(&store, &install.diff, "var/lib/dpkg/triggers/Unincorp");
    assert_eq!(triggers, "/usr/share/shells -\ncache conf\n");
    let calls = ["dpkg_run --no-triggers --configure conf", "dpkg_run --configure --pending"];
    assert_eq!(driver(&store, &install), calls);
}

#[test]
fn what_is_left_to_dpkg() {
    let (store, _directory) = store();
    let view = root(&store);
    let busy = Deb::new("busy", "Pre-Depends: first\n").control("preinst", "#!/bin/sh\nrm -r /x\n");
    let debs = [
        Deb::new("first", "Depends: second\n").file("usr/first", ""),
        Deb::new("second", "").file("usr/second", ""),
        busy,
        Deb::new("diverted", "").file("usr/bin/tool", ""),
        Deb::new("replaces", "Replaces: shell\n").file("bin/sh", "another"),
        Deb::new("takes", "").control("conffiles", "remove-on-upgrade /etc/old\n"),
        Deb::new("shell", "").file("usr/upgrade", ""),
        Deb::new("quiet", "").control("preinst", "#!/bin/sh\nset -e\n").file("usr/quiet", ""),
    ];
    let install = install(&store, &view, &debs);
    assert_eq!(install.unpacked_by_dpkg, ["busy", "diverted", "replaces", "takes", "shell"]);
    let in_input = |number| format!("{INPUT}/debs/{number}.deb");
    assert_eq!(
        driver(&store, &install),
        [
            "dpkg_run --no-triggers --configure second first".to_owned(),
            format!(
                "dpkg_run --no-triggers --unpack {} {} {} {} {}",
                in_input(2),
                in_input(3),
                in_input(4),
                in_input(6),
                in_input(5)
            ),
            "dpkg_run --no-triggers --configure busy diverted quiet replaces shell takes".into(),
            "dpkg_run --configure --pending".into(),
        ]
    );
}

#[test]
fn scripts_skipped() {
    let (store, _directory) = store();
    let packages = essential().map(|deb| deb.package(&store));
    let diff = unpack_only(&store, &View::default(), &packages).expect("it can be unpacked");
    let status = content(&store, &diff, "var/lib/dpkg/status");
    assert_eq!(status.matches("Status: install ok unpacked\n").count(), 2);
    assert!(status.contains(" /etc/shell 3a8e4c06e471595f6eb262bb9b5582d9\n"), "{status}");
    content(&store, &diff, "etc/shell");
    content(&store, &diff, "var/lib/dpkg/info/shell.preinst");
    let mut tree = Tree::default();
    diff.apply(&mut tree).expect("it stands on nothing");
    // The order in which packages are named is nobody's business.
    let [shell, lib] = packages;
    let other = unpack_only(&store, &View::default(), &[lib, shell]).expect("it can be unpacked");
    assert_eq!(diff, other);
}

#[test]
fn what_cannot_be_installed() {
    let (store, _directory) = store();
    let a = Deb::new("a", "").file("usr/x", "a").package(&store);
    let b = Deb::new("b", "").file("usr/x", "b").package(&store);
    let error = |result: Result<Diff, InstallError>| result.expect_err("it cannot be").to_string();
    assert_eq!(
        error(unpack_only(&store, &View::default(), &[a.clone(), b])),
        "The package `b` cannot be unpacked: there is a file at `/usr/x` already"
    );
    assert_eq!(
        error(unpack_only(&store, &View::default(), &[a.clone(), a.clone()])),
        "The package `a` comes twice"
    );
    let none = |_: &_| Err::<(Digest, u64), _>(InstallError::NoDpkg);
    let install = prepare(&store, &View::default(), &[a], none);
    assert!(matches!(install, Err(InstallError::NoDpkg)));
    let link = Deb::new("c", "").member(EntryType::Symlink, "./usr", "x", 0o777, "");
    let deb = Deb::new("d", "").file("usr/x", "");
    let packages = [link.package(&store), deb.package(&store)];
    let path = TreePath::new("usr").expect("a good path");
    let result = unpack_only(&store, &View::default(), &packages);
    assert!(
        matches!(result, Err(InstallError::Clash { clash, .. }) if clash.path == path),
        "a link where a root is born with a directory"
    );
}

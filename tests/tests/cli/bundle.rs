//! `reimage lock --vendor`: builds of a fresh clone without any server

#![expect(clippy::disallowed_methods, reason = "files are counted, in any order")]

use std::path::Path;

use insta::assert_snapshot;
use reimage_tests::{
    TestEnv,
    archive::{Deb, Mirror},
    loopback::{Reply, Server},
};

use crate::lock::{constant, debian, http, spec};

pub(crate) fn copy(from: &Path, to: &Path) {
    fs_err::create_dir_all(to).expect("writable");
    for entry in fs_err::read_dir(from).expect("readable") {
        let entry = entry.expect("readable");
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            fs_err::copy(from, to).expect("writable");
        }
    }
}

/// Another machine with a clone of the project, and nothing else.
pub(crate) fn clone(env: &TestEnv) -> TestEnv {
    let other = TestEnv::new();
    copy(&env.path(""), &other.path(""));
    other
}

/// The files of the bundle.
fn files(env: &TestEnv) -> Vec<std::path::PathBuf> {
    let entries = fs_err::read_dir(env.path("reimage.lock.d/sha256")).expect("there is a bundle");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("readable").path()).collect();
    files.sort();
    files
}

#[test]
fn a_clone_builds_when_the_servers_are_gone() {
    let env = TestEnv::new();
    let (server, mirror) = (constant(), Mirror::new(&[
        Deb::new("tool", "1").field("Depends: lib").file("usr/share/tool", "tool"),
        Deb::new("lib", "2").file("usr/share/lib", "lib"),
    ]));
    mirror.configure(&env);
    env.file("spec.ncl", spec(&[("file", http(&server, "/a")), ("root", debian("[\"tool\"]"))]));
    let built = env.reimage(["build"]).expect(0).out();
    let vendor = |env: &TestEnv, flags: &[&str], end: &str| {
        let out = env.reimage([&["lock", "--vendor"], flags].concat()).expect(0).out();
        let line = out.lines().last().unwrap_or_default();
        assert!(line.starts_with("reimage.lock.d: 3 files, ") && line.ends_with(end), "{line}");
    };
    vendor(&env, &[], "; 3 written, 0 removed");
    drop((server, mirror));
    vendor(&env, &[], "; 0 written, 0 removed");

    let other = clone(&env);
    assert_eq!(other.reimage(["build", "--offline", "--locked"]).expect(0).out(), built);
    assert_eq!(clone(&env).as_plain_user(["build", "--offline"]).expect(0).out(), built);
    vendor(&clone(&env), &["--offline"], "; 0 written, 0 removed");
}

#[test]
fn a_damaged_file_is_never_served() {
    let (env, server) = (TestEnv::new(), constant());
    env.file("spec.ncl", spec(&[("file", http(&server, "/a"))]));
    let _ = env.reimage(["lock", "--vendor"]).expect(0);
    let file = &files(&env)[0];
    for damage in ["/b", "", "longer"] {
        fs_err::write(file, damage).expect("ours");
        let online = clone(&env).reimage(["build", "--output", "out"]).expect(0);
        assert!(online.err().contains("is damaged: it has digest"), "{online}");
    }
    assert_snapshot!(clone(&env).reimage(["build", "--offline"]), @"
    ------- stderr -------
    warning: steps.file: `[ROOT]/work/reimage.lock.d/sha256/6a50dc8584134c7de537c0052ff6d236bf874355e050c90523e0c5ff2a543a28` is damaged: it has digest sha256:73834addcec75fafd7d73717ca1614a1324652ffa70b4b6c44fa359ae5a69dab; `reimage lock --vendor` repairs it
      failed steps.file
    error: Step `steps.file`: http://127.0.0.1:[PORT]/a is neither in the store nor in a lock bundle, and `--offline` forbids to fetch it
    hint: it is written at spec.ncl:4:20
    [exit status: 3]
    ");
    assert_snapshot!(clone(&env).reimage(["build"]).expect(0), @"
    exports.file 68337b78cbdb5bb693dc7c74c10f703fdff1c9ee6f080a605cd6d4516e944c72
    ------- stderr -------
    warning: steps.file: `[ROOT]/work/reimage.lock.d/sha256/6a50dc8584134c7de537c0052ff6d236bf874355e050c90523e0c5ff2a543a28` is damaged: it has digest sha256:73834addcec75fafd7d73717ca1614a1324652ffa70b4b6c44fa359ae5a69dab; `reimage lock --vendor` repairs it
     fetched http://127.0.0.1:[PORT]/a 2 B
    ");
    assert_snapshot!(env.reimage(["lock", "--vendor"]).expect(0), @"
    reimage.lock: nothing moved
    reimage.lock.d: 1 file, 2 B; 1 written, 0 removed
    ");
    assert_eq!(fs_err::read_to_string(file).expect("ours"), "/a");
    drop(server);
    fs_err::remove_file(file).expect("ours");
    assert_snapshot!(clone(&env).reimage(["build", "--offline"]), @"
    ------- stderr -------
      failed steps.file
    error: Step `steps.file`: http://127.0.0.1:[PORT]/a is neither in the store nor in a lock bundle, and `--offline` forbids to fetch it
    hint: it is written at spec.ncl:4:20
    [exit status: 3]
    ");
}

#[test]
fn what_is_pinned_no_more_goes() {
    let env = TestEnv::new();
    let server = Server::new(|_, number| Reply::ok(number.to_string().as_bytes()));
    env.file("spec.ncl", spec(&[("file", http(&server, "/a"))]));
    let _ = env.reimage(["lock", "--vendor"]).expect(0);
    let first = files(&env);
    env.file("reimage.lock.d/sha256/NOTE", "not ours").file("reimage.lock.d/README", "not ours");
    assert_snapshot!(env.reimage(["lock", "--update"]).expect(0), @"
    ~ http://127.0.0.1:[PORT]/a
        6b86b273ff34 → d4735e3a265e
    reimage.lock: 1 change
    ------- stderr -------
     fetched http://127.0.0.1:[PORT]/a 1 B
    `reimage.lock.d` lacks 1 file of the lock: `reimage lock --vendor` adds what is missing
    ");
    assert_snapshot!(env.reimage(["lock", "--vendor"]).expect(0), @"
    reimage.lock: nothing moved
    reimage.lock.d: 1 file, 1 B; 1 written, 1 removed
    ");
    assert!(!first[0].exists());
    assert_eq!(files(&env).len(), 2, "the new file and the note");
    assert!(env.path("reimage.lock.d/README").exists());
    let json = env.reimage(["lock", "--vendor", "--format", "json"]).expect(0).out();
    assert!(json.contains(r#""files":1,"removed":0,"written":0"#), "{json}");
}

#[test]
fn specs_share_a_bundle() {
    let (env, server) = (TestEnv::new(), constant());
    env.file("reimage.lock", "version = 1\n");
    env.file("a/spec.ncl", spec(&[("file", http(&server, "/a"))]));
    env.file("b/spec.ncl", spec(&[("file", http(&server, "/b")), ("same", http(&server, "/a"))]));
    let _ = env.reimage(["lock", "--vendor", "a#"]).expect(0);
    assert_snapshot!(env.reimage(["lock", "--vendor", "b#"]).expect(0), @"
    + http://127.0.0.1:[PORT]/b
    reimage.lock: 1 change
    reimage.lock.d: 2 files, 4 B; 1 written, 0 removed
    ------- stderr -------
     fetched http://127.0.0.1:[PORT]/b 2 B
    ");
    assert_snapshot!(env.reimage(["lock", "--vendor", "a#"]).expect(0), @"
    reimage.lock: nothing moved
    reimage.lock.d: 1 file, 2 B; 0 written, 0 removed
    ");
    drop(server);
    let _ = clone(&env).reimage(["build", "--offline", "a#", "b#"]).expect(0);
}

#[test]
fn it_is_in_no_local_tree() {
    let (env, server) = (TestEnv::new(), constant());
    env.file("spec.ncl", spec(&[("file", http(&server, "/a")), ("all", "re.local { path = \".\" }".to_owned())]));
    env.file("kept", "x");
    let before = env.reimage(["build", "exports.all"]).expect(0).out();
    let _ = env.reimage(["lock", "--vendor"]).expect(0);
    assert_eq!(env.reimage(["build", "exports.all"]).expect(0).out(), before);
}

#[test]
fn a_bundle_that_cannot_be_written() {
    let (env, server) = (TestEnv::new(), constant());
    env.file("spec.ncl", spec(&[("file", http(&server, "/a"))])).file("reimage.lock.d", "a file");
    assert_snapshot!(env.reimage(["lock", "--vendor"]), @"
    + http://127.0.0.1:[PORT]/a
    reimage.lock: 1 change
    ------- stderr -------
     fetched http://127.0.0.1:[PORT]/a 2 B
    error: Cannot write `[ROOT]/work/reimage.lock.d/sha256` of the lock bundle
      Caused by: Not a directory (os error 20)
    [exit status: 3]
    ");
}

//! `reimage lock`, and what `build` makes of a lock

use std::process::Stdio;

use insta::assert_snapshot;
use reimage_tests::{
    TestEnv, is_root,
    archive::{Deb, Mirror, SUITE},
    loopback::{Reply, Server},
};

/// A spec with these steps, each of them an export, too.
pub(crate) fn spec(steps: &[(&str, String)]) -> String {
    let lines = |line: &dyn Fn(&str, &str) -> String| -> Vec<String> {
        steps.iter().map(|(name, step)| line(name, step)).collect()
    };
    let all = lines(&|name, step| format!("    {name} = {step},\n")).concat();
    let exports = lines(&|name, _| format!("    {name} = steps.{name},\n")).concat();
    format!(
        "let re = import \"reimage.ncl\" in\n{{\n  steps = {{\n{all}  }},\n  exports = {{\n{exports}  }},\n}} | re.Spec\n"
    )
}

pub(crate) fn http(server: &Server, path: &str) -> String {
    format!("re.http {{ url = \"{}\" }}", server.url(path))
}

/// `re.Debian` that runs no script.
pub(crate) fn debian(packages: &str) -> String {
    format!("re.debian {{ suite = \"{SUITE}\", packages = {packages}, scripts = 'skip }}")
}

/// Gives every path its own name, and a number that grows with each request.
fn counting() -> Server {
    Server::new(|seen, number| Reply::ok(format!("{} {number:03}\n", seen.path).as_bytes()))
}

/// Gives every path its own name.
pub(crate) fn constant() -> Server {
    Server::new(|seen, _| Reply::ok(seen.path.as_bytes()))
}

#[test]
fn without_a_lock_one_is_made() {
    let (env, server) = (TestEnv::new(), constant());
    env.file("spec.ncl", spec(&[("file", http(&server, "/a"))]));
    assert_snapshot!(env.reimage(["build"]).expect(0), @"
    exports.file 68337b78cbdb5bb693dc7c74c10f703fdff1c9ee6f080a605cd6d4516e944c72
    ------- stderr -------
     fetched http://127.0.0.1:[PORT]/a 2 B
    Wrote `[ROOT]/work/reimage.lock`: commit it, and everybody builds the same
    ");
    assert!(env.read("reimage.lock").ends_with("\nsha256 = \"sha256:6a50dc8584134c7de537c0052ff6d236bf874355e050c90523e0c5ff2a543a28\"\nsize = 2\n"), "{}", env.read("reimage.lock"));
    assert_snapshot!(env.reimage(["build", "--locked", "--offline"]).expect(0), @"exports.file 68337b78cbdb5bb693dc7c74c10f703fdff1c9ee6f080a605cd6d4516e944c72");
    assert_eq!(server.seen().len(), 1);
}

#[test]
fn an_unpinned_source_is_refused() {
    let (env, server) = (TestEnv::new(), constant());
    env.file("spec.ncl", spec(&[("file", http(&server, "/a")), ("root", debian("[\"tool\"]"))]));
    env.file("reimage.lock", "version = 1\n");
    let refused = env.reimage(["build"]);
    assert_snapshot!(refused, @"
    ------- stderr -------
    error: `http://127.0.0.1:[PORT]/a` is not in reimage.lock
    hint: run `reimage lock`
    hint: it is written at spec.ncl:4:20
    [exit status: 1]
    ");
    for flag in ["--locked", "--offline"] {
        assert_eq!(env.reimage(["build", flag]).err(), refused.err());
    }
    assert_snapshot!(env.reimage(["build", "exports.root"]), @"
    ------- stderr -------
    error: `homemade: tool` is not in reimage.lock
    hint: run `reimage lock`
    hint: it is written at spec.ncl:5:22
    [exit status: 1]
    ");
    assert_eq!(env.read("reimage.lock"), "version = 1\n");
    assert!(server.seen().is_empty());
}

#[test]
fn locked_makes_no_lock_and_offline_opens_no_socket() {
    let (env, server) = (TestEnv::new(), constant());
    env.file("spec.ncl", spec(&[("file", http(&server, "/a"))]));
    assert_snapshot!(env.reimage(["build", "--locked"]), @"
    ------- stderr -------
    error: There is no `[ROOT]/work/reimage.lock`, and `--locked` makes none
    hint: run `reimage lock` and commit what it writes
    [exit status: 1]
    ");
    assert_snapshot!(env.reimage(["build", "--offline"]), @"
    ------- stderr -------
    error: Step `steps.file`: http://127.0.0.1:[PORT]/a is neither in the store nor in a lock bundle, and `--offline` forbids to fetch it
    hint: it is written at spec.ncl:4:20
    [exit status: 3]
    ");
    assert_snapshot!(env.reimage(["lock", "--offline"]), @"
    ------- stderr -------
    error: Step `steps.file`: http://127.0.0.1:[PORT]/a is neither in the store nor in a lock bundle, and `--offline` forbids to fetch it
    hint: it is written at spec.ncl:4:20
    [exit status: 3]
    ");
    assert!(!env.path("reimage.lock").exists());
    assert!(server.seen().is_empty());
    let _ = env.reimage(["lock"]).expect(0);
    assert_snapshot!(env.reimage(["build", "--offline", "--store", "empty"]), @"
    ------- stderr -------
      failed steps.file
    error: Step `steps.file`: http://127.0.0.1:[PORT]/a is neither in the store nor in a lock bundle, and `--offline` forbids to fetch it
    hint: it is written at spec.ncl:4:20
    [exit status: 3]
    ");
    assert_eq!(server.seen().len(), 1);
}

#[test]
fn update_moves_what_is_named() {
    let (env, server) = (TestEnv::new(), counting());
    let steps = [
        ("b", http(&server, "/b")),
        ("a", http(&server, "/a")),
        ("text", "re.files { files.\"/x\" = \"x\" }".to_owned()),
    ];
    env.file("spec.ncl", spec(&steps));
    assert_snapshot!(env.reimage(["lock", "-j1"]).expect(0), @"
    + http://127.0.0.1:[PORT]/a
    + http://127.0.0.1:[PORT]/b
    reimage.lock: 2 changes
    ------- stderr -------
     fetched 2 files 14 B
    ");
    let before = env.read("reimage.lock");
    assert_snapshot!(env.reimage(["lock"]).expect(0), @"reimage.lock: nothing moved");
    assert_eq!(before, env.read("reimage.lock"));
    assert_snapshot!(env.reimage(["lock", "--update", "steps.a"]).expect(0), @"
    ~ http://127.0.0.1:[PORT]/a
        407967c2e341 → 29015f53df30
    reimage.lock: 1 change
    ------- stderr -------
     fetched http://127.0.0.1:[PORT]/a 7 B
    ");
    assert_snapshot!(env.reimage(["lock", "--update"]).expect(0), @"
    ~ http://127.0.0.1:[PORT]/a
        29015f53df30 → 3441db932e85
    ~ http://127.0.0.1:[PORT]/b
        699cdd7da587 → 94528872535d
    reimage.lock: 2 changes
    ------- stderr -------
     fetched 2 files 14 B
    ");
    assert_eq!(server.seen().len(), 5);
    assert_snapshot!(env.reimage(["lock", "--update", "steps.c"]), @"
    ------- stderr -------
    error: There is no step `steps.c` to update
    hint: did you mean `steps.a`?
    [exit status: 64]
    ");
    assert_snapshot!(env.reimage(["lock", "--update", "steps.text"]), @"
    ------- stderr -------
    error: `steps.text` has no pin to update
    hint: only `Http`, `Oci` and `Debian` are pinned: name the step that is one
    [exit status: 64]
    ");
    let json = env.reimage(["lock", "--update", "steps.a", "--format", "json"]).expect(0).out();
    assert!(json.starts_with("{\"changes\":[{\"change\":\"http-moved\",\"new\":\"sha256:"), "{json}");
}

#[test]
fn packages_that_moved() {
    let env = TestEnv::new();
    let mirror = Mirror::new(&[
        Deb::new("tool", "1.0-1").field("Depends: libold").file("usr/tool", "1"),
        Deb::new("libold", "3").file("usr/libold", "3"),
        Deb::new("other", "1:2").file("usr/other", "2"),
    ]);
    mirror.configure(&env);
    let steps = [("root", debian("[\"tool\", \"other\"]")), ("other", debian("[\"other\"]"))];
    env.file("spec.ncl", spec(&steps));
    assert_snapshot!(env.reimage(["lock"]).expect(0), @"
    + homemade: other: 1 package
    + homemade: other, tool: 3 packages
    reimage.lock: 2 changes
    ");
    let lock = env.read("reimage.lock");
    mirror.publish(&[
        Deb::new("tool", "1.1-1").field("Depends: libnew").file("usr/tool", "1"),
        Deb::new("libnew", "4~rc1").file("usr/libnew", "4"),
        Deb::new("other", "1:2").file("usr/other", "2"),
    ]);
    assert_snapshot!(env.reimage(["lock"]).expect(0), @"reimage.lock: nothing moved");
    assert_eq!(lock, env.read("reimage.lock"), "what fits is kept");
    let gone = env.reimage(["build", "exports.root"]).expect(1).err();
    let gone: Vec<_> = gone.lines().skip_while(|line| !line.starts_with("error: ")).collect();
    assert_snapshot!(gone.join("\n"), @"
    error: Step `steps.root`: `libold` 3 of suite `homemade`, which the lock pins, is on no mirror any more; run `reimage lock --update` to take what is there now, or build from a lock bundle that has it
      Caused by: http://127.0.0.1:[PORT]/pool/libold_3_all.deb does not exist: the server answered 404
    hint: it is written at spec.ncl:4:22
    ");
    assert_snapshot!(env.reimage(["lock", "--update", "steps.other"]).expect(0), @"reimage.lock: nothing moved");
    assert_snapshot!(env.reimage(["lock", "--update"]).expect(0), @"
    ~ homemade: other, tool
      + libnew 4~rc1
      - libold 3
        tool 1.0-1 → 1.1-1
    reimage.lock: 3 changes
    ");
    let _ = env.reimage(["build", "--locked", "exports.root", "--output", "out"]).expect(0);
    assert_eq!(env.read("out/root/usr/libnew"), "4");
}

#[test]
fn pins_that_no_step_needs_stay_until_pruned() {
    let (env, server) = (TestEnv::new(), constant());
    env.file("spec.ncl", spec(&[("a", http(&server, "/a")), ("b", http(&server, "/b"))]));
    let _ = env.reimage(["lock"]).expect(0);
    env.file("spec.ncl", spec(&[("a", http(&server, "/a"))]));
    let _ = env.reimage(["build", "--locked"]).expect(0);
    assert_snapshot!(env.reimage(["lock"]).expect(0), @"reimage.lock: nothing moved");
    assert!(env.read("reimage.lock").contains("/b\""));
    assert_snapshot!(env.reimage(["lock", "--prune", "exports.a"]), @"
    ------- stderr -------
    error: `--prune` looks at whole specs, and a part of one is named
    hint: name the specs alone: `FILE#`
    [exit status: 64]
    ");
    assert_snapshot!(env.reimage(["lock", "--prune"]).expect(0), @"
    - http://127.0.0.1:[PORT]/b
    reimage.lock: 1 change
    ");
    assert!(!env.read("reimage.lock").contains("/b\""));
}

#[test]
fn specs_share_the_nearest_lock_and_keep_each_other_s_pins() {
    let env = TestEnv::new();
    let (server, mirror) = (counting(), Mirror::new(&[Deb::new("tool", "1")]));
    mirror.configure(&env);
    env.file("reimage.lock", "version = 1\n");
    let steps = [("file", http(&server, "/a")), ("root", debian("[\"tool\"]"))];
    env.file("services/a/spec.ncl", spec(&steps));
    env.file("services/b/spec.ncl", spec(&[("file", http(&server, "/b"))]));
    assert_snapshot!(env.reimage(["lock", "services/a#"]).expect(0), @"
    + http://127.0.0.1:[PORT]/a
    + homemade: tool: 1 package
    reimage.lock: 2 changes
    ------- stderr -------
     fetched http://127.0.0.1:[PORT]/a 7 B
    ");
    assert_snapshot!(env.reimage(["lock", "services/b#"]).expect(0), @"
    + http://127.0.0.1:[PORT]/b
    reimage.lock: 1 change
    ------- stderr -------
     fetched http://127.0.0.1:[PORT]/b 7 B
    ");
    assert_snapshot!(env.reimage(["lock", "services/b#", "--update"]).expect(0), @"
    ~ http://127.0.0.1:[PORT]/b
        699cdd7da587 → 23d74e8d0c8c
    reimage.lock: 1 change
    ------- stderr -------
     fetched http://127.0.0.1:[PORT]/b 7 B
    ");
    assert!(!env.path("services/a/reimage.lock").exists());
    let _ = env.reimage(["build", "--locked", "services/a#", "services/b#"]).expect(0);
    assert_snapshot!(env.reimage(["lock", "--prune", "services/a#", "services/b#"]).expect(0), @"reimage.lock: nothing moved");
    assert_snapshot!(env.reimage(["lock", "services/a#", "services/b#", "--update", "steps.root"]).expect(0), @"reimage.lock: nothing moved");
}

#[test]
fn two_specs_beside_each_other_make_one_lock() {
    let (env, server) = (TestEnv::new(), constant());
    env.file("a.ncl", spec(&[("a", http(&server, "/a"))]));
    env.file("b.ncl", spec(&[("b", http(&server, "/b"))]));
    let ran = env.reimage(["build", "a.ncl#", "b.ncl#"]);
    let wrote = "Wrote `[ROOT]/work/reimage.lock`: commit it, and everybody builds the same";
    assert_eq!(ran.expect(0).err().matches(wrote).count(), 2);
    let _ = env.reimage(["lock", "b.ncl#"]).expect(0);
    let lock = env.read("reimage.lock");
    assert!(lock.contains("/a\"") && lock.contains("/b\""), "{lock}");
    let _ = env.reimage(["build", "--locked", "a.ncl#", "b.ncl#"]).expect(0);
}

#[test]
fn two_who_lock_at_once_keep_each_other_s_pins() {
    let env = TestEnv::new();
    let server = Server::new(|seen, _| {
        std::thread::sleep(std::time::Duration::from_millis(300));
        Reply::ok(seen.path.as_bytes())
    });
    env.file("reimage.lock", "version = 1\n");
    let names = ["a", "b", "c"];
    for name in names {
        env.file(format!("{name}/spec.ncl"), spec(&[("x", http(&server, &format!("/{name}")))]));
    }
    let lock = |name: &&str| {
        env.command().args(["--quiet", "lock", &format!("{name}#")]).stdout(Stdio::null()).spawn()
    };
    let all: Vec<_> = names.iter().map(|name| lock(name).expect("it can be run")).collect();
    for mut one in all {
        assert!(one.wait().expect("it ends").success());
    }
    let lock = env.read("reimage.lock");
    assert_eq!(lock.matches("url =").count(), 3, "{lock}");
}

#[test]
fn locks_that_cannot_be_read() {
    let env = TestEnv::new();
    env.file("spec.ncl", spec(&[("text", "re.files { files.\"/x\" = \"x\" }".to_owned())]));
    let build = |lock: &[u8]| {
        env.file("reimage.lock", lock);
        let (build, lock) = (env.reimage(["build"]), env.reimage(["lock"]));
        assert_eq!((build.status, build.err()), (lock.status, lock.err()));
        build
    };
    let conflict = "version = 1\n\n<<<<<<< HEAD\n[[http]]\n=======\n>>>>>>> other\n";
    assert_snapshot!(build(conflict.as_bytes()), @"
    ------- stderr -------
    error: The lock `[ROOT]/work/reimage.lock` cannot be read
      Caused by: Line 3 is the mark of an unresolved merge
    hint: take one side of the merge as it is, then run `reimage lock`: it adds what is missing
    [exit status: 1]
    ");
    assert_snapshot!(build(b"\n\ngarbage\n"), @"
    ------- stderr -------
    error: The lock `[ROOT]/work/reimage.lock` cannot be read
      Caused by: TOML parse error at line 3, column 8
      |
    3 | garbage
      |        ^
    key with no value, expected `=`
    hint: take it back from version control, or delete it and run `reimage lock`
    [exit status: 1]
    ");
    let _ = build(b"\n").expect(0);
    assert_snapshot!(build(b"version = 2\nnovelty = true\n"), @"
    ------- stderr -------
    error: The lock `[ROOT]/work/reimage.lock` cannot be read
      Caused by: It has version 2, and this reimage reads version 1
    hint: use the newer reimage that wrote it
    [exit status: 1]
    ");
    assert_snapshot!(build(b"version = 1\n[[http]]\nurl = \"http://127.0.0.1/a\"\nsha256 = \"sha256:ab\"\nsize = 1\n"), @r#"
    ------- stderr -------
    error: The lock `[ROOT]/work/reimage.lock` cannot be read
      Caused by: TOML parse error at line 4, column 10
      |
    4 | sha256 = "sha256:ab"
      |          ^^^^^^^^^^^
    Expected `sha256:` and 64 lower-case hexadecimal digits, got `sha256:ab`
    hint: take it back from version control, or delete it and run `reimage lock`
    [exit status: 1]
    "#);
    let pin = "[[http]]\nurl = \"http://127.0.0.1/a\"\nsha256 = \"sha256:0000000000000000000000000000000000000000000000000000000000000000\"\nsize = 1\n";
    assert_snapshot!(build(format!("version = 1\n{pin}{pin}").as_bytes()), @"
    ------- stderr -------
    error: The lock `[ROOT]/work/reimage.lock` cannot be read
      Caused by: The request `http://127.0.0.1/a` is pinned twice
    hint: delete one of the two, or run `reimage lock` without either
    [exit status: 1]
    ");
    let package = "[[debian]]\nsuite = \"x\"\npackages = []\nessential = false\nplatform = \"linux/amd64\"\npins = [\"x tool 1 all ../tool.deb 1 sha256:00\"]\n";
    assert_snapshot!(build(format!("version = 1\n{package}").as_bytes()), @"
    ------- stderr -------
    error: The lock `[ROOT]/work/reimage.lock` cannot be read
      Caused by: `x tool 1 all ../tool.deb 1 sha256:00` is no pin of a package: expected `SUITE NAME VERSION ARCHITECTURE PATH SIZE sha256:DIGEST`
    hint: take it back from version control, or delete it and run `reimage lock`
    [exit status: 1]
    ");
    assert_snapshot!(build(b"\xff\xfe"), @"
    ------- stderr -------
    error: The lock `[ROOT]/work/reimage.lock` is not UTF-8 text
    [exit status: 1]
    ");
}

#[test]
fn a_spec_is_no_step_to_update() {
    let (env, server) = (TestEnv::new(), constant());
    env.file("b/spec.ncl", spec(&[("file", http(&server, "/a"))]));
    assert_snapshot!(env.reimage(["lock", "--update", "b#"]), @"
    ------- stderr -------
    error: `b#` names a spec, and `--update` takes its steps
    hint: name the spec before it: `reimage lock b# --update`
    [exit status: 64]
    ");
    assert_snapshot!(env.reimage(["lock", "--update", "b#steps.file"]), @"
    ------- stderr -------
    error: `b#steps.file` names a spec, and `--update` takes its steps
    hint: name the spec before it: `reimage lock b# --update steps.file`
    [exit status: 64]
    ");
    let _ = env.reimage(["lock", "b#", "--update", "steps.file"]).expect(0);
}

#[test]
fn a_lock_that_was_edited_is_put_in_order() {
    let (env, server) = (TestEnv::new(), constant());
    env.file("spec.ncl", spec(&[("a", http(&server, "/a")), ("b", http(&server, "/b"))]));
    let _ = env.reimage(["lock"]).expect(0);
    let good = env.read("reimage.lock");
    let (head, pins) = good.split_once("\n\n").expect("a head and pins");
    let (a, b) = pins.split_once("\n\n").expect("two pins");
    let turned = format!("{head}\n\n{b}\n{a}\n").replace('\n', "\r\n");
    env.file("reimage.lock", &turned);
    let _ = env.reimage(["build", "--locked", "--offline"]).expect(0);
    assert_eq!(env.read("reimage.lock"), turned, "a build never changes it");
    assert_snapshot!(env.reimage(["lock", "--offline"]).expect(0), @"reimage.lock: nothing moved");
    assert_eq!(env.read("reimage.lock"), good);
}

#[test]
fn a_lock_that_cannot_be_written() {
    let (env, server) = (TestEnv::new(), constant());
    env.file("spec.ncl", spec(&[("a", http(&server, "/a"))]));
    fs_err::create_dir(env.path("reimage.lock")).expect("it is new");
    assert_snapshot!(env.reimage(["lock"]), @"
    ------- stderr -------
    error: failed to read from file `[ROOT]/work/reimage.lock`: Is a directory (os error 21)
    [exit status: 3]
    ");
    if !is_root() {
        return;
    }
    // A directory of somebody else.
    let other = TestEnv::new();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs_err::set_permissions(other.root(), mode).expect("ours");
    other.file("spec.ncl", spec(&[("a", http(&server, "/a"))]));
    let name = format!("{}/work#", other.root().display());
    for verb in ["lock", "build"] {
        let ran = env.as_plain_user([verb, &name]).expect(3);
        let text = ran.err().replace(&other.root().display().to_string(), "[OTHER]");
        let error: Vec<_> = text.lines().skip_while(|line| !line.starts_with("error: ")).collect();
        assert_eq!(error[0], "error: Cannot write the lock `[OTHER]/work/reimage.lock`", "{text}");
        assert!(error[1].contains("Permission denied (os error 13)"), "{text}");
    }
}

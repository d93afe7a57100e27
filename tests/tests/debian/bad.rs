//! Bad mirrors and bad packages: what is said of them

use std::process::Command;

use insta::assert_snapshot;
use reimage_tests::{Deb, Mirror, Ran, TestEnv};

const SPEC: &str = r#"let re = import "reimage.ncl" in
{
  steps = {
    root | re.Debian = { suite = "unstable", packages = ["app"], scripts = 'skip },
  },
} | re.Spec
"#;

const DATE: &str = "Date: Wed, 01 Nov 2023 00:00:00 UTC";

fn app(version: &str) -> Deb {
    Deb::new("app", version).file("usr/bin/app", 0o755, (0, 0), b"#!/bin/sh\n")
}

/// A mirror of one package, and a machine that uses it.
fn machine() -> (Mirror, TestEnv) {
    let (mirror, env) = (Mirror::new(1), TestEnv::new());
    mirror.publish("unstable", DATE, vec![app("1")]).use_in(&env);
    env.file("spec.ncl", SPEC);
    (mirror, env)
}

/// Builds what was pinned, after the mirror went bad.
fn build(env: &TestEnv) -> Ran {
    env.reimage(["build", "steps.root"])
}

fn lock(env: &TestEnv) -> Ran {
    env.reimage(["lock"])
}

/// `reimage lock` on a machine without apt's configuration.
fn without_apt(env: &TestEnv) -> Ran {
    let template = env.command();
    let mut command = Command::new("bwrap");
    command.args(["--bind", "/", "/", "--dev-bind", "/dev", "/dev", "--tmpfs", "/etc/apt"]);
    command.arg(template.get_program()).arg("lock").env_clear().current_dir(env.path(""));
    command.envs(template.get_envs().filter_map(|(name, value)| Some((name, value?))));
    env.run(&mut command)
}

#[test]
fn a_package_that_ends_too_early() {
    let (mirror, env) = machine();
    let _ = env.reimage(["lock"]).expect(0);
    mirror.change("pool/", |bytes| bytes.truncate(1000));
    assert_snapshot!(build(&env), @r#"
    ------- stderr -------
       start steps.root
      failed steps.root
    error: Step `steps.root`: `app` 1 cannot be fetched
      Caused by: http://127.0.0.1:[PORT]/pool/5607612eb9926ee22c6876c60cc334916999e68109b404bdaa31abaf41a43410.deb has 1000 bytes, not 5312: it changed since it was locked, or on its way
    hint: it is written at spec.ncl:4:24
    [exit status: 3]
    "#);
}

#[test]
fn a_package_that_was_truncated_before_it_was_published() {
    let (mirror, env) = (Mirror::new(1), TestEnv::new());
    mirror.publish_truncated("unstable", DATE, app("1"), 1000).use_in(&env);
    env.file("spec.ncl", SPEC);
    let _ = env.reimage(["lock"]).expect(0);
    assert_snapshot!(build(&env), @r#"
    ------- stderr -------
       start steps.root
     fetched app 1 1.0 kB
      failed steps.root
    error: Step `steps.root`: `app_1_all.deb: control.tar` is truncated or damaged
      Caused by: unexpected end of file
    hint: it is written at spec.ncl:4:24
    [exit status: 1]
    "#);
}

#[test]
fn a_package_of_another_digest() {
    let (mirror, env) = machine();
    let _ = env.reimage(["lock"]).expect(0);
    mirror.change("pool/", |bytes| bytes[100] ^= 1);
    assert_snapshot!(build(&env), @r#"
    ------- stderr -------
       start steps.root
     fetched app 1 5.3 kB
      failed steps.root
    error: Step `steps.root`: `app` 1 cannot be fetched
      Caused by: http://127.0.0.1:[PORT]/pool/5607612eb9926ee22c6876c60cc334916999e68109b404bdaa31abaf41a43410.deb has digest sha256:a34988306aada14afcbcef6b91cf0aa91ae11ee4ab2158517a9cee9dd87ef7d6, not sha256:5607612eb9926ee22c6876c60cc334916999e68109b404bdaa31abaf41a43410: it changed since it was locked, or on its way
    hint: it is written at spec.ncl:4:24
    [exit status: 3]
    "#);
}

#[test]
fn a_package_that_is_gone() {
    let (mirror, env) = machine();
    let _ = env.reimage(["lock"]).expect(0);
    mirror.remove("pool/");
    assert_snapshot!(build(&env), @r#"
    ------- stderr -------
       start steps.root
      failed steps.root
    error: Step `steps.root`: `app` 1 of suite `unstable`, which the lock pins, is on no mirror any more; run `reimage lock --update` to take what is there now, or build from a lock bundle that has it
      Caused by: http://127.0.0.1:[PORT]/pool/5607612eb9926ee22c6876c60cc334916999e68109b404bdaa31abaf41a43410.deb does not exist: the server answered 404
    hint: it is written at spec.ncl:4:24
    [exit status: 1]
    "#);
}

#[test]
fn an_index_of_another_digest() {
    let (mirror, env) = machine();
    mirror.change("Packages", |bytes| bytes[9] ^= 1);
    assert_snapshot!(lock(&env), @r#"
    ------- stderr -------
    error: Step `steps.root`: The suite `unstable` cannot be fetched
      Caused by: http://127.0.0.1:[PORT]/dists/unstable/main/binary-amd64/Packages has digest sha256:f0dd99d8d4a3fcfdcb24671f38f1af55d52f0d2243711d28dd8e3905dbf0ece6, not sha256:adbbc4e08a3fe04230c8b09d7733073ac33d4798e0f3c75f097494474c303717: it changed since it was locked, or on its way
    hint: it is written at spec.ncl:4:24
    [exit status: 3]
    "#);
}

#[test]
fn a_bad_signature() {
    let (mirror, env) = machine();
    mirror.change("InRelease", |bytes| {
        let text = String::from_utf8_lossy(bytes).replace("Components: main", "Components: evil");
        *bytes = text.into_bytes();
    });
    assert_snapshot!(lock(&env), @r#"
    ------- stderr -------
    error: Step `steps.root`: The suite `unstable` cannot be had from http://127.0.0.1:[PORT]
      Caused by: http://127.0.0.1:[PORT]/dists/unstable/InRelease is signed by key D6C3C56AC12418775295403D21F923FBD0D8B99E, and the signature does not fit the text: it was changed on its way or where it lies
    hint: it is written at spec.ncl:4:24
    [exit status: 3]
    "#);
}

#[test]
fn a_release_signed_by_another_key() {
    let (_mirror, env) = machine();
    env.file("mirror.asc", Mirror::new(2).key());
    assert_snapshot!(lock(&env), @r#"
    ------- stderr -------
    error: Step `steps.root`: The suite `unstable` cannot be had from http://127.0.0.1:[PORT]
      Caused by: http://127.0.0.1:[PORT]/dists/unstable/InRelease is signed by D6C3C56AC12418775295403D21F923FBD0D8B99E, and none of these keys is in [ROOT]/work/mirror.asc
    hint: it is written at spec.ncl:4:24
    [exit status: 3]
    "#);
}

#[test]
fn a_release_that_is_no_signed_text() {
    let (mirror, env) = machine();
    mirror.put("/dists/unstable/InRelease", b"<html>Please log in</html>".to_vec());
    assert_snapshot!(lock(&env), @r#"
    ------- stderr -------
    error: Step `steps.root`: The suite `unstable` cannot be had from http://127.0.0.1:[PORT]
      Caused by: http://127.0.0.1:[PORT]/dists/unstable/InRelease is not signed text: a repository's InRelease begins with `-----BEGIN PGP SIGNED MESSAGE-----`
      Caused by: not enough bytes in buffer: cleartext header
    hint: it is written at spec.ncl:4:24
    [exit status: 3]
    "#);
}

#[test]
fn a_release_that_expired() {
    let (mirror, env) = machine();
    let fields = format!("{DATE}\nValid-Until: Wed, 08 Nov 2023 00:00:00 UTC");
    mirror.publish("unstable", &fields, vec![app("1")]);
    assert_snapshot!(lock(&env), @r#"
    ------- stderr -------
    error: Step `steps.root`: The suite `unstable` cannot be had from http://127.0.0.1:[PORT]
      Caused by: http://127.0.0.1:[PORT]/dists/unstable/InRelease expired on Wed, 08 Nov 2023 00:00:00 UTC: the mirror is not updated, or the clock of this machine is wrong
    hint: it is written at spec.ncl:4:24
    [exit status: 3]
    "#);
}

#[test]
fn a_release_that_was_rolled_back() {
    let (mirror, env) = machine();
    let _ = env.reimage(["lock"]).expect(0);
    mirror.publish("unstable", "Date: Sun, 01 Oct 2023 00:00:00 UTC", vec![app("0")]);
    let locked = env.read("reimage.lock");
    assert_snapshot!(env.reimage(["lock", "--update"]), @r#"
    ------- stderr -------
    error: Step `steps.root`: The suite `unstable` cannot be had from http://127.0.0.1:[PORT]
      Caused by: http://127.0.0.1:[PORT]/dists/unstable/InRelease is of Sun, 01 Oct 2023 00:00:00 GMT, older than what was seen before, of Wed, 01 Nov 2023 00:00:00 GMT: the mirror went back in time
    hint: it is written at spec.ncl:4:24
    [exit status: 3]
    "#);
    assert_eq!(env.read("reimage.lock"), locked);
}

#[test]
fn dependencies_that_nothing_satisfies() {
    let (mirror, env) = machine();
    let app = app("1").field("Depends: lib (>= 2)");
    mirror.publish("unstable", DATE, vec![app, Deb::new("lib", "1")]);
    assert_snapshot!(lock(&env), @r#"
    ------- stderr -------
    error: Step `steps.root`: The packages cannot be installed: `app` 1 needs `lib (>= 2)`, of which only 1 is there
    hint: it is written at spec.ncl:4:24
    [exit status: 1]
    "#);
}

#[test]
fn no_mirror_has_the_suite() {
    let (_mirror, env) = machine();
    env.file("spec.ncl", SPEC.replace("unstable", "experimental"));
    assert_snapshot!(lock(&env), @r#"
    ------- stderr -------
    error: Step `steps.root`: No mirror has the suite `experimental`: asked http://127.0.0.1:[PORT]
    hint: it is written at spec.ncl:4:24
    [exit status: 1]
    "#);
}

#[test]
fn a_repository_with_a_key_of_another() {
    let (_mirror, env) = machine();
    let more = Mirror::new(2);
    more.publish("stable", DATE, vec![Deb::new("tool", "1")]);
    let repository = format!(
        r#"root | re.Debian = {{ repositories = [{{ url = "{}", suite = "stable", signed_by = import "mirror.asc" as 'Text }}],"#,
        more.url()
    );
    env.file("spec.ncl", SPEC.replace("root | re.Debian = {", &repository));
    let text = lock(&env);
    assert_snapshot!(text, @r#"
    ------- stderr -------
    error: Step `steps.root`: The suite `stable` cannot be had from http://127.0.0.1:[PORT]
      Caused by: http://127.0.0.1:[PORT]/dists/stable/InRelease is signed by 597154933D129E26FC2B045B1BFB6606F7164465, and none of these keys is in `signed_by` of http://127.0.0.1:[PORT]
    hint: it is written at spec.ncl:4:24
    [exit status: 3]
    "#);
}

#[test]
fn a_repository_with_something_that_is_no_key() {
    let (_mirror, env) = machine();
    let repository = r#"root | re.Debian = { repositories = [{ url = "http://localhost:1", suite = "stable", signed_by = "x" }],"#;
    env.file("spec.ncl", SPEC.replace("root | re.Debian = {", repository));
    assert_snapshot!(lock(&env), @r#"
    ------- stderr -------
    error: Step `steps.root`: `signed_by` of http://localhost:1 holds no OpenPGP key, neither binary nor armored
    hint: it is written at spec.ncl:4:24
    [exit status: 1]
    "#);
}

#[test]
fn no_mirror_at_all() {
    let env = TestEnv::new();
    env.file("spec.ncl", SPEC);
    assert_snapshot!(without_apt(&env), @r#"
    ------- stderr -------
    error: Step `steps.root`: No mirror is known that has the suite `unstable`, neither from the configuration nor from apt's; write to `config.toml`:

    [debian]
    mirrors = ["https://HOST/debian"]
    security_mirrors = ["https://HOST/debian-security"]
    keyrings = ["/usr/share/keyrings/debian-archive-keyring.gpg"]
    hint: it is written at spec.ncl:4:24
    [exit status: 3]
    "#);
}

#[test]
fn two_commands_that_install_side_by_side() {
    let (mirror, env) = machine();
    let _ = &mirror;
    env.programs(&["sh", "mkdir"]).file(
        "spec.ncl",
        r#"let re = import "reimage.ncl" in
let install = fun name => "mkdir -p /var/lib/dpkg\necho Package: %{name} >/var/lib/dpkg/status" in
{
  steps = {
    root | re.Copy = { from = re.local { path = "root" } },
    one | re.Run = { from = root, script = install "one" },
    two | re.Run = { from = root, script = install "two" },
    upon | re.Run = { from = one, script = install "upon" },
  },
  images = {
    chain | re.Image = { layers = [steps.upon] },
    both | re.Image = { layers = [steps.one, steps.two] },
  },
} | re.Spec
"#,
    );
    let _ = env.reimage(["build", "images.chain"]).expect(0);
    assert_snapshot!(env.reimage(["build", "images.both"]), @r#"
    ------- stderr -------
       start steps.two
        done steps.two [TIME]
    error: `steps.one` and `steps.two` both changed the dpkg database, and neither stands on the other: one would hide what the other recorded; put one on the other with `from`
    [exit status: 1]
    "#);
}

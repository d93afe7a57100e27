//! `reimage build`, without a network

use insta::assert_snapshot;
use reimage_tests::TestEnv;

const HELLO: &str = r#"let re = import "reimage.ncl" in
{
  args = { greeting | String | default = "Hello" },
  steps = {
    hello | re.Files = { files."/hello.txt" = "%{args.greeting}\n" },
  },
  images = { hello | re.Image = { layers = [steps.hello], tags = ["hello:1.0"] } },
  exports = { text | re.Copy = { from = steps.hello, path = "/hello.txt", to = "/" } },
} | re.Spec
"#;

/// A root of this machine's programs, and steps in it.
pub(crate) fn with_steps(steps: &str) -> TestEnv {
    let env = TestEnv::new();
    env.programs(&["sh", "cat"]).file(
        "spec.ncl",
        format!(
            r#"let re = import "reimage.ncl" in
{{
  steps = {{
    root | re.Copy = {{ from = re.local {{ path = "root" }} }},
{steps}
  }},
  images = {{ tool | re.Image = {{ layers = [steps.root], entrypoint = ["/bin/sh", "-c"], cmd = ["echo from cmd"] }} }},
}} | re.Spec
"#
        ),
    );
    env
}

#[test]
fn an_image_and_an_export() {
    let env = TestEnv::new();
    env.file("spec.ncl", HELLO);
    let first = env.reimage(["build"]).expect(0);
    assert_snapshot!(first, @"
    images.hello sha256:cc2a69f3a7efb83b193b44f1ff8b075912ec26ec7a5366232f7ac0e9efdea06b
    exports.text ac33980851707e96e038a668d1726abd007f23287cfad01fe5bdae13dd026887
    ------- stderr -------
    Run it: reimage run images.hello
    ");
    let second = env.reimage(["build"]).expect(0);
    assert_eq!(first.out(), second.out());
}

/// An evaluation is remembered: what it was read from is looked at each time nevertheless.
#[test]
fn what_a_spec_imports_changes() {
    let env = TestEnv::new();
    let build = || env.reimage(["build", "-q", "steps.a"]);
    env.file("spec.ncl", "let re = import \"reimage.ncl\" in\n{ steps.a | re.Files = { files.\"/a\" = import \"a.txt\" as 'Text } } | re.Spec\n");
    env.file("a.txt", "one");
    let one = build().expect(0).out();
    assert_eq!(build().expect(0).out(), one);
    env.file("a.txt", "two");
    let two = build().expect(0).out();
    assert_ne!(two, one);
    fs_err::remove_file(env.path("a.txt")).expect("it is there");
    assert!(build().expect(1).err().contains("no file `a.txt` to import"));
    env.file("a.txt", "one");
    assert_eq!(build().expect(0).out(), one);
    env.file("reimage.ncl", "{}");
    assert!(build().expect(1).err().contains("`reimage.ncl` hides the library of the same name"));
}

#[test]
fn an_argument_changes_the_digest() {
    let env = TestEnv::new();
    env.file("spec.ncl", HELLO);
    let plain = env.reimage(["build", "images.hello"]).expect(0).out();
    let other = env.reimage(["build", "images.hello", "--arg", "greeting=Hi"]).expect(0).out();
    let set = env.reimage(["build", "images.hello", "--set", "args.greeting=\"Hi\""]).expect(0).out();
    assert_ne!(plain, other);
    assert_eq!(other, set);
    assert_snapshot!(env.reimage(["build", "--arg", "greting=Hi"]), @"
    ------- stderr -------
    error: no argument `greting`
      ┌─ --arg:1:1
      │
    1 │ greting=Hi
      │ ^^^^^^^ did you mean `greeting`?
      │
      = `args`: greeting
    [exit status: 1]
    ");
    assert_snapshot!(env.reimage(["build", "--arg", "greeting"]), @"
    ------- stderr -------
    error: Bad `--arg`: Expected `NAME=VALUE`, got `greeting`
    [exit status: 64]
    ");
}

#[test]
fn exports_are_written() {
    let env = TestEnv::new();
    env.file("spec.ncl", HELLO);
    let _ = env.reimage(["build", "exports.text", "--output", "dist"]).expect(0);
    assert_eq!(env.read("dist/text"), "Hello\n");
}

#[test]
fn a_failing_step() {
    let env = with_steps(r#"    bad | re.Run = { from = root, script = "echo out; echo err >&2; exit 7" },"#);
    assert_snapshot!(env.reimage(["build", "steps.bad"]), @"
    ------- stderr -------
       start steps.bad
      failed steps.bad
    │ out
    │ err
    error: Step `steps.bad` failed: its command exited with status 7
    hint: `reimage log steps.bad` shows all that it wrote
    hint: `reimage shell steps.bad` stands in its place
    hint: it is written at spec.ncl:5:20
    [exit status: 2]
    ");
    assert_eq!(env.reimage(["log", "steps.bad"]).expect(0).out(), "out\nerr");
}

#[test]
fn an_output_that_was_not_written() {
    let env = with_steps(
        r#"    bad | re.Run = { from = root, script = "echo x > /a", outputs = ["/b"] },"#,
    );
    assert_snapshot!(env.reimage(["build", "steps.bad"]), @"
    ------- stderr -------
       start steps.bad
      failed steps.bad
    error: Step `steps.bad` did not write `/b`, which its `outputs` name
    hint: it wrote: /a
    hint: it is written at spec.ncl:5:20
    [exit status: 2]
    ");
}

#[test]
fn a_file_as_a_layer_that_only_the_build_can_see() {
    let env = with_steps(
        r#"    tool | re.Copy = { from = root, path = "/bin/cat", to = "/" },
    bad | re.Run = { from = [root, tool], script = "true" },"#,
    );
    assert_snapshot!(env.reimage(["build", "steps.bad"]), @"
    ------- stderr -------
      failed steps.bad
    error: `steps.tool` is a file, and a layer is a directory
    hint: say where it goes: `re.copy { from = steps.tool, to = \"/usr/bin/tool\" }`
    hint: it is written at spec.ncl:5:22
    [exit status: 1]
    ");
}

#[test]
fn a_source_that_the_lock_does_not_pin() {
    let env = TestEnv::new();
    env.file("reimage.lock", "version = 1\n").file("spec.ncl", r#"let re = import "reimage.ncl" in
{ exports.tini | re.Copy = { from = re.http { url = "https://example.org/v0.19/tini" } } } | re.Spec
"#);
    let ran = env.reimage(["build"]);
    assert_eq!(ran.to_string(), env.reimage(["build", "--locked"]).to_string());
    assert_snapshot!(ran, @"
    ------- stderr -------
    error: `https://example.org/v0.19/tini` is not in reimage.lock
    hint: run `reimage lock`
    hint: it is written at spec.ncl:2:45
    [exit status: 1]
    ");
}

#[test]
fn steps_show_their_output_if_asked() {
    let env = with_steps(r#"    good | re.Run = { from = root, script = "echo one; echo two" },"#);
    let ran = env.reimage(["build", "-v", "steps.good"]).expect(0);
    assert!(ran.err().contains("steps.good │ one\nsteps.good │ two"), "{ran}");
    assert_eq!(env.reimage(["log", "steps.good"]).expect(0).out(), "one\ntwo");
}

#[test]
fn events_for_programs() {
    let env = with_steps(r#"    good | re.Run = { from = root, script = "echo one" },"#);
    let ran = env.reimage(["build", "--format", "json", "steps.good"]).expect(0);
    assert!(ran.err().contains(r#"{"event":"step-started","step":"#), "{ran}");
    assert!(ran.out().starts_with(r#"{"digest":""#), "{ran}");
}

#[test]
fn a_store_that_cannot_be_written() {
    let env = TestEnv::new();
    env.file("spec.ncl", HELLO).file("store", "a file");
    let ran = env.reimage(["build", "--store", "store"]).expect(3);
    assert!(ran.err().starts_with("error: Cannot make the store `[ROOT]/work/store`"), "{ran}");
}

#[test]
fn what_memory_does_not_hold_is_run_on_disk() {
    let steps = r#"    big | re.Run = { from = root, script = "i=0; while [ $i -lt 100 ]; do cat /bin/* /bin/* /bin/* /bin/*; i=$((i+1)); done > /big" },"#;
    let env = with_steps(steps);
    env.config("[sandbox]\nmemory = \"2g\"\n");
    let in_memory = env.reimage(["build", "-j1", "-v", "steps.big"]).expect(0);
    env.config("[sandbox]\nmemory = \"16m\"\n");
    let spilled = env.reimage(["build", "-j1", "-v", "--store", "other", "steps.big"]).expect(0);
    assert_eq!(in_memory.out(), spilled.out());
    let again = "more than is kept in memory; again, on disk";
    assert!(!in_memory.err().contains(again) && spilled.err().contains(again), "{}", spilled.err());
}

/// A large source is laid out once, and what changes in it over that: a step sees the same as with an empty store.
#[test]
fn a_large_project_that_changes() {
    let env = with_steps(
        r#"    source | re.Copy = { from = re.local { path = "app" }, to = "/app" },
    list | re.Run = { from = [root, source], script = "cd /app; for d in *; do for f in $d/* $d/*/*; do echo $f; test ! -f $f || cat $f; done; done > /list; test ! -e /app/d0/f0 || cat /app/d0/f0" },"#,
    );
    let file = |number: usize| format!("app/d{}/f{number}", number % 10);
    for number in 0..1500 {
        env.file(file(number), format!("{number}\n"));
    }
    let build = |env: &TestEnv, store: &str| {
        env.reimage(["build", "-j2", "--store", store, "steps.list"]).expect(0).out()
    };
    let first = build(&env, "warm");
    #[expect(clippy::disallowed_methods, reason = "they are counted")]
    let roots = |env: &TestEnv| fs_err::read_dir(env.path("warm/roots-v1")).expect("roots").count();
    let before = roots(&env);
    env.file(file(7), "changed\n").file("app/d3/new", "new\n").file("app/d3/sub/deep", "deep\n");
    fs_err::remove_file(env.path(file(1499))).expect("it is there");
    let changed = build(&env, "warm");
    assert_ne!(first, changed);
    assert_eq!(changed, build(&env, "cold"), "one edited, two new, one removed");
    assert_eq!(roots(&env), before + 1, "what changed");
    fs_err::remove_dir_all(env.path("app/d5")).expect("it is there");
    env.file("app/d5", "a file now\n");
    let replaced = build(&env, "warm");
    assert_eq!(replaced, build(&env, "colder"), "a directory became a file");
}

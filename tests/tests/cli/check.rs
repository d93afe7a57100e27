//! `reimage check`

use insta::assert_snapshot;
use reimage_tests::TestEnv;

#[test]
fn a_good_spec() {
    let env = TestEnv::new();
    env.file("spec.ncl", r#"let re = import "reimage.ncl" in
{ steps = { a | re.Files = { files."/a" = "a" } }, images = { i | re.Image = { layers = [steps.a] } } } | re.Spec"#);
    assert_snapshot!(env.reimage(["check"]), @"spec.ncl: no mistake found");
}

#[test]
fn a_misspelt_field() {
    let env = TestEnv::new();
    env.file("spec.ncl", r#"let re = import "reimage.ncl" in
{ steps = { a | re.Files = { flies."/a" = "a" } } } | re.Spec"#);
    assert_snapshot!(env.reimage(["check"]), @r#"
    ------- stderr -------
    error: `re.Files` has no field `flies`
      ┌─ spec.ncl:2:30
      │
    2 │ { steps = { a | re.Files = { flies."/a" = "a" } } } | re.Spec
      │                              ^^^^^ did you mean `files`?
    [exit status: 1]
    "#);
}

#[test]
fn for_editors() {
    let env = TestEnv::new();
    env.file("spec.ncl", r#"let re = import "reimage.ncl" in
{ steps = { app | re.Run = { from = "base", script = "true" } } } | re.Spec"#);
    let ran = env.reimage(["check", "--format", "json"]).expect(1);
    assert!(ran.stdout.is_empty());
    assert_snapshot!(ran.err(), @r#"{"causes":[],"diagnostics":[{"labels":[{"column":37,"end_column":43,"end_line":2,"file":"spec.ncl","line":2,"primary":true,"text":""}],"message":"`from`: expected a step or a list of steps, got the string `base`","notes":["refer to a step by its field, without quotes: `from = base` or `from = [base, deps]`"],"severity":"error"}],"event":"error","exit":1,"hints":[],"kind":"spec","message":"error: `from`: expected a step or a list of steps, got the string `base`\n  ┌─ spec.ncl:2:37\n  │\n2 │ { steps = { app | re.Run = { from = \"base\", script = \"true\" } } } | re.Spec\n  │                                     ^^^^^^\n  │\n  = refer to a step by its field, without quotes: `from = base` or `from = [base, deps]`"}"#);
}

#[test]
fn no_spec() {
    assert_snapshot!(TestEnv::new().reimage(["check"]), @"
    ------- stderr -------
    error: No spec at `[ROOT]/work/spec.ncl`: `reimage init` writes one
    [exit status: 64]
    ");
}

#[test]
fn a_broken_lock() {
    let env = TestEnv::new();
    env.file("spec.ncl", r#"let re = import "reimage.ncl" in { steps = {} } | re.Spec"#);
    env.file("reimage.lock", "<<<<<<< ours\nversion = 1\n");
    assert_snapshot!(env.reimage(["check"]), @"
    ------- stderr -------
    error: The lock `[ROOT]/work/reimage.lock` cannot be read
      Caused by: Line 1 is the mark of an unresolved merge
    hint: take one side of the merge as it is, then run `reimage lock`: it adds what is missing
    [exit status: 1]
    ");
}

#[test]
fn places_are_seen_from_the_working_directory() {
    let env = TestEnv::new();
    let spec = |step: &str| format!("let re = import \"reimage.ncl\" in\n{{ steps = {{ a | {step} }} }} | re.Spec");
    let bad = spec("re.Files = { flies.\"/a\" = \"a\" }");
    let unpinned = spec("re.Http = { url = \"http://127.0.0.1:1/a\" }");
    env.file("bad/spec.ncl", bad).file("web/spec.ncl", unpinned).file("reimage.lock", "version = 1\n");
    fs_err::create_dir(env.path("other")).expect("it is new");
    for (directory, bad, web) in [
        ("", "bad/spec.ncl", "web/spec.ncl"),
        ("bad", "spec.ncl", "../web/spec.ncl"),
        ("other", "../bad/spec.ncl", "../web/spec.ncl"),
    ] {
        let run = |verb: &str, name: &str| {
            let name = env.path(name);
            env.run(env.command().current_dir(env.path(directory)).args([verb, &format!("{}#steps.a", name.display())]))
        };
        let ran = run("check", "bad").expect(1);
        assert!(ran.err().contains(&format!("┌─ {bad}:2:")), "{ran}");
        let ran = run("build", "web").expect(1);
        assert!(ran.err().contains(&format!("hint: it is written at {web}:2:")), "{ran}");
    }
}

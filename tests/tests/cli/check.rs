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
{ steps = { a | re.Files = { flies."/a" = "a" } } } | re.Spec"#);
    let ran = env.reimage(["check", "--format", "json"]).expect(1);
    assert!(ran.stdout.is_empty());
    let event = ran.err();
    for part in [r#""event":"error""#, r#""kind":"spec""#, r#""exit":1"#, r#""file":"spec.ncl""#, r#""line":2"#] {
        assert!(event.contains(part), "{part} is not in {event}");
    }
    assert_eq!(event.lines().count(), 1);
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
      Caused by: Line 1 is the mark of an unresolved merge; take one side and run `reimage lock`, which adds what is missing
    hint: take it back from version control, or delete it and run `reimage lock`
    [exit status: 1]
    ");
}

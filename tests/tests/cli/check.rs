//! `reimage check`

use insta::assert_snapshot;
use reimage_tests::TestEnv;

#[test]
fn a_good_spec() {
    let env = TestEnv::new();
    env.file("spec.ncl", r#"let re = import "reimage.ncl" in
{ steps = { a | re.Files = { files."/a" = "a" } }, images = { i | re.Image = { layers = [steps.a] } } } | re.Spec"#);
    assert_snapshot!(env.reimage(["check"]), @"");
}

#[test]
fn a_misspelt_field() {
    let env = TestEnv::new();
    env.file("spec.ncl", r#"let re = import "reimage.ncl" in
{ steps = { a | re.Files = { flies."/a" = "a" } } } | re.Spec"#);
    assert_snapshot!(env.reimage(["check"]), @"");
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
    assert_snapshot!(TestEnv::new().reimage(["check"]), @"");
}

#[test]
fn a_broken_lock() {
    let env = TestEnv::new();
    env.file("spec.ncl", r#"let re = import "reimage.ncl" in { steps = {} } | re.Spec"#);
    env.file("reimage.lock", "<<<<<<< ours\nversion = 1\n");
    assert_snapshot!(env.reimage(["check"]), @"");
}

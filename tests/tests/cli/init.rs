//! `reimage init`

use insta::assert_snapshot;
use reimage_tests::TestEnv;

#[test]
fn a_web_app() {
    let env = TestEnv::new();
    env.file("main.py", "from flask import Flask\napp = Flask(__name__)\n");
    env.file("requirements.txt", "flask\nredis>=4\n");
    assert_snapshot!(env.reimage(["init"]), @"");
    assert!(env.read("spec.ncl").contains(r#"packages = ["python3", "python3-flask", "python3-redis", "gunicorn"]"#));
}

#[test]
fn another_directory() {
    let env = TestEnv::new();
    env.file("services/shop/index.html", "<p>hello");
    assert_snapshot!(env.reimage(["init", "services/shop"]), @"");
}

#[test]
fn overwrites_nothing() {
    let env = TestEnv::new();
    env.file("spec.ncl", "{}");
    assert_snapshot!(env.reimage(["init"]), @"");
    assert_eq!(env.read("spec.ncl"), "{}");
}

#[test]
fn no_such_directory() {
    assert_snapshot!(TestEnv::new().reimage(["init", "nowhere"]), @"");
}

#[test]
fn for_programs() {
    assert_snapshot!(TestEnv::new().reimage(["init", "--format", "json"]), @"");
}

//! `reimage init`

use insta::assert_snapshot;
use reimage_tests::TestEnv;

#[test]
fn a_web_app() {
    let env = TestEnv::new();
    env.file("main.py", "from flask import Flask\napp = Flask(__name__)\n");
    env.file("requirements.txt", "flask\nredis>=4\n");
    assert_snapshot!(env.reimage(["init"]), @"
    Wrote spec.ncl: A Python web app (flask), main.py, upon Debian's Python
    note: requirements.txt became Debian packages, with Debian's versions: python3-flask, python3-redis
    Next:
      reimage build                            build it; the first time this writes reimage.lock
      reimage run images.work --network host   run it, without docker
      reimage load --to docker images.work     or podman, or containerd
    ");
    assert!(env.read("spec.ncl").contains(r#"packages = ["python3", "python3-flask", "python3-redis", "gunicorn"]"#));
}

#[test]
fn another_directory() {
    let env = TestEnv::new();
    env.file("services/shop/index.html", "<p>hello");
    assert_snapshot!(env.reimage(["init", "services/shop"]), @"
    Wrote services/shop/spec.ncl: A web site, served by busybox
    Next:
      reimage build services/shop#                           build it; the first time this writes reimage.lock
      reimage run services/shop#images.shop --network host   run it, without docker
      reimage load --to docker services/shop#images.shop     or podman, or containerd
    ");
}

#[test]
fn overwrites_nothing() {
    let env = TestEnv::new();
    env.file("spec.ncl", "{}");
    assert_snapshot!(env.reimage(["init"]), @"
    ------- stderr -------
    error: `spec.ncl` is there already, and `init` overwrites nothing
    hint: `reimage check` evaluates it; move it away to begin anew
    [exit status: 64]
    ");
    assert_eq!(env.read("spec.ncl"), "{}");
}

#[test]
fn no_such_directory() {
    assert_snapshot!(TestEnv::new().reimage(["init", "nowhere"]), @"
    ------- stderr -------
    error: There is no directory `[ROOT]/work/nowhere`
    [exit status: 64]
    ");
}

#[test]
fn for_programs() {
    assert_snapshot!(TestEnv::new().reimage(["init", "--format", "json"]), @r#"{"file":"[ROOT]/work/spec.ncl","found":"Debian and one program, to begin with","notes":[],"target":"images.work"}"#);
}

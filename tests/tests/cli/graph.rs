//! `reimage graph`

use insta::assert_snapshot;
use reimage_tests::TestEnv;

fn env() -> TestEnv {
    let env = TestEnv::new();
    env.file("app/main.py", "print(1)\n").file(
        "spec.ncl",
        r#"let re = import "reimage.ncl" in
{
  steps = {
    base | re.Debian = { suite = "bookworm", packages = ["python3"] },
    source | re.Copy = { from = re.local { path = "app" }, to = "/opt/app" },
    app | re.Run = {
      from = [base, source],
      inputs."/tests" = source,
      script = "python3 -m compileall -q /opt/app",
    },
  },
  images = {
    web | re.Image = { layers = [steps.app], tags = ["web:1.0"] },
  },
} | re.Spec
"#,
    );
    env
}

#[test]
fn a_tree() {
    assert_snapshot!(env().reimage(["graph"]), @"");
}

#[test]
fn for_graphviz() {
    assert_snapshot!(env().reimage(["graph", "--format", "dot"]), @"");
}

#[test]
fn for_programs() {
    let ran = env().reimage(["graph", "steps.source", "--format", "json"]).expect(0);
    assert_snapshot!(ran, @"");
}

#[test]
fn a_misspelt_target() {
    assert_snapshot!(env().reimage(["graph", "images.wbe"]), @"");
}

#[test]
fn a_file_for_a_target() {
    assert_snapshot!(env().reimage(["graph", "services/web"]), @"");
}

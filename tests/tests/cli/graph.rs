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
    assert_snapshot!(env().reimage(["graph"]), @"
    images.web (image web:1.0)
    └─ steps.app (run python3 -m compileall -q /opt/app)
       ├─ steps.base (debian bookworm python3)
       ├─ steps.source (copy / -> /opt/app)
       │  └─ spec.ncl:5 local (local app)
       └─ input /tests: steps.source (see above)
    ");
}

#[test]
fn for_graphviz() {
    assert_snapshot!(env().reimage(["graph", "--format", "dot"]), @r#"
    digraph reimage {
      rankdir = BT;
      node [shape = box, fontname = "sans-serif"];
      0 [label = "steps.base\ndebian bookworm python3"];
      1 [label = "spec.ncl:5 local\nlocal app"];
      2 [label = "steps.source\ncopy / -> /opt/app"];
      3 [label = "steps.app\nrun python3 -m compileall -q /opt/app"];
      4 [label = "images.web\nimage web:1.0", style = bold];
      2 -> 1;
      3 -> 0;
      3 -> 2;
      3 -> 2 [label = "input /tests", style = dashed];
      4 -> 3;
    }
    "#);
}

#[test]
fn for_programs() {
    let ran = env().reimage(["graph", "steps.source", "--format", "json"]).expect(0);
    assert_snapshot!(ran, @r#"{"steps":[{"kind":"local","name":"spec.ncl:5 local","place":"spec.ncl:5:42","references":[],"step":0,"summary":"app"},{"kind":"copy","name":"steps.source","place":"spec.ncl:5:24","references":[{"role":"from","step":0}],"step":1,"summary":"/ -> /opt/app"}],"targets":[{"name":"steps.source","step":1}]}"#);
}

#[test]
fn a_misspelt_target() {
    assert_snapshot!(env().reimage(["graph", "images.wbe"]), @"
    ------- stderr -------
    error: no target `images.wbe`
     = did you mean `images.web`?
    [exit status: 1]
    ");
}

#[test]
fn a_file_for_a_target() {
    assert_snapshot!(env().reimage(["graph", "services/web"]), @"
    ------- stderr -------
    error: `services/web` looks like a file: to build all of its targets write `services/web#`, for one of them `services/web#images.web`
    [exit status: 64]
    ");
}

//! File times in steps: what make rebuilds, what tar keeps, what Python finds compiled

use insta::assert_snapshot;
use reimage_tests::TestEnv;

/// A root with these programs, and steps in it.
fn with(programs: &[&str], steps: &str) -> TestEnv {
    let env = TestEnv::new();
    env.programs(programs).file(
        "spec.ncl",
        format!(
            r#"let re = import "reimage.ncl" in
{{
  steps = {{
    root | re.Copy = {{ from = re.local {{ path = "root" }} }},
    source | re.Copy = {{ from = re.local {{ path = "source" }}, to = "/src" }},
{steps}
  }},
}} | re.Spec
"#
        ),
    );
    env
}

fn said(env: &TestEnv, step: &str) -> String {
    let _ = env.reimage(["build", step]).expect(0);
    env.reimage(["log", step]).expect(0).out()
}

#[test]
fn make_rebuilds_when_in_doubt() {
    let makefile = "all: a.out b.out\n%.out: %.in\n\tcat $< > $@; echo made $@\n";
    let env = with(
        &["sh", "cat", "make", "sleep"],
        r#"    first | re.Run = { from = [root, source], script = "cd /src; make -s; make -s; echo again" },
    second | re.Run = { from = first, script = "cd /src; make -s; sleep 0.05; echo x > a.in; make -s; make -s; sleep 0.05; echo y > a.in; make -s" },
    over | re.Run = { from = [first, source], script = "cd /src; make -s" },"#,
    );
    env.file("source/Makefile", makefile).file("source/a.in", "a\n").file("source/b.in", "b\n");
    assert_snapshot!(said(&env, "steps.first"), @"
    made a.out
    made b.out
    again
    ");
    assert_snapshot!(said(&env, "steps.second"), @"
    made a.out
    made b.out
    made a.out
    made a.out
    ");
    assert_snapshot!(said(&env, "steps.over"), @"
    made a.out
    made b.out
    ");
    env.file("source/a.in", "changed\n");
    assert_snapshot!(said(&env, "steps.first"), @"
    made a.out
    made b.out
    again
    ");
}

#[test]
fn times_that_a_step_sets() {
    let env = with(
        &["sh", "cat", "tar", "stat", "touch", "mkdir", "ls", "date"],
        r#"    packed | re.Run = { from = root, outputs = ["/out"], script = "
      mkdir -p /out/d; echo x > /out/d/old; echo y > /out/d/new; touch -d @1000000000 /out/d/old; touch -d @4000000000 /out/d/late
      tar -C /out -cf /out/t.tar d" },
    unpacked | re.Run = { from = root, inputs."/in" = packed, script = "
      mkdir /u; tar -C /u -xf /in/out/t.tar 2>/dev/null; stat -c '%Y %n' /u/d/old /in/out/d/late; touch -d @1000000001 /dir-of-old; mkdir /u/sub; touch -d @1000000002 /u/sub" },
    seen | re.Run = { from = unpacked, script = "stat -c '%Y %n' /u /u/d /u/d/old /u/d/new /u/d/late /dir-of-old /u/sub; [ /u/d/old -ot /u/d/new ] && echo older" },"#,
    );
    env.file("source/x", "");
    assert_snapshot!(said(&env, "steps.unpacked"), @"
    1000000000 /u/d/old
    1793491200 /in/out/d/late
    ");
    assert_snapshot!(said(&env, "steps.seen"), @"
    1793491200 /u
    1793491200 /u/d
    1000000000 /u/d/old
    1793491200 /u/d/new
    1793491200 /u/d/late
    1000000001 /dir-of-old
    1000000002 /u/sub
    older
    ");
}

#[test]
fn python_finds_what_a_step_compiled() {
    let env = with(
        &["sh", "python3"],
        r#"    compiled | re.Run = { from = [root, source], env.PYTHONHOME = "/usr", script = "python3 -m compileall -q /src" },
    used | re.Run = { from = compiled, env.PYTHONHOME = "/usr", script = "python3 -v -c 'import sys; sys.path.insert(0, \"/src\"); import module' 2>&1 | python3 -c 'import sys; print(*[l.strip() for l in sys.stdin if \"/src/\" in l and (\"matches\" in l or \"wrote\" in l or \"stale\" in l)], sep=\"\\n\")'" },"#,
    );
    env.python().file("source/module.py", "x = 1\n");
    let told = said(&env, "steps.used");
    let matches = told.starts_with("# /src/__pycache__/module.cpython-")
        && told.ends_with(".pyc matches /src/module.py");
    assert!(matches && told.lines().count() == 1, "{told}");
}

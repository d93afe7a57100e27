//! Many steps on each other, many layers, many files.

use reimage_tests::TestEnv;

use insta::assert_snapshot;

/// A spec in which `count` steps stand on each other; each is run, and appends to what the one below wrote.
fn chain(count: usize) -> TestEnv {
    let env = TestEnv::new();
    fs_err::create_dir(env.path("tools")).expect("it is new");
    fs_err::copy("/usr/bin/busybox", env.path("tools/busybox")).expect("busybox-static is there");
    env.file(
        "spec.ncl",
        format!(
            r#"let re = import "reimage.ncl" in
let tools = re.local {{ path = "tools" }} in
let last = std.array.fold_left
  (fun below n => re.run {{
    from = below,
    inputs."/tools" = tools,
    command = ["/tools/busybox", "sh", "-c", "echo %{{std.to_string n}} >> /all; echo > /f%{{std.to_string n}}"],
  }})
  (re.files {{ files."/all" = "" }})
  (std.array.range 1 {}) in
{{
  images = {{
    deep | re.Image = {{ layers = [last] }},
    squashed | re.Image = {{ layers = [re.copy {{ from = last }}] }},
  }},
  exports.all | re.Copy = {{ from = last, path = "/all", to = "/" }},
}} | re.Spec
"#,
            count + 1
        ),
    );
    env
}

#[test]
fn a_thousand_steps_on_each_other() {
    let env = chain(1000);
    let _ = env.reimage(["build", "exports.all", "images.squashed", "--output", "dist"]).expect(0);
    let lines: Vec<usize> =
        env.read("dist/all").lines().map(|line| line.parse().expect("a number")).collect();
    assert!(lines.into_iter().eq(1..=1000));
    assert_snapshot!(env.reimage(["build", "images.deep"]), @"
    ------- stderr -------
    error: Step `images.deep`: The image has 1001 layers, and container engines take at most 127: squash it into one by `layers = [re.copy { from = .. }]`, or some of them by such a copy in their place
    hint: it is written at spec.ncl:13:23
    [exit status: 1]
    ");
}

#[test]
fn more_layers_than_engines_take() {
    let env = chain(127);
    assert_snapshot!(env.reimage(["build", "images.deep"]), @"
    ------- stderr -------
    error: Step `images.deep`: The image has 128 layers, and container engines take at most 127: squash it into one by `layers = [re.copy { from = .. }]`, or some of them by such a copy in their place
    hint: it is written at spec.ncl:13:23
    [exit status: 1]
    ");
    let env = chain(126);
    let _ = env.reimage(["build", "images.deep"]).expect(0);
}

#[test]
fn twenty_thousand_files_from_a_step() {
    let env = TestEnv::new();
    fs_err::create_dir(env.path("tools")).expect("it is new");
    fs_err::copy("/usr/bin/busybox", env.path("tools/busybox")).expect("busybox-static is there");
    env.file(
        "spec.ncl",
        r#"let re = import "reimage.ncl" in
let tools = { inputs."/tools" = re.local { path = "tools" } } in
{
  steps = {
    many | re.Run = tools & {
      command = ["/tools/busybox", "sh", "-e", "-c", m%"
        d=0; while [ $d -lt 100 ]; do
          /tools/busybox mkdir -p /many/$d; f=0
          while [ $f -lt 200 ]; do echo $d.$f > /many/$d/$f; f=$((f+1)); done
          d=$((d+1))
        done
      "%],
    },
    count | re.Run = tools & {
      from = many,
      outputs = ["/count"],
      command = ["/tools/busybox", "sh", "-c", "/tools/busybox find /many -type f | /tools/busybox wc -l > /count"],
    },
  },
  images.many | re.Image = { layers = [steps.many] },
  exports.count | re.Copy = { from = steps.count, path = "/count", to = "/" },
} | re.Spec
"#,
    );
    let built = env.reimage(["build", "--output", "dist"]).expect(0).out();
    assert_eq!(env.read("dist/count"), "20000\n");
    assert_snapshot!(built, @"
    images.many sha256:d4ccc5767d6402a9529b4317c6ecc918361d129926f8339395511ccc2a20f62c
    exports.count 5158370c42b767201c4359bf193ea65526a04ca54cb8d1f334fb91d91bb3b34e
    ");
}

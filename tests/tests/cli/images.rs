//! The verbs over the image store: images, inspect, history, tag, remove, prune

use insta::assert_snapshot;
use reimage_tests::TestEnv;

fn env() -> TestEnv {
    let env = TestEnv::new();
    env.file(
        "spec.ncl",
        r#"let re = import "reimage.ncl" in
{
  steps = { hello | re.Files = { files."/hello.txt" = "Hello\n" } },
  images = {
    hello | re.Image = { layers = [steps.hello], cmd = ["/hello"], tags = ["hello:1.0"] },
  },
} | re.Spec
"#,
    );
    let _ = env.reimage(["build"]).expect(0);
    env
}

#[test]
fn listed_inspected_and_its_history() {
    let env = env();
    assert_snapshot!(env.reimage(["images"]), @"");
    assert_snapshot!(env.reimage(["history", "hello:1.0"]), @"");
    let inspected = env.reimage(["inspect", "images.hello"]).expect(0);
    assert!(inspected.out().contains(r#""Cmd": ["#), "{inspected}");
}

#[test]
fn tagged_and_removed() {
    let env = env();
    assert_snapshot!(env.reimage(["tag", "hello:1.0", "hello", "registry.example/team/hello:2"]), @"");
    assert_snapshot!(env.reimage(["images"]), @"");
    assert_snapshot!(env.reimage(["remove", "hello:1.0"]), @"");
    assert_snapshot!(env.reimage(["remove", "hello:latest", "registry.example/team/hello:2"]), @"");
    assert_snapshot!(env.reimage(["images"]), @"");
}

#[test]
fn a_name_that_is_not_here() {
    assert_snapshot!(env().reimage(["inspect", "helo:1.0"]), @"");
}

#[test]
fn pruned_and_built_again() {
    let env = env();
    let before = env.reimage(["build"]).expect(0).out();
    let _ = env.reimage(["remove", "hello:1.0"]).expect(0);
    let _ = env.reimage(["prune", "--all"]).expect(0);
    assert_eq!(env.reimage(["build"]).expect(0).out(), before);
}

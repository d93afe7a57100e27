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

#[test]
fn saved_and_imported() {
    let env = env();
    let digest = env.reimage(["build"]).expect(0).out();
    for format in ["docker", "oci"] {
        let file = format!("{format}.tar");
        let _ = env.reimage(["save", "hello:1.0", "--format", format, "-o", &file]).expect(0);
        let _ = env.reimage(["remove", "hello:1.0"]).expect(0);
        let imported = env.reimage(["import", &file, "--tag", "again:1"]).expect(0).out();
        let digest = digest.trim_start_matches("images.hello ");
        assert_eq!(imported, format!("again:1 hello:1.0 {digest}"), "{format}");
    }
    let _ = env.reimage(["save", "hello:1.0", "--format", "rootfs-dir", "-o", "root"]).expect(0);
    assert_eq!(env.read("root/hello.txt"), "Hello\n");
    assert_snapshot!(env.reimage(["save", "hello:1.0", "--format", "oci-dir", "-o", "root"]), @"");
    assert_snapshot!(env.reimage(["save", "hello:1.0", "--format", "oci-dir"]), @"");
}

#[test]
fn a_file_that_is_no_archive() {
    let env = env();
    env.file("x.tar", "this is no archive at all");
    assert_snapshot!(env.reimage(["import", "x.tar"]), @"");
    assert_snapshot!(env.reimage(["import", "nowhere.tar"]), @"");
}

//! The verbs over the image store: images, inspect, history, tag, remove

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
    assert_snapshot!(env.reimage(["images"]), @"
    NAME        DIGEST         PLATFORM      SIZE
    hello:1.0   39f6dabdb18c   linux/amd64   101 B
    ");
    assert_snapshot!(env.reimage(["history", "hello:1.0"]), @"
    LAYER          SIZE    MADE BY
    b863e92b1f97   101 B   FILES /hello.txt
    ");
    let inspected = env.reimage(["inspect", "images.hello"]).expect(0);
    assert!(inspected.out().contains(r#""Cmd": ["#), "{inspected}");
}

#[test]
fn tagged_and_removed() {
    let env = env();
    assert_snapshot!(env.reimage(["tag", "hello:1.0", "hello", "registry.example/team/hello:2"]), @"
    hello:latest
    registry.example/team/hello:2
    ");
    assert_snapshot!(env.reimage(["images"]), @"
    NAME                            DIGEST         PLATFORM      SIZE
    hello:1.0                       39f6dabdb18c   linux/amd64   101 B
    hello:latest                    39f6dabdb18c   linux/amd64   101 B
    registry.example/team/hello:2   39f6dabdb18c   linux/amd64   101 B
    ");
    assert_snapshot!(env.reimage(["remove", "hello:1.0"]), @"Removed hello:1.0");
    assert_snapshot!(env.reimage(["remove", "hello:latest", "registry.example/team/hello:2"]), @"
    Removed hello:latest
    Removed registry.example/team/hello:2
    Removed sha256:39f6dabdb18c5c8ebcdfd19c62fe5ba249b0d8c9c976d4f5139db047ec65388f
    ");
    assert_snapshot!(env.reimage(["images"]), @"NAME   DIGEST   PLATFORM   SIZE");
}

#[test]
fn a_name_that_is_not_here() {
    assert_snapshot!(env().reimage(["inspect", "helo:1.0"]), @r#"
    ------- stderr -------
    {"causes":[],"event":"error","exit":64,"hints":["`reimage images` lists what is here","did you mean `hello:1.0`?","a target is `images.NAME`, in another spec `DIR#images.NAME`"],"kind":"usage","message":"`helo:1.0` is neither an image that is here nor a target of a spec"}
    [exit status: 64]
    "#);
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
    assert_snapshot!(env.reimage(["save", "hello:1.0", "--format", "oci-dir", "-o", "root"]), @"
    ------- stderr -------
    error: [ROOT]/work/root is not an empty directory: name one that is not there yet
    [exit status: 64]
    ");
    assert_snapshot!(env.reimage(["save", "hello:1.0", "--format", "oci-dir"]), @"
    ------- stderr -------
    error: A directory needs a place: `--output DIR`
    [exit status: 64]
    ");
}

#[test]
fn a_file_that_is_no_archive() {
    let env = env();
    env.file("x.tar", "this is no archive at all");
    assert_snapshot!(env.reimage(["import", "x.tar"]), @"
    ------- stderr -------
    error: It is no archive of images
      Caused by: The layer is not a valid archive at byte 0: it ends within a header
    [exit status: 64]
    ");
    assert_snapshot!(env.reimage(["import", "nowhere.tar"]), @"
    ------- stderr -------
    error: failed to open file `[ROOT]/work/nowhere.tar`: No such file or directory (os error 2)
    [exit status: 3]
    ");
}

#[test]
fn an_archive_is_nothing_for_a_terminal() {
    let env = env();
    let template = env.command();
    let mut script = std::process::Command::new("script");
    script.args(["--quiet", "--return", "--command", "\"$REIMAGE\" save hello:1.0", "/dev/null"]);
    script.env_clear().env("REIMAGE", reimage_tests::binary()).current_dir(env.path(""));
    script.envs(template.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let ran = env.run(&mut script).expect(64).out();
    assert!(ran.contains("An archive is nothing for a terminal"), "{ran}");
    assert!(ran.contains("redirect it (`| docker load`, `> image.tar`)"), "{ran}");
}

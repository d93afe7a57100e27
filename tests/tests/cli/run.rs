//! `reimage run` and `reimage shell`: containers and steps, without a network

use insta::assert_snapshot;
use reimage_tests::TestEnv;

use crate::build::with_steps;

fn env() -> TestEnv {
    with_steps(
        r#"    note | re.Files = { files."/note" = "a note\n" },
    step | re.Run = {
      from = root,
      inputs."/in" = note,
      env.NAME = "value",
      workdir = "/work",
      script = "exit 1",
    },"#,
    )
}

#[test]
fn entrypoint_and_cmd() {
    assert_snapshot!(env().reimage(["run", "-q", "images.tool"]), @"from cmd");
}

#[test]
fn arguments_environment_and_exit_status() {
    let env = env();
    let script = "echo $A in $PWD; exit 7";
    assert_snapshot!(
        env.reimage(["run", "-q", "images.tool", "-e", "A=b", "-w", "/tmp", "--", script]),
        @"
    b in /tmp
    [exit status: 7]
    "
    );
}

#[test]
fn a_volume() {
    let env = env();
    env.file("data/x", "from outside\n");
    let ran = env.reimage(["run", "-q", "images.tool", "--volume", "data:/data", "--", "cat /data/x; echo in > /data/y"]);
    assert_snapshot!(ran, @"from outside");
    assert_eq!(env.read("data/y"), "in\n");
    let ran = env.reimage(["run", "-q", "images.tool", "--volume", "data:/data:ro", "--", "echo no > /data/x"]);
    assert_ne!(ran.status, Some(0), "{ran}");
}

#[test]
fn in_the_place_of_a_step() {
    let ran = env().reimage(["shell", "-q", "steps.step", "--", "/bin/sh", "-c", "cat /in/note; echo $NAME $PWD"]);
    assert_snapshot!(ran, @"
    a note
    value /work
    ");
}

#[test]
fn what_is_no_image() {
    assert_snapshot!(env().reimage(["run", "steps.root"]), @"
    ------- stderr -------
    error: `steps.root` is no image
    hint: `reimage shell steps.root` stands in a step
    [exit status: 64]
    ");
}

#[test]
fn an_image_that_is_here() {
    let env = env();
    env.file("spec.ncl", env.read("spec.ncl").replace("tool | re.Image = {", "tool | re.Image = { tags = [\"tool:1\"],"));
    assert_snapshot!(env.reimage(["run", "tool:1"]), @"
    ------- stderr -------
    error: `tool:1` is neither an image that is here nor a target of a spec
    hint: `reimage images` lists what is here
    hint: a target is `images.NAME`, in another spec `DIR#images.NAME`
    [exit status: 64]
    ");
    let _ = env.reimage(["build", "-q"]).expect(0);
    let _ = env.reimage(["save", "tool:1", "-o", "tool.tar"]).expect(0);
    // Elsewhere, without the spec, its sources and its steps.
    let elsewhere = TestEnv::new();
    fs_err::copy(env.path("tool.tar"), elsewhere.path("tool.tar")).expect("writable");
    let _ = elsewhere.reimage(["import", "tool.tar"]).expect(0);
    assert_eq!(elsewhere.reimage(["run", "tool:1"]).expect(0).out(), "from cmd");
    let changed = ["run", "tool:1", "-e", "A=b", "-w", "/tmp", "--", "echo $A in $PWD; exit 7"];
    assert_eq!(elsewhere.reimage(changed).expect(7).out(), "b in /tmp");
    assert_eq!(env.reimage(changed).expect(7).out(), "b in /tmp");
    assert_snapshot!(elsewhere.reimage(["run", "tol:1"]), @"
    ------- stderr -------
    error: `tol:1` is neither an image that is here nor a target of a spec
    hint: `reimage images` lists what is here
    hint: did you mean `tool:1`?
    hint: a target is `images.NAME`, in another spec `DIR#images.NAME`
    [exit status: 64]
    ");
    assert_snapshot!(elsewhere.reimage(["run", "tool:1", "--arg", "a=b"]), @"
    ------- stderr -------
    error: `--arg` and `--set` go over a spec, and `tool:1` is an image
    hint: name a target: `images.NAME`
    [exit status: 64]
    ");
    assert_snapshot!(elsewhere.reimage(["run", "services/web"]), @"
    ------- stderr -------
    error: `services/web` is neither an image that is here nor a target of a spec
    hint: `reimage images` lists what is here
    hint: `services/web` looks like a file: to build all of its targets write `services/web#`, for one of them `services/web#images.web`
    [exit status: 64]
    ");
}

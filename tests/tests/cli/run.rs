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

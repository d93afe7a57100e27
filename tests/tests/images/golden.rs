//! One digest, whoever builds and however. **It moves only together with the version of what moved it.**

use std::{
    fs::File,
    process::{Command, Stdio},
    time::{Duration, SystemTime},
};

use insta::assert_snapshot;
use reimage_tests::{TestEnv, binary};

use crate::everything::everything;

fn built(env: &TestEnv) -> String {
    env.reimage(["build"]).expect(0).out()
}

/// Builds by a line of the shell, in which `$0` is reimage.
fn by_shell(env: &TestEnv, line: &str, variables: &[(&str, &str)]) -> String {
    let template = env.command();
    let mut shell = Command::new("sh");
    shell.args(["-c", line]).arg(binary()).env_clear().current_dir(env.path(""));
    shell.envs(template.get_envs().filter_map(|(name, value)| Some((name, value?))));
    env.run(shell.envs(variables.iter().copied())).expect(0).out()
}

#[test]
fn one_digest() {
    let env = everything(false);
    let digests = built(&env);
    assert_snapshot!(digests, @"
    images.all sha256:1e48a2ad61f65e23700c9fd365ff0e86bcd684e13ee7e5c29920a293a35b7d92
    images.base sha256:d58692edfad221bbab0ae88ff16169b4b3903d2ac3a6b9eaeabbb47188610f6b
    images.plain sha256:c91effe610f63e59ef3bd1eff7f06631e212fe8b95b3b166fce55dda6b2a1d06
    images.zstd sha256:10ecf0d2cce20ee61e3626c84eff44aca84db7bb4153d76eac14a37b6f3267ea
    ");
    // Of each operation: `Files`, `Local`, `Copy`, `Run`, `Run` with outputs.
    assert_snapshot!(env.reimage(["build", "steps"]).expect(0).out(), @"
    steps.as_web fe22dfa2d450ae7b7df2423ca79f4e4c3e3a3aa0bf958187d08f0d8005202b58
    steps.base 59bc46de810ec33af418b9f3a4ac6f92dafb5b7660ddd352b856836e2ca69a98
    steps.copied dd326951bd5691fb9d02469f76521ed9c9eba35ccf2eaef974a6fddd83b2a24e
    steps.picked c9f8c7786b9e73dd20c51815e9f27003a2effcbbb1fa45f2f397859280f17976
    steps.source 7538e70750477289ed4b4143f8bc2347be3880fd98e3054e1fc58dd25fd1517d
    steps.tool 45aef6b58e7da6cddda0ab460e8275a3a8efc5918fd3eace7ddd9077311882dd
    steps.written 68c44f4c579510ad52d07c06acdbd8a9adb3f398886c33f2861388803f1f6fb6
    ");
    let plain = everything(true);
    assert_eq!(plain.as_plain_user(["build", "-j1"]).expect(0).out(), digests, "a plain user");
    let variables =
        [("TZ", "Pacific/Kiritimati"), ("LC_ALL", "tr_TR.UTF-8"), ("SOURCE_DATE_EPOCH", "1")];
    let env = everything(false);
    assert_eq!(by_shell(&env, "umask 077; exec \"$0\" build -j8", &variables), digests, "umask");
    // What a file's time is must not matter; and the store is warm.
    let file = File::options().append(true).open(env.path("files/one.txt")).expect("ours");
    file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000)).expect("ours");
    assert_eq!(built(&env), digests, "touched");
}

#[test]
fn killed_at_any_moment_and_resumed() {
    let digests = built(&everything(false));
    let env = everything(false);
    for moment in [2, 5, 10, 20, 35, 50, 70, 100, 140, 200] {
        let mut command = env.command();
        command.arg("build").stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().expect("reimage can be run");
        std::thread::sleep(Duration::from_millis(moment));
        child.kill().expect("it is ours");
        child.wait().expect("it is ours");
    }
    assert_eq!(built(&env), digests);
}

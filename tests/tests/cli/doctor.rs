//! `reimage doctor` and `reimage cache`

use std::process::Command;

use insta::assert_snapshot;
use reimage_tests::{TestEnv, binary};

use crate::build::with_steps;

#[test]
fn this_machine_can_build() {
    let ran = TestEnv::new().reimage(["doctor"]).expect(0);
    assert!(ran.out().lines().all(|line| line.starts_with("ok  ")), "{ran}");
    assert!(ran.out().contains("owners and modes as real root has them"), "{ran}");
}

#[test]
fn for_programs() {
    let ran = TestEnv::new().reimage(["doctor", "--format", "json"]).expect(0);
    assert!(ran.out().starts_with(r#"[{"name":"architecture","good":true"#), "{ran}");
}

#[test]
fn an_empty_store_is_good() {
    let ran = TestEnv::new().reimage(["cache", "verify"]).expect(0);
    assert_eq!(ran.out(), "0 blobs (0 B), 0 results, 0 roots and 0 image blobs (0 B) checked: all good");
}

/// A machine that can run no step: what `build` and `doctor` say. `prepare` makes it, in shell, and runs `$@`.
fn crippled(prepare: &str) -> [String; 2] {
    let env = with_steps(r#"    step | re.Run = { from = root, script = "true" },"#);
    [vec!["build", "steps.step"], vec!["doctor"]].map(|arguments| {
        let own = env.command();
        let mut command = Command::new("unshare");
        command
            .current_dir(env.path(""))
            .env_clear()
            .envs(own.get_envs().filter_map(|(name, value)| Some((name, value?))))
            .args(["--user", "--map-root-user", "--mount", "sh", "-ec", prepare, "sh"])
            .arg(binary())
            .args(arguments);
        let ran = env.run(&mut command).expect(3);
        let lines = ran.out() + "\n" + &ran.err();
        let told = |line: &&str| {
            ["error:", "hint:", "FAIL", "     do this:"].iter().any(|word| line.starts_with(word))
        };
        lines.lines().filter(told).collect::<Vec<_>>().join("\n")
    })
}

#[test]
fn where_user_namespaces_are_forbidden() {
    let [build, doctor] = crippled("echo 0 >/proc/sys/user/max_user_namespaces; exec \"$@\"");
    assert_snapshot!(build, @"
    error: Cannot run steps on this machine: the kernel refuses user namespaces: No space left on device (os error 28); set user.max_user_namespaces to a positive number
    hint: `reimage doctor` looks at what this machine lacks
    ");
    assert_snapshot!(doctor, @"
    FAIL sandbox               the kernel refuses user namespaces: No space left on device (os error 28)
         do this: set user.max_user_namespaces to a positive number
    ");
}

#[test]
fn where_a_filter_forbids_them() {
    // A seccomp filter of ours, as that of a container: unshare fails with EPERM.
    let script = r#"exec perl -e '$c = join "", map { pack "SCCL", @$_ } [0x20,0,0,0],[0x15,0,1,272],[6,0,0,0x50001],[6,0,0,0x7fff0000];
        $p = pack "Sx6P", 4, $c; syscall(157,38,1,0,0,0)==0 && syscall(317,1,0,$p)==0 or die $!; exec @ARGV' "$@""#;
    let [build, doctor] = crippled(script);
    assert_snapshot!(build, @"
    error: Cannot run steps on this machine: the kernel refuses user namespaces: Operation not permitted (os error 1); in a container, allow user namespaces (seccomp profile) or run as root with CAP_SYS_ADMIN; after a chroot they are refused, after a pivot_root not
    hint: `reimage doctor` looks at what this machine lacks
    ");
    assert_snapshot!(doctor, @"
    FAIL mounts                Operation not permitted (os error 1)
         do this: in a container, allow user namespaces (seccomp profile) or run as root with CAP_SYS_ADMIN; after a chroot they are refused, after a pivot_root not
    FAIL sandbox               the kernel refuses user namespaces: Operation not permitted (os error 1)
         do this: in a container, allow user namespaces (seccomp profile) or run as root with CAP_SYS_ADMIN; after a chroot they are refused, after a pivot_root not
    ");
}

#[test]
fn where_proc_is_masked() {
    let [build, doctor] = crippled("mount --bind /dev/null /proc/version; exec \"$@\"");
    assert_snapshot!(build, @"
    error: Cannot run steps on this machine: the kernel allows no private /proc: Operation not permitted (os error 1); a container's /proc is masked: run it with `--security-opt systempaths=unconfined` (docker, podman) or `procMount: Unmasked` (Kubernetes)
    hint: `reimage doctor` looks at what this machine lacks
    ");
    assert_snapshot!(doctor, @"
    FAIL a private /proc       Operation not permitted (os error 1)
         do this: a container's /proc is masked: run it with `--security-opt systempaths=unconfined` (docker, podman) or `procMount: Unmasked` (Kubernetes)
    ");
}

#[test]
fn under_another_listener() {
    let script = r#"exec perl -e '$c = pack "SCCL", 6,0,0,0x7fff0000; $p = pack "Sx6P", 1, $c;
        syscall(157,38,1,0,0,0)==0 && ($f = syscall(317,1,8,$p))>=0 or die $!; syscall(72,$f,2,0); exec @ARGV' "$@""#;
    let [build, doctor] = crippled(script);
    assert_snapshot!(build, @"
    error: Cannot prepare the sandbox: install the seccomp filter
    hint: `reimage doctor` looks at what this machine lacks
    ");
    assert_snapshot!(doctor, @"
    FAIL seccomp notifications Device or resource busy (os error 16)
         do this: use Linux 5.19 or newer, not inside another listener
    ");
}

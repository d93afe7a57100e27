//! The command line itself: help, version, mistakes.

use insta::assert_snapshot;
use reimage_tests::TestEnv;

#[test]
fn nothing_asked_for() {
    let ran = TestEnv::new().reimage::<&str>([]).expect(64);
    assert!(ran.err().contains("Usage: reimage [OPTIONS] <COMMAND>"), "{ran}");
    assert!(ran.stdout.is_empty());
}

#[test]
fn version() {
    let ran = TestEnv::new().reimage(["--version"]).expect(0);
    assert_eq!(ran.out(), concat!("reimage ", env!("CARGO_PKG_VERSION")));
}

#[test]
fn misspelt_verb() {
    assert_snapshot!(TestEnv::new().reimage(["biuld"]), @"
    ------- stderr -------
    error: unrecognized subcommand 'biuld'

      tip: a similar subcommand exists: 'build'

    Usage: reimage [OPTIONS] <COMMAND>

    For more information, try '--help'.
    [exit status: 64]
    ");
}

#[test]
fn misspelt_flag() {
    assert_snapshot!(TestEnv::new().reimage(["config", "--fromat", "json"]), @"
    ------- stderr -------
    error: unexpected argument '--fromat' found

      tip: a similar argument exists: '--format'

    Usage: reimage config --format <FORMAT>

    For more information, try '--help'.
    [exit status: 64]
    ");
}

#[test]
fn a_closed_pipe_is_no_error_message() {
    let env = TestEnv::new();
    // Nobody reads, from the beginning on.
    let (_, writer) = std::io::pipe().expect("a pipe");
    let output = env.command().args(["completions", "bash"]).stdout(writer).output().expect("it runs");
    assert_eq!(output.status.code(), Some(141));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn without_a_home() {
    let env = TestEnv::new();
    let mut command = env.command();
    command.env_remove("HOME").env_remove("XDG_CACHE_HOME").arg("config");
    assert_snapshot!(env.run(&mut command), @"
    ------- stderr -------
    error: Neither `XDG_CACHE_HOME` nor `HOME` names a directory to keep files in
    hint: set `HOME` or `XDG_CACHE_HOME` to an absolute path
    [exit status: 3]
    ");
}

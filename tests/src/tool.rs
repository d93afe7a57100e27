//! Other programs, as independent readers of what reimage writes.

use std::{ffi::OsStr, process::Command};

/// Runs a program of this machine that must be there and succeed; gives what it printed.
#[track_caller]
pub fn tool<A: AsRef<OsStr>>(program: &str, arguments: impl IntoIterator<Item = A>) -> String {
    let mut command = Command::new(program);
    let output = command.args(arguments).env("LC_ALL", "C.UTF-8").output();
    let output = output.unwrap_or_else(|error| {
        panic!("{command:?}: {error}: `cargo xtask test` installs what the tests need")
    });
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {error}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

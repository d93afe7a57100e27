//! Running other programs, and saying which.

use std::process::Command;

/// Runs a program to its end; its failure is the error.
pub(crate) fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    println!("$ {program} {}", arguments.join(" "));
    let status = Command::new(program).args(arguments).status();
    let status = status.map_err(|error| format!("Cannot start `{program}`: {error}"))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("`{program} {}` failed: {status}", arguments.join(" ")))
    }
}

/// Runs every test of the workspace in one profile, so that nothing is compiled twice.
pub(crate) fn test(arguments: &[String]) -> Result<(), String> {
    let mut all = vec!["test", "--workspace", "--release"];
    all.extend(arguments.iter().map(String::as_str));
    run("cargo", &all)
}

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

/// What a program prints; its failure is the error.
pub(crate) fn output(program: &str, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(program).args(arguments).output();
    let output = output.map_err(|error| format!("Cannot start `{program}`: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let error = String::from_utf8_lossy(&output.stderr);
    Err(format!("`{program} {}` failed: {}", arguments.join(" "), error.trim_end()))
}

/// Runs a command to its end and keeps quiet, unless it fails.
pub(crate) fn status(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|e| format!("Cannot start {command:?}: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command:?} failed:\n{}", String::from_utf8_lossy(&output.stderr)))
}

/// Runs every test of the workspace in one profile, so that nothing is compiled twice.
pub(crate) fn test(arguments: &[String]) -> Result<(), String> {
    let mut all = vec!["test", "--workspace", "--release"];
    all.extend(arguments.iter().map(String::as_str));
    run("cargo", &all)
}

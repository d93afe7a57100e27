//! Running other programs, and saying which.

use std::{
    fs,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

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
    output_of(command).map(drop)
}

/// What a command prints; its failure is the error.
pub(crate) fn output_of(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|e| format!("Cannot start {command:?}: {e}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!("{command:?} failed:\n{}", String::from_utf8_lossy(&output.stderr)))
}

/// Runs a command to its end; the most memory that it itself had, in bytes.
pub(crate) fn peak(command: &mut Command) -> Result<u64, String> {
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let mut child = child.map_err(|e| format!("Cannot start {command:?}: {e}"))?;
    let path = format!("/proc/{}/status", child.id());
    let mut most = 0;
    loop {
        // The kernel keeps the peak; it is lost with the process, so it is asked for until then.
        let status = fs::read_to_string(&path).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        most = kilobytes.map_or(most, |kilobytes| kilobytes << 10);
        match child.try_wait().map_err(|e| e.to_string())? {
            Some(status) if status.success() => return Ok(most),
            Some(status) => return Err(format!("{command:?} failed: {status}")),
            None => thread::sleep(Duration::from_millis(5)),
        }
    }
}

/// Runs every test of the workspace in one profile, so that nothing is compiled twice.
pub(crate) fn test(arguments: &[String]) -> Result<(), String> {
    let mut all = vec!["test", "--workspace", "--release"];
    all.extend(arguments.iter().map(String::as_str));
    run("cargo", &all)
}

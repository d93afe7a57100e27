//! `cargo xtask fuzz`: every parser of foreign bytes under libFuzzer, on the stable toolchain.
//!
//! `xtask/fuzz` is a workspace of its own, compiled with LLVM's coverage counters by plain codegen flags; neither
//! nightly nor cargo-fuzz is needed. What is found lies in `target/fuzz/found`, what covers in `target/fuzz/corpus`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::command::output;

/// What LLVM adds to the code: a counter for each edge, and what is compared.
const COVERAGE: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Cllvm-args=-simplifycfg-branch-fold-threshold=0";

/// Bytes of an input, seconds that one may take, and MiB of memory.
const LIMITS: [&str; 3] = ["-max_len=65536", "-timeout=20", "-rss_limit_mb=2048"];

/// Fuzzes the targets of these names, or all, each for some seconds; fails if one of them fails.
pub(crate) fn fuzz(arguments: &[String]) -> Result<(), String> {
    let (mut seconds, mut wanted) = (60, Vec::new());
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        if argument == "--seconds" {
            let number = arguments.next().and_then(|number| number.parse().ok());
            seconds = number.ok_or("`--seconds` needs a number")?;
        } else {
            wanted.push(argument.clone());
        }
    }
    let fuzzer = build()?;
    let known = output(path(&fuzzer)?, &[])?;
    let known: Vec<_> = known.lines().collect();
    if let Some(unknown) = wanted.iter().find(|name| !known.contains(&name.as_str())) {
        return Err(format!("No target `{unknown}`; known: {}", known.join(", ")));
    }
    let mut failed = Vec::new();
    println!("| target | runs | seconds | covered edges | found |\n|---|---|---|---|---|");
    for target in known {
        if (wanted.is_empty() || wanted.iter().any(|name| name == target))
            && !look(&fuzzer, target, seconds)?
        {
            failed.push(target);
        }
    }
    if failed.is_empty() {
        return Ok(());
    }
    Err(format!("Failed: {}; see target/fuzz/found", failed.join(", ")))
}

/// Compiles the fuzzer with the versions that the workspace has locked.
fn build() -> Result<PathBuf, String> {
    let error = |e: std::io::Error| format!("xtask/fuzz/Cargo.lock: {e}");
    fs::copy("Cargo.lock", "xtask/fuzz/Cargo.lock").map_err(error)?;
    let version = output("rustc", &["-vV"])?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    let host = host.ok_or("`rustc -vV` does not name the host")?;
    let mut cargo = Command::new("cargo");
    // With a target named, build scripts and macros are compiled without the counters.
    cargo
        .args(["build", "--release", "--manifest-path", "xtask/fuzz/Cargo.toml"])
        .args(["--target-dir", "target/fuzz", "--target", host])
        .env("RUSTFLAGS", COVERAGE);
    match cargo.status() {
        Ok(status) if status.success() => {
            Ok(Path::new("target/fuzz").join(host).join("release/reimage-fuzz"))
        }
        Ok(status) => Err(format!("The fuzzer cannot be compiled: {status}")),
        Err(error) => Err(format!("Cannot start cargo: {error}")),
    }
}

/// Runs one target, and prints a row; whether nothing was found.
fn look(fuzzer: &Path, target: &str, seconds: u64) -> Result<bool, String> {
    let corpus = Path::new("target/fuzz/corpus").join(target);
    let found = Path::new("target/fuzz/found");
    for directory in [&corpus, found] {
        fs::create_dir_all(directory).map_err(|e| format!("{}: {e}", directory.display()))?;
    }
    let ran = Command::new(fuzzer)
        .arg(&corpus)
        .args(LIMITS)
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-artifact_prefix={}/{target}-", found.display()))
        .arg("-print_final_stats=1")
        .env("REIMAGE_FUZZ", target)
        .env("REIMAGE_FUZZ_SEEDS", &corpus)
        .output()
        .map_err(|e| format!("Cannot start {}: {e}", fuzzer.display()))?;
    let text = String::from_utf8_lossy(&ran.stderr).into_owned();
    let runs = text.lines().find_map(|l| l.strip_prefix("stat::number_of_executed_units:"));
    let covered = text.lines().rev().find_map(|line| {
        let mut words = line.split_whitespace().skip_while(|word| *word != "cov:");
        words.nth(1)
    });
    let good = ran.status.success();
    println!(
        "| {target} | {} | {seconds} | {} | {} |",
        runs.map_or("?", str::trim),
        covered.unwrap_or("?"),
        if good { "nothing" } else { "a failure" },
    );
    if !good {
        let lines: Vec<_> = text.lines().collect();
        println!("{}", lines[lines.len().saturating_sub(40)..].join("\n"));
    }
    Ok(good)
}

fn path(path: &Path) -> Result<&str, String> {
    path.to_str().ok_or_else(|| format!("{} is not UTF-8", path.display()))
}

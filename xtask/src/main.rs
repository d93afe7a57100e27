//! What developers of reimage run, so that plain cargo is the only prerequisite.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it is a tool for a terminal")]
#![expect(clippy::disallowed_methods, reason = "a developer's tool works where it is started")]

mod bench;
mod check;
mod command;
mod fuzz;
mod machine;
mod metadata;
mod oracle;
mod registry;
mod repro;
mod setup;
#[cfg(test)]
mod tidy;

use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask VERB [ARGUMENT..]

  check          format, lints, licences and bans of all dependencies
  test [ARG..]   installs what the tests need (as root, on Debian), then runs every test
  repro [--full] [EXAMPLE..]
                 the reproducibility matrix: one digest for each example, however it is built;
                 --full: what must not matter one thing at a time, not several together;
                 `real`: programs as people build them, whole build directories
  oracle [PART..] [--full] [--verbose]
                 Debian's own tools give the same: roots, packages (with --full), choices
  bench [NAME..] how fast it is, beside other tools: app, debian, chain, layer, push, determinism, start
  fuzz [TARGET..] [--seconds N]
                 every parser of foreign bytes under libFuzzer, for a minute each
  ci             check and test, as CI runs them";

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let verb = arguments.next().unwrap_or_default();
    let rest: Vec<String> = arguments.collect();
    let result = match verb.as_str() {
        "check" => check::check(),
        "test" => setup::tests().and_then(|()| command::test(&rest)),
        "repro" => repro::repro(&rest),
        "oracle" => oracle::oracle(&rest),
        "bench" => bench::bench(&rest),
        "fuzz" => fuzz::fuzz(&rest),
        "ci" => check::check().and_then(|()| setup::tests()).and_then(|()| command::test(&rest)),
        _ => Err(USAGE.to_owned()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

//! The command line as a whole: clap's own checks, and the reference page.

use std::{fmt::Write, path::Path};

use super::*;

#[test]
fn clap_finds_nothing_wrong() {
    command().debug_assert();
}

#[test]
fn every_verb_teaches() {
    for verb in command().get_subcommands() {
        let name = verb.get_name();
        let about = verb.get_about().map(ToString::to_string).unwrap_or_default();
        assert!(about.starts_with(char::is_uppercase) && !about.ends_with('.'), "{name}: {about}");
        assert!(verb.get_after_help().is_some(), "`{name}` has no example");
        for argument in verb.get_arguments() {
            let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
            assert!(
                !help.is_empty() && !help.ends_with('.'),
                "{name} {}: {help}",
                argument.get_id()
            );
        }
    }
}

/// docs/cli.md is made by this test: if it is out of date, it is written anew, and the test fails once.
#[test]
fn the_reference_is_up_to_date() {
    let mut page = String::from(
        "# Command line\n\nThe help of every verb, as `--help` prints it. Made by `cargo test -p reimage`.\n",
    );
    let mut whole = command().term_width(100);
    whole.build();
    section(&mut page, &mut whole, "");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/cli.md");
    if fs_err::read_to_string(&path).unwrap_or_default() != page {
        fs_err::write(&path, page).expect("docs can be written");
        panic!(
            "docs/cli.md was out of date and has been written anew: read its diff and commit it"
        );
    }
}

fn section(page: &mut String, command: &mut Command, above: &str) {
    let name = format!("{above}{}", command.get_name());
    let help = command.render_long_help().to_string();
    let help: Vec<_> = help.trim_end().lines().map(str::trim_end).collect();
    let _ = write!(page, "\n## `{name}`\n\n```text\n{}\n```\n", help.join("\n"));
    for verb in command.get_subcommands_mut() {
        section(page, verb, &format!("{name} "));
    }
}

/// Lines of code blocks that begin with `reimage`, up to what a shell does with them or what is said about them.
#[test]
fn commands_that_the_docs_show_are_ones() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let pages = ["README.md", "docs/cli.md", "docs/spec.md", "docs/configuration.md"];
    let mut count = 0;
    for page in pages {
        let text = fs_err::read_to_string(root.join(page)).expect("the page is there");
        let mut block = false;
        for line in text.lines() {
            block ^= line.starts_with("```");
            let line = line.trim_start().trim_start_matches("$ ");
            let line = text_command(line).replace("cargo run --release --", "reimage");
            if !block || !line.starts_with("reimage ") || line.contains("[OPTIONS]") {
                continue;
            }
            let words = shlex::split(&line).unwrap_or_else(|| panic!("{page}: quotes in {line}"));
            if let Err(error) = command().try_get_matches_from(words) {
                let help = [ErrorKind::DisplayHelp, ErrorKind::DisplayVersion];
                assert!(help.contains(&error.kind()), "{page}: {line}\n{error}");
            }
            count += 1;
        }
    }
    assert!(count > 60, "only {count} commands were found");
}

/// The command of an example: up to a pipe, a redirection, a remark, or the two blanks that an explanation follows.
fn text_command(line: &str) -> &str {
    let ends = [" | ", " > ", " < ", " # ", "  "].map(|end| line.find(end).unwrap_or(line.len()));
    &line[..ends.into_iter().min().unwrap_or(line.len())]
}

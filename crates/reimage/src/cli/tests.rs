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

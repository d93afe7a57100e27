//! The command line: every verb, every flag, and help that teaches.
//!
//! docs/cli.md is this file as a page; a test keeps them equal.

use std::{ffi::OsString, path::PathBuf, process::ExitCode};

use clap::{ArgAction, Args, Command, CommandFactory, FromArgMatches, Parser, error::ErrorKind};

use crate::{
    commands::Verb,
    error::Kind,
    ui::{Color, Format},
};

/// Builds container images that are the same, bit for bit, for everybody
///
/// A spec (`spec.ncl`) says what the images hold; `reimage.lock` pins what it takes from elsewhere; every step runs
/// in a sandbox without network. No daemon, no root: the same spec and lock give the same digest everywhere.
#[derive(Debug, Parser)]
#[command(
    name = "reimage",
    version,
    arg_required_else_help = true,
    disable_help_subcommand = true,
    max_term_width = 100
)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) verb: Verb,
    /// Flags of every verb.
    #[command(flatten)]
    pub(crate) global: Global,
}

/// Flags of every verb.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Everywhere")]
pub(crate) struct Global {
    /// Keep results here, instead of `$XDG_CACHE_HOME/reimage`
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) store: Option<PathBuf>,
    /// Colour the output
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        value_enum,
        default_value_t,
        hide_possible_values = true
    )]
    pub(crate) color: Color,
    /// Print errors and results only
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Show what steps print, too; twice: everything
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,
}

/// For verbs that print a result.
#[derive(Debug, Clone, Copy, Default, Args)]
pub(crate) struct FormatArgs {
    /// Print for people (`text`) or for programs (`json`)
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t, hide_possible_values = true)]
    pub(crate) format: Format,
}

impl Global {
    /// -1 with `-q`, else how often `-v` is there.
    pub(crate) fn verbosity(&self) -> i8 {
        if self.quiet { -1 } else { i8::try_from(self.verbose).unwrap_or(i8::MAX) }
    }
}

const BEGIN: &str = "\
Begin here:
  reimage init             write a spec.ncl for what lies in this directory
  reimage build            build all that it names; prints each image's digest
  reimage run images.web   run an image, without docker and without root
Every verb has examples: reimage VERB --help";

/// The whole command line, with what to begin with and what it returns.
pub(crate) fn command() -> Command {
    let codes =
        Kind::ALL.iter().map(|kind| format!("  {:>3}  {}", kind.exit_code(), kind.meaning()));
    let codes: Vec<_> = codes.collect();
    let long = format!("{BEGIN}\n\nReturns 0, or:\n{}", codes.join("\n"));
    Cli::command().after_help(BEGIN).after_long_help(long)
}

/// Reads the command line.
pub(crate) fn parse(arguments: &[OsString]) -> Result<Cli, clap::Error> {
    let matches = command().try_get_matches_from(arguments)?;
    Cli::from_arg_matches(&matches)
}

/// Prints help, the version or what is wrong with the command line; the latter is 64, not clap's 2.
pub(crate) fn answer(error: &clap::Error) -> ExitCode {
    // If nobody reads it, there is nobody to tell.
    let _ = error.print();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => ExitCode::SUCCESS,
        _ => Kind::Usage.into(),
    }
}

#[cfg(test)]
mod tests;

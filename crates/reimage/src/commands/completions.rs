//! `reimage completions`: a script with which a shell completes verbs and flags.

use std::process::ExitCode;

use clap::Args;
use clap_complete::{Shell, generate};

use crate::{app::App, cli::command, error::CommandError};

/// Print a script with which a shell completes verbs and flags
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  reimage completions bash > ~/.local/share/bash-completion/completions/reimage
  reimage completions zsh > \"${fpath[1]}/_reimage\"
  reimage completions fish > ~/.config/fish/completions/reimage.fish")]
pub(crate) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Runs it.
pub(crate) fn run(args: &CompletionsArgs, app: &App) -> Result<ExitCode, CommandError> {
    let mut script = Vec::new();
    generate(args.shell, &mut command(), "reimage", &mut script);
    app.ui.raw(&script)?;
    Ok(ExitCode::SUCCESS)
}

//! `reimage shell`: a shell in a step's place.

use std::process::ExitCode;

use clap::Args;
use reimage_build::{Instead, enter};
use reimage_plan::{Command, Platform, StepKind};
use signal_hook::consts::SIGTERM;

use crate::{
    app::App,
    error::CommandError,
    interact::interact,
    session::{BuildFlags, Session},
    spec_args::{Overrides, SpecArgs},
};

/// Stand in a step's place: its sandbox, inputs, environment and user, just before it runs
///
/// Builds what the step needs, from the store where it is there, and starts a shell. What is written there goes with
/// the shell. Of a step that runs nothing it is a shell in what the step made.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  reimage shell steps.app                    the command of a failed step is one `sh -e -c` away
  reimage shell steps.app -- make -n         one command instead of a shell
  reimage shell images.web                   in a container of an image")]
pub(crate) struct ShellArgs {
    /// The step: `steps.app`, `checks.tests`, `dir#images.web`
    #[arg(value_name = "STEP")]
    name: String,
    /// Instead of a shell: a program and its arguments
    #[arg(value_name = "ARG", last = true)]
    args: Vec<String>,
    #[command(flatten)]
    overrides: Overrides,
    #[command(flatten)]
    build: BuildFlags,
}

/// Runs it.
pub(crate) fn run(args: &ShellArgs, app: &App) -> Result<ExitCode, CommandError> {
    let spec = SpecArgs::one(&args.name, &args.overrides.built_for(Platform::default()));
    let session = Session::open(app, &args.build)?;
    let plan = session.plan_of_one(&spec)?;
    let step = plan.spec().targets[0].step;
    let program = if args.args.is_empty() { vec!["/bin/sh".to_owned()] } else { args.args.clone() };
    let mut instead = Instead { argv: Some(program), ..Instead::default() };
    let tty = app.machine.stdin_terminal && app.machine.stdout_terminal;
    if let (true, Some(kind)) = (tty, app.machine.variable("TERM")) {
        instead.env.insert("TERM".to_owned(), kind.to_string_lossy().into_owned());
    }
    let entered = session.during(|context| enter(&plan, step, &instead, context))?;
    if let (StepKind::Run(run), true) = (&plan.step(step).kind, args.args.is_empty()) {
        let runs = match &run.command {
            Command::Exec(words) => words.join(" "),
            Command::Script { script, .. } => script.trim().to_owned(),
        };
        let name = app.ui.err.bold(&plan.step(step).name);
        app.ui.note(format!("In the place of {name}, which would run:\n{}", app.ui.err.dim(&runs)));
    }
    interact(app, &entered.command, tty, SIGTERM)
}

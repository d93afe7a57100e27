//! `reimage log`: what a step wrote.

use std::process::ExitCode;

use clap::Args;
use reimage_build::log;
use reimage_plan::Platform;

use crate::{
    app::App,
    error::{CommandError, Kind},
    session::{BuildFlags, Session},
    spec_args::{Overrides, SpecArgs},
};

/// Show what a step wrote to stdout and stderr when it last ran, whether it failed or not
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  reimage log steps.app
  reimage log checks.tests | less")]
pub(crate) struct LogArgs {
    /// The step: `steps.app`, `checks.tests`, `dir#steps.app`
    #[arg(value_name = "STEP")]
    name: String,
    #[command(flatten)]
    overrides: Overrides,
    #[command(flatten)]
    build: BuildFlags,
}

/// Runs it.
pub(crate) fn run(args: &LogArgs, app: &App) -> Result<ExitCode, CommandError> {
    let spec = SpecArgs::one(&args.name, &args.overrides.built_for(Platform::default()));
    let session = Session::open(app, &args.build)?;
    let plan = session.plan_of_one(&spec)?;
    let step = plan.spec().targets[0].step;
    let text = session.during(|context| log(&plan, step, context))?.ok_or_else(|| {
        let message = format!("`{}` has no log: it has not run here as it is now", args.name);
        CommandError::new(Kind::Usage, message)
            .hint(format!("`reimage build {}` runs it", args.name))
    })?;
    app.ui.raw(&text)?;
    Ok(ExitCode::SUCCESS)
}

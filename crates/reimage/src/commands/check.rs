//! `reimage check`: evaluates every step of a spec, and builds its checks.

use std::process::ExitCode;

use clap::Args;
use reimage_build::build;
use reimage_plan::{Plan, Section};
use serde_json::json;

use super::{build::print, lock::lock_of};
use crate::{
    app::App,
    cli::FormatArgs,
    error::CommandError,
    session::{BuildFlags, Session},
    spec_args::SpecArgs,
};

/// Check a spec: evaluate every step, and run its checks
///
/// Finds what is wrong with any step, image, export and check, whether or not something needs it; then builds the
/// `checks`, or those that are named.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  reimage check                    ./spec.ncl
  reimage check checks.tests       one of its checks
  reimage check --eval             evaluate only: nothing runs, nothing is fetched
  reimage check --format json      diagnostics for editors, on stderr")]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    spec: SpecArgs,
    /// Evaluate only; run no check
    #[arg(long)]
    eval: bool,
    #[command(flatten)]
    build: BuildFlags,
    #[command(flatten)]
    pub(super) format: FormatArgs,
}

/// Runs it.
pub(crate) fn run(args: &CheckArgs, app: &App) -> Result<ExitCode, CommandError> {
    for loaded in args.spec.load(app, &[Section::Checks], true, None)? {
        let spec = &loaded.evaluated.spec;
        let (steps, checks) = (spec.steps.len(), spec.targets.len());
        let file = loaded.project.file.strip_prefix(&app.machine.cwd);
        let file = file.unwrap_or(&loaded.project.file).display().to_string();
        if !args.eval && checks > 0 {
            let session = Session::open(app, &args.build)?;
            let lock = lock_of(app, &session, &loaded, false)?;
            let plan = Plan::new(loaded.evaluated.spec, &lock)?;
            for record in session.during(|context| build(&plan, context))?.targets {
                print(app, &record)?;
            }
        }
        if app.ui.json() {
            app.ui
                .value(&json!({ "spec": file, "good": true, "steps": steps, "checks": checks }))?;
        } else {
            app.ui.line(format!("{file}: no mistake found"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

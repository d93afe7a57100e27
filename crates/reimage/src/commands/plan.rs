//! `reimage plan`: what a build would do, and why.

use std::process::ExitCode;

use clap::Args;
use reimage_build::{Miss, Verdict, Would, explain};
use reimage_plan::{Lock, Plan};
use serde_json::json;

use crate::{
    app::App,
    cli::FormatArgs,
    error::CommandError,
    session::{BuildFlags, Session},
    spec_args::SpecArgs,
    ui::Table,
};

/// Say what a build would do with each step, and why; nothing runs and nothing is downloaded
///
/// A step is fresh if its result is in the store. Whether a step above one that would run has to run, too, is
/// known only when that one has: if it gives what it gave before, nothing above it runs.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  reimage plan                     every step that a build of all targets needs
  reimage plan images.web")]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    spec: SpecArgs,
    #[command(flatten)]
    build: BuildFlags,
    #[command(flatten)]
    pub(super) output: FormatArgs,
}

/// Runs it.
pub(crate) fn run(args: &PlanArgs, app: &App) -> Result<ExitCode, CommandError> {
    let session = Session::open(app, &args.build)?;
    let specs = session.load(&args.spec)?;
    for loaded in specs {
        session.use_lock(&loaded.lock_path)?;
        let lock = loaded.lock.unwrap_or_else(Lock::default);
        let plan = Plan::new(loaded.evaluated.spec, &lock)?;
        let verdicts = session.during(|context| explain(&plan, context))?;
        let mut table = Table::new(["STEP", "WOULD", "WHY"]);
        for verdict in &verdicts {
            let (would, why) = words(&plan, verdict);
            let name = plan.step(verdict.step).name.clone();
            if app.ui.json() {
                let action = verdict.action.map(|action| action.to_string());
                app.ui.value(
                    &json!({ "step": name, "would": would, "why": why, "action": action }),
                )?;
            }
            table.row([name, would.to_owned(), why]);
        }
        if !app.ui.json() {
            app.ui.lines(table.lines())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn words(plan: &Plan, verdict: &Verdict) -> (&'static str, String) {
    match &verdict.what {
        Would::Fresh => ("nothing", "its result is in the store".to_owned()),
        Would::Pure => ("nothing", "it takes no process".to_owned()),
        Would::Fetch => ("fetch", "it is not in the store".to_owned()),
        Would::Run(Miss::New) => ("run", "it has not run here as it is now".to_owned()),
        Would::Run(Miss::Evicted(_)) => ("run", "its result was removed to make room".to_owned()),
        Would::After(first) => {
            ("perhaps", format!("it depends on what {} gives", plan.step(*first).name))
        }
    }
}

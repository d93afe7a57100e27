//! `reimage build`: from a spec to images, exports and checks. The straight path, top to bottom.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;
use reimage_build::{FILE_TIME, TargetOutput, TargetRecord, build};
use reimage_castore::{Digest, Store};
use reimage_plan::{Plan, Section};
use reimage_sandbox::Fixed;
use serde_json::json;

use super::lock::lock_of;
use crate::{
    app::App,
    cli::FormatArgs,
    error::CommandError,
    session::{BuildFlags, Session},
    spec_args::SpecArgs,
};

/// Build images, exports and checks, and print each with its digest
///
/// What is in the store already is not built again. With no reimage.lock one is made; an existing one is never
/// changed. Nothing but what is named, and what it stands on, is evaluated or built.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  reimage build                                 all images, exports and checks of ./spec.ncl
  reimage build images.web                      one of them
  reimage build 'images.api-*' services/shop#   patterns; another spec
  reimage build images.web --arg version=2.0    with an argument
  reimage build exports.cli --output dist       write files: dist/cli

Prints one line a target: its name and its digest. The digest is the same for everybody with the same lock.")]
pub(crate) struct BuildArgs {
    #[command(flatten)]
    spec: SpecArgs,
    /// Write the exports that are built into this directory, each under its name
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Fail unless reimage.lock is there and pins every source
    #[arg(long)]
    locked: bool,
    /// Run each step again, under other conditions, and fail where it does not make the same
    ///
    /// The second time it runs as a user with one id, on one processor of a busy machine, later, in other
    /// directories on another file system. Results of steps are those of the first time.
    #[arg(long)]
    twice: bool,
    #[command(flatten)]
    build: BuildFlags,
    #[command(flatten)]
    pub(super) format: FormatArgs,
}

/// Runs it.
pub(crate) fn run(args: &BuildArgs, app: &App) -> Result<ExitCode, CommandError> {
    let mut session = Session::open(app, &args.build)?;
    session.twice = args.twice;
    let specs = session.load(&args.spec)?;
    let mut last_image = None;
    for loaded in specs {
        let lock = lock_of(app, &session, &loaded, args.locked)?;
        let plan = Plan::new(loaded.evaluated.spec, &lock)?;
        let record = session.during(|context| build(&plan, context))?;
        for (target, record) in plan.spec().targets.iter().zip(&record.targets) {
            print(app, record)?;
            if let (Some(directory), TargetOutput::Tree(digest), Section::Exports) =
                (&args.output, &record.output, target.section)
            {
                let directory = app.machine.absolute(directory);
                export(&session.store, digest, &directory, &target.name)?;
            }
            if let TargetOutput::Image(_) = record.output {
                last_image = Some(record.path.clone());
            }
        }
    }
    if let Some(image) = last_image {
        let run = app.ui.err.bold(&format!("reimage run {image}"));
        app.ui.note(format!("Run it: {run}"));
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes an export as `DIRECTORY/NAME`.
fn export(
    store: &Store,
    digest: &Digest,
    directory: &Path,
    name: &str,
) -> Result<(), CommandError> {
    fs_err::create_dir_all(directory)?;
    let tree = store.tree(digest)?;
    Ok(store.export(&tree, &directory.join(name), Some(FILE_TIME))?)
}

/// One line a target: its name and its digest.
pub(super) fn print(app: &App, record: &TargetRecord) -> Result<(), CommandError> {
    let name = app.ui.out.bold(&record.path);
    let of_step = |(step, what): (&String, &BTreeSet<Fixed>)| {
        let what: Vec<_> = what.iter().map(ToString::to_string).collect();
        (step.clone(), what)
    };
    let real: BTreeMap<_, _> = record.real.iter().map(of_step).collect();
    if app.ui.json() {
        let mut value = match &record.output {
            TargetOutput::Image(image) => json!({
                "target": record.path,
                "kind": "image",
                "digest": image.digest.to_string(),
                "size": image.size,
                "tags": image.tags,
                "platforms": image.platforms,
            }),
            TargetOutput::Tree(digest) => json!({
                "target": record.path, "kind": "tree", "digest": digest.to_string(),
            }),
            TargetOutput::Passed => {
                json!({ "target": record.path, "kind": "check", "passed": true })
            }
        };
        if !real.is_empty() {
            value["real"] = json!(real);
        }
        return Ok(app.ui.value(&value)?);
    }
    match &record.output {
        TargetOutput::Image(image) => app.ui.line(format!("{name} {}", image.digest))?,
        TargetOutput::Tree(digest) => app.ui.line(format!("{name} {digest}"))?,
        TargetOutput::Passed => app.ui.line(format!("{name} passed"))?,
    }
    let steps = real.iter().map(|(step, what)| format!("`{step}` ({})", what.join(", ")));
    let steps: Vec<_> = steps.collect();
    if !steps.is_empty() && !matches!(record.output, TargetOutput::Passed) {
        let message =
            format!("`{}` is not reproducible: real in {}", record.path, steps.join(", "));
        app.ui.warning(message);
    }
    Ok(())
}

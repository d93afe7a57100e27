//! `reimage lock`: pins every remote source of a spec; and the lock of a spec as a build wants it.

mod moved;

use std::{
    collections::BTreeMap,
    fs::File,
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;
use reimage_build::{LockChange, Update, Vendor, lock, pinned_files, skeletons, vendor};
use reimage_castore::Sha256;
use reimage_fetch::Bundle;
use reimage_plan::{Lock, Plan, Section, Spec};
use serde_json::json;

use crate::{
    app::App,
    cli::FormatArgs,
    error::{CommandError, Kind, did_you_mean},
    session::{BuildFlags, Session},
    spec_args::{Loaded, SpecArgs, read_lock},
    ui,
};

/// Pin every remote source of a spec in reimage.lock
///
/// Keeps every pin that still fits and adds what is missing; `--update` moves pins to what is offered now, and says
/// what moved. The lock is the nearest reimage.lock upwards in the project, or a new one beside the spec: commit it.
/// Specs that share a lock keep each other's pins.
///
/// `--vendor` also writes every file that is pinned into reimage.lock.d, the lock bundle beside the lock. A build
/// takes from there what is not in the store, so that a fresh clone builds without any server. `--skeletons` writes only
/// what a build needs to put layers upon base images without downloading them.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  reimage lock                         pin what is not pinned yet
  reimage lock --update                move every pin
  reimage lock --update steps.base     move those of one step
  reimage lock --vendor                keep every pinned file beside the lock
  reimage lock --skeletons             keep what is needed to build upon base images beside it
  reimage lock --prune a# b#           drop what neither of these two specs needs

Prints what moved: the package, its old version and its new one.")]
pub(crate) struct LockArgs {
    #[command(flatten)]
    spec: SpecArgs,
    /// Move the pins of these steps, or all, to what is offered now
    #[arg(long, value_name = "STEP", num_args = 0.., require_equals = false)]
    update: Option<Vec<String>>,
    /// Write every pinned file into the lock bundle, reimage.lock.d, and remove what is pinned no more
    #[arg(long)]
    vendor: bool,
    /// Write the skeletons of base images into the lock bundle: a build that only puts layers on top needs no other file
    /// of them
    #[arg(long, conflicts_with = "vendor")]
    skeletons: bool,
    /// Drop pins that no step of the specs named here needs: name all that share the lock
    #[arg(long)]
    prune: bool,
    #[command(flatten)]
    build: BuildFlags,
    #[command(flatten)]
    pub(super) format: FormatArgs,
}

/// Every section whose steps are pinned.
const EVERY: &[Section] = &[Section::Steps, Section::Images, Section::Exports, Section::Checks];

/// A lock and the specs that share it.
struct Shared {
    /// As it was.
    old: Lock,
    /// As it is now.
    new: Lock,
    /// What of it these specs need.
    needed: Lock,
    specs: Vec<Spec>,
}

/// Runs it.
pub(crate) fn run(args: &LockArgs, app: &App) -> Result<ExitCode, CommandError> {
    if args.prune && !args.spec.is_whole() {
        let message = "`--prune` looks at whole specs, and a part of one is named";
        return Err(CommandError::usage(message).hint("name the specs alone: `FILE#`"));
    }
    only_steps(args.update.as_deref().unwrap_or_default())?;
    let session = Session::open(app, &args.build)?;
    let specs = args.spec.load(app, EVERY, true, None)?;
    let update = update(args.update.as_deref(), specs.iter().map(|l| &l.evaluated.spec))?;
    let mut locks: BTreeMap<PathBuf, Shared> = BTreeMap::new();
    for Loaded { evaluated, lock_path, lock: old, .. } in specs {
        session.use_lock(&lock_path)?;
        let shared = locks.entry(lock_path.clone()).or_insert_with(|| {
            let old = old.unwrap_or_default();
            Shared { new: old.clone(), old, needed: Lock::default(), specs: Vec::new() }
        });
        let spec = evaluated.spec;
        let locked = session.during(|context| lock(&spec, &shared.new, &update, context))?;
        // At once: what was pinned is kept even if the next spec fails.
        write(&lock_path, &shared.new, &locked.lock)?;
        shared.new = locked.lock;
        shared.needed.add(locked.needed);
        shared.specs.push(spec);
    }
    for (path, mut shared) in locks {
        if args.prune {
            write(&path, &shared.new, &shared.needed)?;
            shared.new = shared.needed.clone();
        }
        report(app, &path, &LockChange::between(&shared.old, &shared.new))?;
        let bundle = Bundle::of_lock(&path);
        if args.vendor || args.skeletons {
            let what = if args.vendor { Vendor::All } else { Vendor::Skeletons };
            fill(app, &session, &bundle, what, &shared)?;
        } else if bundle.exists() {
            say_what_is_missing(app, &bundle, &shared.needed);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Says what a bundle lacks of a lock; one with nothing but skeletons is not meant to have more.
fn say_what_is_missing(app: &App, bundle: &Bundle, needed: &Lock) {
    let has = |(sha256, size): &(Sha256, u64)| bundle.has(sha256, *size);
    let (mut files, skeletons) = (pinned_files(needed), skeletons(needed));
    let mut flag = "--vendor";
    if skeletons.iter().any(has) && !files.difference(&skeletons).any(has) {
        (files, flag) = (skeletons, "--skeletons");
    }
    let count = files.iter().filter(|file| !has(file)).count();
    if count > 0 {
        let bundle = shown(app, bundle.directory());
        let files = ui::count(count, "file");
        app.ui.note(format!(
            "`{bundle}` lacks {files} of the lock: `reimage lock {flag}` adds what is missing"
        ));
    }
}

/// Says what moved.
fn report(app: &App, path: &Path, changes: &[LockChange]) -> Result<(), CommandError> {
    if app.ui.json() {
        let changes: Vec<_> = changes.iter().map(moved::value).collect();
        return Ok(app.ui.value(&json!({ "lock": path, "changes": changes }))?);
    }
    app.ui.lines(moved::lines(changes, app.ui.out))?;
    let state = match changes.len() {
        0 => "nothing moved".to_owned(),
        some => ui::count(some, "change"),
    };
    Ok(app.ui.line(format!("{}: {state}", shown(app, path)))?)
}

/// Fills the bundle.
fn fill(
    app: &App,
    session: &Session<'_>,
    bundle: &Bundle,
    what: Vendor,
    Shared { new, needed, specs, .. }: &Shared,
) -> Result<(), CommandError> {
    let done = session.during(|context| vendor(what, specs, needed, new, bundle, context))?;
    if app.ui.json() {
        return Ok(app.ui.value(&json!({
            "bundle": bundle.directory(),
            "files": done.files,
            "bytes": done.bytes,
            "written": done.written,
            "removed": done.removed,
        }))?);
    }
    let (files, bytes) = (ui::count(done.files, "file"), ui::bytes(done.bytes));
    let (written, removed) = (done.written, done.removed);
    let bundle = shown(app, bundle.directory());
    Ok(app.ui.line(format!("{bundle}: {files}, {bytes}; {written} written, {removed} removed"))?)
}

/// A path as seen from the working directory.
fn shown(app: &App, path: &Path) -> String {
    path.strip_prefix(&app.machine.cwd).unwrap_or(path).display().to_string()
}

/// Refuses names of specs after `--update`, which takes all that follows it.
fn only_steps(update: &[String]) -> Result<(), CommandError> {
    for wanted in update {
        if let Some((spec, step)) = wanted.split_once('#').filter(|_| !wanted.contains('"')) {
            let message = format!("`{wanted}` names a spec, and `--update` takes its steps");
            let command = format!("reimage lock {spec}# --update {step}");
            let hint = format!("name the spec before it: `{}`", command.trim_end());
            return Err(CommandError::usage(message).hint(hint));
        }
    }
    Ok(())
}

/// What `--update` means; a step that has no pin is an error.
fn update<'a>(
    steps: Option<&[String]>,
    specs: impl Iterator<Item = &'a Spec>,
) -> Result<Update, CommandError> {
    let Some(steps) = steps else { return Ok(Update::Nothing) };
    let all: Vec<_> = specs.flat_map(|spec| &spec.steps).collect();
    for wanted in steps {
        match all.iter().find(|step| step.name == *wanted) {
            Some(step) if step.kind.is_pinned() => {}
            Some(_) => {
                let message = format!("`{wanted}` has no pin to update");
                return Err(CommandError::usage(message).hint(
                    "only `Http`, `Oci` and `Debian` are pinned: name the step that is one",
                ));
            }
            None => {
                let error = CommandError::usage(format!("There is no step `{wanted}` to update"));
                return Err(match did_you_mean(wanted, all.iter().map(|s| s.name.as_str())) {
                    Some(near) => error.hint(format!("did you mean `{near}`?")),
                    None => error,
                });
            }
        }
    }
    Ok(if steps.is_empty() { Update::All } else { Update::Steps(steps.to_vec()) })
}

/// The lock to build `loaded` with: what is there, as it is; where nothing is there, a new one, unless `locked`.
pub(crate) fn lock_of(
    app: &App,
    session: &Session<'_>,
    loaded: &Loaded,
    locked: bool,
) -> Result<Lock, CommandError> {
    let path = &loaded.lock_path;
    session.use_lock(path)?;
    if let Some(lock) = &loaded.lock {
        return Ok(lock.clone());
    }
    // Another spec of this command may have made one since.
    let old = read_lock(path)?.unwrap_or_default();
    let plan = Plan::new(loaded.evaluated.spec.clone(), &old)?;
    if plan.unpinned().next().is_none() {
        return Ok(old);
    }
    if locked {
        let message = format!("There is no `{}`, and `--locked` makes none", path.display());
        return Err(CommandError::new(Kind::Spec, message)
            .hint("run `reimage lock` and commit what it writes"));
    }
    let made = session.during(|context| lock(plan.spec(), &old, &Update::Nothing, context))?;
    write(path, &old, &made.lock)?;
    let path = path.display();
    app.ui.note(format!("Wrote `{path}`: commit it, and everybody builds the same"));
    Ok(made.lock)
}

/// Does to the lock file what was done to `old` to make it `new`: others may have written to it since `old` was read.
/// The file is replaced whole, or not at all, or left alone if it says the same already.
fn write(path: &Path, old: &Lock, new: &Lock) -> Result<(), CommandError> {
    let directory = path.parent().unwrap_or(path);
    // Where a directory cannot be locked, those who lock at the same time may lose each other's pins.
    let _others_wait = File::open(directory).ok().filter(|directory| directory.lock().is_ok());
    let mut lock = read_lock(path)?.unwrap_or_default();
    lock.apply(old, new);
    let text = lock.render();
    if fs_err::read(path).is_ok_and(|old| old == text.as_bytes()) {
        return Ok(());
    }
    let replace = || {
        let mut file = tempfile::Builder::new().prefix(".reimage.lock").tempfile_in(directory)?;
        file.write_all(text.as_bytes())?;
        // Made for other people to read, unlike other temporaries.
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        file.as_file().set_permissions(mode)?;
        file.as_file().sync_all()?;
        file.persist(path).map(drop).map_err(|error| error.error)
    };
    replace().map_err(|error: std::io::Error| {
        let message = format!("Cannot write the lock `{}`", path.display());
        CommandError::new(Kind::Environment, message).caused_by(error)
    })
}

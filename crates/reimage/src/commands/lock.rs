//! `reimage lock`: pins every remote source of a spec; and the lock of a spec as a build wants it.

use std::{collections::BTreeMap, io::Write, path::PathBuf, process::ExitCode};

use clap::Args;
use reimage_build::{LockChange, Update, lock};
use reimage_plan::{Lock, Plan, Section, Spec};
use serde_json::{Value, json};

use crate::{
    app::App,
    cli::FormatArgs,
    error::{CommandError, Kind, did_you_mean},
    session::{BuildFlags, Session},
    spec_args::{Loaded, SpecArgs},
    ui::Style,
};

/// Pin every remote source of a spec in reimage.lock
///
/// Keeps every pin that still fits and adds what is missing; `--update` moves pins to what is offered now, and says
/// what moved. The lock is the nearest reimage.lock upwards in the project, or a new one beside the spec: commit it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  reimage lock                         pin what is not pinned yet
  reimage lock --update                move every pin
  reimage lock --update steps.base     move those of one step

Prints what moved: the package, its old version and its new one.")]
pub(crate) struct LockArgs {
    #[command(flatten)]
    spec: SpecArgs,
    /// Move the pins of these steps, or all, to what is offered now
    #[arg(long, value_name = "STEP", num_args = 0.., require_equals = false)]
    update: Option<Vec<String>>,
    #[command(flatten)]
    build: BuildFlags,
    #[command(flatten)]
    pub(super) format: FormatArgs,
}

/// Every section whose steps are pinned.
const EVERY: &[Section] = &[Section::Steps, Section::Images, Section::Exports, Section::Checks];

/// Runs it.
pub(crate) fn run(args: &LockArgs, app: &App) -> Result<ExitCode, CommandError> {
    let session = Session::open(app, &args.build)?;
    // Specs of one project share a lock.
    let mut locks: BTreeMap<PathBuf, Lock> = BTreeMap::new();
    for loaded in args.spec.load(app, EVERY, true)? {
        let spec = &loaded.evaluated.spec;
        let update = update(args.update.as_deref(), spec)?;
        let path = loaded.lock_path.clone();
        let old = locks.remove(&path).or(loaded.lock.clone()).unwrap_or_default();
        let locked = session.during(|context| lock(spec, &old, &update, context))?;
        if locked.lock != old || loaded.lock.is_none() {
            write(&path, &locked.lock)?;
        }
        if app.ui.json() {
            let changes: Vec<_> = locked.changes.iter().map(value).collect();
            app.ui.value(&json!({ "lock": path, "changes": changes }))?;
        } else {
            let shown = path.strip_prefix(&app.machine.cwd).unwrap_or(&path).display();
            app.ui.lines(lines(&locked.changes, app.ui.out))?;
            let state = match locked.changes.len() {
                0 => "nothing moved".to_owned(),
                1 => "1 change".to_owned(),
                count => format!("{count} changes"),
            };
            app.ui.line(format!("{shown}: {state}"))?;
        }
        locks.insert(path, locked.lock);
    }
    Ok(ExitCode::SUCCESS)
}

/// What `--update` means; a step that is not there is an error.
fn update(steps: Option<&[String]>, spec: &Spec) -> Result<Update, CommandError> {
    let Some(steps) = steps else { return Ok(Update::Nothing) };
    let known = || spec.steps.iter().map(|step| step.name.as_str());
    for step in steps {
        if !known().any(|name| name == step) {
            let error = CommandError::usage(format!("There is no step `{step}` to update"));
            return Err(match did_you_mean(step, known()) {
                Some(near) => error.hint(format!("did you mean `{near}`?")),
                None => error,
            });
        }
    }
    Ok(if steps.is_empty() { Update::All } else { Update::Steps(steps.to_vec()) })
}

/// What moved, a line each; packages below their request.
fn lines(changes: &[LockChange], style: Style) -> Vec<String> {
    let mut lines = Vec::new();
    let mut under = None;
    for change in changes {
        match change {
            LockChange::HttpAdded { url } => lines.push(format!("{} {url}", style.good("+"))),
            LockChange::HttpMoved { url } => {
                lines.push(format!("{} {url} gives something else", style.warning("~")));
            }
            LockChange::DebianAdded { request, packages } => {
                lines.push(format!("{} {request}: {packages} packages", style.good("+")));
            }
            LockChange::Package { request, name, old, new } => {
                if under != Some(request) {
                    lines.push(format!("{} {request}", style.warning("~")));
                    under = Some(request);
                }
                lines.push(match (old, new) {
                    (Some(old), Some(new)) => format!("    {name} {old} → {new}"),
                    (None, Some(new)) => format!("  {} {name} {new}", style.good("+")),
                    (Some(old), None) => format!("  {} {name} {old}", style.error("-")),
                    (None, None) => continue,
                });
            }
        }
    }
    lines
}

/// The same for programs.
fn value(change: &LockChange) -> Value {
    match change {
        LockChange::HttpAdded { url } => json!({ "change": "http-added", "url": url }),
        LockChange::HttpMoved { url } => json!({ "change": "http-moved", "url": url }),
        LockChange::DebianAdded { request, packages } => {
            json!({ "change": "debian-added", "request": request, "packages": packages })
        }
        LockChange::Package { request, name, old, new } => json!({
            "change": "package", "request": request, "name": name, "old": old, "new": new,
        }),
    }
}

/// The lock to build `loaded` with: what is there, as it is; where nothing is there, a new one, unless `locked`.
pub(crate) fn lock_of(
    app: &App,
    session: &Session<'_>,
    loaded: &Loaded,
    locked: bool,
) -> Result<Lock, CommandError> {
    if let Some(lock) = &loaded.lock {
        return Ok(lock.clone());
    }
    let empty = Lock::default();
    let plan = Plan::new(loaded.evaluated.spec.clone(), &empty)?;
    if plan.unpinned().next().is_none() {
        return Ok(empty);
    }
    if locked {
        let message =
            format!("There is no `{}`, and `--locked` makes none", loaded.lock_path.display());
        return Err(CommandError::new(Kind::Spec, message)
            .hint("run `reimage lock` and commit what it writes"));
    }
    let made = session.during(|context| lock(plan.spec(), &empty, &Update::Nothing, context))?;
    write(&loaded.lock_path, &made.lock)?;
    app.ui.note(format!(
        "Wrote `{}`: commit it, and everybody builds the same",
        loaded.lock_path.display()
    ));
    Ok(made.lock)
}

/// Replaces the lock file whole, or not at all.
pub(crate) fn write(path: &std::path::Path, lock: &Lock) -> Result<(), CommandError> {
    let directory = path.parent().unwrap_or(path);
    let mut file = tempfile::Builder::new().prefix(".reimage.lock").tempfile_in(directory)?;
    file.write_all(lock.render().as_bytes())?;
    // Made for other people to read, unlike other temporaries.
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    file.as_file().set_permissions(mode)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_below_their_request() {
        let request = "bookworm: curl".to_owned();
        let package = |name: &str, old: Option<&str>, new: Option<&str>| LockChange::Package {
            request: request.clone(),
            name: name.to_owned(),
            old: old.map(str::to_owned),
            new: new.map(str::to_owned),
        };
        let changes = [
            LockChange::HttpAdded { url: "http://x/a".into() },
            package("curl", Some("1"), Some("2")),
            package("libold", Some("1"), None),
            package("libnew", None, Some("3")),
        ];
        assert_eq!(
            lines(&changes, Style::new(false)),
            ["+ http://x/a", "~ bookworm: curl", "    curl 1 → 2", "  - libold 1", "  + libnew 3",]
        );
    }
}

//! `reimage doctor`: tries what a build needs of this machine, and says what to do about what fails.
//!
//! It probes by doing: a real step in a real sandbox, with the machine's own system as its root.

use std::{
    ffi::OsString,
    fmt,
    io::Read,
    os::fd::AsFd,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;
use reimage_build::as_a_step;
use reimage_castore::Store;
use reimage_sandbox::{Command, Ids, Needed, Probe, Status, Streams, remove_tree};
use serde::Serialize;

use crate::{
    app::App,
    cli::FormatArgs,
    error::{CommandError, Kind},
    ui::{bytes, duration},
};

/// Check whether this machine can build, and say what to do where it cannot
///
/// Runs a real step in a real sandbox and looks at the store. Returns 0 if a build can run here, else 3.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  reimage doctor                  one line a check; after a failed one what to do
  reimage doctor --format json    the same for a bug report")]
pub(crate) struct DoctorArgs {
    #[command(flatten)]
    pub(super) output: FormatArgs,
}

/// One check.
#[derive(Debug, Serialize)]
struct Check {
    name: String,
    good: bool,
    /// What was found.
    found: String,
    /// What to do about it, if it is not good.
    #[serde(skip_serializing_if = "String::is_empty")]
    advice: String,
}

impl Check {
    fn good(name: impl Into<String>, found: impl fmt::Display) -> Self {
        Self { name: name.into(), good: true, found: found.to_string(), advice: String::new() }
    }

    fn bad(name: impl Into<String>, found: impl fmt::Display, advice: impl Into<String>) -> Self {
        Self { name: name.into(), good: false, found: found.to_string(), advice: advice.into() }
    }
}

/// Bytes below which a build is likely to fail.
const ROOM: u64 = 2_000_000_000;

/// Runs it.
pub(crate) fn run(_: &DoctorArgs, app: &App) -> Result<ExitCode, CommandError> {
    let config = app.config()?;
    let mut checks = probes(app);
    checks.push(namespaces(app));
    match App::store(&config) {
        Ok(store) => {
            checks.push(room(&store));
            if checks.iter().all(|check| check.good) {
                checks.push(step(app, &store));
            }
        }
        Err(error) => checks.push(Check::bad("store", &error, error.hints.join("; "))),
    }
    let good = checks.iter().all(|check| check.good);
    if app.ui.json() {
        app.ui.value(&checks)?;
    } else {
        let style = app.ui.out;
        for check in &checks {
            let mark = if check.good { style.good("ok  ") } else { style.error("FAIL") };
            app.ui.line(format!("{mark} {:<21} {}", check.name, check.found))?;
            if !check.good {
                app.ui.line(format!("     {} {}", style.hint("do this:"), check.advice))?;
            }
        }
    }
    Ok(if good { ExitCode::SUCCESS } else { Kind::Environment.into() })
}

/// What the sandbox needs of the machine, each tried.
fn probes(app: &App) -> Vec<Check> {
    match app.zygote.probe() {
        Ok(probes) => probes.into_iter().map(Check::from).collect(),
        Err(error) => {
            let advice = "raise the limits on processes and open files";
            vec![Check::bad("sandbox", error, advice)]
        }
    }
}

impl From<Probe> for Check {
    fn from(probe: Probe) -> Self {
        let Probe { name, works, needed, found, advice } = probe;
        match (works, needed) {
            (true, _) => Self::good(name, found),
            (false, Needed::Always) => Self::bad(name, found, advice),
            (false, Needed::For(fixed)) => {
                let fixed: Vec<_> = fixed.iter().map(ToString::to_string).collect();
                let found = format!("{found}; steps demand it for {}", fixed.join(", "));
                Self::bad(name, found, format!("{advice}; `--degraded` does without"))
            }
            (false, Needed::Never) => Self::good(name, format!("{found}; {advice}")),
        }
    }
}

fn namespaces(app: &App) -> Check {
    let name = "sandbox";
    match app.zygote.unavailable() {
        Some(why) => Check::bad(name, &why.reason, why.advice.clone()),
        None => Check::good(
            name,
            match app.zygote.ids() {
                Ids::Full => "every user id is there: owners are real",
                Ids::Mapped => "subordinate user ids, by newuidmap",
                Ids::Notify => "one user id; the monitor answers for the others",
            },
        ),
    }
}

fn room(store: &Store) -> Check {
    let root = store.root().display();
    match rustix::fs::statvfs(store.root()) {
        Ok(stat) => {
            let free = stat.f_bavail.saturating_mul(stat.f_frsize);
            let found = format!("{root}, {} free", bytes(free));
            if free >= ROOM {
                Check::good("store", found)
            } else {
                Check::bad("store", found, "make room (`reimage prune`), or use `--store DIR`")
            }
        }
        Err(error) => Check::bad("store", format!("{root}: {error}"), "use `--store DIR`"),
    }
}

/// Runs a step that writes a file and gives it away, in a root made of this machine's system.
fn step(app: &App, store: &Store) -> Check {
    let name = "a step";
    let scratch = store.tmp_name();
    let result = fs_err::create_dir(&scratch)
        .map_err(|error| error.to_string())
        .and_then(|()| try_step(app, store, &scratch));
    // The session's directory goes at the end in any case.
    let _ = remove_tree(&scratch);
    match result {
        Ok(found) => Check::good(name, found),
        Err(found) => Check::bad(
            name,
            found,
            "try on a local disk with `--store DIR`; if that fails, too, please report it with the output of \
             `reimage doctor --format json`",
        ),
    }
}

const SCRIPT: &str =
    "echo probe > /probe && chown 33:44 /probe && chmod 4640 /probe && stat -c '%u:%g %a' /probe";

fn try_step(app: &App, store: &Store, scratch: &Path) -> Result<String, String> {
    let argv = ["/bin/sh", "-e", "-c", SCRIPT].map(OsString::from);
    let mut command = Command::new(scratch, argv);
    command.env.insert("PATH".into(), "/bin:/usr/bin".into());

    // Volumes hold no programs that may run, so the machine itself is the lowest layer: all of it, or the part that
    // has no mounts in it, as a user namespace wants it, where that is the whole system.
    let whole = Path::new("/bin").is_symlink();
    command.lowers = vec![PathBuf::from(if whole { "/usr" } else { "/" })];
    let text = |error: &dyn std::error::Error| {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        text
    };
    as_a_step(store, &mut command).map_err(|e| text(&e))?;
    let (mut reader, writer) = std::io::pipe().map_err(|e| text(&e))?;
    let null = fs_err::File::open("/dev/null").map_err(|e| text(&e))?;
    let streams = Streams { input: null.as_fd(), output: writer.as_fd(), error: writer.as_fd() };
    let running = app.zygote.spawn(&command, streams).map_err(|e| text(&e))?;
    drop(writer);
    let mut output = String::new();
    reader.read_to_string(&mut output).map_err(|e| text(&e))?;
    let outcome = running.wait().map_err(|e| text(&e))?;
    let said = output.trim();
    if !outcome.voided.is_empty() || outcome.status != Status::Exited(0) {
        let voided: Vec<_> = outcome.voided.iter().map(ToString::to_string).collect();
        return Err([format!("{}: {said}", outcome.status), voided.join("; ")].join(" "));
    }
    if said == "33:44 4640" {
        Ok(format!("ran in {}, owners and modes as real root has them", duration(outcome.elapsed)))
    } else {
        Err(format!("a file given to 33:44 with mode 4640 shows as {said}"))
    }
}

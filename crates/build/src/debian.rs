//! A `Debian` step: packages by their pins, each unpacked once, installed on a root.

use std::sync::Arc;

use reimage_castore::{
    Action, ActionDigest, ActionResult, DebAction, DebianAction, Digest, Output, Patterns, Scripts,
    Sha256, View,
};
use reimage_fetch::debian::{
    deb::{Package, UnpackOptions, unpack_deb},
    install::{self, DRIVER_VERSION, SCRUB_VERSION},
};
use reimage_plan::{self as plan, Debian, DebianPin, PackagePin, Pin, Repository, StepId};
use reimage_sandbox::Limits;

use crate::{
    StepError,
    baseline::{self, FILE_TIME, PROCESSES, TIMEOUT},
    capture::Kept,
    conditions::Conditions,
    engine::{Engine, Made},
    execute::Execution,
    sources::{blob, by_digest, progress},
    stack::{Layer, Stack, Value},
    twice::Turn,
};

/// The list of packages of a root.
pub(crate) const STATUS: &str = "var/lib/dpkg/status";

/// What the result of `step` is found by.
pub(crate) fn action(
    engine: &Engine<'_>,
    id: StepId,
    step: &Debian,
) -> Result<ActionDigest, StepError> {
    let stack = engine.stack_for(&step.from)?;
    let pin = pin(engine, id, &stack)?;
    Ok(action_upon(engine, id, step, &stack, pin)?.0.digest())
}

/// What the result is found by, and the conditions that the packages' scripts run under.
fn action_upon(
    engine: &Engine<'_>,
    id: StepId,
    step: &Debian,
    stack: &Stack,
    pin: &DebianPin,
) -> Result<(Action, Conditions), StepError> {
    let mut action = DebianAction {
        root: stack.digests(),
        packages: pin.packages.iter().map(|package| package.sha256).collect(),
        scripts: scripts(step),
        exclude: step.exclude.clone(),
        platform: step.platform.to_string(),
        baseline: baseline::VERSION,
        demands: Conditions::BASELINE.demands,
        cpus: Conditions::BASELINE.cpus,
        driver: DRIVER_VERSION,
        scrub: SCRUB_VERSION,
    };
    let mut conditions = Conditions::BASELINE;
    if action.scripts == Scripts::Run {
        let key = || Some(Action::Debian(action.clone()).digest());
        conditions = engine.given(id, conditions, key)?;
    }
    (action.demands, action.cpus) = (conditions.demands, conditions.cpus);
    Ok((Action::Debian(action), conditions))
}

fn scripts(step: &Debian) -> Scripts {
    match step.scripts {
        plan::Scripts::Run => Scripts::Run,
        plan::Scripts::Skip => Scripts::Skip,
    }
}

/// The result of `step`: from the store, or by installing.
pub(crate) fn step(engine: &Engine<'_>, id: StepId, step: &Debian) -> Result<Made, StepError> {
    let stack = engine.stack_for(&step.from)?;
    let pin = pin(engine, id, &stack)?;
    let (action, conditions) = action_upon(engine, id, step, &stack, pin)?;
    let digest = action.digest();
    engine.memo(id, &digest, |turn| {
        install(engine, id, (&digest, conditions), step, (&stack, pin), turn)
    })
}

/// What it makes when its scripts run again, whether or not its result is there; that is not kept.
pub(crate) fn again(
    engine: &Engine<'_>,
    id: StepId,
    step: &Debian,
    turn: Turn,
) -> Result<ActionResult, StepError> {
    let stack = engine.stack_for(&step.from)?;
    let pin = pin(engine, id, &stack)?;
    let (action, conditions) = action_upon(engine, id, step, &stack, pin)?;
    install(engine, id, (&action.digest(), conditions), step, (&stack, pin), turn)
}

fn install(
    engine: &Engine<'_>,
    id: StepId,
    at: (&ActionDigest, Conditions),
    step: &Debian,
    (stack, pin): (&Stack, &DebianPin),
    turn: Turn,
) -> Result<ActionResult, StepError> {
    let packages = packages(engine, id, step, pin)?;
    engine.need(stack.0.iter().flat_map(|layer| layer.diff.blobs()))?;
    match scripts(step) {
        Scripts::Skip => {
            let diff = install::unpack_only(engine.store(), &stack.view(), &packages);
            let diff = diff.map_err(|e| engine.error(id, e))?;
            Ok(ActionResult::new(Output::Diff(engine.store().put_diff(diff)?)))
        }
        Scripts::Run => {
            engine.runs_on(id, &step.platform)?;
            configure(engine, id, at, step, stack, &packages, turn)
        }
    }
}

/// The pin for what the root has installed.
fn pin<'a>(engine: &Engine<'a>, id: StepId, stack: &Stack) -> Result<&'a DebianPin, StepError> {
    let Some(Pin::Debian(pins)) = engine.plan.pin(id) else {
        return Err(engine.error(id, "It is not pinned"));
    };
    let installed = installed(engine, &stack.view())?;
    let found = pins.iter().find(|(request, _)| request.installed == installed);
    found.map(|(_, pin)| pin).ok_or_else(|| {
        engine.error(
            id,
            "What `from` has installed is not what reimage.lock was made for: run `reimage lock`",
        )
    })
}

/// What a root has installed, by name: the digest of its package list; none without a list.
pub(crate) fn installed(engine: &Engine<'_>, view: &View) -> Result<Option<Digest>, StepError> {
    if view.layers().is_empty() {
        return Ok(None);
    }
    let status = engine.text(view, STATUS)?;
    // Name, version and state of each package: what the resolver looks at, and nothing that a script may add.
    let wanted = ["Package: ", "Version: ", "Architecture: ", "Status: "];
    let lines = status.lines().filter(|line| wanted.iter().any(|field| line.starts_with(field)));
    let list: Vec<_> = lines.collect();
    Ok(Some(Digest::of(list.join("\n").as_bytes())))
}

/// All packages of a pin, each downloaded and unpacked if that was not done before.
fn packages(
    engine: &Engine<'_>,
    id: StepId,
    step: &Debian,
    pin: &DebianPin,
) -> Result<Vec<Package>, StepError> {
    let exclude = Patterns::new(&step.exclude).map_err(|e| engine.error(id, e))?;
    let unpack = |pin: &PackagePin| {
        let action = Action::Deb(DebAction { package: pin.sha256, exclude: step.exclude.clone() });
        let name = format!("{}_{}_{}.deb", pin.name, pin.version, pin.architecture);
        let made = engine.pure(&action.digest(), || {
            let (digest, size) = blob(engine, id, &fetched(engine, id, &step.repositories, pin)?)?;
            let reader = engine.store().reader(&digest, size)?;
            let limits = reimage_fetch::Limits::default();
            let options = UnpackOptions { exclude: &exclude, file_time: FILE_TIME, limits };
            unpack_deb(engine.store(), &name, reader, &options).map_err(|e| engine.error(id, e))
        })?;
        let Value::Tree(tree, _) = made.value else {
            return Err(engine.error(id, "A package is a tree"));
        };
        Package::open(engine.store(), &name, pin.sha256, &tree).map_err(|e| engine.error(id, e))
    };
    engine.context.sources.downloader().parallel(&pin.packages, unpack)
}

/// The .deb of a pin.
pub(crate) fn fetched(
    engine: &Engine<'_>,
    id: StepId,
    repositories: &[Repository],
    pin: &PackagePin,
) -> Result<Made, StepError> {
    by_digest(engine, id, pin.sha256, |file| {
        let what = format!("{} {}", pin.name, pin.version);
        let progress = progress(engine, &what);
        engine.archives()?.fetch_package(pin, repositories, file, &progress)?;
        Ok(())
    })
}

/// Installs with the packages' own scripts, by real dpkg in the sandbox.
fn configure(
    engine: &Engine<'_>,
    id: StepId,
    (action, conditions): (&ActionDigest, Conditions),
    step: &Debian,
    stack: &Stack,
    packages: &[Package],
    turn: Turn,
) -> Result<ActionResult, StepError> {
    let find = |sha256: &Sha256| {
        let Some(Pin::Debian(pins)) = engine.plan.pin(id) else {
            return Err(engine.error(id, "It is not pinned"));
        };
        let pin = pins.iter().flat_map(|(_, pin)| &pin.packages).find(|pin| pin.sha256 == *sha256);
        let pin = pin.ok_or_else(|| engine.error(id, "A package that no pin names"))?;
        blob(engine, id, &fetched(engine, id, &step.repositories, pin)?)
    };
    let view = stack.view();
    let prepared = install::prepare(engine.store(), &view, packages, |sha256| {
        find(sha256).map_err(Failed::Step)
    });
    let prepared = prepared.map_err(|failed| match failed {
        Failed::Step(error) => error,
        Failed::Install(error) => engine.error(id, error),
    })?;
    let diff = Arc::new(prepared.diff);
    let mut root = stack.clone();
    let digest = engine.store().put_diff(diff.clone())?;
    root.0.push(Layer { step: id, diff: diff.clone(), digest, source: false, carried: None });
    let mut input = Stack::default();
    input.lay(engine.store(), id, &prepared.input, false).map_err(|e| engine.error(id, e))?;
    let at = reimage_castore::TreePath::new(install::INPUT).expect("a constant is a good path");
    let above = root.view();
    let user = engine.user(id, &above, "0:0")?;
    let mut env = baseline::environment();
    env.insert("HOME".to_owned(), "/root".to_owned());
    let execution = Execution {
        root,
        inputs: vec![(at, input)],
        hidden: Vec::new(),
        argv: install::ARGV.map(str::to_owned).to_vec(),
        env,
        workdir: reimage_castore::TreePath::root(),
        user,
        conditions: Some(conditions),
        limits: Limits {
            timeout: Some(std::time::Duration::from_secs(TIMEOUT)),
            processes: Some(PROCESSES),
            ..Limits::default()
        },
    };
    let executed = execution.run(engine, id, action, turn)?;
    let mut kept = executed.root(engine, id)?;
    install::link_renamed(engine.store(), &above, &mut kept.captured)?;
    let configured = above.diff(&kept.captured).map_err(|e| engine.error(id, e))?;
    let diff = view.rebase(&view.compose(&diff, &configured));
    let output = Output::Diff(engine.store().put_diff(diff)?);
    let Kept { notes, secrets, .. } = kept;
    Ok(ActionResult { output, log: Some(executed.log), notes, secrets, millis: executed.millis })
}

/// Why packages could not be prepared.
enum Failed {
    Step(StepError),
    Install(install::InstallError),
}

impl From<install::InstallError> for Failed {
    fn from(error: install::InstallError) -> Self {
        Self::Install(error)
    }
}

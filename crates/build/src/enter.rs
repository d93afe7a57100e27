//! What a person stands in: the sandbox of a step with its inputs, or a container of an image; and the logs.

use std::{collections::BTreeMap, sync::Arc};

use reimage_castore::TreePath;
use reimage_oci::{Config, Descriptor, RootfsError};
use reimage_plan::{Lock, Place, Plan, Spec, Step, StepId, StepKind};
use reimage_sandbox::{self as sandbox, Limits};

use crate::{
    BuildError, Context, StepError, away, base, baseline,
    build::{local_trees, make_all},
    conditions::Conditions,
    engine::{Engine, Scratch, failure_key},
    execute::Execution,
    run,
    stack::{Layer, Stack},
    twice::Turn,
};

/// A sandbox that is ready to run. What is written in it goes with it.
pub struct Entered {
    /// What is run in it; its streams, network and binds are the caller's.
    pub command: sandbox::Command,
    /// Of an image: what it says about its containers.
    pub config: Arc<Config>,
    _scratch: Scratch,
}

/// What is run instead of what the spec says.
#[derive(Debug, Clone, Default)]
pub struct Instead {
    /// The program and its arguments; of an image all of it, none: its `entrypoint` and `cmd`.
    pub argv: Option<Vec<String>>,
    /// Instead of an image's `entrypoint`; with it the image's `cmd` does not count, as with docker.
    pub entrypoint: Option<Vec<String>>,
    /// Arguments instead of an image's `cmd`.
    pub args: Vec<String>,
    /// Over the environment.
    pub env: BTreeMap<String, String>,
    /// `NAME`, `UID` or `UID:GID`.
    pub user: Option<String>,
    /// Working directory.
    pub workdir: Option<TreePath>,
}

/// Makes what step `id` needs, and the step itself unless it is a `Run`, and gives the sandbox to stand in: of a
/// `Run` its own, just before it runs; of an image a container; of anything else a shell in its root.
pub fn enter(
    plan: &Plan,
    id: StepId,
    instead: &Instead,
    context: &Context<'_>,
) -> Result<Entered, BuildError> {
    let engine = made_below(plan, id, context)?;
    let mut config = Arc::default();
    let execution = match &plan.step(id).kind {
        StepKind::Run(step) => {
            let prepared = run::prepare(&engine, id, step)?;
            run::execution(&engine, id, step, &prepared)?
        }
        StepKind::Image(image) => {
            let stack = engine.stack_for(&image.layers)?;
            config = engine.config(id);
            container(&engine, id, stack, &config, instead)?
        }
        _ => root(&engine, id, instead)?,
    };
    ready(&engine, id, execution, config, instead)
}

/// A container of an image that is in the image store, with all that its configuration says. `name` is what it is
/// called in errors, `manifest` that of one platform.
pub fn enter_stored(
    name: &str,
    manifest: &Descriptor,
    instead: &Instead,
    context: &Context<'_>,
) -> Result<Entered, BuildError> {
    // It stands on nothing, so it is a plan of itself alone.
    let kind = StepKind::Image(Box::default());
    let step = Step { name: name.to_owned(), place: Place::default(), kind };
    let plan = Plan::new(Spec { steps: vec![step], ..Spec::default() }, &Lock::default())?;
    let engine = Engine::new(&plan, context)?;
    let id = StepId(0);
    let (config, stack) = unpacked(&engine, id, manifest)?;
    let execution = container(&engine, id, stack, &config, instead)?;
    ready(&engine, id, execution, config, instead)
}

/// The configuration and the layers of an image that is here, each unpacked once, as those of an `Oci` step are.
fn unpacked(
    engine: &Engine<'_>,
    id: StepId,
    manifest: &Descriptor,
) -> Result<(Arc<Config>, Stack), StepError> {
    let (layout, store) = (engine.context.layout, engine.store());
    let (manifest, _) = layout.manifest(manifest).map_err(|e| engine.error(id, e))?;
    let config = layout.image_config(&manifest).map_err(|e| engine.error(id, e))?;
    let diff_ids = &config.rootfs.diff_ids;
    if diff_ids.len() != manifest.layers.len() {
        let (layers, diff_ids) = (manifest.layers.len(), diff_ids.len());
        return Err(engine.error(id, RootfsError::Count { layers, diff_ids }));
    }
    let mut stack = Stack::default();
    for (layer, diff_id) in manifest.layers.iter().zip(diff_ids) {
        let below = stack.digests();
        let before = base::unpacked_before(engine, layer.digest, below.clone())?;
        let digest = if let Some(digest) = before {
            digest
        } else {
            let blob = away::open(layer, engine.context).map_err(|e| engine.error(id, e))?;
            base::unpack(engine, id, (layer, *diff_id), below, &stack.view(), blob)?
        };
        let diff = store.diff(&digest)?;
        stack.0.push(Layer { step: id, diff, digest, source: false, carried: None });
    }
    Ok((Arc::new(config.config()), stack))
}

/// The sandbox of an execution that a person stands in.
fn ready(
    engine: &Engine<'_>,
    id: StepId,
    mut execution: Execution,
    config: Arc<Config>,
    instead: &Instead,
) -> Result<Entered, BuildError> {
    if let Some(argv) = &instead.argv {
        execution.argv.clone_from(argv);
    }
    if let Some(workdir) = &instead.workdir {
        execution.workdir.clone_from(workdir);
    }
    execution.env.extend(instead.env.clone());
    // A person may take their time.
    execution.limits = Limits::default();
    let scratch = engine.scratch(id)?;
    let command = execution.command(engine, id, scratch.path(), Turn::First)?;
    Ok(Entered { command, config, _scratch: scratch })
}

/// What the last run of step `id` wrote, if it ran here with what it stands on now.
pub fn log(plan: &Plan, id: StepId, context: &Context<'_>) -> Result<Option<Vec<u8>>, BuildError> {
    let engine = made_below(plan, id, context)?;
    let action = match &plan.step(id).kind {
        StepKind::Run(step) => Some(run::action(&engine, id, step)?),
        _ => engine.made(id).action,
    };
    let Some(action) = action else { return Ok(None) };
    let log = match context.store.result_record(&action)? {
        Some(result) => result.log,
        None => match context.store.memo(&failure_key(&action))? {
            Some(digest) => digest.try_into().ok().map(reimage_castore::Digest::from_bytes),
            None => None,
        },
    };
    Ok(log.map(|log| context.store.read(&log)).transpose()?)
}

/// An engine that has made everything but `id` if that is a `Run`.
fn made_below<'a>(
    plan: &'a Plan,
    id: StepId,
    context: &'a Context<'a>,
) -> Result<Engine<'a>, BuildError> {
    plan.check_pins()?;
    let locals = local_trees(plan, context)?;
    let engine = Engine::new(plan, context)?;
    let runs = matches!(plan.step(id).kind, StepKind::Run(_));
    make_all(&engine, &locals, runs.then_some(id))?;
    Ok(engine)
}

/// A container as docker makes one of this image: its own environment, none of the sandbox's constants.
fn container(
    engine: &Engine<'_>,
    id: StepId,
    root: Stack,
    config: &Config,
    instead: &Instead,
) -> Result<Execution, StepError> {
    let entrypoint = instead.entrypoint.as_ref().or(config.entrypoint.as_ref());
    let mut argv = entrypoint.cloned().unwrap_or_default();
    match &config.cmd {
        Some(cmd) if instead.args.is_empty() && instead.entrypoint.is_none() => {
            argv.extend(cmd.clone());
        }
        _ => argv.extend(instead.args.clone()),
    }
    if argv.is_empty() && instead.argv.is_none() {
        let error =
            "The image has neither `entrypoint` nor `cmd`: say what to run, `IMAGE PROGRAM ARGS`";
        return Err(engine.error(id, error));
    }
    let user = instead.user.clone().or_else(|| config.user.clone());
    let user = user.filter(|user| !user.is_empty()).unwrap_or_else(|| "0:0".to_owned());
    let user = engine.user(id, &root.view(), &user)?;
    let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned();
    let mut env =
        BTreeMap::from([("HOME".to_owned(), user.home.clone()), ("PATH".to_owned(), path)]);
    env.extend(config.env.clone());
    let workdir = config.workdir.as_deref().unwrap_or("/");
    let workdir = TreePath::new(workdir).map_err(|e| engine.error(id, e))?;
    Ok(Execution {
        root,
        inputs: Vec::new(),
        hidden: Vec::new(),
        argv,
        env,
        workdir,
        user,
        conditions: None,
        limits: Limits::default(),
    })
}

/// The root that a step is, as root stands in it.
fn root(engine: &Engine<'_>, id: StepId, instead: &Instead) -> Result<Execution, StepError> {
    let stack = engine.stack_for(&[id])?;
    let user = instead.user.clone().unwrap_or_else(|| "0:0".to_owned());
    let user = engine.user(id, &stack.view(), &user)?;
    let conditions = engine.given(id, Conditions::BASELINE, || None)?;
    let mut env = baseline::environment();
    env.insert("HOME".to_owned(), user.home.clone());
    Ok(Execution {
        root: stack,
        inputs: Vec::new(),
        hidden: Vec::new(),
        argv: vec!["/bin/sh".to_owned()],
        env,
        workdir: TreePath::root(),
        user,
        conditions: Some(conditions),
        limits: Limits::default(),
    })
}

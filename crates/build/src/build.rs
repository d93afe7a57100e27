//! Builds the targets of a plan: a memo of each whole target first, then its steps.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::SystemTime,
};

use reimage_castore::{
    ActionDigest, Digest, LocalOptions, Patterns, Sha256, Store, StoreError, ingest,
};
use reimage_fetch::debian::install::{DRIVER_VERSION, SCRUB_VERSION};
use reimage_oci::{Descriptor, INDEX, Layout, MANIFEST};
use reimage_plan::{Local, Plan, Section, StepId, StepKind, Target};
use reimage_sandbox::{Fixed, Zygote};
use serde::{Deserialize, Serialize};

use crate::{
    BuildError, Event, StepError, base, baseline, cached,
    conditions::{Real, real},
    copy, debian,
    engine::{Engine, Made},
    files, image,
    queue::{self, Done, Graph, Options},
    run, sources,
    stack::Value,
};

/// Version of what a target's memo says.
const MEMO: &str = "reimage target 4";

/// What a build works with; none of it enters a digest.
pub struct Context<'a> {
    /// Blobs and results.
    pub store: &'a Store,
    /// Images.
    pub layout: &'a Layout,
    /// What runs commands.
    pub zygote: &'a Zygote,
    /// Where remote sources come from.
    pub sources: &'a reimage_fetch::Sources,
    /// Lock bundles, which are asked before any server.
    pub bundles: &'a [reimage_fetch::Bundle],
    /// Steps at a time, at least one.
    pub jobs: usize,
    /// After a failure go on with what does not need it.
    pub keep_going: bool,
    /// Run every step of the targets again, whether its result is there or not, and compare.
    pub twice: bool,
    /// Where this machine cannot give all that a step demands, run it with what it can give.
    pub degraded: bool,
    /// To see whether the same comes out again: each step runs under other conditions, and files by their digests may
    /// come from this other store, of which nothing else is used.
    pub rebuild: Option<&'a Store>,
    /// Bytes of memory that what running steps write may take, all together; a step that writes more runs on disk.
    pub memory: u64,
    /// The present time: whether an index has expired. It enters nothing else.
    pub now: SystemTime,
    /// What becomes of images.
    pub purpose: Purpose,
    /// A cache of the team: results may come from it, and go to it.
    pub cache: Option<&'a reimage_remote::Cache>,
    /// Who hears what happens; called from any thread.
    pub events: &'a (dyn Fn(Event) + Sync),
}

/// What becomes of the images that a build makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Purpose {
    /// They are to be here, whole.
    #[default]
    Keep,
    /// They are only sent on: a layer that a cache has stays there.
    SendOn,
}

/// What a build made.
#[derive(Debug, Clone)]
pub struct BuildRecord {
    /// One a target, in their order.
    pub targets: Vec<TargetRecord>,
    /// What became of each step, if they were looked at: a no-op looks at targets alone.
    pub steps: Vec<StepRecord>,
}

/// What became of a step.
#[derive(Debug, Clone)]
pub struct StepRecord {
    /// Its name.
    pub name: String,
    /// What its result is found by.
    pub action: Option<ActionDigest>,
    /// For how many milliseconds it ran; none: its result was there.
    pub millis: Option<u64>,
    /// What it demanded to be the same in every run and this machine could not give.
    pub given_up: BTreeSet<Fixed>,
}

/// What a target came to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetRecord {
    /// The path of its field: `images.web`.
    pub path: String,
    /// What it is.
    pub output: TargetOutput,
    /// The steps below that saw something of the machine: if there are any, it is not reproducible.
    pub real: Real,
}

/// The output of a target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum TargetOutput {
    /// An image in the layout.
    Image(ImageRecord),
    /// A tree, or a file, in the store.
    Tree(Digest),
    /// A check that passed.
    Passed,
}

/// An image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRecord {
    /// Digest of its manifest, or of its index: the image's.
    pub digest: Sha256,
    /// Size of that in bytes.
    pub manifest_size: u64,
    /// Sizes of its layers together, as they are packed, in bytes.
    pub size: u64,
    /// Names that it was given.
    pub tags: Vec<String>,
    /// Of one for several platforms the digest of the manifest of each.
    pub platforms: BTreeMap<String, Sha256>,
}

impl ImageRecord {
    /// As a layout or a registry names it.
    pub fn descriptor(&self) -> Descriptor {
        let media_type = if self.platforms.is_empty() { MANIFEST } else { INDEX };
        Descriptor::new(media_type, self.digest, self.manifest_size)
    }
}

/// Builds all targets of `plan`, which must be pinned.
///
/// A blob that turns out to be gone or damaged only when it is used is made again: the store has by then
/// forgotten the results that need it.
pub fn build(plan: &Plan, context: &Context<'_>) -> Result<BuildRecord, BuildError> {
    plan.check_pins()?;
    again_if_missing(|| attempt(plan, context))
}

/// Does it again if a blob turned out to be gone or damaged.
pub(crate) fn again_if_missing<T>(
    attempt: impl Fn() -> Result<T, BuildError>,
) -> Result<T, BuildError> {
    let mut missing = BTreeSet::new();
    loop {
        match attempt() {
            // The same blob a second time is one that its step does not make.
            Err(error) if error.is_miss().is_some_and(|digest| missing.insert(digest)) => {}
            other => return other,
        }
    }
}

fn attempt(plan: &Plan, context: &Context<'_>) -> Result<BuildRecord, BuildError> {
    let locals = local_trees(plan, context)?;
    let digests = locals.iter().map(|(id, digest)| (*id, *digest)).collect();
    let definitions = plan.definitions(&digests);
    let keys: Vec<_> = plan.spec().targets.iter().map(|t| target_key(t, &definitions)).collect();
    // What was made with less than was demanded is no memory of the whole.
    if !context.twice
        && !context.degraded
        && let Some(targets) = all_remembered(context, &keys)?
    {
        let targets = plan.spec().targets.iter().zip(targets);
        let named = targets.map(|(target, output)| TargetRecord {
            path: target.path(),
            output,
            real: real(plan, target.step, |_| BTreeSet::new()),
        });
        return Ok(BuildRecord { targets: named.collect(), steps: Vec::new() });
    }
    image::check_layers(plan)?;
    let engine = Engine::new(plan, context)?;
    let record = make_targets(&engine, &locals, &keys);
    engine.give_the_rest();
    record
}

fn make_targets(
    engine: &Engine<'_>,
    locals: &BTreeMap<StepId, Digest>,
    keys: &[Digest],
) -> Result<BuildRecord, BuildError> {
    let (plan, context) = (engine.plan, engine.context);
    make_all(engine, locals, None)?;
    let mut targets = Vec::new();
    for (target, key) in plan.spec().targets.iter().zip(keys) {
        let output = output(engine, target)?;
        let bytes = serde_json::to_vec(&output).expect("a record is strings and numbers");
        let given_up = |id| engine.given_up(id);
        if plan.ids().all(|id| given_up(id).is_empty()) {
            context.store.put_memo(key, &bytes)?;
            engine.give_target(&target.path(), target.step, *key, &output);
        }
        targets.push(TargetRecord {
            path: target.path(),
            output,
            real: real(plan, target.step, given_up),
        });
    }
    let steps = plan.ids().map(|id| {
        let Made { action, millis, .. } = engine.made(id);
        let given_up = engine.given_up(id);
        StepRecord { name: engine.name(id), action: *action, millis: *millis, given_up }
    });
    Ok(BuildRecord { targets, steps: steps.collect() })
}

/// Reads the local trees of the plan; they are what a no-op looks at.
pub(crate) fn local_trees(
    plan: &Plan,
    context: &Context<'_>,
) -> Result<BTreeMap<StepId, Digest>, BuildError> {
    let mut locals = BTreeMap::new();
    for id in plan.ids() {
        if let StepKind::Local(step) = &plan.step(id).kind {
            let digest = ingest_one(context.store, step);
            let digest = digest.map_err(|source| StepError::new(plan.step(id), source))?;
            locals.insert(id, digest);
        }
    }
    Ok(locals)
}

fn ingest_one(
    store: &Store,
    step: &Local,
) -> Result<Digest, Box<dyn std::error::Error + Send + Sync>> {
    let options = LocalOptions {
        project: step.project.clone(),
        include: step.include.as_deref().map(Patterns::new).transpose()?,
        exclude: Patterns::new(&step.exclude)?,
        gitignore: step.gitignore && step.unpack.is_none(),
    };
    Ok(ingest(store, &step.path, &options)?.digest)
}

/// What a whole target is found by: all that its steps are.
fn target_key(target: &Target, definitions: &[Digest]) -> Digest {
    let definition = definitions[target.step.0];
    let kind = match target.section {
        Section::Checks => "check",
        Section::Images => "image",
        Section::Exports | Section::Steps => "tree",
    };
    let versions = format!("{} {DRIVER_VERSION} {SCRUB_VERSION}", baseline::VERSION);
    Digest::of(format!("{MEMO}\n{kind}\n{versions}\n{definition}\n").as_bytes())
}

/// What each target came to be, if all of them are remembered, here or in a cache.
fn all_remembered(
    context: &Context<'_>,
    keys: &[Digest],
) -> Result<Option<Vec<TargetOutput>>, BuildError> {
    let mut targets = Vec::with_capacity(keys.len());
    for key in keys {
        let mut output = remembered(context, key)?;
        if output.is_none()
            && let Some(found) = cached::target(context, key)
        {
            let bytes = serde_json::to_vec(&found).expect("a record is strings and numbers");
            context.store.put_memo(key, &bytes)?;
            output = Some(found);
        }
        let Some(output) = output else { return Ok(None) };
        targets.push(output);
    }
    Ok(Some(targets))
}

/// What a target came to be the last time, if all of it is still there.
fn remembered(context: &Context<'_>, key: &Digest) -> Result<Option<TargetOutput>, BuildError> {
    let Some(bytes) = context.store.memo(key)? else { return Ok(None) };
    // A memo that cannot be read is none: it is made again.
    let Ok(output) = serde_json::from_slice(&bytes) else { return Ok(None) };
    let there = match &output {
        TargetOutput::Passed => true,
        TargetOutput::Tree(digest) => match context.store.tree_is_complete(digest) {
            // The tree itself is gone: its steps make it again.
            Err(error) if error.is_miss().is_some() => false,
            there => there?,
        },
        TargetOutput::Image(image) => image::is_there(context, image)?,
    };
    Ok(there.then_some(output))
}

/// Makes every step of the plan, but for one that is only prepared.
pub(crate) fn make_all(
    engine: &Engine<'_>,
    locals: &BTreeMap<StepId, Digest>,
    except: Option<StepId>,
) -> Result<(), BuildError> {
    let plan = engine.plan;
    let needs: Vec<Vec<usize>> = plan
        .ids()
        .map(|id| plan.step(id).kind.references().iter().map(|r| r.0).collect())
        .collect();
    let graph = Graph { needs: &needs, heights: &plan.heights() };
    let Context { jobs, keep_going, .. } = *engine.context;
    let done = queue::run(&graph, Options { jobs, keep_going }, |number| {
        let id = StepId(number);
        if except == Some(id) {
            return Ok(());
        }
        let name = engine.name(id);
        match make(engine, id, locals) {
            Ok(made) => {
                engine.give_step(id, &made);
                engine.say(Event::Finished { step: id, name, millis: made.millis });
                engine.set(id, made);
                Ok(())
            }
            Err(error) => {
                // What a missing blob stops is made again.
                if error.is_miss().is_none() {
                    engine.say(Event::Failed { step: id, name });
                }
                Err(error)
            }
        }
    });
    let failed: Vec<_> = done
        .into_iter()
        .filter_map(|done| match done {
            Done::Failed(error) => Some(Arc::new(error)),
            Done::Ok(()) | Done::Skipped => None,
        })
        .collect();
    if failed.is_empty() { Ok(()) } else { Err(BuildError::Steps(failed)) }
}

/// Makes one step: one file for each way.
pub(crate) fn make(
    engine: &Engine<'_>,
    id: StepId,
    locals: &BTreeMap<StepId, Digest>,
) -> Result<Made, StepError> {
    match &engine.plan.step(id).kind {
        StepKind::Local(local) => sources::local(engine, id, local, &locals[&id]),
        StepKind::Files(files) => {
            let tree = files::files(engine.store(), files).map_err(|e| engine.error(id, e))?;
            engine.tree(tree)
        }
        StepKind::Http(http) => sources::http(engine, id, http),
        StepKind::Oci(step) => base::step(engine, id, step),
        StepKind::Copy(step) => copy::step(engine, id, step),
        StepKind::Debian(step) => debian::step(engine, id, step),
        StepKind::Run(step) => run::run(engine, id, step),
        StepKind::Image(_) | StepKind::Index(_) => Ok(Made::here(Value::Image)),
    }
}

fn output(engine: &Engine<'_>, target: &Target) -> Result<TargetOutput, StepError> {
    Ok(match (&engine.plan.step(target.step).kind, target.section) {
        (_, Section::Checks) => TargetOutput::Passed,
        (StepKind::Image(step), _) => TargetOutput::Image(image::image(engine, target.step, step)?),
        (StepKind::Index(step), _) => TargetOutput::Image(image::index(engine, target.step, step)?),
        _ => {
            let (tree, digest) = engine.merged(target.step)?;
            engine.need(tree.blobs())?;
            if let Some(digest) = engine.store().missing(tree.blobs()).first().copied() {
                return Err(StoreError::Missing { digest }.into());
            }
            TargetOutput::Tree(digest)
        }
    })
}

//! Builds a plan: every step once, from the store if its result is there.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use reimage_castore::{
    ActionDigest, ActionResult, Digest, Node, Output, Store, Tree, TreePath, View,
};
use reimage_fetch::debian::{Archives, SourcesError};
use reimage_oci::Config;
use reimage_plan::{Place, Plan, Platform, StepId, StepKind};
use reimage_sandbox::{self as sandbox, Fixed, Ids, Probe, UpperOn, Zygote};

use crate::{
    Context, Event, StepError,
    base::{self, Base},
    cached::{Givings, Origins},
    conditions::{Conditions, needed_for},
    config,
    stack::{Stack, Value},
    twice::{Turn, differences, on_a_busy_machine},
    users::{self, User},
};

/// What a step came to be.
#[derive(Debug, Clone)]
pub(crate) struct Made {
    /// Its value.
    pub(crate) value: Value,
    /// What its result is found by, if it is kept under a key.
    pub(crate) action: Option<ActionDigest>,
    /// For how many milliseconds it ran; none: its result was there.
    pub(crate) millis: Option<u64>,
    /// Files that it wrote and that look like secrets.
    pub(crate) secrets: Vec<(TreePath, Digest)>,
    /// Whether it comes from a cache; its contents may not be here.
    pub(crate) cached: bool,
}

impl Made {
    /// Something that took no step of the user's to make.
    pub(crate) fn here(value: Value) -> Self {
        Self { value, action: None, millis: None, secrets: Vec::new(), cached: false }
    }
}

/// One build.
pub(crate) struct Engine<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) context: &'a Context<'a>,
    made: Vec<OnceLock<Made>>,
    stacks: Vec<OnceLock<Arc<Stack>>>,
    merged: Vec<OnceLock<(Arc<Tree>, Digest)>>,
    configs: Vec<Option<Arc<Config>>>,
    bases: Vec<Option<Base>>,
    archives: OnceLock<Archives<'a>>,
    composed: Mutex<BTreeMap<(Digest, Digest), Digest>>,
    lacking: OnceLock<Vec<Probe>>,
    /// How another user's ids are kept, once it was tried.
    others: OnceLock<Ids>,
    /// Where contents can be had that are not here.
    pub(crate) origins: Origins,
    /// What waits to be given to a cache.
    pub(crate) givings: Givings,
    /// What a step does without on this machine.
    given_up: Vec<OnceLock<BTreeSet<Fixed>>>,
    /// Bytes that a step may write to memory.
    spill: u64,
}

impl<'a> Engine<'a> {
    /// Begins a build. Fails if an image's configuration cannot be.
    pub(crate) fn new(plan: &'a Plan, context: &'a Context<'a>) -> Result<Self, StepError> {
        let count = plan.spec().steps.len();
        let mut engine = Self {
            plan,
            context,
            made: (0..count).map(|_| OnceLock::new()).collect(),
            stacks: (0..count).map(|_| OnceLock::new()).collect(),
            merged: (0..count).map(|_| OnceLock::new()).collect(),
            configs: Vec::new(),
            bases: Vec::new(),
            archives: OnceLock::new(),
            composed: Mutex::default(),
            lacking: OnceLock::new(),
            others: OnceLock::new(),
            origins: Origins::default(),
            givings: Givings::new(plan),
            given_up: (0..count).map(|_| OnceLock::new()).collect(),
            spill: context.memory / u64::try_from(context.jobs.max(1)).unwrap_or(u64::MAX),
        };
        engine.bases = base::of_plan(&engine, plan)?;
        engine.configs = config::of_plan(plan, &engine.bases)
            .map_err(|(id, source)| StepError::new(plan.step(id), source))?;
        Ok(engine)
    }

    /// What a pinned base image says of itself.
    pub(crate) fn base(&self, id: StepId) -> &Base {
        self.bases[id.0].as_ref().expect("each pinned base image was read at the beginning")
    }

    pub(crate) fn store(&self) -> &Store {
        self.context.store
    }

    pub(crate) fn zygote(&self) -> &Zygote {
        self.context.zygote
    }

    /// How ids are kept in that run of a step: the second time as for another user, if there can be one.
    pub(crate) fn ids(&self, turn: Turn) -> Ids {
        match turn {
            Turn::Second => *self.others.get_or_init(|| {
                let single = self.zygote().has_single_id();
                if single { Ids::Notify } else { self.zygote().ids() }
            }),
            Turn::First | Turn::Unseeded => self.zygote().ids(),
        }
    }

    pub(crate) fn say(&self, event: Event) {
        (self.context.events)(event);
    }

    pub(crate) fn name(&self, id: StepId) -> String {
        self.plan.step(id).name.clone()
    }

    pub(crate) fn place(&self, id: StepId) -> Place {
        self.plan.step(id).place.clone()
    }

    /// An error of a step.
    pub(crate) fn error(
        &self,
        id: StepId,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> StepError {
        StepError::new(self.plan.step(id), source)
    }

    /// Says what a step came to be; the first word counts.
    pub(crate) fn set(&self, id: StepId, made: Made) {
        let _ = self.made[id.0].set(made);
    }

    /// What a step came to be. Panics if it was not built yet: the queue builds what a step refers to first.
    pub(crate) fn made(&self, id: StepId) -> &Made {
        self.made[id.0].get().expect("what a step refers to is built before it")
    }

    /// The stack that a step is.
    pub(crate) fn stack(&self, id: StepId) -> Result<Arc<Stack>, StepError> {
        if let Some(stack) = self.stacks[id.0].get() {
            return Ok(stack.clone());
        }
        let stack = match &self.plan.step(id).kind {
            StepKind::Image(image) => self.stack_for(&image.layers)?,
            StepKind::Debian(debian) => self.upon(&debian.from, id)?,
            StepKind::Run(run) if run.outputs.is_none() => self.upon(&run.from, id)?,
            _ => self.upon(&[], id)?,
        };
        Ok(self.stacks[id.0].get_or_init(|| Arc::new(stack)).clone())
    }

    fn upon(&self, from: &[StepId], id: StepId) -> Result<Stack, StepError> {
        let mut stack = self.stack_for(from)?;
        stack.push(self.plan, self.store(), id, &self.made(id).value)?;
        Ok(stack)
    }

    /// The stacks of several steps put on each other.
    pub(crate) fn stack_for(&self, from: &[StepId]) -> Result<Stack, StepError> {
        let Some(first) = from.first() else { return Ok(Stack::default()) };
        let mut stack = (*self.stack(*first)?).clone();
        for id in self.plan.stack_of(from).into_iter().skip(stack.steps().len()) {
            stack.push(self.plan, self.store(), id, &self.made(id).value)?;
        }
        Ok(stack)
    }

    /// What a step is where a tree is wanted: a source or a copy itself, else its merged stack.
    pub(crate) fn merged(&self, id: StepId) -> Result<(Arc<Tree>, Digest), StepError> {
        if let Value::Tree(tree, digest) = &self.made(id).value {
            return Ok((tree.clone(), *digest));
        }
        if let Some(merged) = self.merged[id.0].get() {
            return Ok(merged.clone());
        }
        let tree = Arc::new(self.stack(id)?.view().tree().map_err(|e| self.error(id, e))?);
        let digest = self.store().put_tree(tree.clone())?;
        Ok(self.merged[id.0].get_or_init(|| (tree, digest)).clone())
    }

    /// The configuration of the highest image in the stacks of `from`.
    pub(crate) fn config_of(&self, from: &[StepId]) -> Arc<Config> {
        config::of_stack(&self.configs, from)
    }

    /// The configuration of an image.
    pub(crate) fn config(&self, image: StepId) -> Arc<Config> {
        config::of_stack(&self.configs, &[image])
    }

    /// Fails where a step is to run that this machine has no processor for.
    pub(crate) fn runs_on(&self, id: StepId, platform: &Platform) -> Result<(), StepError> {
        if *platform == Platform::default() {
            return Ok(());
        }
        let (step, place) = (self.name(id), self.place(id));
        Err(StepError::Foreign { step, place, platform: platform.to_string() })
    }

    /// What this machine lacks, of what steps need for which something is the same in every run.
    pub(crate) fn lacking(&self) -> Result<&[Probe], sandbox::Error> {
        if let Some(lacking) = self.lacking.get() {
            return Ok(lacking);
        }
        let lacking = self.zygote().lacking()?;
        Ok(self.lacking.get_or_init(|| lacking))
    }

    /// The conditions that step `id` runs under: all that it demands; or, if this build makes do with less, there is no
    /// result of all, and the machine cannot give it, what it can. `key` is what a result of all is found by.
    pub(crate) fn given(
        &self,
        id: StepId,
        demanded: Conditions,
        key: impl FnOnce() -> Option<ActionDigest>,
    ) -> Result<Conditions, StepError> {
        if !self.context.degraded {
            return Ok(demanded);
        }
        // Where no step can run, it is said when one is to.
        let lacking = self.lacking().unwrap_or_default();
        let lacking: BTreeSet<_> = lacking.iter().flat_map(needed_for).collect();
        let less = demanded.without(&lacking);
        let there = || {
            key().map_or(Ok(false), |key| {
                Ok::<_, StepError>(self.store().result(&key)?.is_some() || self.is_in_cache(&key)?)
            })
        };
        if less == demanded || there()? {
            return Ok(demanded);
        }
        let _ = self.given_up[id.0].set(&demanded.fixed() - &less.fixed());
        Ok(less)
    }

    /// What step `id` did without.
    pub(crate) fn given_up(&self, id: StepId) -> BTreeSet<Fixed> {
        self.given_up[id.0].get().cloned().unwrap_or_default()
    }

    /// The result of `action`: from the store, else `make` makes it, once among all who want it. It is made again if
    /// every step is to be compared.
    pub(crate) fn memo(
        &self,
        id: StepId,
        action: &ActionDigest,
        make: impl Fn(Turn) -> Result<ActionResult, StepError>,
    ) -> Result<Made, StepError> {
        let first = self.made_once(id, action, || match self.context.rebuild {
            None => make(Turn::First),
            Some(_) => on_a_busy_machine(self.context.jobs, || make(Turn::Second)),
        })?;
        if self.context.twice {
            self.compare(id, action, || make(Turn::Second))?;
        }
        Ok(first)
    }

    /// Makes a step once more, and compares that to its result.
    fn compare(
        &self,
        id: StepId,
        action: &ActionDigest,
        make: impl FnOnce() -> Result<ActionResult, StepError>,
    ) -> Result<(), StepError> {
        let Some(first) = self.store().result(action)? else { return Ok(()) };
        self.say(Event::Started { step: id, name: self.name(id) });
        let second = on_a_busy_machine(self.context.jobs, make);
        let differences = match second {
            Ok(second) => differences(self.store(), &first.output, &second.output)?,
            Err(StepError::Failed { status, voided, .. }) if voided.is_empty() => {
                vec![format!("the second time its command ended with {status}")]
            }
            Err(other) => return Err(other),
        };
        if differences.is_empty() {
            return Ok(());
        }
        Err(StepError::Different { step: self.name(id), place: self.place(id), differences })
    }

    /// From the store, or made by whoever of all processes comes first.
    fn made_once(
        &self,
        id: StepId,
        action: &ActionDigest,
        make: impl FnOnce() -> Result<ActionResult, StepError>,
    ) -> Result<Made, StepError> {
        if let Some(made) = self.look_up(action)? {
            return Ok(made);
        }
        if let Some(made) = self.look_up_in_cache(action)? {
            return Ok(made);
        }
        let _once = self.store().once(action)?;
        // Whoever held the lock may have made it.
        if let Some(made) = self.look_up(action)? {
            return Ok(made);
        }
        self.say(Event::Started { step: id, name: self.name(id) });
        let result = make()?;
        let millis = result.millis;
        self.store().put_result(action, &result)?;
        for message in result.notes {
            self.say(Event::Warning { name: self.name(id), message });
        }
        let value = self.value(&result.output)?;
        let (millis, secrets) = (Some(millis), result.secrets);
        Ok(Made { value, action: Some(*action), millis, secrets, cached: false })
    }

    /// A tree that was made here, kept.
    pub(crate) fn tree(&self, tree: Tree) -> Result<Made, StepError> {
        let tree = Arc::new(tree);
        let digest = self.store().put_tree(tree.clone())?;
        Ok(Made::here(Value::Tree(tree, digest)))
    }

    /// The tree that `action` makes, from the store if it is there; for what takes no step to make.
    pub(crate) fn pure(
        &self,
        action: &ActionDigest,
        make: impl FnOnce() -> Result<Tree, StepError>,
    ) -> Result<Made, StepError> {
        let always = self.pure_if_had(action, || make().map(Some))?;
        Ok(always.expect("what was made is had"))
    }

    /// The same; none if `make` makes none.
    pub(crate) fn pure_if_had(
        &self,
        action: &ActionDigest,
        make: impl FnOnce() -> Result<Option<Tree>, StepError>,
    ) -> Result<Option<Made>, StepError> {
        if let Some(made) = self.look_up(action)? {
            return Ok(Some(made));
        }
        let Some(tree) = make()? else { return Ok(None) };
        let tree = Arc::new(tree);
        let digest = self.store().put_tree(tree.clone())?;
        self.store().put_result(action, &ActionResult::new(Output::Tree(digest)))?;
        Ok(Some(Made { action: Some(*action), ..Made::here(Value::Tree(tree, digest)) }))
    }

    /// What a complete result says, if there is one.
    pub(crate) fn look_up(&self, action: &ActionDigest) -> Result<Option<Made>, StepError> {
        let Some(result) = self.store().result(action)? else { return Ok(None) };
        let value = self.value(&result.output)?;
        let secrets = result.secrets;
        Ok(Some(Made { value, action: Some(*action), millis: None, secrets, cached: false }))
    }

    pub(crate) fn value(&self, output: &Output) -> Result<Value, StepError> {
        Ok(match output {
            Output::Diff(digest) => Value::Diff(self.store().diff(digest)?, *digest),
            Output::Tree(digest) => Value::Tree(self.store().tree(digest)?, *digest),
        })
    }

    /// The text of a small file of a view; empty if it is not there.
    pub(crate) fn text(&self, view: &View, path: &str) -> Result<String, StepError> {
        let path = TreePath::new(path).expect("a constant is a good path");
        let Ok(path) = view.resolve(&path) else { return Ok(String::new()) };
        match view.get(&path).map(|entry| &entry.node) {
            Some(Node::File { digest, size }) => {
                self.need([(*digest, *size)])?;
                let bytes = self.store().read(digest)?;
                Ok(String::from_utf8_lossy(&bytes).into_owned())
            }
            _ => Ok(String::new()),
        }
    }

    /// Who `user` is in the root that `view` shows.
    pub(crate) fn user(&self, id: StepId, view: &View, user: &str) -> Result<User, StepError> {
        let passwd = self.text(view, "etc/passwd")?;
        let group = self.text(view, "etc/group")?;
        users::find(user, &passwd, &group).map_err(|e| self.error(id, e))
    }

    /// Keeps the log of a step that failed, for `reimage log`; the failure itself is not kept.
    pub(crate) fn keep_failure(&self, action: &ActionDigest, log: Digest) {
        // Only a convenience: the error that is on its way says all that matters.
        let _ = self.store().put_memo(&failure_key(action), log.as_bytes());
    }

    /// A directory for one run of a sandbox.
    pub(crate) fn scratch(&self, id: StepId) -> Result<Scratch, StepError> {
        let path = self.store().tmp_name();
        fs_err::create_dir(&path).map_err(|e| self.error(id, e))?;
        Ok(Scratch(path))
    }

    /// Bytes that a step may write to memory.
    pub(crate) fn spill(&self) -> u64 {
        self.spill
    }

    /// Where what a step of this name writes goes: memory, unless there is little or the last time was too much for it.
    pub(crate) fn upper(&self, name: &str) -> Result<UpperOn, StepError> {
        let disk = self.spill < SPILL_MIN || self.store().memo(&spill_key(name))?.is_some();
        Ok(if disk { UpperOn::Disk } else { UpperOn::Memory { spill: self.spill } })
    }

    /// Keeps in mind that a step of this name writes more than memory holds.
    pub(crate) fn remember_spill(&self, name: &str) -> Result<(), StepError> {
        Ok(self.store().put_memo(&spill_key(name), &[])?)
    }

    /// A file without a name: nothing of it is left whatever happens.
    pub(crate) fn temporary(&self, id: StepId) -> Result<std::fs::File, StepError> {
        let path = self.store().tmp_name();
        let mut options = std::fs::OpenOptions::new();
        let file = options
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)
            .map_err(|e| self.error(id, e))?;
        std::fs::remove_file(&path).map_err(|e| self.error(id, e))?;
        Ok(file)
    }

    /// The Debian archives as this machine reaches them; apt's configuration is read once.
    pub(crate) fn archives(&self) -> Result<&Archives<'a>, SourcesError> {
        if let Some(archives) = self.archives.get() {
            return Ok(archives);
        }
        let archives = self.context.sources.archives()?;
        Ok(self.archives.get_or_init(|| archives))
    }

    pub(crate) fn lock_composed(
        &self,
    ) -> std::sync::MutexGuard<'_, BTreeMap<(Digest, Digest), Digest>> {
        self.composed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bytes; with less it is not worth a second run.
const SPILL_MIN: u64 = 16 << 20;

/// Where it is remembered that a step wrote more than memory holds. Its name will do: it is a hint, of no effect on any
/// result.
fn spill_key(name: &str) -> Digest {
    Digest::of(format!("reimage spill 1\n{name}").as_bytes())
}

/// Where the log of the last failure of an action is remembered.
pub(crate) fn failure_key(action: &ActionDigest) -> Digest {
    Digest::of(format!("reimage failure 1\n{action}").as_bytes())
}

/// A directory that goes when it is dropped, whatever a step left in it.
pub(crate) struct Scratch(std::path::PathBuf);

impl Scratch {
    pub(crate) fn path(&self) -> &std::path::Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // It lies in the session's own directory, which goes with the session at the latest.
        let _ = reimage_sandbox::remove_tree(&self.0);
    }
}

//! What a build would do, and why, without running anything: the walk of a build that stops at each miss.

use std::{collections::BTreeMap, time::SystemTime};

use reimage_castore::{ActionDigest, Digest};
use reimage_plan::{Plan, StepId, StepKind};

use crate::{
    BuildError, Context, StepError, base,
    build::{local_trees, make},
    debian,
    engine::{Engine, Made},
    run, sources,
    stack::Value,
};

/// What a build would do about a step.
#[derive(Debug, Clone)]
pub struct Verdict {
    /// The step.
    pub step: StepId,
    /// What it is found by, as far as that is known before what it needs is there.
    pub action: Option<ActionDigest>,
    /// What would happen.
    pub what: Would,
}

/// What would happen to a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Would {
    /// Nothing: its result is there.
    Fresh,
    /// Nothing to speak of: it takes no process and no network.
    Pure,
    /// It would be downloaded.
    Fetch,
    /// It would run: no result for what it is now.
    Run(Miss),
    /// It would run, or not: that depends on what this step gives.
    After(StepId),
}

/// Why there is no result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Miss {
    /// It never ran here with these inputs.
    New,
    /// Its result was removed then, to make room.
    Evicted(SystemTime),
}

/// Says what [`build`](crate::build) would do with each step of `plan`, in order.
pub fn explain(plan: &Plan, context: &Context<'_>) -> Result<Vec<Verdict>, BuildError> {
    plan.check_pins()?;
    let locals = local_trees(plan, context)?;
    let engine = Engine::new(plan, context)?;
    let mut verdicts: Vec<Verdict> = Vec::new();
    for id in plan.ids() {
        let missing = plan.step(id).kind.references().into_iter().find_map(|below| match &verdicts
            [below.0]
            .what
        {
            Would::After(first) => Some(*first),
            Would::Run(_) | Would::Fetch => Some(below),
            Would::Fresh | Would::Pure => None,
        });
        let verdict = match missing {
            Some(first) => Verdict { step: id, action: None, what: Would::After(first) },
            None => verdict(&engine, id, &locals)?,
        };
        verdicts.push(verdict);
    }
    Ok(verdicts)
}

/// The verdict on a step that has all it needs; what takes no step is made, for those above to be looked up.
fn verdict(
    engine: &Engine<'_>,
    id: StepId,
    locals: &BTreeMap<StepId, Digest>,
) -> Result<Verdict, StepError> {
    let action = match &engine.plan.step(id).kind {
        StepKind::Run(step) => run::action(engine, id, step)?,
        StepKind::Debian(step) => debian::action(engine, id, step)?,
        StepKind::Http(step) => sources::action(engine, id, step)?,
        StepKind::Oci(step) => {
            if !base::is_here(engine, id)? {
                return Ok(Verdict { step: id, action: None, what: Would::Fetch });
            }
            let made = base::step(engine, id, step)?;
            engine.set(id, made);
            return Ok(Verdict { step: id, action: None, what: Would::Fresh });
        }
        StepKind::Image(_) | StepKind::Index(_) => {
            engine.set(id, Made::here(Value::Image));
            return Ok(Verdict { step: id, action: None, what: Would::Pure });
        }
        _ => {
            let made = make(engine, id, locals)?;
            let action = made.action;
            engine.set(id, made);
            return Ok(Verdict { step: id, action, what: Would::Pure });
        }
    };
    let what = match engine.look_up(&action)? {
        Some(made) => {
            engine.set(id, made);
            Would::Fresh
        }
        None if matches!(engine.plan.step(id).kind, StepKind::Http(_)) => Would::Fetch,
        None => Would::Run(engine.store().evicted(&action).map_or(Miss::New, Miss::Evicted)),
    };
    Ok(Verdict { step: id, action: Some(action), what })
}

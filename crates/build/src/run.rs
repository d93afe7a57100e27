//! A `Run` step: what is in its key, and what it wrote.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use reimage_castore::{
    Action, ActionDigest, ActionResult, Diff, Output, Patterns, RunAction, Tree, TreePath, View,
};
use reimage_plan::{Command, Run, StepId};
use reimage_sandbox::Limits;

use crate::{
    StepError,
    baseline::{self, PROCESSES, SHELL, TIMEOUT},
    capture::Kept,
    conditions::Conditions,
    engine::{Engine, Made},
    execute::Execution,
    stack::Stack,
    twice::Turn,
};

/// Everything a `Run` is, with its inputs there: what is in the key, and what is not.
pub(crate) struct Prepared {
    /// What is in the key.
    pub(crate) action: RunAction,
    /// What it is to see.
    pub(crate) conditions: Conditions,
    /// The root.
    pub(crate) stack: Stack,
    /// Bytes and seconds that it may use; in no key.
    pub(crate) limits: Limits,
}

/// Puts together what `run` is: the stack it stands on, its inputs, its environment and who runs it.
pub(crate) fn prepare(engine: &Engine<'_>, id: StepId, run: &Run) -> Result<Prepared, StepError> {
    let stack = engine.stack_for(&run.from)?;
    let config = engine.config_of(&run.from);
    let argv = match &run.command {
        Command::Exec(command) => command.clone(),
        Command::Script { script, shell } => {
            let shell = shell.clone().unwrap_or_else(|| SHELL.map(str::to_owned).to_vec());
            shell.into_iter().chain([script.clone()]).collect()
        }
    };
    let mut inputs = BTreeMap::new();
    for (path, input) in &run.inputs {
        inputs.insert(path.clone(), engine.merged(*input)?.1);
    }
    let user = run.user.clone().or_else(|| config.user.clone()).unwrap_or_else(|| "0:0".to_owned());
    let workdir = match (&run.workdir, &config.workdir) {
        (Some(path), _) => path.clone(),
        (None, Some(path)) => TreePath::new(path).map_err(|e| engine.error(id, e))?,
        (None, None) => TreePath::root(),
    };
    let mut env = baseline::environment();
    env.extend(config.env.clone());
    for (name, value) in &run.env {
        match value {
            Some(value) => env.insert(name.clone(), value.clone()),
            None => env.remove(name),
        };
    }
    let demanded = Conditions::of(run);
    let mut action = RunAction {
        root: stack.digests(),
        inputs,
        argv,
        env,
        workdir,
        user,
        outputs: run.outputs.clone(),
        exclude: run.exclude.clone(),
        platform: run.platform.to_string(),
        baseline: baseline::VERSION,
        demands: demanded.demands,
        cpus: demanded.cpus,
        recorded: None,
    };
    let conditions = engine.given(id, demanded, || Some(Action::Run(action.clone()).digest()))?;
    (action.demands, action.cpus) = (conditions.demands, conditions.cpus);
    let limits = Limits {
        timeout: Some(run.limits.timeout.unwrap_or(Duration::from_secs(TIMEOUT))),
        memory: run.limits.memory,
        disk: run.limits.disk,
        processes: Some(run.limits.processes.unwrap_or(PROCESSES)),
    };
    Ok(Prepared { action, conditions, stack, limits })
}

/// What the result of `run` is found by.
pub(crate) fn action(
    engine: &Engine<'_>,
    id: StepId,
    run: &Run,
) -> Result<ActionDigest, StepError> {
    Ok(Action::Run(prepare(engine, id, run)?.action).digest())
}

/// The result of `run`: from the store, or by running it.
pub(crate) fn run(engine: &Engine<'_>, id: StepId, run: &Run) -> Result<Made, StepError> {
    let prepared = prepare(engine, id, run)?;
    let action = Action::Run(prepared.action.clone());
    let digest = action.digest();
    engine.memo(id, &digest, |turn| execute(engine, id, &digest, run, &prepared, turn))
}

/// What it makes when it runs again, whether or not its result is there; that is not kept.
pub(crate) fn again(
    engine: &Engine<'_>,
    id: StepId,
    run: &Run,
    turn: Turn,
) -> Result<ActionResult, StepError> {
    let prepared = prepare(engine, id, run)?;
    let digest = Action::Run(prepared.action.clone()).digest();
    execute(engine, id, &digest, run, &prepared, turn)
}

fn execute(
    engine: &Engine<'_>,
    id: StepId,
    digest: &ActionDigest,
    run: &Run,
    prepared: &Prepared,
    turn: Turn,
) -> Result<ActionResult, StepError> {
    engine.runs_on(id, &run.platform)?;
    let exclude = Patterns::new(&run.exclude).map_err(|e| engine.error(id, e))?;
    let execution = execution(engine, id, run, prepared)?;
    let executed = execution.run(engine, id, digest, turn)?;
    let mut kept = executed.root(engine, id)?;
    kept.leave_out(|path| exclude.matches(path));
    let view = prepared.stack.view();
    let diff = view.diff(&kept.captured).map_err(|e| engine.error(id, e))?;
    let output = match &run.outputs {
        None => Output::Diff(engine.store().put_diff(diff)?),
        Some(outputs) => {
            let mut views = vec![(TreePath::root(), view, diff)];
            for (number, (at, stack)) in execution.inputs.iter().enumerate() {
                if outputs.iter().any(|output| output.starts_with(at)) {
                    let view = stack.view();
                    let input = executed.input(engine, id, number)?;
                    for (path, content) in input.secrets {
                        let path = at.join(&path).map_err(|e| engine.error(id, e))?;
                        kept.secrets.push((path, content));
                    }
                    let diff = view.diff(&input.captured).map_err(|e| engine.error(id, e))?;
                    views.push((at.clone(), view, diff));
                }
            }
            let tree = outputs_tree(engine, id, outputs, &views, &exclude)?;
            Output::Tree(engine.store().put_tree(tree)?)
        }
    };
    let Kept { notes, secrets, .. } = kept;
    Ok(ActionResult { output, log: Some(executed.log), notes, secrets, millis: executed.millis })
}

/// What the sandbox is asked for.
pub(crate) fn execution(
    engine: &Engine<'_>,
    id: StepId,
    run: &Run,
    prepared: &Prepared,
) -> Result<Execution, StepError> {
    let Prepared { action, conditions, stack, limits } = prepared;
    let mut root = stack.clone();
    let mut hidden = Vec::new();
    let mut inputs = Vec::new();
    let view = stack.view();
    let mut files = Tree::default();
    for (path, input) in &run.inputs {
        let at = view.resolve(path).map_err(|e| engine.error(id, e))?;
        let (tree, _) = engine.merged(*input)?;
        if tree.root().is_directory() {
            inputs.push((at, (*engine.stack(*input)?).clone()));
        } else {
            // A file is one more layer: something bound over it could not be renamed over.
            hidden.push(at.clone());
            files.insert_deep(at, tree.root().clone()).map_err(|e| engine.error(id, e))?;
        }
    }
    if files.len() > 1 {
        root.lay(engine.store(), id, &files, true).map_err(|e| engine.error(id, e))?;
    }
    let user = engine.user(id, &view, &action.user)?;
    // Where the user is at home is in the root, which is in the key; so it may come in now.
    let mut env = action.env.clone();
    env.entry("HOME".to_owned()).or_insert_with(|| user.home.clone());
    let (argv, workdir) = (action.argv.clone(), action.workdir.clone());
    let (conditions, limits) = (Some(*conditions), limits.clone());
    Ok(Execution { root, inputs, hidden, argv, env, workdir, user, conditions, limits })
}

/// The declared outputs, each where it lay, out of the root or the input that it lies in.
fn outputs_tree(
    engine: &Engine<'_>,
    id: StepId,
    outputs: &[TreePath],
    views: &[(TreePath, View, Diff)],
    exclude: &Patterns,
) -> Result<Tree, StepError> {
    let mut kept = Tree::default();
    // Where each path came from, to link again what was linked, within an output or across several.
    let mut origins: BTreeMap<TreePath, (usize, TreePath)> = BTreeMap::new();
    let mut first: BTreeMap<(usize, TreePath), TreePath> = BTreeMap::new();
    for output in outputs {
        let (number, (at, view, diff)) = views
            .iter()
            .enumerate()
            .rfind(|(_, (at, ..))| output.starts_with(at))
            .expect("the root holds every path");
        let mut above = view.clone();
        above.push(Arc::new(diff.clone()));
        let below = output.below(at).expect("it was found by that");
        let path = above.resolve(&below).map_err(|e| engine.error(id, e))?;
        let written =
            path.is_root() || diff.below(&path).any(|(_, change)| change.entry().is_some());
        if !written {
            let wrote = diff.iter().filter(|(_, c)| c.entry().is_some_and(|e| !e.is_directory()));
            let wrote = wrote.map(|(p, _)| at.join(p).unwrap_or_default().to_string()).collect();
            return Err(StepError::OutputNotWritten {
                step: engine.name(id),
                place: engine.place(id),
                output: output.clone(),
                wrote,
            });
        }
        let tree = above.tree().map_err(|e| engine.error(id, e))?;
        for (found, entry) in tree.below(&path) {
            let below = found.below(&path).expect("it lies below");
            let to = output.join(&below).map_err(|e| engine.error(id, e))?;
            if exclude.matches(&to) {
                continue;
            }
            if to.is_root() {
                kept = Tree::new(entry.clone());
                continue;
            }
            origins.insert(to.clone(), (number, found.clone()));
            kept.insert_deep(to, entry.clone()).map_err(|e| engine.error(id, e))?;
        }
        for group in tree.links().iter() {
            first.extend(group.iter().map(|path| ((number, path.clone()), group[0].clone())));
        }
    }
    let mut groups: BTreeMap<(usize, &TreePath), Vec<TreePath>> = BTreeMap::new();
    for (to, origin) in origins {
        if let Some(name) = first.get(&origin) {
            groups.entry((origin.0, name)).or_default().push(to);
        }
    }
    for names in groups.into_values().filter(|names| names.len() > 1) {
        kept.link(names).map_err(|e| engine.error(id, e))?;
    }
    Ok(kept)
}

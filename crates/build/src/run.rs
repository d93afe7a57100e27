//! A `Run` step: its key, its sandbox, what it wrote.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    io::{Read, Write},
    os::fd::AsFd,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use fs_err as fs;
use reimage_castore::{
    Action, ActionDigest, ActionResult, Demands, Diff, Digest, Output, Patterns, RunAction, Tree,
    TreePath, View,
};
use reimage_plan::{Command, Platform, Run, StepId};
use reimage_sandbox::{self as sandbox, Input, Limits, Network, Outcome, Streams, UpperOn};

use crate::{
    Event, StepError,
    baseline::{self, HOSTNAME, PROCESSES, SHELL, TIMEOUT},
    capture::{self, KeepError},
    engine::{Engine, Made},
    stack::{Layer, Stack},
    users,
};

/// Everything a `Run` is, with its inputs there: what is in the key, and what is not.
pub(crate) struct Prepared {
    /// What is in the key.
    pub(crate) action: RunAction,
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
    let action = RunAction {
        root: stack.digests(),
        inputs,
        argv,
        env,
        workdir,
        user,
        outputs: run.outputs.clone(),
        exclude: run.exclude.clone(),
        platform: run.platform.clone().unwrap_or_default().to_string(),
        baseline: baseline::VERSION,
        // Until baseline 1 every step sees the machine's, and its key says so.
        demands: Demands::REAL,
        cpus: None,
        recorded: None,
    };
    let limits = Limits {
        timeout: Some(run.limits.timeout.unwrap_or(Duration::from_secs(TIMEOUT))),
        memory: run.limits.memory,
        disk: run.limits.disk,
        processes: Some(run.limits.processes.unwrap_or(PROCESSES)),
    };
    Ok(Prepared { action, stack, limits })
}

/// The result of `run`: from the store, or by running it.
pub(crate) fn run(engine: &Engine<'_>, id: StepId, run: &Run) -> Result<Made, StepError> {
    let prepared = prepare(engine, id, run)?;
    let action = Action::Run(prepared.action.clone());
    let digest = action.digest();
    engine.memo(id, &digest, || execute(engine, id, &digest, run, &prepared))
}

fn execute(
    engine: &Engine<'_>,
    id: StepId,
    digest: &ActionDigest,
    run: &Run,
    prepared: &Prepared,
) -> Result<ActionResult, StepError> {
    let platform = run.platform.clone().unwrap_or_default();
    if platform != Platform::default() {
        return Err(
            engine.error(id, format!("It runs on `{platform}`, and this machine is another"))
        );
    }
    let scratch = engine.scratch(id)?;
    let (command, laid) = command(engine, id, run, prepared, scratch.path())?;
    let log = Log::new(engine, id)?;
    let start =
        fs::metadata(scratch.path()).and_then(|m| m.modified()).map_err(|e| engine.error(id, e))?;
    let outcome = log.run(engine, id, &command)?;
    let text = log.finish(engine, id)?;
    if !outcome.succeeded() {
        engine.keep_failure(digest, text.digest);
        return Err(StepError::Failed {
            step: engine.name(id),
            place: engine.place(id),
            status: outcome.status,
            voided: outcome.voided.iter().map(ToString::to_string).collect(),
            tail: text.tail,
        });
    }
    let (output, notes) = keep(engine, id, run, prepared, &laid, &outcome, start)?;
    let millis = u64::try_from(outcome.elapsed.as_millis()).unwrap_or(u64::MAX);
    Ok(ActionResult { output, log: Some(text.digest), notes, millis })
}

/// What the sandbox was given besides the stack, as far as capture must know it.
pub(crate) struct Laid {
    /// Where directory inputs lie after links have been followed, in the order of the sandbox's inputs.
    pub(crate) inputs: Vec<(TreePath, View)>,
    /// Paths that are not part of the result.
    pub(crate) hidden: Vec<PathBuf>,
}

/// What the sandbox is asked for.
pub(crate) fn command(
    engine: &Engine<'_>,
    id: StepId,
    run: &Run,
    prepared: &Prepared,
    scratch: &Path,
) -> Result<(sandbox::Command, Laid), StepError> {
    let Prepared { action, stack, limits } = prepared;
    let mut root = stack.clone();
    let mut hidden = Vec::new();
    let mut inputs = Vec::new();
    let mut laid = Vec::new();
    let view = stack.view();
    let mut files = Tree::default();
    for (path, input) in &run.inputs {
        let at = view.resolve(path).map_err(|e| engine.error(id, e))?;
        hidden.push(absolute(&at));
        let (tree, _) = engine.merged(*input)?;
        if tree.root().is_directory() {
            let stack = engine.stack_for(&[*input])?;
            let lowers = engine.lowers(&stack)?;
            inputs.push(Input { target: absolute(&at), lowers: lowers.paths });
            laid.push((at, stack.view()));
        } else {
            files.insert_deep(at, tree.root().clone()).map_err(|e| engine.error(id, e))?;
        }
    }
    if files.len() > 1 {
        let diff = Arc::new(view.lay(&files).map_err(|e| engine.error(id, e))?);
        let digest = engine.store().put_diff(diff.clone())?;
        root.0.push(Layer { step: id, diff, digest, source: true });
    }
    let user = engine.user(id, &view, &action.user)?;
    // Where the user is at home is in the root, which is in the key; so it may come in now.
    let mut env = action.env.clone();
    env.entry("HOME".to_owned()).or_insert(user.home);
    let lowers = engine.lowers(&root)?;
    let mut command = sandbox::Command::new(scratch, action.argv.iter().map(OsString::from));
    command.lowers.clone_from(&lowers.paths);
    command.upper = UpperOn::Disk;
    command.inputs = inputs;
    command.env = env.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
    command.workdir = absolute(&action.workdir);
    command.user = sandbox::User { uid: user.uid, gid: user.gid, groups: user.groups };
    HOSTNAME.clone_into(&mut command.hostname);
    command.network = Network::None;
    command.limits = limits.clone();
    command.owners.clone_from(&lowers.owners);
    Ok((command, Laid { inputs: laid, hidden }))
}

/// Keeps what the step wrote: all of it as a diff, or its declared outputs as a tree.
fn keep(
    engine: &Engine<'_>,
    id: StepId,
    run: &Run,
    prepared: &Prepared,
    laid: &Laid,
    outcome: &Outcome,
    start: SystemTime,
) -> Result<(Output, Vec<String>), StepError> {
    let error = |source: KeepError| engine.error(id, source);
    let view = prepared.stack.view();
    let exclude = Patterns::new(&run.exclude).map_err(|e| engine.error(id, e))?;
    let entries = outcome.entries(&laid.hidden).map_err(|e| error(KeepError::Read(e)))?;
    let mut kept = capture::read(engine.store(), entries, start).map_err(error)?;
    kept.leave_out(|path| exclude.matches(path));
    let diff = view.diff(&kept.captured).map_err(|e| engine.error(id, e))?;
    let Some(outputs) = &run.outputs else {
        return Ok((Output::Diff(engine.store().put_diff(diff)?), kept.notes));
    };
    let mut views = vec![(TreePath::root(), view, diff)];
    for (number, (at, view)) in laid.inputs.iter().enumerate() {
        if outputs.iter().any(|output| output.starts_with(at)) {
            let entries = outcome.input_entries(number).map_err(|e| error(KeepError::Read(e)))?;
            let captured = capture::read(engine.store(), entries, start).map_err(error)?.captured;
            let diff = view.diff(&captured).map_err(|e| engine.error(id, e))?;
            views.push((at.clone(), view.clone(), diff));
        }
    }
    let tree = outputs_tree(engine, id, outputs, &views, &exclude)?;
    Ok((Output::Tree(engine.store().put_tree(tree)?), kept.notes))
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
    for output in outputs {
        let (at, view, diff) = views
            .iter()
            .rev()
            .find(|(at, ..)| output.starts_with(at))
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
            } else {
                kept.insert_deep(to, entry.clone()).map_err(|e| engine.error(id, e))?;
            }
        }
        for group in tree.links().iter() {
            let group: Vec<_> = group
                .iter()
                .filter_map(|p| output.join(&p.below(&path)?).ok())
                .filter(|p| kept.get(p).is_some())
                .collect();
            if group.len() > 1 {
                // Two outputs may hold the same group: it is linked once.
                let _ = kept.link(group);
            }
        }
    }
    Ok(kept)
}

pub(crate) fn absolute(path: &TreePath) -> PathBuf {
    Path::new("/").join(path.as_path())
}

/// What a step says, streamed to whoever listens and kept.
pub(crate) struct Log {
    file: fs::File,
}

/// The log of a step that has ended.
pub(crate) struct LogText {
    /// Its blob.
    pub(crate) digest: Digest,
    /// Its last lines.
    pub(crate) tail: Vec<String>,
}

/// Lines of a failing step's output that its error shows.
const TAIL: usize = 20;

/// Bytes of a log that are kept; what a step says beyond is shown and forgotten.
const LOG_SIZE: u64 = 64 << 20;

impl Log {
    pub(crate) fn new(engine: &Engine<'_>, id: StepId) -> Result<Self, StepError> {
        let path = engine.store().tmp_name();
        let file = fs::OpenOptions::new().read(true).write(true).create_new(true).open(&path);
        let file = file.map_err(|e| engine.error(id, e))?;
        // Its name is not needed, and so nothing is left of it whatever happens.
        fs::remove_file(&path).map_err(|e| engine.error(id, e))?;
        Ok(Self { file })
    }

    /// Runs `command` with stdout and stderr on one pipe: their order is kept.
    pub(crate) fn run(
        &self,
        engine: &Engine<'_>,
        id: StepId,
        command: &sandbox::Command,
    ) -> Result<Outcome, StepError> {
        let (mut reader, writer) = std::io::pipe().map_err(|e| engine.error(id, e))?;
        let null = fs::File::open("/dev/null").map_err(|e| engine.error(id, e))?;
        let streams =
            Streams { input: null.as_fd(), output: writer.as_fd(), error: writer.as_fd() };
        let running = engine.zygote().spawn(command, streams)?;
        drop(writer);
        std::thread::scope(|scope| {
            let copy = scope.spawn(move || self.copy(engine, id, &mut reader));
            let outcome = running.wait();
            copy.join().expect("copying bytes does not panic").map_err(|e| engine.error(id, e))?;
            Ok(outcome?)
        })
    }

    fn copy(&self, engine: &Engine<'_>, id: StepId, reader: &mut impl Read) -> std::io::Result<()> {
        let mut kept = 0;
        let mut buffer = vec![0; 1 << 16];
        loop {
            let count = match reader.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if kept < LOG_SIZE {
                self.file.file().write_all(&buffer[..count])?;
                kept += count as u64;
            }
            engine.say(Event::Output {
                step: id,
                name: engine.name(id),
                bytes: buffer[..count].to_vec(),
            });
        }
    }

    pub(crate) fn finish(self, engine: &Engine<'_>, id: StepId) -> Result<LogText, StepError> {
        let mut file = self.file.file();
        std::io::Seek::rewind(&mut file).map_err(|e| engine.error(id, e))?;
        let mut text = Vec::new();
        file.read_to_end(&mut text).map_err(|e| engine.error(id, e))?;
        let digest = engine.store().put(&text)?;
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<_> = text.lines().collect();
        let tail = lines[lines.len().saturating_sub(TAIL)..]
            .iter()
            .map(|line| (*line).to_owned())
            .collect();
        Ok(LogText { digest, tail })
    }
}

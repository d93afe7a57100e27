//! One command in the sandbox: its directories, its streams, and what it wrote.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs::File,
    io::{Read, Seek, Write},
    os::fd::AsFd,
    path::{Path, PathBuf},
    time::SystemTime,
};

use reimage_castore::{ActionDigest, Digest, TreePath};
use reimage_plan::StepId;
use reimage_sandbox::{
    self as sandbox, Ids, Input, Limits, Network, Outcome, Streams, UpperOn, Void,
};

use crate::{
    Event, StepError,
    baseline::HOSTNAME,
    capture::{self, KeepError, Kept},
    conditions::{Conditions, needed_for, words},
    engine::{Engine, Scratch},
    stack::Stack,
    twice::Turn,
    users::User,
};

/// What is run, on what.
#[derive(Debug)]
pub(crate) struct Execution {
    /// The root.
    pub(crate) root: Stack,
    /// Directories laid into it for this command only.
    pub(crate) inputs: Vec<(TreePath, Stack)>,
    /// Paths that are no part of the result.
    pub(crate) hidden: Vec<TreePath>,
    /// The program and its arguments.
    pub(crate) argv: Vec<String>,
    /// The whole environment.
    pub(crate) env: BTreeMap<String, String>,
    /// Working directory.
    pub(crate) workdir: TreePath,
    /// Who runs it.
    pub(crate) user: User,
    /// What it is to see of time, chance and the machine; none: this machine, as it is.
    pub(crate) conditions: Option<Conditions>,
    /// What it may use.
    pub(crate) limits: Limits,
}

/// A command that has ended well; what it wrote is there as long as this is.
pub(crate) struct Executed {
    outcome: Outcome,
    hidden: Vec<PathBuf>,
    start: SystemTime,
    /// Its log.
    pub(crate) log: Digest,
    /// How long it took, in milliseconds.
    pub(crate) millis: u64,
    /// Dropped last: the outcome's directories lie in it.
    _scratch: Scratch,
}

impl Execution {
    /// The command that the sandbox is given; `scratch` is an empty directory for it.
    pub(crate) fn command(
        &self,
        engine: &Engine<'_>,
        id: StepId,
        scratch: &Path,
        turn: Turn,
    ) -> Result<sandbox::Command, StepError> {
        let ids = engine.ids(turn);
        let lowers = engine.lowers(&self.root, ids)?;
        let mut command = sandbox::Command::new(scratch, self.argv.iter().map(OsString::from));
        command.lowers = lowers.paths;
        command.owners = lowers.owners;
        command.upper = UpperOn::Disk;
        command.single_id = ids == Ids::Notify;
        command.one_processor = turn == Turn::Second;
        for (at, stack) in &self.inputs {
            let lowers = engine.lowers(stack, ids)?.paths;
            command.inputs.push(Input { target: absolute(at), lowers });
        }
        command.env = self.env.iter().map(|(name, value)| (name.into(), value.into())).collect();
        command.workdir = absolute(&self.workdir);
        let User { uid, gid, groups, .. } = self.user.clone();
        command.user = sandbox::User { uid, gid, groups };
        HOSTNAME.clone_into(&mut command.hostname);
        command.network = Network::None;
        command.limits = self.limits.clone();
        if let Some(conditions) = &self.conditions {
            check(engine, id, conditions)?;
            conditions.ask(engine.store(), &mut command)?;
        }
        Ok(command)
    }

    /// Runs it; a command that fails is the error, and its log is kept for `reimage log`.
    pub(crate) fn run(
        &self,
        engine: &Engine<'_>,
        id: StepId,
        action: &ActionDigest,
        turn: Turn,
    ) -> Result<Executed, StepError> {
        let name = engine.name(id);
        let upper = match (engine.upper(&name)?, turn) {
            (upper, Turn::First | Turn::Unseeded) => upper,
            (UpperOn::Disk, Turn::Second) => UpperOn::Memory { spill: engine.spill() },
            (UpperOn::Memory { .. }, Turn::Second) => UpperOn::Disk,
        };
        let mut attempt = self.attempt(engine, id, upper, turn)?;
        let given_up = engine.given_up(id);
        if !given_up.is_empty() {
            let message = format!(
                "It ran as if it said that these are real: {}; this machine cannot give them",
                words(&given_up)
            );
            engine.say(Event::Warning { name: name.clone(), message });
        }
        if attempt.outcome.voided.iter().any(|void| matches!(void, Void::Spilled { .. })) {
            drop(attempt);
            engine.remember_spill(&name)?;
            let bytes = b"reimage: more than is kept in memory; again, on disk\n".to_vec();
            engine.say(Event::Output { step: id, name, bytes });
            attempt = self.attempt(engine, id, UpperOn::Disk, turn)?;
        }
        let Attempt { outcome, start, text, scratch } = attempt;
        if !outcome.succeeded() {
            engine.keep_failure(action, text.digest);
            return Err(StepError::Failed {
                step: engine.name(id),
                place: engine.place(id),
                status: outcome.status,
                voided: outcome.voided.iter().map(ToString::to_string).collect(),
                tail: text.tail,
            });
        }
        let inputs = self.inputs.iter().map(|(at, _)| at);
        let hidden = self.hidden.iter().chain(inputs).map(absolute).collect();
        let millis = u64::try_from(outcome.elapsed.as_millis()).unwrap_or(u64::MAX);
        Ok(Executed { outcome, hidden, start, log: text.digest, millis, _scratch: scratch })
    }

    fn attempt(
        &self,
        engine: &Engine<'_>,
        id: StepId,
        upper: UpperOn,
        turn: Turn,
    ) -> Result<Attempt, StepError> {
        let scratch = engine.scratch(id)?;
        let mut command = self.command(engine, id, scratch.path(), turn)?;
        command.upper = upper;
        if turn == Turn::Unseeded {
            command.entropy = sandbox::Entropy::Real;
        }
        let log = Log::new(engine, id)?;
        // Read off a file that was just made: the clock that times of files are taken from, which is coarser.
        let start = fs_err::metadata(scratch.path())
            .and_then(|m| m.modified())
            .map_err(|e| engine.error(id, e))?;
        let outcome = log.run(engine, id, &command).map_err(|error| match error {
            StepError::Sandbox(source @ sandbox::Error::Start { .. }) => {
                StepError::NotStarted { step: engine.name(id), place: engine.place(id), source }
            }
            other => other,
        })?;
        Ok(Attempt { outcome, start, text: log.finish(engine, id)?, scratch })
    }
}

/// A command that has come to some end.
struct Attempt {
    outcome: Outcome,
    start: SystemTime,
    text: LogText,
    /// Dropped last: the outcome's directories lie in it.
    scratch: Scratch,
}

impl Executed {
    /// What it wrote to the root.
    pub(crate) fn root(&self, engine: &Engine<'_>, id: StepId) -> Result<Kept, StepError> {
        let error = |source: KeepError| engine.error(id, source);
        let entries = self.outcome.entries(&self.hidden).map_err(|e| error(KeepError::Read(e)))?;
        capture::read(engine.store(), entries, self.start).map_err(error)
    }

    /// What it wrote to the input of this number.
    pub(crate) fn input(
        &self,
        engine: &Engine<'_>,
        id: StepId,
        number: usize,
    ) -> Result<Kept, StepError> {
        let error = |source: KeepError| engine.error(id, source);
        let entries = self.outcome.input_entries(number).map_err(|e| error(KeepError::Read(e)))?;
        capture::read(engine.store(), entries, self.start).map_err(error)
    }
}

/// A path of a tree as one of its root file system.
pub(crate) fn absolute(path: &TreePath) -> PathBuf {
    Path::new("/").join(path.as_path())
}

/// Fails if this machine cannot give what a step demands.
fn check(engine: &Engine<'_>, id: StepId, conditions: &Conditions) -> Result<(), StepError> {
    for probe in engine.lacking()? {
        let demanded = &conditions.fixed() & &needed_for(probe);
        if !demanded.is_empty() {
            return Err(StepError::Lacking {
                step: engine.name(id),
                place: engine.place(id),
                demanded: words(&demanded),
                lacking: Box::new(probe.clone()),
            });
        }
    }
    Ok(())
}

/// What a step says, streamed to whoever listens and kept.
struct Log {
    file: File,
}

/// The log of a step that has ended.
struct LogText {
    /// Its blob.
    digest: Digest,
    /// Its last lines.
    tail: Vec<String>,
}

/// Lines of a failing step's output that its error shows.
const TAIL: usize = 20;

/// Bytes of a log that are kept; what a step says beyond is shown and forgotten.
const LOG_SIZE: u64 = 64 << 20;

impl Log {
    fn new(engine: &Engine<'_>, id: StepId) -> Result<Self, StepError> {
        Ok(Self { file: engine.temporary(id)? })
    }

    /// Runs `command` with stdout and stderr on one pipe: their order is kept.
    fn run(
        &self,
        engine: &Engine<'_>,
        id: StepId,
        command: &sandbox::Command,
    ) -> Result<Outcome, StepError> {
        let (mut reader, writer) = std::io::pipe().map_err(|e| engine.error(id, e))?;
        let null = File::open("/dev/null").map_err(|e| engine.error(id, e))?;
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
                (&self.file).write_all(&buffer[..count])?;
                kept += count as u64;
            }
            engine.say(Event::Output {
                step: id,
                name: engine.name(id),
                bytes: buffer[..count].to_vec(),
            });
        }
    }

    fn finish(self, engine: &Engine<'_>, id: StepId) -> Result<LogText, StepError> {
        let mut file = self.file;
        file.rewind().map_err(|e| engine.error(id, e))?;
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

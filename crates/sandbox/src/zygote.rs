//! The caller's side: sending commands to the zygote and waiting for what became of them.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use crate::command::Command;
use crate::error::{Error, Failure, Unavailable};
use crate::ids::Ids;
use crate::outcome::{Outcome, Report};
use crate::probe::Probe;
use crate::wire;

/// Starts sandboxes; shared by all threads. Made by [`start`](crate::start()).
#[derive(Debug)]
pub struct Zygote {
    ids: Ids,
    /// To the zygote, if there is one: it can also say what this machine lacks.
    socket: Option<OwnedFd>,
    unavailable: Option<Unavailable>,
}

/// The standard streams of a command.
#[derive(Clone, Copy, Debug)]
pub struct Streams<'a> {
    /// Standard input.
    pub input: BorrowedFd<'a>,
    /// Standard output.
    pub output: BorrowedFd<'a>,
    /// Standard error.
    pub error: BorrowedFd<'a>,
}

/// A command that runs. Dropping it ends the command.
#[derive(Debug)]
pub struct Running {
    socket: OwnedFd,
}

/// Signals or ends a running command from another thread.
#[derive(Debug)]
pub struct Control {
    socket: OwnedFd,
}

impl Zygote {
    pub(crate) fn new(ids: Ids, socket: Option<OwnedFd>, unavailable: Option<Unavailable>) -> Self {
        Self { ids, socket, unavailable }
    }

    /// How ids are kept on this machine.
    pub fn ids(&self) -> Ids {
        self.ids
    }

    /// Why no command can be run here, if none can.
    pub fn unavailable(&self) -> Option<&Unavailable> {
        self.unavailable.as_ref()
    }

    /// Starts a command and returns while it runs.
    pub fn spawn(&self, command: &Command, streams: Streams<'_>) -> Result<Running, Error> {
        let payload = wire::pack(command).map_err(monitor("write the command"))?;
        let Streams { input, output, error } = streams;
        let scratch = command.scratch.as_os_str().as_bytes();
        self.request(&[b"C", scratch].concat(), &[payload.as_fd(), input, output, error])
    }

    /// Starts a command on a new terminal, whose master is returned; `command.terminal` says how large it is.
    pub fn spawn_on_terminal(&self, command: &Command) -> Result<(Running, OwnedFd), Error> {
        let payload = wire::pack(command).map_err(monitor("write the command"))?;
        let scratch = command.scratch.as_os_str().as_bytes();
        let running = self.request(&[b"C", scratch].concat(), &[payload.as_fd()])?;
        let (kind, mut fds) = running.message()?;
        match fds.pop() {
            Some(master) if kind == b"T" => Ok((running, master)),
            Some(failure) if kind == b"F" => Err(failed(failure)),
            _ => Err(lost()),
        }
    }

    /// Tries everything that a sandbox needs, by doing it.
    pub fn probe(&self) -> Result<Vec<Probe>, Error> {
        self.tried(b"P")
    }

    /// What this machine lacks that steps need for which something is to be the same in every run.
    pub fn lacking(&self) -> Result<Vec<Probe>, Error> {
        let mut probes = self.tried(b"F")?;
        probes.retain(|probe| !probe.works);
        Ok(probes)
    }

    /// Whether a command can run as if by a plain user who has one id ([`Command::single_id`]).
    pub fn has_single_id(&self) -> bool {
        self.ids == Ids::Notify
            || self.tried(b"U").is_ok_and(|probes| probes.iter().all(|probe| probe.works))
    }

    fn tried(&self, request: &[u8]) -> Result<Vec<Probe>, Error> {
        let running = self.request(request, &[])?;
        let payload = running.message()?.1.pop().ok_or_else(lost)?;
        wire::unpack(payload).map_err(monitor("read what was found"))
    }

    fn request(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Result<Running, Error> {
        let usable = self.unavailable.is_none() || bytes == b"P";
        let (Some(socket), true) = (&self.socket, usable) else {
            let unknown = Unavailable { reason: String::new(), advice: String::new() };
            return Err(Error::unavailable(self.unavailable.as_ref().unwrap_or(&unknown)));
        };
        let (ours, theirs) = wire::pair().map_err(monitor("make a socket"))?;
        let fds = [&[theirs.as_fd()], fds].concat();
        wire::send(socket, bytes, &fds).map_err(monitor("send a request"))?;
        Ok(Running { socket: ours })
    }

    /// Runs a command to its end.
    pub fn run(&self, command: &Command, streams: Streams<'_>) -> Result<Outcome, Error> {
        self.spawn(command, streams)?.wait()
    }
}

impl Running {
    /// A handle that signals or ends the command from elsewhere.
    pub fn control(&self) -> Result<Control, Error> {
        let socket = self.socket.try_clone();
        let socket =
            socket.map_err(|source| Error::Monitor { what: "duplicate a socket", source })?;
        Ok(Control { socket })
    }

    /// Waits for the end of the command and of all that it started.
    pub fn wait(self) -> Result<Outcome, Error> {
        let (kind, fds) = self.message()?;
        let mut fds = fds.into_iter();
        let payload = fds.next().ok_or_else(lost)?;
        if kind == b"F" {
            return Err(failed(payload));
        }
        let report = wire::unpack(payload).map_err(monitor("read the outcome"))?;
        let Report { status, voided, owners, input_owners, uncaptured, ids, elapsed } = report;
        let upper = fds.next().ok_or_else(lost)?;
        let input_uppers = fds.collect();
        Ok(Outcome {
            status,
            voided,
            owners,
            input_owners,
            uncaptured,
            ids,
            elapsed,
            upper,
            input_uppers,
        })
    }

    fn message(&self) -> Result<(Vec<u8>, Vec<OwnedFd>), Error> {
        wire::receive(&self.socket).map_err(monitor("receive the outcome"))?.ok_or_else(lost)
    }
}

fn monitor(what: &'static str) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Monitor { what, source }
}

fn lost() -> Error {
    let source = io::Error::other("it ended without one: it was killed, or there is a bug");
    Error::Monitor { what: "receive the outcome", source }
}

fn failed(payload: OwnedFd) -> Error {
    wire::unpack::<Failure>(payload).map_or_else(monitor("read the failure"), Error::from)
}

impl Control {
    /// Sends a signal, by its number, to the command itself, not to what it has started. A command that has ended, and
    /// a number that is none, are not errors.
    pub fn signal(&self, signal: i32) {
        let _already_gone = wire::send(&self.socket, &wire::signal(signal), &[]);
    }

    /// Ends the command: all its processes are killed, and its outcome says [`Void::Stopped`](crate::Void).
    /// A command that has ended is not an error.
    pub fn stop(&self) {
        let _already_gone = wire::send(&self.socket, b"k", &[]);
    }
}

//! The caller's side: sending commands to the zygote and waiting for what became of them.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use crate::command::Command;
use crate::error::{Error, Failure, Unavailable};
use crate::ids::Ids;
use crate::outcome::{Outcome, Report};
use crate::wire;

/// Starts sandboxes; shared by all threads. Made by [`start`](crate::start()).
#[derive(Debug)]
pub struct Zygote {
    ids: Ids,
    socket: Result<OwnedFd, Unavailable>,
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

/// Ends a running command from another thread.
#[derive(Debug)]
pub struct Stop {
    socket: OwnedFd,
}

impl Zygote {
    pub(crate) fn new(ids: Ids, socket: Result<OwnedFd, Unavailable>) -> Self {
        Self { ids, socket }
    }

    /// How ids are kept on this machine.
    pub fn ids(&self) -> Ids {
        self.ids
    }

    /// Why no command can be run here, if none can.
    pub fn unavailable(&self) -> Option<&Unavailable> {
        self.socket.as_ref().err()
    }

    /// Starts a command and returns while it runs.
    pub fn spawn(&self, command: &Command, streams: Streams<'_>) -> Result<Running, Error> {
        let socket = self.socket.as_ref().map_err(Error::unavailable)?;
        let monitor = |what| move |source: io::Error| Error::Monitor { what, source };
        let payload = wire::pack(command).map_err(monitor("write the command"))?;
        let (ours, theirs) = wire::pair().map_err(monitor("make a socket"))?;
        let Streams { input, output, error } = streams;
        let fds = [payload.as_fd(), theirs.as_fd(), input, output, error];
        wire::send(socket, command.scratch.as_os_str().as_bytes(), &fds)
            .map_err(monitor("send the command"))?;
        Ok(Running { socket: ours })
    }

    /// Runs a command to its end.
    pub fn run(&self, command: &Command, streams: Streams<'_>) -> Result<Outcome, Error> {
        self.spawn(command, streams)?.wait()
    }
}

impl Running {
    /// A handle that ends the command from elsewhere.
    pub fn stopper(&self) -> Result<Stop, Error> {
        let socket = self.socket.try_clone();
        let socket =
            socket.map_err(|source| Error::Monitor { what: "duplicate a socket", source })?;
        Ok(Stop { socket })
    }

    /// Waits for the end of the command and of all that it started.
    pub fn wait(self) -> Result<Outcome, Error> {
        let monitor = |source| Error::Monitor { what: "receive the outcome", source };
        let ended = || io::Error::other("it ended without one: it was killed, or there is a bug");
        let (kind, fds) =
            wire::receive(&self.socket).map_err(monitor)?.ok_or_else(|| monitor(ended()))?;
        let mut fds = fds.into_iter();
        let payload = fds.next().ok_or_else(|| monitor(ended()))?;
        if kind == b"F" {
            return Err(wire::unpack::<Failure>(payload).map_err(monitor)?.into());
        }
        let Report { status, voided, owners, uncaptured, ids, elapsed } =
            wire::unpack(payload).map_err(monitor)?;
        let upper = fds.next().ok_or_else(|| monitor(ended()))?;
        let input_uppers = fds.collect();
        Ok(Outcome { status, voided, owners, uncaptured, ids, elapsed, upper, input_uppers })
    }
}

impl Stop {
    /// Ends the command: all its processes are killed, and its outcome says [`Void::Stopped`](crate::Void).
    /// A command that has ended is not an error.
    pub fn stop(&self) {
        let _already_gone = wire::send(&self.socket, b"k", &[]);
    }
}

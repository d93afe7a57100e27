//! A command in a sandbox that a person or a script talks to: its streams, its terminal, what it returns.
//!
//! A sandbox has a session of its own, so it cannot have this process's terminal; it gets one of its own, and what
//! goes through it is passed on both ways while ours is in raw mode.

use std::{io, os::fd::AsFd, process::ExitCode};

use reimage_sandbox::{Command, Status, Streams, TerminalSize, relay};
use rustix::termios::{tcgetattr, tcgetwinsize};

use crate::{
    app::App,
    error::{CommandError, Kind},
    signals,
};

/// Runs `command` with this process's streams, or on a terminal of its own; returns what it returns. Signals go to it;
/// `stop` is what it gets for SIGTERM.
pub(crate) fn interact(
    app: &App,
    command: &Command,
    tty: bool,
    stop: i32,
) -> Result<ExitCode, CommandError> {
    if tty && !app.machine.stdin_terminal {
        return Err(CommandError::usage("There is no terminal to give it: stdin is none"));
    }
    let outcome = if tty {
        let (stdin, stdout) = (io::stdin(), io::stdout());
        let size = tcgetwinsize(&stdin).map_err(io::Error::from)?;
        let size = TerminalSize { rows: size.ws_row, columns: size.ws_col };
        let command = Command { terminal: Some(size), ..command.clone() };
        signals::restores(tcgetattr(&stdin).map_err(io::Error::from)?);
        let (running, terminal) = app.zygote.spawn_on_terminal(&command)?;
        signals::go_to(running.control()?, stop);
        // In raw mode Ctrl-C is a byte that goes to the command.
        relay(&terminal, &stdin, &stdout)?;
        running.wait()?
    } else {
        let (stdin, stdout, stderr) = (io::stdin(), io::stdout(), io::stderr());
        let streams =
            Streams { input: stdin.as_fd(), output: stdout.as_fd(), error: stderr.as_fd() };
        let running = app.zygote.spawn(command, streams)?;
        signals::go_to(running.control()?, stop);
        running.wait()?
    };
    signals::come_here();
    if let Some(void) = outcome.voided.iter().find(|_| outcome.status == Status::Exited(0)) {
        return Err(CommandError::new(Kind::Environment, void.to_string()));
    }
    Ok(ExitCode::from(u8::try_from(outcome.status.code()).unwrap_or(u8::MAX)))
}

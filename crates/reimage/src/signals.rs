//! Ctrl-C and SIGTERM: the terminal is put in order, and the process ends.
//!
//! Nothing else has to be undone: the sandboxes of this process end with it, and what it had in the store is
//! temporary until it is whole; the next process that opens the store sweeps it away.

use std::{
    io::{IsTerminal, Write},
    sync::{Mutex, PoisonError},
    thread,
};

use reimage_sandbox::Stop;
use rustix::termios::{OptionalActions, Termios, tcsetattr};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
    low_level,
};

use crate::error::Kind;

/// A command that is to end before this process does (`run`).
static COMMAND: Mutex<Option<Stop>> = Mutex::new(None);

/// How the terminal was before it was given to a command (`shell`, `run -t`).
static TERMINAL: Mutex<Option<Termios>> = Mutex::new(None);

/// Ends the process on SIGINT, SIGTERM and SIGHUP with 128 and the signal.
pub(crate) fn watch() {
    // Without the handler the signals still end the process, only less tidily.
    let Ok(mut signals) = Signals::new([SIGINT, SIGTERM, SIGHUP]) else { return };
    thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            let command = COMMAND.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(command) = command {
                command.stop();
            }
            let terminal = TERMINAL.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(before) = terminal {
                // If it has gone it needs nothing.
                let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &before);
            }
            let mut err = std::io::stderr().lock();
            // The cursor may be hidden by a live display, and its line begun.
            let tidy: &[u8] = if err.is_terminal() { b"\r\x1b[K\x1b[?25h" } else { b"" };
            let _ = err.write_all(tidy).and_then(|()| err.write_all(b"Interrupted\n"));
            let code =
                if signal == SIGINT { Kind::Interrupted.exit_code().into() } else { 128 + signal };
            low_level::exit(code);
        }
    });
}

/// Gives the terminal this state back when a signal ends the process.
pub(crate) fn restores(terminal: Termios) {
    *TERMINAL.lock().unwrap_or_else(PoisonError::into_inner) = Some(terminal);
}

/// Ends this command, too, when a signal ends the process.
pub(crate) fn ends(command: Stop) {
    *COMMAND.lock().unwrap_or_else(PoisonError::into_inner) = Some(command);
}

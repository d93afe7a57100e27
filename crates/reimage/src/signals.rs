//! Signals: they go to the command that a person runs, else the terminal is put in order and the process ends.
//!
//! Nothing else has to be undone: the sandboxes of this process end with it, and what it had in the store is
//! temporary until it is whole; the next process that opens the store sweeps it away.

use std::{
    io::{IsTerminal, Write},
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
};

use reimage_sandbox::Control;
use rustix::termios::{OptionalActions, Termios, tcsetattr};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2},
    iterator::{Handle, Signals},
    low_level,
};

use crate::error::Kind;

/// What ends this process.
const ENDS: [i32; 3] = [SIGINT, SIGTERM, SIGHUP];
/// What goes to a command besides.
const PASSED_ON: [i32; 3] = [SIGQUIT, SIGUSR1, SIGUSR2];
/// Who asks so often for the end of a command that goes on means it.
const INSISTENT: u8 = 3;
/// The first of the signals that have no name.
const REAL_TIME: i32 = 34;

/// The command that signals go to (`run`, `shell`).
static COMMAND: Mutex<Option<Command>> = Mutex::new(None);

/// How the terminal was before it was given to a command (`shell`, `run -t`).
static TERMINAL: Mutex<Option<Termios>> = Mutex::new(None);

/// What adds signals to those that are watched.
static WATCH: Mutex<Option<Handle>> = Mutex::new(None);

struct Command {
    control: Control,
    /// What it gets for SIGTERM.
    stop: i32,
    /// How often its end was asked for.
    asked: u8,
}

/// Ends the process on SIGINT, SIGTERM and SIGHUP with 128 and the signal, unless they go to a command.
pub(crate) fn watch() {
    // Without the handler the signals still end the process, only less tidily.
    let Ok(mut signals) = Signals::new(ENDS) else { return };
    *lock(&WATCH) = Some(signals.handle());
    thread::spawn(move || {
        for signal in signals.forever() {
            if !pass_on(signal) && ENDS.contains(&signal) {
                end(signal);
            }
        }
    });
}

/// Passes a signal on; false: there is no command, or it has been asked often enough.
fn pass_on(signal: i32) -> bool {
    // Whoever closes a terminal wants to see the end of what runs on it.
    let closed = signal == SIGHUP && lock(&TERMINAL).is_some();
    let mut command = lock(&COMMAND);
    let Some(command) = command.as_mut().filter(|_| !closed) else { return false };
    command.asked += u8::from(ENDS.contains(&signal));
    if command.asked >= INSISTENT {
        return false;
    }
    command.control.signal(if signal == SIGTERM { command.stop } else { signal });
    true
}

fn end(signal: i32) -> ! {
    if let Some(command) = lock(&COMMAND).take() {
        command.control.stop();
    }
    if let Some(before) = lock(&TERMINAL).take() {
        // If it has gone it needs nothing.
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &before);
    }
    let mut err = std::io::stderr().lock();
    // The cursor may be hidden by a live display, and its line begun.
    let tidy: &[u8] = if err.is_terminal() { b"\r\x1b[K\x1b[?25h" } else { b"" };
    let _ = err.write_all(tidy).and_then(|()| err.write_all(b"Interrupted\n"));
    let code = if signal == SIGINT { Kind::Interrupted.exit_code().into() } else { 128 + signal };
    low_level::exit(code);
}

/// Gives the terminal this state back when a signal ends the process.
pub(crate) fn restores(terminal: Termios) {
    *lock(&TERMINAL) = Some(terminal);
}

/// From here on signals go to this command; for SIGTERM it gets `stop`.
pub(crate) fn go_to(control: Control, stop: i32) {
    *lock(&COMMAND) = Some(Command { control, stop, asked: 0 });
    if let Some(watch) = lock(&WATCH).as_ref() {
        for signal in PASSED_ON {
            // One that cannot be watched does what it did.
            let _ = watch.add_signal(signal);
        }
    }
}

/// From here on they end this process again.
pub(crate) fn come_here() {
    lock(&COMMAND).take();
}

/// The signal that an image's configuration names: `SIGQUIT`, `quit`, `3` or `SIGRTMIN+3`.
pub(crate) fn number(text: &str) -> Option<i32> {
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let plus = |rest: &str| rest.strip_prefix('+')?.parse::<i32>().ok();
    let named = || {
        let named = |number: &i32| low_level::signal_name(*number).is_some_and(|n| n[3..] == *name);
        (1..REAL_TIME).find(named)
    };
    let number = match (name.parse().ok(), name.strip_prefix("RTMIN")) {
        (Some(number), _) => Some(number),
        (None, Some("")) => Some(REAL_TIME),
        (None, Some(rest)) => plus(rest).map(|more| REAL_TIME.saturating_add(more)),
        (None, None) => named(),
    };
    number.filter(|number| (1..=64).contains(number))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn signals_by_name_and_number() {
        for (text, expected) in [
            ("SIGTERM", Some(15)),
            ("quit", Some(3)),
            ("SIGUSR1", Some(10)),
            ("SIGWINCH", Some(28)),
            ("9", Some(9)),
            ("SIGRTMIN+3", Some(37)),
            ("RTMIN", Some(34)),
            ("SIGNOTHING", None),
            ("0", None),
            ("65", None),
            ("SIGRTMIN+99999999999", None),
            ("", None),
        ] {
            assert_eq!(number(text), expected, "{text}");
        }
    }
}

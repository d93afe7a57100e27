//! Ctrl-C and SIGTERM: the terminal is put in order, and the process ends.
//!
//! Nothing else has to be undone: the sandboxes of this process end with it, and what it had in the store is
//! temporary until it is whole; the next process that opens the store sweeps it away.

use std::{
    io::Write,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
    low_level,
};

/// Whether a child that owns the terminal is to have the signals (`run`, `shell`).
static FOREIGN: AtomicBool = AtomicBool::new(false);

/// Ends the process on SIGINT, SIGTERM and SIGHUP with 128 and the signal.
pub(crate) fn watch() {
    // Without the handler the signals still end the process, only less tidily.
    let Ok(mut signals) = Signals::new([SIGINT, SIGTERM, SIGHUP]) else { return };
    thread::spawn(move || {
        for signal in signals.forever() {
            if FOREIGN.load(Ordering::Relaxed) && signal == SIGINT {
                continue;
            }
            let mut err = std::io::stderr().lock();
            // The cursor may be hidden by a live display, and its line begun.
            let _ = err.write_all(b"\r\x1b[K\x1b[?25hInterrupted\n");
            low_level::exit(128 + signal);
        }
    });
}

/// Leaves Ctrl-C to the command that now has the terminal.
pub(crate) fn leave_to_child() {
    FOREIGN.store(true, Ordering::Relaxed);
}

//! What is shown while steps run: live lines on a terminal, plain lines elsewhere, JSON events for programs.
//!
//! Workers only send [`Update`]s; the display's thread alone writes to stderr until the work is done.

mod live;
mod plain;

use std::{io::Write, sync::mpsc, thread, time::Duration};

use serde::Serialize;

use super::Ui;
use live::Live;
use plain::Lines;

/// Something happened.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub(crate) enum Update {
    /// Work on a step has begun.
    StepStarted {
        /// Its number.
        step: usize,
        /// Its name.
        name: String,
        /// Its constructor, or what is done with it.
        what: String,
    },
    /// A step wrote something.
    StepOutput {
        /// Its number.
        step: usize,
        /// Its name.
        name: String,
        /// Whole lines, made safe for a terminal.
        lines: Vec<String>,
    },
    /// A step is done.
    StepFinished {
        /// Its number.
        step: usize,
        /// Its name.
        name: String,
        /// Wall time.
        #[serde(rename = "seconds", serialize_with = "seconds")]
        elapsed: Duration,
        /// Whether it succeeded.
        succeeded: bool,
    },
    /// A step's result was there already.
    StepCached {
        /// Its number.
        step: usize,
        /// Its name.
        name: String,
    },
    /// Something is being downloaded.
    Download {
        /// What.
        name: String,
        /// Bytes here so far.
        received: u64,
        /// Bytes in all, if known.
        total: Option<u64>,
    },
    /// Something may be wrong.
    Warning {
        /// What.
        message: String,
    },
    /// Something to know.
    Note {
        /// What.
        message: String,
    },
}

fn seconds<S: serde::Serializer>(elapsed: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(elapsed.as_secs_f64())
}

/// The display of some work.
#[derive(Debug)]
pub(crate) struct Progress;

impl Progress {
    /// Does `work`, showing what it reports; `work` runs on this thread.
    pub(crate) fn during<T>(ui: &Ui, work: impl FnOnce(&(dyn Fn(Update) + Sync)) -> T) -> T {
        let (sender, receiver) = mpsc::channel();
        thread::scope(|scope| {
            let display = scope.spawn(move || show(ui, &receiver));
            let done = work(&|update| {
                // The display only ends before the work if it panicked, which `join` passes on.
                let _ = sender.send(update);
            });
            drop(sender);
            if let Err(panic) = display.join() {
                std::panic::resume_unwind(panic);
            }
            done
        })
    }
}

fn show(ui: &Ui, updates: &mpsc::Receiver<Update>) {
    if ui.live {
        Live::new(ui).run(updates);
    } else if ui.json() {
        for update in updates {
            if matches!(update, Update::StepOutput { .. }) && ui.verbosity < 1 {
                continue;
            }
            let line = serde_json::to_string(&update).expect("updates are plain data");
            write_line(&line);
        }
    } else {
        let mut lines = Lines::new(ui);
        for update in updates {
            lines.of(&update).iter().for_each(|line| write_line(line));
        }
    }
}

/// There is nobody to tell that stderr cannot be written.
fn write_line(line: &str) {
    let mut err = std::io::stderr().lock();
    let _ = err.write_all(line.as_bytes()).and_then(|()| err.write_all(b"\n"));
}

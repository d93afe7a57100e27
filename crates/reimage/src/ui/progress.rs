//! What is shown while steps run: live lines on a terminal, plain lines elsewhere, JSON events for programs.
//!
//! Workers only send events; the display's thread alone writes to stderr until the work is done.

mod live;
mod plain;

use std::{collections::BTreeMap, io::Write, sync::mpsc, thread, time::Duration};

use reimage_build::Event;
use reimage_plan::StepId;
use serde::Serialize;

use super::{Ui, last_lines};
use live::Live;
use plain::Lines;

/// Something happened, as it is shown.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub(crate) enum Update {
    /// A step began to run.
    StepStarted {
        /// Its number.
        step: usize,
        /// Its name.
        name: String,
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
    },
    /// A step's result was there already.
    StepFresh {
        /// Its number.
        step: usize,
        /// Its name.
        name: String,
    },
    /// A step failed.
    StepFailed {
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
        /// With what.
        name: String,
        /// What.
        message: String,
    },
}

fn seconds<S: serde::Serializer>(elapsed: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(elapsed.as_secs_f64())
}

/// Makes events of a build what is shown: output as whole lines.
#[derive(Debug, Default)]
struct Lineator {
    begun: BTreeMap<usize, Vec<u8>>,
}

/// Bytes of a line after which it is shown without its end.
const LONGEST_LINE: usize = 1 << 16;

impl Lineator {
    fn updates(&mut self, event: Event) -> Vec<Update> {
        match event {
            Event::Started { step, name } => vec![Update::StepStarted { step: step.0, name }],
            Event::Output { step: StepId(step), name, bytes } => {
                let begun = self.begun.entry(step).or_default();
                begun.extend(bytes);
                let end = begun.iter().rposition(|byte| *byte == b'\n').map(|end| end + 1);
                let end = end.or((begun.len() > LONGEST_LINE).then_some(begun.len()));
                let Some(end) = end else { return Vec::new() };
                let whole: Vec<u8> = begun.drain(..end).collect();
                vec![Update::StepOutput { step, name, lines: last_lines(&whole, usize::MAX) }]
            }
            Event::Finished { step: StepId(step), name, millis } => {
                let rest = self.rest(step, &name);
                let done = match millis {
                    Some(millis) => {
                        let elapsed = Duration::from_millis(millis);
                        Update::StepFinished { step, name, elapsed }
                    }
                    None => Update::StepFresh { step, name },
                };
                rest.into_iter().chain([done]).collect()
            }
            Event::Failed { step: StepId(step), name } => {
                let rest = self.rest(step, &name);
                rest.into_iter().chain([Update::StepFailed { step, name }]).collect()
            }
            Event::Download { what, done, total } => {
                vec![Update::Download { name: what, received: done, total }]
            }
            Event::Warning { name, message } => vec![Update::Warning { name, message }],
        }
    }

    /// The last line of a step that has ended, if it did not end it.
    fn rest(&mut self, step: usize, name: &str) -> Option<Update> {
        let rest = self.begun.remove(&step).filter(|rest| !rest.is_empty())?;
        let lines = last_lines(&rest, usize::MAX);
        Some(Update::StepOutput { step, name: name.to_owned(), lines })
    }
}

/// The display of some work.
#[derive(Debug)]
pub(crate) struct Progress;

impl Progress {
    /// Does `work`, showing what it reports; `work` runs on this thread.
    pub(crate) fn during<T>(ui: &Ui, work: impl FnOnce(&(dyn Fn(Event) + Sync)) -> T) -> T {
        let (sender, receiver) = mpsc::channel();
        thread::scope(|scope| {
            let display = scope.spawn(move || show(ui, &receiver));
            let done = work(&|event| {
                // The display only ends before the work if it panicked, which `join` passes on.
                let _ = sender.send(event);
            });
            drop(sender);
            if let Err(panic) = display.join() {
                std::panic::resume_unwind(panic);
            }
            done
        })
    }
}

fn show(ui: &Ui, events: &mpsc::Receiver<Event>) {
    let mut lineator = Lineator::default();
    if ui.live {
        Live::new(ui).run(events, |event| lineator.updates(event));
        return;
    }
    let mut lines = Lines::new(ui);
    for update in events.iter().flat_map(|event| lineator.updates(event)) {
        if !ui.json() {
            lines.of(&update).iter().for_each(|line| write_line(line));
        } else if ui.verbosity >= 1 || !matches!(update, Update::StepOutput { .. }) {
            write_line(&serde_json::to_string(&update).expect("updates are plain data"));
        }
    }
    if let Some(line) = lines.fetched() {
        write_line(&line);
    }
}

/// There is nobody to tell that stderr cannot be written.
fn write_line(line: &str) {
    let mut err = std::io::stderr().lock();
    let _ = err.write_all(line.as_bytes()).and_then(|()| err.write_all(b"\n"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_shown_in_whole_lines() {
        let mut lineator = Lineator::default();
        let step = StepId(3);
        let mut said = |bytes: &[u8]| {
            lineator.updates(Event::Output { step, name: "a".into(), bytes: bytes.to_vec() })
        };
        assert_eq!(said(b"on"), []);
        let lines = |lines: &[&str]| Update::StepOutput {
            step: 3,
            name: "a".into(),
            lines: lines.iter().map(|&line| line.to_owned()).collect(),
        };
        assert_eq!(said(b"e\ntwo\nthr"), [lines(&["one", "two"])]);
        let done = lineator.updates(Event::Finished { step, name: "a".into(), millis: None });
        assert_eq!(done, [lines(&["thr"]), Update::StepFresh { step: 3, name: "a".into() }]);
    }
}

//! What a build says while it runs; whoever shows it decides how.

use reimage_plan::StepId;

/// Something that happened.
#[derive(Debug, Clone)]
pub enum Event {
    /// A step began to run: no result was there.
    Started {
        /// The step.
        step: StepId,
        /// Its name.
        name: String,
    },
    /// A running step wrote to stdout or stderr.
    Output {
        /// The step.
        step: StepId,
        /// Its name.
        name: String,
        /// What it wrote.
        bytes: Vec<u8>,
    },
    /// A step has a result.
    Finished {
        /// The step.
        step: StepId,
        /// Its name.
        name: String,
        /// Whether it ran, and for how many milliseconds; none: its result was there.
        millis: Option<u64>,
    },
    /// A step failed; why is in the error that the build ends with.
    Failed {
        /// The step.
        step: StepId,
        /// Its name.
        name: String,
    },
    /// Bytes of a download arrived.
    Download {
        /// What is downloaded.
        what: String,
        /// Bytes so far.
        done: u64,
        /// Bytes in all, if that is known.
        total: Option<u64>,
    },
    /// Something the user should hear of.
    Warning {
        /// The step that it is about.
        name: String,
        /// What.
        message: String,
    },
}

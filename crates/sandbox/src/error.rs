//! Why a command could not be run. Its own failure is no error: that is an [`Outcome`](crate::Outcome).

use std::io;

use serde::{Deserialize, Serialize};

/// Why no sandbox can be made on this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unavailable {
    /// What is missing.
    pub reason: String,
    /// What to do about it.
    pub advice: String,
}

/// Why a command was not run, or its end is not known.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// This machine cannot make sandboxes.
    #[error("Cannot run steps on this machine: {reason}; {advice}")]
    Unavailable {
        /// What is missing.
        reason: String,
        /// What to do about it.
        advice: String,
    },
    /// The command is not one that can be run.
    #[error("Cannot run the command: {reason}")]
    Invalid {
        /// What is wrong with it.
        reason: String,
    },
    /// The sandbox could not be built.
    #[error("Cannot prepare the sandbox: {what}")]
    Setup {
        /// What was tried.
        what: String,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The program could not be started.
    #[error("Cannot start `{program}`")]
    Start {
        /// The program, as in `argv`.
        program: String,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The processes that make and watch sandboxes cannot be talked to.
    #[error("Cannot talk to the sandbox's monitor: {what}")]
    Monitor {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

impl Error {
    /// Builds the error for a machine without sandboxes.
    pub(crate) fn unavailable(why: &Unavailable) -> Self {
        Self::Unavailable { reason: why.reason.clone(), advice: why.advice.clone() }
    }
}

/// A failure on the far side of the wire.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Failure {
    pub(crate) kind: FailureKind,
    /// What was tried, or the program.
    pub(crate) what: String,
    /// The errno, 0 if there is none.
    pub(crate) errno: i32,
}

/// Which [`Error`] a [`Failure`] becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum FailureKind {
    Invalid,
    Setup,
    Start,
    /// The machine allows no private /proc.
    Proc,
}

impl Failure {
    pub(crate) fn invalid(reason: impl Into<String>) -> Self {
        Self { kind: FailureKind::Invalid, what: reason.into(), errno: 0 }
    }

    pub(crate) fn setup(what: impl Into<String>) -> Self {
        Self { kind: FailureKind::Setup, what: what.into(), errno: libc::EIO }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        let Failure { kind, what, errno } = failure;
        let source = io::Error::from_raw_os_error(errno);
        match kind {
            FailureKind::Invalid => Self::Invalid { reason: what },
            FailureKind::Setup => Self::Setup { what, source },
            FailureKind::Start => Self::Start { program: what, source },
            FailureKind::Proc => Self::Unavailable {
                reason: format!("the kernel allows no private /proc: {source}"),
                advice: crate::start::PROC_ADVICE.into(),
            },
        }
    }
}

/// Names what failed.
pub(crate) trait During<T> {
    /// Adds what was being done to an error.
    fn during(self, what: impl FnOnce() -> String) -> Result<T, Failure>;
}

impl<T, E: Into<io::Error>> During<T> for Result<T, E> {
    fn during(self, what: impl FnOnce() -> String) -> Result<T, Failure> {
        self.map_err(|error| Failure {
            kind: FailureKind::Setup,
            what: what(),
            errno: error.into().raw_os_error().unwrap_or(0),
        })
    }
}

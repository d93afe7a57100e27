//! Errors of a command: a kind, which is its exit code, a chain of causes, and hints.
//!
//! Libraries say what went wrong; what to do about it is said here and in [`from`], next to the flags and verbs
//! that it names.

pub(crate) mod from;

use std::{error::Error, fmt, process::ExitCode};

use reimage_spec::{Diagnostics, SpecError};
use serde::Serialize;
use thiserror::Error;

/// Whose fault an error is; its exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// The spec, its lock or its sources' content.
    Spec,
    /// A command that a step ran.
    Step,
    /// The machine: network, disk, kernel, permissions.
    Environment,
    /// `verify` made something else.
    Different,
    /// What `verify` needs is gone.
    NotRebuildable,
    /// The command line.
    Usage,
    /// reimage itself.
    Internal,
    /// Ctrl-C or SIGTERM.
    Interrupted,
    /// Whoever read our output has gone.
    BrokenPipe,
}

impl Kind {
    /// Every kind, in the order of its exit code.
    pub(crate) const ALL: [Self; 9] = [
        Self::Spec,
        Self::Step,
        Self::Environment,
        Self::Different,
        Self::NotRebuildable,
        Self::Usage,
        Self::Internal,
        Self::Interrupted,
        Self::BrokenPipe,
    ];

    /// What the process returns.
    pub(crate) const fn exit_code(self) -> u8 {
        match self {
            Self::Spec => 1,
            Self::Step => 2,
            Self::Environment => 3,
            Self::Different => 4,
            Self::NotRebuildable => 5,
            Self::Usage => 64,
            Self::Internal => 70,
            Self::Interrupted => 130,
            Self::BrokenPipe => 141,
        }
    }

    /// One sentence for docs/exit-codes.md.
    pub(crate) const fn meaning(self) -> &'static str {
        match self {
            Self::Spec => "The spec, its lock or one of its sources is wrong: change it",
            Self::Step => "A step's command failed or passed a limit: `reimage log` has its output",
            Self::Environment => {
                "The machine cannot do it: network, disk, kernel, permissions; `reimage doctor` looks"
            }
            Self::Different => {
                "`reimage verify` made another image: it says where they differ first"
            }
            Self::NotRebuildable => {
                "`reimage verify` cannot have what the image was made from: it says which pin is gone"
            }
            Self::Usage => "The command line or a configuration file is wrong",
            Self::Internal => "reimage itself is wrong: please report it",
            Self::Interrupted => "Ctrl-C (SIGTERM: 143)",
            Self::BrokenPipe => "Whoever read the output closed it, as `head` does",
        }
    }
}

impl From<Kind> for ExitCode {
    fn from(kind: Kind) -> Self {
        kind.exit_code().into()
    }
}

/// An error as a command reports it.
#[derive(Debug)]
pub(crate) struct CommandError {
    /// Whose fault it is.
    pub(crate) kind: Kind,
    /// What went wrong, with its causes.
    pub(crate) source: Box<dyn Error + Send + Sync>,
    /// What to do about it; each is shown after `hint:`.
    pub(crate) hints: Vec<String>,
    /// More to show, as it is.
    pub(crate) detail: Detail,
}

/// What is shown with an error, as it is.
#[derive(Debug, Default)]
pub(crate) enum Detail {
    /// Nothing.
    #[default]
    None,
    /// The last lines that a failed step wrote.
    Output(Vec<String>),
}

/// A message with, perhaps, a cause.
#[derive(Debug, Error)]
#[error("{message}")]
struct Message {
    message: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl CommandError {
    /// An error with a message of our own.
    pub(crate) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self::wrap(kind, Message { message: message.into(), source: None })
    }

    /// A library's error.
    pub(crate) fn wrap(kind: Kind, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { kind, source: source.into(), hints: Vec::new(), detail: Detail::None }
    }

    /// A mistake on the command line.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, message)
    }

    /// The same with `cause` behind it.
    #[must_use]
    pub(crate) fn caused_by(mut self, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source =
            Box::new(Message { message: self.source.to_string(), source: Some(cause.into()) });
        self
    }

    /// The same with one hint more.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// The same with something to show.
    #[must_use]
    pub(crate) fn detail(mut self, detail: Detail) -> Self {
        self.detail = detail;
        self
    }

    /// What is wrong with a spec, in full: it is shown instead of the message.
    pub(crate) fn diagnostics(&self) -> Option<&Diagnostics> {
        self.source.downcast_ref::<SpecError>().map(|error| &error.diagnostics)
    }

    /// The same with each file of the spec called by what `shown` makes of its name.
    pub(crate) fn rename(mut self, shown: impl Fn(&str) -> String) -> Self {
        if let Some(error) = self.source.downcast_mut::<SpecError>() {
            error.diagnostics.rename(shown);
        }
        self
    }

    /// The messages behind the first, outermost first; one that its parent already repeats is left out.
    pub(crate) fn causes(&self) -> Vec<String> {
        let mut shown = self.source.to_string();
        let mut causes = Vec::new();
        let mut next = self.source.source();
        while let Some(cause) = next {
            let message = cause.to_string();
            if !shown.contains(&message) {
                causes.push(message.clone());
                shown = message;
            }
            next = cause.source();
        }
        causes
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.source.fmt(f)
    }
}

/// `known`'s nearest word to `word`, near enough to be meant.
pub(crate) fn did_you_mean<'a>(
    word: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= candidate.len().max(word.len()).div_ceil(3))
        .min()
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_once_each() {
        let inner = std::io::Error::other("No space left on device");
        let error = CommandError::new(Kind::Environment, "Writing `/x` failed").caused_by(inner);
        assert_eq!(error.to_string(), "Writing `/x` failed");
        assert_eq!(error.causes(), ["No space left on device"]);
        let repeated =
            CommandError::new(Kind::Internal, "a: b").caused_by(std::io::Error::other("b"));
        assert!(repeated.causes().is_empty());
    }

    #[test]
    fn suggestions() {
        let known = ["mirrors", "security_mirrors", "keyrings"];
        assert_eq!(did_you_mean("mirors", known), Some("mirrors"));
        assert_eq!(did_you_mean("keyring", known), Some("keyrings"));
        assert_eq!(did_you_mean("proxy", known), None);
    }

    #[test]
    fn the_table_of_exit_codes_is_documented() {
        let row = |kind: &Kind| format!("| {} | {} |", kind.exit_code(), kind.meaning());
        let rows = Kind::ALL.iter().map(row).collect::<Vec<_>>().join("\n");
        let page = include_str!("../../../docs/exit-codes.md");
        assert!(page.contains(&rows), "docs/exit-codes.md must hold these rows:\n{rows}");
    }
}

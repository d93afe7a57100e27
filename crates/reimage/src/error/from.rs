//! One conversion for each library error: whose fault it is, and what to do.

use std::io;

use reimage_castore::StoreError;
use reimage_plan::{LockError, PlanError};
use reimage_spec::{ProjectError, SpecError};

use super::{CommandError, Kind};

impl From<io::Error> for CommandError {
    fn from(error: io::Error) -> Self {
        let kind = match error.kind() {
            io::ErrorKind::BrokenPipe => Kind::BrokenPipe,
            _ => Kind::Environment,
        };
        Self::wrap(kind, error)
    }
}

impl From<StoreError> for CommandError {
    fn from(error: StoreError) -> Self {
        let hint = store_hint(&error);
        let kind = match error {
            StoreError::NotAStore { .. } | StoreError::NotOurs { .. } => Kind::Usage,
            _ => Kind::Environment,
        };
        let command = Self::wrap(kind, error);
        match hint {
            Some(hint) => command.hint(hint),
            None => command,
        }
    }
}

/// What to do about a store that fails.
pub(crate) fn store_hint(error: &StoreError) -> Option<&'static str> {
    Some(match error {
        StoreError::Full { .. } => "`reimage prune` makes room; `--store DIR` uses another disk",
        StoreError::ReadOnly { .. } | StoreError::Permission { .. } => {
            "`--store DIR`, or `[store] path` in config.toml, keeps results elsewhere"
        }
        StoreError::Missing { .. } | StoreError::Corrupt { .. } => {
            "run the command again: what is missing is made anew"
        }
        StoreError::NotAStore { .. } => "name an empty directory, or one that reimage made",
        _ => return None,
    })
}

impl From<reimage_sandbox::Error> for CommandError {
    fn from(error: reimage_sandbox::Error) -> Self {
        use reimage_sandbox::Error;
        let hint = match &error {
            Error::Unavailable { .. } | Error::Setup { .. } => {
                "`reimage doctor` looks at what this machine lacks"
            }
            Error::Start { .. } => {
                "is the program in the root, and the library loader that it names?"
            }
            Error::Invalid { .. } | Error::Monitor { .. } => "",
        };
        let kind = match &error {
            Error::Start { .. } => Kind::Step,
            Error::Invalid { .. } => Kind::Internal,
            _ => Kind::Environment,
        };
        let command = Self::wrap(kind, error);
        if hint.is_empty() { command } else { command.hint(hint) }
    }
}

impl From<SpecError> for CommandError {
    fn from(error: SpecError) -> Self {
        Self::wrap(Kind::Spec, error)
    }
}

impl From<ProjectError> for CommandError {
    fn from(error: ProjectError) -> Self {
        let kind = match &error {
            ProjectError::Absent { .. } => Kind::Usage,
            ProjectError::Reach { .. } => Kind::Environment,
        };
        Self::wrap(kind, error)
    }
}

impl From<PlanError> for CommandError {
    fn from(error: PlanError) -> Self {
        let (place, hint) = match &error {
            PlanError::Unpinned { place, .. } => (place.clone(), "run `reimage lock`"),
            PlanError::TwoDatabases { place, .. } => {
                (place.clone(), "put one on the other with `from`")
            }
        };
        Self::wrap(Kind::Spec, error).hint(hint).hint(format!("it is written at {place}"))
    }
}

/// An error of the lock at `path`.
pub(crate) fn lock_error(error: LockError, path: &std::path::Path) -> CommandError {
    CommandError::new(Kind::Spec, format!("The lock `{}` cannot be read", path.display()))
        .caused_by(error)
        .hint("take it back from version control, or delete it and run `reimage lock`")
}

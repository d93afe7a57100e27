//! One conversion for each library error: whose fault it is, and what to do.

use std::{error::Error, io, sync::Arc};

use reimage_build::{BuildError, StackError, StepError};
use reimage_castore::{LocalError, StoreError};
use reimage_fetch::{
    ArchiveError,
    debian::{DebianError, RepositoryError, deb::DebError, install::InstallError},
};
use reimage_http::HttpError;
use reimage_oci::{LayoutError, ReferenceError, RootfsError};
use reimage_plan::{LockError, PlanError, Platform};
use reimage_registry::RegistryError;
use reimage_spec::{ProjectError, SpecError};

use super::{CommandError, Detail, Kind};
use crate::transfer::advice;

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
        let (kind, hint) = sandbox(&error);
        let command = Self::wrap(kind, error);
        match hint {
            Some(hint) => command.hint(hint),
            None => command,
        }
    }
}

/// Whose fault it is that a command could not be run, and what to do.
fn sandbox(error: &reimage_sandbox::Error) -> (Kind, Option<&'static str>) {
    use reimage_sandbox::Error;
    match error {
        Error::Unavailable { .. } | Error::Setup { .. } => {
            (Kind::Environment, Some("`reimage doctor` looks at what this machine lacks"))
        }
        Error::Start { .. } => (Kind::Step, Some(NOT_STARTED)),
        Error::Invalid { .. } => (Kind::Internal, None),
        Error::Monitor { .. } => (Kind::Environment, None),
    }
}

/// What to look at when a program cannot be started.
const NOT_STARTED: &str = "is the program in the root, and the library loader that it names?";

impl From<SpecError> for CommandError {
    fn from(error: SpecError) -> Self {
        Self::wrap(Kind::Spec, error)
    }
}

impl From<ProjectError> for CommandError {
    fn from(error: ProjectError) -> Self {
        let kind = match &error {
            ProjectError::Absent { .. } | ProjectError::Directory { .. } => Kind::Usage,
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

impl From<BuildError> for CommandError {
    fn from(error: BuildError) -> Self {
        match error {
            BuildError::Plan(error) => error.into(),
            BuildError::Store(error) => error.into(),
            BuildError::Layout(error) => error.into(),
            BuildError::Bundle(error) => Self::wrap(Kind::Environment, error),
            BuildError::Away { image: None, .. } => Self::wrap(Kind::Environment, error)
                .hint("build it again, or name the cache that it was built with"),
            BuildError::Away { ref source, .. } => {
                let hint = cause::<RegistryError>(&**source).and_then(|error| advice(error).1);
                let command = Self::wrap(Kind::Environment, error);
                let command = hint.into_iter().fold(command, Self::hint);
                command.hint(AWAY)
            }
            BuildError::Steps(steps) => failed(steps),
        }
    }
}

/// What to do about a layer that nobody has needed so far, where nobody has it.
const AWAY: &str = "a machine that reaches its registry has it for others: `reimage save`, a cache of the team, or the \
                    lock bundle that `reimage lock --vendor` writes";

/// Steps that failed: the first in full, of the others their message.
fn failed(steps: Vec<Arc<StepError>>) -> CommandError {
    let others: Vec<String> = steps.iter().skip(1).map(ToString::to_string).collect();
    let Some(first) = steps.into_iter().next() else {
        return CommandError::new(Kind::Internal, "The build failed, but none of its steps did");
    };
    // What is of no spec has no place in one.
    let place = first.place().filter(|place| !place.file.is_empty());
    let place = place.map(|place| format!("it is written at {place}"));
    let (kind, mut hints, detail) = match &*first {
        StepError::Failed { step, tail, .. } => (
            Kind::Step,
            vec![
                format!("`reimage log {step}` shows all that it wrote"),
                format!("`reimage shell {step}` stands in its place"),
            ],
            Detail::Output(tail.iter().map(|line| crate::ui::plain(line)).collect()),
        ),
        StepError::NotStarted { step, .. } => {
            let shell = format!("`reimage shell {step} -- PROGRAM` stands in its place");
            (Kind::Step, vec![NOT_STARTED.to_owned(), shell], Detail::None)
        }
        StepError::Different { differences, .. } => {
            let hint = "it saw what is `'real`, what a processor says of itself, or which of its processes was first";
            let lines = differences.iter().map(|line| crate::ui::plain(line)).collect();
            (Kind::Step, vec![hint.to_owned()], Detail::Output(lines))
        }
        StepError::Secret { path, .. } => {
            let known = "a step's random numbers are the same for everybody, and so is what it makes of them: delete it in the \
                         step, or leave it out with `exclude`, and make it where a container starts";
            let real = format!(
                "if `{path}` is meant to be public, `entropy = 'real` makes another one in each build, and the image says \
                 that it is not reproducible"
            );
            (Kind::Spec, vec![known.to_owned(), real], Detail::None)
        }
        StepError::Lacking { lacking, .. } => {
            let degraded = "`--degraded` runs it without; what comes of it is not reproducible";
            (Kind::Environment, vec![lacking.advice.clone(), degraded.to_owned()], Detail::None)
        }
        StepError::Foreign { .. } => {
            let here = Platform::default();
            let cache =
                "its result can come from a shared cache that such a machine writes: `--cache`";
            let runs = format!("a step that must run here says so: `platform = \"{here}\"`");
            let only = format!("`--platform {here}` builds for this machine alone");
            (Kind::Environment, vec![cache.to_owned(), runs, only], Detail::None)
        }
        StepError::OutputNotWritten { wrote, .. } => {
            let more = wrote.len().saturating_sub(WROTE);
            let shown = wrote[..wrote.len() - more].join(", ");
            let more = if more > 0 { format!(" (+ {more})") } else { String::new() };
            let hint = if wrote.is_empty() {
                "it wrote nothing".to_owned()
            } else {
                format!("it wrote: {shown}{more}")
            };
            (Kind::Step, vec![hint], Detail::None)
        }
        StepError::Store(error) => {
            let hint = store_hint(error).map(str::to_owned);
            (Kind::Environment, hint.into_iter().collect(), Detail::None)
        }
        StepError::Sandbox(source) => {
            let (kind, hint) = sandbox(source);
            (kind, hint.map(str::to_owned).into_iter().collect(), Detail::None)
        }
        StepError::Step { source, .. } if cause::<RegistryError>(&**source).is_some() => {
            let error = cause::<RegistryError>(&**source).expect("it is there");
            let (kind, hint) = advice(error);
            let kind = if kind == Kind::Usage { Kind::Spec } else { kind };
            (kind, hint.into_iter().collect(), Detail::None)
        }
        StepError::Step { source, .. } if environmental(&**source) => {
            let hint = cause::<StoreError>(&**source).and_then(store_hint);
            (Kind::Environment, hint.map(str::to_owned).into_iter().collect(), Detail::None)
        }
        StepError::Stack(StackError::NotADirectory { step, .. }) => {
            let name = step.rsplit('.').next().unwrap_or(step);
            let hint = format!(
                "say where it goes: `re.copy {{ from = {step}, to = \"/usr/bin/{name}\" }}`"
            );
            (Kind::Spec, vec![hint], Detail::None)
        }
        StepError::Step { step, source, .. } if other_content(&**source) => {
            let hint = format!("`reimage lock --update {step}` pins what it gives now");
            (Kind::Spec, vec![hint], Detail::None)
        }
        StepError::Step { .. } | StepError::Stack(_) => (Kind::Spec, Vec::new(), Detail::None),
    };
    hints.extend(place);
    hints.extend(others.into_iter().map(|other| format!("besides: {other}")));
    let mut command = CommandError::wrap(kind, first).detail(detail);
    command.hints = hints;
    command
}

/// Whether a step failed because its source cannot be had as it is pinned.
pub(crate) fn source_is_gone(error: &StepError) -> bool {
    let StepError::Step { source, .. } = error else { return false };
    cause::<DebianError>(&**source).is_some()
        || cause::<RegistryError>(&**source).is_some()
        || cause::<HttpError>(&**source).is_some()
}

/// Files that a step wrote, as many as are named.
const WROTE: usize = 3;

/// Whether an error, or what caused it, is the machine's: its network, its mirrors, its disk.
fn environmental(error: &(dyn Error + 'static)) -> bool {
    if let Some(error) = cause::<DebianError>(error) {
        return !asked_for(error);
    }
    if let Some(error) = cause::<HttpError>(error) {
        // The spec names the URL, the lock what is there.
        let of_spec = error.is_other_content() || error.is_missing();
        return !of_spec && !matches!(error, HttpError::TooLarge { .. });
    }
    if let Some(error) = cause::<ArchiveError>(error) {
        return matches!(error, ArchiveError::Store { .. });
    }
    if let Some(error) = cause::<DebError>(error) {
        return matches!(error, DebError::Store { .. });
    }
    if let (Some(_), Some(error)) = (cause::<RootfsError>(error), cause::<io::Error>(error)) {
        // A layer that cannot be decoded was damaged when it was published: it is what was pinned.
        let of_store = matches!(error.get_ref(), Some(inner) if inner.is::<StoreError>());
        return of_store || error.raw_os_error().is_some();
    }
    cause::<io::Error>(error).is_some() || cause::<StoreError>(error).is_some()
}

/// The error itself, or what caused it, if it is of this kind.
fn cause<'e, E: Error + 'static>(error: &'e (dyn Error + 'static)) -> Option<&'e E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = within(error).or_else(|| error.source());
    }
    None
}

/// What a transparent error holds: that is not its source.
fn within<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e (dyn Error + 'static)> {
    if let Some(LocalError::Store(store)) = error.downcast_ref() {
        return Some(store);
    }
    if let Some(InstallError::Package(package)) = error.downcast_ref() {
        return Some(package);
    }
    match error.downcast_ref() {
        Some(DebError::Archive(archive)) => Some(archive),
        _ => None,
    }
}

/// Whether what the spec or the lock asks for is at fault, and not who was asked for it.
fn asked_for(error: &DebianError) -> bool {
    use RepositoryError::{NoComponent, NoSuite};
    match error {
        DebianError::Repository(error) => matches!(error, NoSuite { .. } | NoComponent { .. }),
        DebianError::Key(_) | DebianError::Resolve(_) | DebianError::Gone { .. } => true,
        DebianError::Mirrors(_)
        | DebianError::Sources(_)
        | DebianError::Index(_)
        | DebianError::Package { .. } => false,
    }
}

/// Whether a server has something else than what was locked.
fn other_content(error: &(dyn Error + 'static)) -> bool {
    error.downcast_ref().is_some_and(HttpError::is_other_content)
}

impl From<HttpError> for CommandError {
    fn from(error: HttpError) -> Self {
        Self::wrap(Kind::Environment, error)
    }
}

impl From<LayoutError> for CommandError {
    fn from(error: LayoutError) -> Self {
        match &error {
            LayoutError::NoImage { .. } => {
                Self::wrap(Kind::Usage, error).hint("`reimage images` lists what is here")
            }
            LayoutError::Ambiguous { .. } => {
                Self::wrap(Kind::Usage, error).hint("write more digits of it")
            }
            LayoutError::Json { .. } => Self::wrap(Kind::Environment, error)
                .hint("move it away: blobs stay, and each image is listed again once it is built or imported"),
            _ => Self::wrap(Kind::Environment, error),
        }
    }
}

impl From<ReferenceError> for CommandError {
    fn from(error: ReferenceError) -> Self {
        Self::wrap(Kind::Usage, error)
    }
}

/// An error of the lock at `path`.
pub(crate) fn lock_error(error: LockError, path: &std::path::Path) -> CommandError {
    let hint = match &error {
        LockError::Conflict { .. } => {
            "take one side of the merge as it is, then run `reimage lock`: it adds what is missing"
        }
        LockError::Version { .. } => "use the newer reimage that wrote it",
        LockError::Twice { .. } => "delete one of the two, or run `reimage lock` without either",
        LockError::Syntax { .. }
        | LockError::Package { .. }
        | LockError::Blob { .. }
        | LockError::Skeleton { .. } => {
            "take it back from version control, or delete it and run `reimage lock`"
        }
    };
    CommandError::new(Kind::Spec, format!("The lock `{}` cannot be read", path.display()))
        .caused_by(error)
        .hint(hint)
}

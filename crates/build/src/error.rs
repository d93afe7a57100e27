//! Why a build failed, with the step and where it was written.

use std::{fmt, sync::Arc};

use reimage_castore::{Digest, Sha256, StoreError, TreePath};
use reimage_plan::{Place, PlanError, Platform, Step};
use reimage_sandbox::{Probe, Status};
use thiserror::Error;

use crate::stack::StackError;

/// A build that failed.
#[derive(Debug, Error)]
pub enum BuildError {
    /// The spec and its lock make no plan.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// Steps failed: the first of each chain.
    #[error("{}", summary(.0))]
    Steps(Vec<Arc<StepError>>),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The lock bundle failed.
    #[error(transparent)]
    Bundle(#[from] reimage_fetch::BundleError),
    /// A layer of a base image, or from a cache, that nobody has needed so far.
    #[error("The layer {} of {} is needed now, and cannot be had", &digest.hex()[..12], whose(image.as_deref()))]
    Away {
        /// Its digest.
        digest: Sha256,
        /// The base image, as people write it; none: a cache had it.
        image: Option<String>,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The image store failed.
    #[error(transparent)]
    Layout(#[from] reimage_oci::LayoutError),
}

fn whose(image: Option<&str>) -> String {
    image.map_or_else(|| "a cache".to_owned(), |image| format!("the base image `{image}`"))
}

impl BuildError {
    /// The blob that was gone or damaged when it was used, if that is what failed.
    pub(crate) fn is_miss(&self) -> Option<Digest> {
        match self {
            Self::Store(error) => error.is_miss(),
            Self::Steps(steps) => steps.iter().find_map(|step| step.is_miss()),
            Self::Plan(_) | Self::Bundle(_) | Self::Away { .. } | Self::Layout(_) => None,
        }
    }
}

fn miss(error: &(dyn std::error::Error + 'static)) -> Option<Digest> {
    let mut next = Some(error);
    while let Some(error) = next {
        // A transparent error is not its own source.
        let store = match error.downcast_ref::<StepError>() {
            Some(StepError::Store(store) | StepError::Stack(StackError::Store(store))) => {
                Some(store)
            }
            // Nor is what an I/O error carries its source.
            _ => match error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
                Some(inner) => inner.downcast_ref::<StoreError>(),
                None => error.downcast_ref::<StoreError>(),
            },
        };
        if let Some(digest) = store.and_then(StoreError::is_miss) {
            return Some(digest);
        }
        next = error.source();
    }
    None
}

impl From<StepError> for BuildError {
    fn from(error: StepError) -> Self {
        Self::Steps(vec![Arc::new(error)])
    }
}

fn summary(failed: &[Arc<StepError>]) -> String {
    match failed {
        [one] => one.to_string(),
        many => format!("{} steps failed", many.len()),
    }
}

/// A step that failed.
#[derive(Debug, Error)]
pub enum StepError {
    /// Its command failed, or its sandbox had to end it.
    #[error("Step `{step}` failed: {}", ended(*.status, .voided))]
    Failed {
        /// The step.
        step: String,
        /// Where it was written.
        place: Place,
        /// How its command ended.
        status: Status,
        /// What makes its result worthless besides.
        voided: Vec<String>,
        /// The last lines that it wrote.
        tail: Vec<String>,
    },
    /// Its program could not be started.
    #[error("Step `{step}` failed: {source}")]
    NotStarted {
        /// The step.
        step: String,
        /// Where it was written.
        place: Place,
        /// Why.
        source: reimage_sandbox::Error,
    },
    /// It demands what this machine cannot give.
    #[error(
        "Step `{step}` demands that these are the same in every run: {demanded}; this machine cannot give them: {}: {}",
        .lacking.name, .lacking.found
    )]
    Lacking {
        /// The step.
        step: String,
        /// Where it was written.
        place: Place,
        /// What it demands and cannot have.
        demanded: String,
        /// Why.
        lacking: Box<Probe>,
    },
    /// It is to run on another kind of machine.
    #[error("Step `{step}` runs on `{platform}`, and this machine is `{}`", Platform::default())]
    Foreign {
        /// The step.
        step: String,
        /// Where it was written.
        place: Place,
        /// Where it runs.
        platform: String,
    },
    /// It did not write what its `outputs` name.
    #[error("Step `{step}` did not write `{output}`, which its `outputs` name")]
    OutputNotWritten {
        /// The step.
        step: String,
        /// Where it was written.
        place: Place,
        /// The path.
        output: TreePath,
        /// Files that it wrote.
        wrote: Vec<String>,
    },
    /// An image would publish a secret that it made.
    #[error("`{image}` would publish a secret that step `{step}` made: `{path}`")]
    Secret {
        /// The step.
        step: String,
        /// Where it was written.
        place: Place,
        /// The image.
        image: String,
        /// Where it lies in the image.
        path: TreePath,
    },
    /// Made again it came out otherwise.
    #[error("Step `{step}` does not make the same each time")]
    Different {
        /// The step.
        step: String,
        /// Where it was written.
        place: Place,
        /// Paths, and how each differs.
        differences: Vec<String>,
    },
    /// What it is made of does not fit, or is not there.
    #[error("Step `{step}`: {source}")]
    Step {
        /// The step.
        step: String,
        /// Where it was written.
        place: Place,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A stack that cannot be.
    #[error(transparent)]
    Stack(#[from] StackError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The sandbox could not do its work.
    #[error(transparent)]
    Sandbox(#[from] reimage_sandbox::Error),
}

impl StepError {
    /// Why `step` cannot be made.
    pub(crate) fn new(
        step: &Step,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Step { step: step.name.clone(), place: step.place.clone(), source: source.into() }
    }

    /// The blob that was gone or damaged when it was used, if that is what failed.
    pub(crate) fn is_miss(&self) -> Option<Digest> {
        miss(self)
    }

    /// Where the step was written, if the error is about one.
    pub fn place(&self) -> Option<&Place> {
        match self {
            Self::Failed { place, .. }
            | Self::NotStarted { place, .. }
            | Self::OutputNotWritten { place, .. }
            | Self::Lacking { place, .. }
            | Self::Foreign { place, .. }
            | Self::Secret { place, .. }
            | Self::Different { place, .. }
            | Self::Step { place, .. }
            | Self::Stack(StackError::NotADirectory { place, .. }) => Some(place),
            Self::Stack(_) | Self::Store(_) | Self::Sandbox(_) => None,
        }
    }
}

fn ended(status: Status, voided: &[String]) -> impl fmt::Display {
    match (status, voided) {
        (Status::Exited(0), voided) => voided.join("; "),
        (Status::Exited(code), []) => format!("its command exited with status {code}"),
        (status @ Status::Signaled(_), []) => format!("its command was {status}"),
        (_, voided) => voided.join("; "),
    }
}

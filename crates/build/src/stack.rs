//! The layers that steps stand on, as diffs, each over those below it.
//!
//! The same step may lie on different things in different stacks, and what it changes there differs; so a
//! layer is made for its place. A stack that only grew by one layer reuses all it had.

use std::sync::Arc;

use reimage_castore::{Diff, Digest, LayError, Store, StoreError, Tree, TreePath, View};
use reimage_oci::CarriedLayer;
use reimage_plan::{Place, Plan, StepId};
use thiserror::Error;

use crate::{base::BaseLayer, debian::STATUS};

/// A stack that cannot be.
#[derive(Debug, Error)]
pub enum StackError {
    /// A file where a layer is wanted.
    #[error("`{step}` is a {kind}, and a layer is a directory")]
    NotADirectory {
        /// The step.
        step: String,
        /// Where it was written.
        place: Place,
        /// What it is.
        kind: &'static str,
    },
    /// A step is in the way of what lies below it.
    #[error("`{step}` cannot be laid here: {source}")]
    Lay {
        /// The step.
        step: String,
        /// Why.
        source: LayError,
    },
    /// A base image upon something else.
    #[error(
        "`{step}` is a base image and `{lower}` lies below it, where its layers mean something else: put it first, or take \
         its files alone, by `re.copy {{ from = {step} }}`"
    )]
    BaseNotLowest {
        /// The step.
        step: String,
        /// What lies below it.
        lower: String,
    },
    /// Two layers that both change the dpkg database, neither made upon the other.
    #[error(
        "`{lower}` and `{upper}` both changed the dpkg database, and neither stands on the other: one would hide what \
         the other recorded; put one on the other with `from`"
    )]
    TwoDatabases {
        /// The lower one.
        lower: String,
        /// The upper one.
        upper: String,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a step gave.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    /// A node: a source, a copy, declared outputs.
    Tree(Arc<Tree>, Digest),
    /// What it changed in the stack it stands on.
    Diff(Arc<Diff>, Digest),
    /// An image: nothing of its own, its layers are its stack.
    Image,
    /// The layers of a base image.
    Base(Arc<Vec<BaseLayer>>),
}

impl Value {
    /// The tree and its digest, if it is one.
    pub(crate) fn tree(&self) -> Option<(Arc<Tree>, Digest)> {
        match self {
            Self::Tree(tree, digest) => Some((tree.clone(), *digest)),
            Self::Diff(..) | Self::Image | Self::Base(_) => None,
        }
    }
}

/// One layer in its place.
#[derive(Debug, Clone)]
pub(crate) struct Layer {
    /// The step that made it.
    pub(crate) step: StepId,
    /// What it changes here.
    pub(crate) diff: Arc<Diff>,
    /// The digest of that.
    pub(crate) digest: Digest,
    /// Whether it is a source tree: its files have the earlier time within the second F.
    pub(crate) source: bool,
    /// The bytes that it is, if it is one of a base image.
    pub(crate) carried: Option<Arc<CarriedLayer>>,
}

/// Layers, lowest first.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stack(pub(crate) Vec<Layer>);

impl Stack {
    /// Puts one layer on top: what `value` of `step` is here. An image adds nothing, its layers are put one by one.
    pub(crate) fn push(
        &mut self,
        plan: &Plan,
        store: &Store,
        step: StepId,
        value: &Value,
    ) -> Result<(), StackError> {
        let (diff, digest) = match value {
            Value::Image => return Ok(()),
            Value::Base(layers) => return self.stand_on(plan, step, layers),
            Value::Diff(diff, digest) if self.steps().iter().eq(plan.base(step)) => {
                (diff.clone(), *digest)
            }
            Value::Diff(diff, _) => kept(store, self.view().rebase(diff))?,
            Value::Tree(tree, _) => {
                let step = plan.step(step);
                let lay = |source| match source {
                    LayError::NotADirectory { kind } => StackError::NotADirectory {
                        step: step.name.clone(),
                        place: step.place.clone(),
                        kind,
                    },
                    source => StackError::Lay { step: step.name.clone(), source },
                };
                kept(store, self.view().lay(tree).map_err(lay)?)?
            }
        };
        self.check_databases(plan, step, &diff)?;
        self.0.push(Layer { step, diff, digest, source: plan.is_source(step), carried: None });
        Ok(())
    }

    /// Begins with the layers of a base image, which are bytes that mean what they say on nothing else.
    fn stand_on(
        &mut self,
        plan: &Plan,
        step: StepId,
        layers: &[BaseLayer],
    ) -> Result<(), StackError> {
        if let Some(lower) = self.0.last() {
            let name = |id| plan.step(id).name.clone();
            return Err(StackError::BaseNotLowest { step: name(step), lower: name(lower.step) });
        }
        self.0.extend(layers.iter().map(|layer| {
            let BaseLayer { diff, digest, carried } = layer.clone();
            Layer { step, diff, digest, source: false, carried: Some(carried) }
        }));
        Ok(())
    }

    /// The steps that its layers are of, lowest first, each once: a base image is several layers of one step.
    pub(crate) fn steps(&self) -> Vec<StepId> {
        let mut steps: Vec<_> = self.0.iter().map(|layer| layer.step).collect();
        steps.dedup();
        steps
    }

    /// Fails if `diff` of `step` changes the list of installed packages as a layer here does that it does not stand on.
    /// Of `Debian` steps the plan has said so before; what commands write is known only now.
    fn check_databases(&self, plan: &Plan, step: StepId, diff: &Diff) -> Result<(), StackError> {
        let status = TreePath::new(STATUS).expect("a constant is a good path");
        if diff.get(&status).is_none() {
            return Ok(());
        }
        match self.0.iter().rfind(|layer| layer.diff.get(&status).is_some()) {
            Some(lower) if !plan.base(step).contains(&lower.step) => {
                let name = |id| plan.step(id).name.clone();
                Err(StackError::TwoDatabases { lower: name(lower.step), upper: name(step) })
            }
            _ => Ok(()),
        }
    }

    /// Lays `tree` on top, as what `step` is given.
    pub(crate) fn lay(
        &mut self,
        store: &Store,
        step: StepId,
        tree: &Tree,
        source: bool,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let (diff, digest) = kept(store, self.view().lay(tree)?)?;
        self.0.push(Layer { step, diff, digest, source, carried: None });
        Ok(())
    }

    /// What it looks like from above.
    pub(crate) fn view(&self) -> View {
        View::new(self.0.iter().map(|layer| layer.diff.clone()).collect())
    }

    /// Digests of the layers, lowest first.
    pub(crate) fn digests(&self) -> Vec<Digest> {
        self.0.iter().map(|layer| layer.digest).collect()
    }
}

fn kept(store: &Store, diff: Diff) -> Result<(Arc<Diff>, Digest), StoreError> {
    let diff = Arc::new(diff);
    let digest = store.put_diff(diff.clone())?;
    Ok((diff, digest))
}

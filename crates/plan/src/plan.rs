//! A spec with its pins: what stands on what, and what each step is, by definition.
//!
//! A *stack* is a list of layers, lowest first, each the step that made it. A step that was put on a stack
//! brings all it stands on; a layer that is there already is not put in twice (`docs/spec.md`, Stacks).

use std::collections::{BTreeMap, BTreeSet};

use reimage_castore::{Digest, Hasher};
use thiserror::Error;

use crate::{
    Debian, DebianPin, DebianRequest, HttpPin, Lock, OciPin, OciRequest, Place, Scripts, Spec,
    Step, StepId, StepKind,
};

/// Version of what a definition says; a change of meaning of any step is a new one.
const DEFINITION: &[u8] = b"reimage definition 2\n";

/// A spec that cannot be a plan.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum PlanError {
    /// A source that the lock does not have.
    #[error("`{what}` is not in reimage.lock")]
    Unpinned {
        /// The step.
        step: String,
        /// Where it was written.
        place: Place,
        /// What it asks for.
        what: String,
    },
    /// Two layers that both change the dpkg database, neither made upon the other.
    #[error(
        "`{lower}` and `{upper}` both install packages, and neither stands on the other: one would hide what the other recorded"
    )]
    TwoDatabases {
        /// The lower one.
        lower: String,
        /// The upper one.
        upper: String,
        /// Where the step that stacks them was written.
        place: Place,
    },
}

/// What the lock says of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pin {
    /// Of `re.Http`.
    Http(HttpPin),
    /// Of `re.Debian`: by what `from` has installed, which is known only when it is there.
    Debian(Vec<(DebianRequest, DebianPin)>),
    /// Of `re.Oci`.
    Oci(OciPin),
}

/// A spec with its stacks and pins.
#[derive(Debug, Clone)]
pub struct Plan {
    spec: Spec,
    bases: Vec<Vec<StepId>>,
    sources: Vec<bool>,
    pins: BTreeMap<StepId, Pin>,
}

impl Plan {
    /// Lays out the stacks of `spec` and finds its pins in `lock`; what is not pinned is left for
    /// [`Self::check_pins`]. Fails if a stack cannot be.
    pub fn new(spec: Spec, lock: &Lock) -> Result<Self, PlanError> {
        let mut plan = Self {
            bases: Vec::with_capacity(spec.steps.len()),
            sources: Vec::new(),
            pins: BTreeMap::new(),
            spec,
        };
        for number in 0..plan.spec.steps.len() {
            let step = &plan.spec.steps[number];
            let base = match &step.kind {
                StepKind::Debian(debian) => plan.stack_of(&debian.from),
                StepKind::Run(run) => plan.stack_of(&run.from),
                StepKind::Copy(copy) => plan.stack_of(&copy.from),
                StepKind::Image(image) => plan.stack_of(&image.layers),
                StepKind::Local(_)
                | StepKind::Files(_)
                | StepKind::Http(_)
                | StepKind::Oci(_)
                | StepKind::Index(_) => Vec::new(),
            };
            if let Some((lower, upper)) = plan.two_databases(&base) {
                let name = |id: StepId| plan.spec.step(id).name.clone();
                let place = step.place.clone();
                return Err(PlanError::TwoDatabases {
                    lower: name(lower),
                    upper: name(upper),
                    place,
                });
            }
            let pin = match &step.kind {
                StepKind::Http(http) => lock.http.get(&http.url).cloned().map(Pin::Http),
                StepKind::Debian(debian) => debian_pins(debian, lock).map(Pin::Debian),
                StepKind::Oci(oci) => lock.oci.get(&OciRequest::new(oci)).cloned().map(Pin::Oci),
                _ => None,
            };
            let source = match &step.kind {
                StepKind::Local(_) | StepKind::Files(_) | StepKind::Http(_) => true,
                StepKind::Copy(copy) => copy.from.iter().all(|from| plan.sources[from.0]),
                _ => false,
            };
            plan.bases.push(base);
            plan.sources.push(source);
            plan.pins.extend(pin.map(|pin| (StepId(number), pin)));
        }
        Ok(plan)
    }

    /// The spec.
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// The step of this number. Panics if it is of another plan.
    pub fn step(&self, id: StepId) -> &Step {
        self.spec.step(id)
    }

    /// All steps in order, each after those it refers to.
    pub fn ids(&self) -> impl DoubleEndedIterator<Item = StepId> + use<> {
        (0..self.spec.steps.len()).map(StepId)
    }

    /// The layers that a step stands on (for an image and a copy: those it is made of), lowest first.
    pub fn base(&self, id: StepId) -> &[StepId] {
        &self.bases[id.0]
    }

    /// The layers that a step is when something stands on it.
    pub fn stack(&self, id: StepId) -> Vec<StepId> {
        match &self.step(id).kind {
            StepKind::Image(_) => self.base(id).to_vec(),
            StepKind::Run(run) if run.outputs.is_some() => vec![id],
            StepKind::Run(_) | StepKind::Debian(_) => [self.base(id), &[id]].concat(),
            _ => vec![id],
        }
    }

    /// Whether a step is a source tree, or a copy of nothing but source trees.
    pub fn is_source(&self, id: StepId) -> bool {
        self.sources[id.0]
    }

    /// The stacks of several steps put on each other.
    pub fn stack_of(&self, steps: &[StepId]) -> Vec<StepId> {
        let mut seen = BTreeSet::new();
        steps.iter().flat_map(|id| self.stack(*id)).filter(|id| seen.insert(*id)).collect()
    }

    /// The images that a step is: itself, or those of an index; none if it is neither.
    pub fn images(&self, id: StepId) -> Vec<StepId> {
        match &self.step(id).kind {
            StepKind::Image(_) => vec![id],
            StepKind::Index(index) => index.images.clone(),
            _ => Vec::new(),
        }
    }

    /// What the lock says of a step.
    pub fn pin(&self, id: StepId) -> Option<&Pin> {
        self.pins.get(&id)
    }

    /// Fails with the first source that the lock does not have.
    pub fn check_pins(&self) -> Result<(), PlanError> {
        match self.unpinned().next() {
            None => Ok(()),
            Some(id) => {
                let Step { name, place, kind } = self.step(id);
                let what = match kind {
                    StepKind::Http(http) => http.url.clone(),
                    StepKind::Debian(debian) => DebianRequest::new(debian, None).describe(),
                    StepKind::Oci(oci) => OciRequest::new(oci).describe(),
                    _ => name.clone(),
                };
                Err(PlanError::Unpinned { step: name.clone(), place: place.clone(), what })
            }
        }
    }

    /// The sources that the lock does not have.
    pub fn unpinned(&self) -> impl Iterator<Item = StepId> + '_ {
        self.ids().filter(|id| self.step(*id).kind.is_pinned() && !self.pins.contains_key(id))
    }

    /// What each step is, by content: two steps of equal definition have equal results. `locals` are the
    /// digests of the `Local` trees; names, places and host paths are in none.
    pub fn definitions(&self, locals: &BTreeMap<StepId, Digest>) -> Vec<Digest> {
        let mut definitions: Vec<Digest> = Vec::with_capacity(self.spec.steps.len());
        for id in self.ids() {
            let kind = &self.step(id).kind;
            let mut hasher = Hasher::new();
            hasher.update(DEFINITION);
            // Without its length the numbers of two fields could run into each other.
            let mut part = |bytes: &[u8]| {
                hasher.update(&(bytes.len() as u64).to_le_bytes());
                hasher.update(bytes);
            };
            part(&postcard::to_stdvec(kind).expect(PURE_DATA));
            for reference in kind.references() {
                part(definitions[reference.0].as_bytes());
            }
            match self.pin(id) {
                None => part(b""),
                Some(Pin::Http(pin)) => part(&postcard::to_stdvec(pin).expect(PURE_DATA)),
                Some(Pin::Oci(pin)) => part(&postcard::to_stdvec(pin).expect(PURE_DATA)),
                Some(Pin::Debian(pins)) => part(&postcard::to_stdvec(pins).expect(PURE_DATA)),
            }
            part(locals.get(&id).map_or(b"".as_slice(), |digest| digest.as_bytes()));
            part(&self.spec.baseline.unwrap_or_default().to_le_bytes());
            definitions.push(hasher.finish());
        }
        definitions
    }

    /// For each step the length of the longest chain of steps above it: what is heaviest runs first.
    pub fn heights(&self) -> Vec<usize> {
        let mut heights = vec![0; self.spec.steps.len()];
        for id in self.ids().rev() {
            for below in self.step(id).kind.references() {
                heights[below.0] = heights[below.0].max(heights[id.0] + 1);
            }
        }
        heights
    }

    fn two_databases(&self, stack: &[StepId]) -> Option<(StepId, StepId)> {
        let debian = |id: &&StepId| matches!(self.step(**id).kind, StepKind::Debian(_));
        let databases: Vec<_> = stack.iter().filter(debian).collect();
        let pair = databases.windows(2).find(|pair| !self.base(*pair[1]).contains(pair[0]))?;
        Some((*pair[0], *pair[1]))
    }
}

/// Why encoding a value cannot fail.
const PURE_DATA: &str = "specs and pins are strings, numbers and lists of them";

fn debian_pins(debian: &Debian, lock: &Lock) -> Option<Vec<(DebianRequest, DebianPin)>> {
    let request = DebianRequest::new(debian, None);
    let same = lock.debian.iter().filter(|(r, _)| {
        r.same_but_installed(&request) && r.installed.is_none() == debian.from.is_empty()
    });
    let pins: Vec<_> = same.map(|(r, p)| (r.clone(), p.clone())).collect();
    (!pins.is_empty()).then_some(pins)
}

impl DebianRequest {
    /// What `debian` asks the archive for, on a root with this package list.
    pub fn new(debian: &Debian, installed: Option<Digest>) -> Self {
        let mut packages = debian.packages.clone();
        packages.sort();
        packages.dedup();
        let root = debian.from.is_empty() && debian.scripts == Scripts::Run;
        let main = || vec!["main".to_owned()];
        let repositories = debian.repositories.iter().map(|r| {
            let components = r.components.clone().unwrap_or_else(main).join(" ");
            let key = Digest::of(r.signed_by.as_bytes()).short();
            format!("{} {} {components} key:{key}", r.url, r.suite)
        });
        Self {
            suite: debian.suite.clone(),
            packages,
            components: debian.components.clone().unwrap_or_else(main),
            essential: debian.essential.unwrap_or(root),
            recommends: debian.recommends,
            repositories: repositories.collect(),
            platform: debian.platform.to_string(),
            installed,
        }
    }
}

#[cfg(test)]
mod tests;

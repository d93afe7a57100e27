//! The memo of an evaluation: what a spec came to, with all that was read for it, so that a build in which nothing
//! changed need not evaluate it again.
//!
//! It holds as long as every file of the import closure has the bytes it had, nothing has come to lie where the
//! library is looked for first, and the path of every `Local` leads where it led.

use std::{
    io::{self, Read},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use reimage_castore::Digest;
use reimage_plan::{Limits, Place, Section, Spec, Step, StepId, StepKind, Target};
use serde::{Deserialize, Serialize};

use crate::{
    diagnostic::Diagnostics,
    evaluate::{Evaluated, Request},
    loader::LARGEST_DATA,
    project::Project,
};

/// Version of what enters a key.
const KEY: &str = "reimage evaluation 2";

impl Request<'_> {
    /// What the memo of this evaluation is found by: all that goes into it but files. `binary` tells this program
    /// from every other: a memo is read by the one that wrote it.
    pub fn key(&self, binary: &str) -> Digest {
        let Self { project, names, sections, every_step, args, sets, platforms, limits: _ } = self;
        let paths = [&project.file, &project.root].map(|path| path.as_os_str().as_bytes());
        let key = (KEY, binary, paths, names, sections, every_step, args, sets, platforms);
        Digest::of(&postcard::to_stdvec(&key).expect("all of it can be encoded"))
    }
}

#[derive(Serialize, Deserialize)]
struct Memo {
    closure: Vec<(PathBuf, Digest)>,
    absent: Vec<PathBuf>,
    locals: Vec<(PathBuf, PathBuf)>,
    visits: usize,
    baseline: Option<u32>,
    steps: Vec<Kept>,
    targets: Vec<(Section, String, usize)>,
}

/// A step, with what its definition leaves out.
#[derive(Serialize, Deserialize)]
struct Kept {
    name: String,
    place: Place,
    kind: StepKind,
    references: Vec<usize>,
    local: Option<(PathBuf, PathBuf)>,
    limits: Option<Limits>,
}

impl Evaluated {
    /// Its memo; none if it has warnings, which are to be seen each time, or a path that is not UTF-8.
    pub fn memo(&self) -> Option<Vec<u8>> {
        if !self.warnings.is_empty() {
            return None;
        }
        let target = |target: &Target| (target.section, target.name.clone(), target.step.0);
        let memo = Memo {
            closure: self.closure.clone(),
            absent: self.absent.clone(),
            locals: self.locals.clone(),
            visits: self.visits,
            baseline: self.spec.baseline,
            steps: self.spec.steps.iter().map(Kept::new).collect(),
            targets: self.spec.targets.iter().map(target).collect(),
        };
        postcard::to_stdvec(&memo).ok()
    }

    /// The evaluation that `memo` is of, if all that it was read from is as it was.
    pub fn of_memo(memo: &[u8], project: &Project) -> Option<Self> {
        let memo: Memo = postcard::from_bytes(memo).ok()?;
        let is_as_it_was = memo.closure.iter().all(|(path, digest)| has(project, path, digest))
            && memo.absent.iter().all(|path| project.root.join(path).symlink_metadata().is_err())
            && memo.locals.iter().all(|(path, real)| {
                fs_err::canonicalize(project.root.join(path)).is_ok_and(|now| now == *real)
            });
        if !is_as_it_was {
            return None;
        }
        let known = |below: usize| move |number: &usize| *number < below;
        let count = memo.steps.len();
        let targets = memo.targets.into_iter().map(|(section, name, step)| {
            Some(Target { section, name, step: StepId(Some(step).filter(known(count))?) })
        });
        let targets = targets.collect::<Option<_>>()?;
        let steps = memo.steps.into_iter().enumerate();
        let steps = steps.map(|(number, kept)| kept.step(number)).collect::<Option<_>>()?;
        Some(Self {
            spec: Spec { baseline: memo.baseline, steps, targets },
            closure: memo.closure,
            absent: memo.absent,
            locals: memo.locals,
            warnings: Diagnostics::default(),
            visits: memo.visits,
        })
    }
}

impl Kept {
    fn new(step: &Step) -> Self {
        let Step { name, place, kind } = step.clone();
        let references = kind.references().into_iter().map(|id| id.0).collect();
        let local = match &kind {
            StepKind::Local(local) => Some((local.path.clone(), local.project.clone())),
            _ => None,
        };
        let limits = match &kind {
            StepKind::Run(run) => Some(run.limits),
            _ => None,
        };
        Self { name, place, kind, references, local, limits }
    }

    /// The step of this number; none if it is not whole.
    fn step(self, number: usize) -> Option<Step> {
        let Self { name, place, mut kind, references, local, limits } = self;
        let before = references.iter().all(|reference| *reference < number);
        if !before || references.len() != kind.references().len() {
            return None;
        }
        let mut references = references.into_iter();
        kind.map_references(|id| references.next().map_or(id, StepId));
        match &mut kind {
            StepKind::Local(step) => (step.path, step.project) = local?,
            StepKind::Run(run) => run.limits = limits?,
            _ => {}
        }
        Some(Step { name, place, kind })
    }
}

/// Whether the file at `path` of the project still has these bytes, and lies inside.
fn has(project: &Project, path: &Path, digest: &Digest) -> bool {
    let read = || {
        let real = fs_err::canonicalize(project.root.join(path))?;
        let metadata = fs_err::metadata(&real)?;
        if !real.starts_with(&project.root) || !metadata.is_file() {
            return Ok(false);
        }
        let mut bytes = Vec::new();
        fs_err::File::open(real)?.take(LARGEST_DATA + 1).read_to_end(&mut bytes)?;
        io::Result::Ok(Digest::of(&bytes) == *digest)
    };
    read().unwrap_or(false)
}

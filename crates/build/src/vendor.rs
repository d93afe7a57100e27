//! Fills a lock bundle: every file that the pins of a spec name, from the store or from where it is pinned.

use std::collections::BTreeSet;

use reimage_castore::Sha256;
use reimage_fetch::{Bundle, BundleWriter};
use reimage_plan::{
    Http, HttpPin, Lock, Oci, OciPin, PackagePin, Pin, Plan, Repository, Spec, StepId, StepKind,
};

use crate::{
    BuildError, Context, StepError, base,
    build::again_if_missing,
    debian,
    engine::Engine,
    sources::{self, blob},
};

/// What is written into a bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vendor {
    /// Every file that is pinned.
    All,
    /// The skeletons of base images: what a layer upon one needs that no server has.
    Skeletons,
}

/// What became of a bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Vendored {
    /// Files that the pins of the specs name.
    pub files: usize,
    /// Their sizes in bytes, together.
    pub bytes: u64,
    /// How many of them were not there, or damaged.
    pub written: usize,
    /// Files that no pin of the lock names any more, and that were removed.
    pub removed: usize,
}

/// A file that a pin names, and the step that it is of.
enum Wanted<'a> {
    Http(StepId, &'a Http, &'a HttpPin),
    Package(StepId, &'a [Repository], &'a PackagePin),
    Oci(StepId, &'a Oci, &'a OciPin, (Sha256, u64)),
}

impl Wanted<'_> {
    fn sha256(&self) -> (Sha256, u64) {
        match self {
            Self::Http(_, _, pin) => (pin.sha256, pin.size),
            Self::Package(_, _, pin) => (pin.sha256, pin.size),
            Self::Oci(_, _, _, file) => *file,
        }
    }
}

/// Writes what `specs` need into `bundle`, and removes what no pin of their lock names. `needed` are the pins of the lock
/// that are theirs.
pub fn vendor(
    what: Vendor,
    specs: &[Spec],
    needed: &Lock,
    lock: &Lock,
    bundle: &Bundle,
    context: &Context<'_>,
) -> Result<Vendored, BuildError> {
    let plans = specs.iter().map(|spec| Plan::new(spec.clone(), needed));
    let plans = plans.collect::<Result<Vec<_>, _>>()?;
    let writer = bundle.writer()?;
    let mut vendored = Vendored::default();
    let mut seen = BTreeSet::new();
    for plan in &plans {
        plan.check_pins()?;
        let mut wanted = wanted(plan);
        if what == Vendor::Skeletons {
            let skeletons = skeletons(needed);
            wanted.retain(|one| skeletons.contains(&one.sha256()));
        }
        wanted.retain(|one| seen.insert(one.sha256()));
        let written = again_if_missing(|| {
            let engine = Engine::new(plan, context)?;
            let put = |one: &Wanted<'_>| put(&engine, &writer, one);
            Ok(context.sources.downloader().parallel(&wanted, put)?)
        })?;
        vendored.files += wanted.len();
        vendored.bytes += wanted.iter().map(|one| one.sha256().1).sum::<u64>();
        vendored.written += written.into_iter().filter(|written| *written).count();
    }
    vendored.removed = writer.keep(&digests(lock))?;
    Ok(vendored)
}

/// Every file that a lock names: its digest and its size in bytes.
pub fn pinned_files(lock: &Lock) -> BTreeSet<(Sha256, u64)> {
    let http = lock.http.values().map(|pin| (pin.sha256, pin.size));
    let packages = lock.debian.values().flat_map(|pin| &pin.packages);
    let images = lock.oci.values().flat_map(oci_files);
    http.chain(images).chain(packages.map(|pin| (pin.sha256, pin.size))).collect()
}

/// The skeletons that a lock names: the digest of each and its size in bytes.
pub fn skeletons(lock: &Lock) -> BTreeSet<(Sha256, u64)> {
    let pinned = lock.oci.values().filter_map(|pin| pin.skeleton.as_ref());
    pinned.map(|skeleton| (skeleton.sha256, skeleton.size)).collect()
}

fn oci_files(pin: &OciPin) -> impl Iterator<Item = (Sha256, u64)> {
    let skeleton = pin.skeleton.as_ref().map(|skeleton| (skeleton.sha256, skeleton.size));
    [(pin.digest, pin.size)].into_iter().chain(pin.blobs.iter().copied()).chain(skeleton)
}

fn digests(lock: &Lock) -> BTreeSet<Sha256> {
    pinned_files(lock).into_iter().map(|(sha256, _)| sha256).collect()
}

fn wanted(plan: &Plan) -> Vec<Wanted<'_>> {
    let mut wanted = Vec::new();
    for id in plan.ids() {
        match (&plan.step(id).kind, plan.pin(id)) {
            (StepKind::Http(http), Some(Pin::Http(pin))) => {
                wanted.push(Wanted::Http(id, http, pin));
            }
            (StepKind::Oci(oci), Some(Pin::Oci(pin))) => {
                wanted.extend(oci_files(pin).map(|file| Wanted::Oci(id, oci, pin, file)));
            }
            (StepKind::Debian(step), Some(Pin::Debian(pins))) => {
                let packages = pins.iter().flat_map(|(_, pin)| &pin.packages);
                wanted.extend(packages.map(|pin| Wanted::Package(id, &step.repositories, pin)));
            }
            _ => {}
        }
    }
    wanted
}

/// Puts one file into the bundle, if it is not there and intact.
fn put(
    engine: &Engine<'_>,
    writer: &BundleWriter<'_>,
    wanted: &Wanted<'_>,
) -> Result<bool, StepError> {
    let (sha256, _) = wanted.sha256();
    if writer.has_intact(&sha256) {
        return Ok(false);
    }
    let (id, made) = match *wanted {
        Wanted::Http(id, http, pin) => (id, sources::fetched(engine, id, http, pin)?),
        Wanted::Oci(id, oci, pin, file) => (id, base::fetched(engine, id, oci, pin, file)?),
        Wanted::Package(id, repositories, pin) => {
            (id, debian::fetched(engine, id, repositories, pin)?)
        }
    };
    let (digest, size) = blob(engine, id, &made)?;
    let reader = engine.store().reader(&digest, size)?;
    writer.put(&sha256, reader).map_err(|error| engine.error(id, error))?;
    Ok(true)
}

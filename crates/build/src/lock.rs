//! Pins the sources of a spec: what is pinned stays, what is new or is to be updated is looked up.
//!
//! What packages a root lacks depends on what it has, so a `Debian` upon a root makes that root first.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, SystemTime},
};

use reimage_castore::{Digest, Sha256};
use reimage_fetch::debian::{DebianQuery, Request};
use reimage_plan::{
    Debian, DebianPin, DebianRequest, Http, HttpPin, Lock, Oci, OciPin, OciRequest, PackagePin,
    Plan, Spec, StepId, StepKind,
};

use crate::{
    BuildError, Context, Event, StepError, base,
    build::{local_trees, make_all},
    debian,
    engine::Engine,
    skeleton, sources,
};

/// What is to be looked up again although it is pinned.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Update {
    /// Nothing.
    #[default]
    Nothing,
    /// Everything.
    All,
    /// The steps of these names.
    Steps(Vec<String>),
}

impl Update {
    fn wants(&self, step: &str) -> bool {
        match self {
            Self::Nothing => false,
            Self::All => true,
            // A step for several platforms is meant for all of them: `steps.base (linux/arm64)`.
            Self::Steps(names) => names.iter().any(|name| {
                step.strip_prefix(name.as_str())
                    .is_some_and(|r| r.is_empty() || r.starts_with(" ("))
            }),
        }
    }
}

/// A lock with all pins of a spec.
#[derive(Debug, Clone)]
pub struct Locked {
    /// All pins: those of this spec, and those of other specs that the lock held.
    pub lock: Lock,
    /// The pins of this spec.
    pub needed: Lock,
}

/// Something that a new lock says and the old one did not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LockChange {
    /// A URL that was not pinned.
    HttpAdded {
        /// The URL.
        url: String,
        /// What it gives.
        new: HttpPin,
    },
    /// A URL that gives something else.
    HttpMoved {
        /// The URL.
        url: String,
        /// What it gave.
        old: HttpPin,
        /// What it gives.
        new: HttpPin,
    },
    /// A URL that is not pinned any more.
    HttpRemoved {
        /// The URL.
        url: String,
    },
    /// An image that was not pinned.
    OciAdded {
        /// Its name.
        image: String,
        /// Digest of its manifest.
        new: Sha256,
    },
    /// A name that means another image.
    OciMoved {
        /// The name.
        image: String,
        /// Digest of the manifest that it meant.
        old: Sha256,
        /// Of the one that it means.
        new: Sha256,
    },
    /// An image whose skeleton was not pinned.
    OciSkeleton {
        /// Its name.
        image: String,
    },
    /// An image that is not pinned any more.
    OciRemoved {
        /// Its name.
        image: String,
    },
    /// A request for packages that was not pinned.
    DebianAdded {
        /// The request, for people.
        request: String,
        /// How many packages it means.
        packages: usize,
    },
    /// A request for packages that is not pinned any more.
    DebianRemoved {
        /// The request, for people.
        request: String,
    },
    /// A package of a request.
    Package {
        /// The request, for people.
        request: String,
        /// Its name.
        name: String,
        /// Its version before; none: it is new.
        old: Option<String>,
        /// Its version now; none: it is gone.
        new: Option<String>,
    },
}

/// Pins every remote source of `spec`. `old` is what was pinned before, by this spec or others.
pub fn lock(
    spec: &Spec,
    old: &Lock,
    update: &Update,
    context: &Context<'_>,
) -> Result<Locked, BuildError> {
    let (mut lock, mut needed) = (old.clone(), Lock::default());
    for (number, step) in spec.steps.iter().enumerate() {
        let update = update.wants(&step.name);
        match &step.kind {
            StepKind::Http(Http { url, .. }) => {
                // Two steps may ask for the same.
                let new =
                    !lock.http.contains_key(url) || (update && !needed.http.contains_key(url));
                if new {
                    let below = Below::new(spec, number, &lock, context)?;
                    let pin = sources::pin_http(&below.engine()?, StepId(number), url)?;
                    lock.http.insert(url.clone(), pin);
                }
                needed.http.insert(url.clone(), lock.http[url].clone());
            }
            StepKind::Oci(oci) => {
                let request = OciRequest::new(oci);
                let old = lock.oci.get(&request);
                let new = old.is_none() || (update && !needed.oci.contains_key(&request));
                if new || old.is_some_and(skeleton::is_lacking) {
                    let without = Lock { oci: BTreeMap::new(), ..lock.clone() };
                    let below = Below::new(spec, number, &without, context)?;
                    let old = old.filter(|_| !new);
                    let pin = pin_image(&below.engine()?, StepId(number), oci, old)?;
                    lock.oci.insert(request.clone(), pin);
                }
                needed.oci.insert(request.clone(), lock.oci[&request].clone());
            }
            StepKind::Debian(debian) => {
                let (request, pin) = pin_debian(spec, number, debian, update, &lock, context)?;
                lock.debian.insert(request.clone(), pin.clone());
                needed.debian.insert(request, pin);
            }
            _ => {}
        }
    }
    Ok(Locked { lock, needed })
}

/// The plan of a step and those before it, all pinned but itself.
struct Below<'a> {
    plan: Plan,
    context: &'a Context<'a>,
}

impl<'a> Below<'a> {
    fn new(
        spec: &Spec,
        number: usize,
        lock: &Lock,
        context: &'a Context<'a>,
    ) -> Result<Self, BuildError> {
        let steps = spec.steps[..=number].to_vec();
        let spec = Spec { steps, targets: Vec::new(), ..spec.clone() };
        Ok(Self { plan: Plan::new(spec, lock)?, context })
    }

    fn engine(&self) -> Result<Engine<'_>, StepError> {
        Engine::new(&self.plan, self.context)
    }
}

fn pin_debian(
    spec: &Spec,
    number: usize,
    debian: &Debian,
    update: bool,
    lock: &Lock,
    context: &Context<'_>,
) -> Result<(DebianRequest, DebianPin), BuildError> {
    let id = StepId(number);
    let below = Below::new(spec, number, lock, context)?;
    let engine = below.engine()?;
    let (installed, status) = match debian.from.iter().max() {
        None => (None, None),
        Some(top) => {
            // The root is made of steps that are pinned by now.
            let root = Below::new(spec, top.0, lock, context)?;
            let engine = root.engine()?;
            make_all(&engine, &local_trees(&root.plan, context)?, None)?;
            let view = engine.stack_for(&debian.from)?.view();
            (debian::installed(&engine, &view)?, Some(engine.text(&view, debian::STATUS)?))
        }
    };
    let request = DebianRequest::new(debian, installed);
    if let Some(pin) = lock.debian.get(&request).filter(|_| !update) {
        return Ok((request, pin.clone()));
    }
    // What was chosen for this suite before is chosen again where it fits.
    let same_suite = lock.debian.iter().filter(|(other, _)| {
        (&other.suite, &other.platform) == (&request.suite, &request.platform)
    });
    let keep: Vec<PackagePin> = if update {
        Vec::new()
    } else {
        same_suite.flat_map(|(_, pin)| pin.packages.clone()).collect()
    };
    let architecture = debian.platform.debian().ok_or_else(|| {
        engine.error(id, format!("Debian has no packages for `{}`", debian.platform))
    })?;
    let archives = engine.archives().map_err(|e| engine.error(id, e))?;
    let newest_seen = newest_seen(context, &request.suite)?;
    let query = DebianQuery {
        suite: &request.suite,
        components: &request.components,
        repositories: &debian.repositories,
        architecture,
        request: Request {
            packages: debian.packages.clone(),
            essential: request.essential,
            recommends: request.recommends,
            keep: Vec::new(),
        },
        installed: status.as_deref(),
        keep: &keep,
        now: context.now,
        newest_seen: &newest_seen,
    };
    let locked = archives.lock(&query).map_err(|e| engine.error(id, e))?;
    for message in locked.warnings {
        engine.say(Event::Warning { name: engine.name(id), message });
    }
    remember(context, &locked.dates)?;
    Ok((request, locked.pin))
}

/// The pin of an image; `old` is what only lacks a skeleton, and is as good without one.
fn pin_image(
    engine: &Engine<'_>,
    id: StepId,
    oci: &Oci,
    old: Option<&OciPin>,
) -> Result<OciPin, StepError> {
    let Some(old) = old else { return base::pin(engine, id, oci) };
    base::with_skeleton(engine, id, oci, old.clone()).or_else(|error| {
        if error.is_miss().is_some() {
            return Err(error);
        }
        let message = format!("its skeleton is not pinned: {}", sources::causes(&error));
        engine.say(Event::Warning { name: engine.name(id), message });
        Ok(old.clone())
    })
}

/// The newest date of each suite that this machine has seen: an older one is a mirror that was rolled back.
fn newest_seen(
    context: &Context<'_>,
    suite: &str,
) -> Result<BTreeMap<String, SystemTime>, BuildError> {
    let mut seen = BTreeMap::new();
    for name in [suite.to_owned(), format!("{suite}-updates"), format!("{suite}-security")] {
        let Some(bytes) = context.store.memo(&date_key(&name))? else { continue };
        if let Ok(seconds) = <[u8; 8]>::try_from(bytes.as_slice()) {
            seen.insert(
                name,
                SystemTime::UNIX_EPOCH + Duration::from_secs(u64::from_le_bytes(seconds)),
            );
        }
    }
    Ok(seen)
}

fn remember(context: &Context<'_>, dates: &BTreeMap<String, SystemTime>) -> Result<(), BuildError> {
    for (suite, date) in dates {
        let seconds = date.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_secs());
        context.store.put_memo(&date_key(suite), &seconds.to_le_bytes())?;
    }
    Ok(())
}

fn date_key(suite: &str) -> Digest {
    Digest::of(format!("reimage debian date 1\n{suite}").as_bytes())
}

impl LockChange {
    /// All that `new` says and `old` did not, in the order of the requests.
    pub fn between(old: &Lock, new: &Lock) -> Vec<Self> {
        let mut changes = http_changes(old, new);
        changes.extend(oci_changes(old, new));
        changes.extend(debian_changes(old, new));
        changes
    }
}

fn http_changes(old: &Lock, new: &Lock) -> Vec<LockChange> {
    let urls: BTreeSet<_> = old.http.keys().chain(new.http.keys()).collect();
    let change = |url: &String| {
        let (old, new, url) = (old.http.get(url).cloned(), new.http.get(url).cloned(), url.clone());
        Some(match (old, new) {
            (None, Some(new)) => LockChange::HttpAdded { url, new },
            (Some(_), None) => LockChange::HttpRemoved { url },
            (Some(old), Some(new)) if old != new => LockChange::HttpMoved { url, old, new },
            _ => return None,
        })
    };
    urls.into_iter().filter_map(change).collect()
}

fn oci_changes(old: &Lock, new: &Lock) -> Vec<LockChange> {
    let requests: BTreeSet<_> = old.oci.keys().chain(new.oci.keys()).collect();
    let change = |request: &OciRequest| {
        let digest = |lock: &Lock| lock.oci.get(request).map(|pin| pin.digest);
        let skeleton = |lock: &Lock| lock.oci.get(request).and_then(|pin| pin.skeleton.clone());
        let image = request.describe();
        Some(match (digest(old), digest(new)) {
            (None, Some(new)) => LockChange::OciAdded { image, new },
            (Some(_), None) => LockChange::OciRemoved { image },
            (Some(old), Some(new)) if old != new => LockChange::OciMoved { image, old, new },
            (Some(_), Some(_)) if skeleton(old) != skeleton(new) => {
                LockChange::OciSkeleton { image }
            }
            _ => return None,
        })
    };
    requests.into_iter().filter_map(change).collect()
}

fn debian_changes(old: &Lock, new: &Lock) -> Vec<LockChange> {
    let mut changes = Vec::new();
    let gone = |request: &DebianRequest| {
        let told = |other: &DebianRequest| other.same_but_installed(request);
        !new.debian.contains_key(request) && !new.debian.keys().any(told)
    };
    for request in old.debian.keys().filter(|request| gone(request)) {
        changes.push(LockChange::DebianRemoved { request: request.describe() });
    }
    for (request, pin) in &new.debian {
        // A request that changed is best told as what became of its packages.
        let before = old.debian.get(request).or_else(|| {
            old.debian
                .iter()
                .find(|(other, _)| other.same_but_installed(request))
                .map(|(_, pin)| pin)
        });
        let shown = request.describe();
        match before {
            None => changes
                .push(LockChange::DebianAdded { request: shown, packages: pin.packages.len() }),
            Some(before) => changes.extend(moved(&shown, before, pin)),
        }
    }
    changes
}

fn moved(request: &str, before: &DebianPin, after: &DebianPin) -> Vec<LockChange> {
    let versions = |pin: &DebianPin| -> BTreeMap<String, String> {
        pin.packages.iter().map(|p| (p.name.clone(), p.version.clone())).collect()
    };
    let (before, after) = (versions(before), versions(after));
    let names: BTreeSet<_> = before.keys().chain(after.keys()).collect();
    let change = |name: &String| {
        let (old, new) = (before.get(name).cloned(), after.get(name).cloned());
        let (request, name) = (request.to_owned(), name.clone());
        (old != new).then_some(LockChange::Package { request, name, old, new })
    };
    names.into_iter().filter_map(change).collect()
}

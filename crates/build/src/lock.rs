//! Pins the sources of a spec: what is pinned stays, what is new or is to be updated is looked up.
//!
//! What packages a root lacks depends on what it has, so a `Debian` upon a root makes that root first.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use reimage_castore::Digest;
use reimage_fetch::debian::{DebianQuery, Request};
use reimage_plan::{
    Debian, DebianPin, DebianRequest, Lock, PackagePin, Plan, Spec, StepId, StepKind,
};

use crate::{
    BuildError, Context, Event, StepError,
    build::{local_trees, make_all},
    debian,
    engine::Engine,
    sources,
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
            Self::Steps(names) => names.iter().any(|name| name == step),
        }
    }
}

/// A lock, and what is different from the one before.
#[derive(Debug, Clone)]
pub struct Locked {
    /// All pins: those of this spec, and those of other specs that the lock held.
    pub lock: Lock,
    /// What moved, in the order of the requests.
    pub changes: Vec<LockChange>,
}

/// Something that a new lock says and the old one did not.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum LockChange {
    /// A URL that was not pinned.
    HttpAdded {
        /// The URL.
        url: String,
    },
    /// A URL that gives something else.
    HttpMoved {
        /// The URL.
        url: String,
    },
    /// A request for packages that was not pinned.
    DebianAdded {
        /// The request, for people.
        request: String,
        /// How many packages it means.
        packages: usize,
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
    let mut lock = old.clone();
    for (number, step) in spec.steps.iter().enumerate() {
        let update = update.wants(&step.name);
        match &step.kind {
            StepKind::Http(http) if update || !lock.http.contains_key(&http.url) => {
                let below = Below::new(spec, number, &lock, context)?;
                let pin = sources::pin_http(&below.engine()?, StepId(number), &http.url)?;
                lock.http.insert(http.url.clone(), pin);
            }
            StepKind::Debian(debian) => {
                let (request, pin) = pin_debian(spec, number, debian, update, &lock, context)?;
                if update {
                    // A root that has something else now asks for something else.
                    lock.debian.retain(|other, _| !other.same_but_installed(&request));
                }
                lock.debian.insert(request, pin);
            }
            _ => {}
        }
    }
    let changes = changes(old, &lock);
    Ok(Locked { lock, changes })
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
    let same_suite = lock.debian.iter().filter(|(other, _)| other.suite == request.suite);
    let keep: Vec<PackagePin> = if update {
        Vec::new()
    } else {
        same_suite.flat_map(|(_, pin)| pin.packages.clone()).collect()
    };
    let archives = engine.archives().map_err(|e| engine.error(id, e))?;
    let newest_seen = newest_seen(context, &request.suite)?;
    let query = DebianQuery {
        suite: &request.suite,
        components: &request.components,
        repositories: &debian.repositories,
        architecture: "amd64",
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

/// The newest date of each suite that this machine has seen: an older one is a mirror that was rolled back.
fn newest_seen(
    context: &Context<'_>,
    suite: &str,
) -> Result<BTreeMap<String, SystemTime>, BuildError> {
    let mut seen = BTreeMap::new();
    for name in [suite.to_owned(), format!("{suite}-updates"), format!("{suite}-security")] {
        let Some(bytes) = context.store.target(&date_key(&name))? else { continue };
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
        context.store.put_target(&date_key(suite), &seconds.to_le_bytes())?;
    }
    Ok(())
}

fn date_key(suite: &str) -> Digest {
    Digest::of(format!("reimage debian date 1\n{suite}").as_bytes())
}

fn changes(old: &Lock, new: &Lock) -> Vec<LockChange> {
    let mut changes = Vec::new();
    for (url, pin) in &new.http {
        match old.http.get(url) {
            None => changes.push(LockChange::HttpAdded { url: url.clone() }),
            Some(before) if before != pin => {
                changes.push(LockChange::HttpMoved { url: url.clone() });
            }
            Some(_) => {}
        }
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
    let names: std::collections::BTreeSet<_> = before.keys().chain(after.keys()).collect();
    let change = |name: &String| {
        let (old, new) = (before.get(name).cloned(), after.get(name).cloned());
        let (request, name) = (request.to_owned(), name.clone());
        (old != new).then_some(LockChange::Package { request, name, old, new })
    };
    names.into_iter().filter_map(change).collect()
}

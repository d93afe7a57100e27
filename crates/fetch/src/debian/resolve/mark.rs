//! apt's greedy marking: which packages a request installs, chosen the way `apt-get install` chooses.
//!
//! A satisfiability solver finds *a* solution; people expect apt's. apt goes depth first: it marks a package, then
//! for each dependency that nothing marked satisfies, the first alternative that can be marked in turn. What is asked
//! for by name is protected, and so is the only way to satisfy what is protected; protected packages are marked
//! before others are chosen, so that they serve as alternatives. A package whose dependencies fail is unmarked, and
//! the next alternative tried.

use crate::debian::universe::{Dependency, Kind, PkgId, Target, Universe, VerId, Version};
use std::cmp::Ordering;

mod conflicts;
mod install;
mod repair;

/// As deep as apt follows dependencies.
const MAX_DEPTH: usize = 3000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Keep,
    Install,
    Delete,
}

/// What is to become of one package.
#[derive(Clone, Debug)]
struct State {
    mode: Mode,
    install: Option<VerId>,
    candidate: Option<VerId>,
    protected: bool,
    requested: bool,
}

/// Who asks for a mark: the user, who is always right, or a dependency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    User,
    Dependency,
}

/// Which version of a package a look-up is about.
#[derive(Clone, Copy)]
enum Which {
    Install,
    Candidate,
    Installed,
}

/// The marks on a universe.
pub(super) struct Marks<'u> {
    universe: &'u Universe,
    states: Vec<State>,
    /// The packages that the root has.
    present: Vec<PkgId>,
    recommends: bool,
}

impl<'u> Marks<'u> {
    /// Starts with what is installed.
    pub(super) fn new(universe: &'u Universe, recommends: bool) -> Self {
        let count = u32::try_from(universe.packages.len()).expect("ids are 32 bits wide");
        let ids = (0..count).map(PkgId);
        let present = ids.clone().filter(|id| universe.package(*id).installed.is_some()).collect();
        let states = ids.map(|id| State {
            mode: Mode::Keep,
            install: universe.package(id).installed,
            candidate: universe.candidate(id),
            protected: false,
            requested: false,
        });
        Self { universe, states: states.collect(), present, recommends }
    }

    /// Asks for exactly this version of a package.
    pub(super) fn set_candidate(&mut self, package: PkgId, version: VerId) {
        self.state_mut(package).candidate = Some(version);
    }

    /// Leaves a package out of consideration.
    pub(super) fn rule_out(&mut self, package: PkgId) {
        self.state_mut(package).candidate = None;
    }

    /// Marks what the user asks for: all of it first, then what each needs.
    pub(super) fn install_all(&mut self, packages: &[PkgId]) {
        for &package in packages {
            self.state_mut(package).protected = true;
            self.state_mut(package).requested = true;
            self.install(package, false, 0, By::User);
        }
        for &package in packages {
            self.install(package, true, 0, By::User);
        }
        self.repair();
    }

    /// Returns the first critical dependency of a version that is not satisfied.
    fn first_broken(&self, id: VerId) -> Option<&'u Dependency> {
        let dependencies = &self.version(id).dependencies;
        dependencies.iter().find(|one| one.kind != Kind::Recommends && !self.satisfied(id, one))
    }

    /// Returns the version that will be there in the end.
    pub(super) fn chosen(&self, package: PkgId) -> Option<VerId> {
        self.state(package).install
    }

    /// Returns the versions that are to be installed, in the universe's order.
    pub(super) fn installs(&self) -> Vec<VerId> {
        let marked = self.states.iter().filter(|state| state.mode == Mode::Install);
        marked.filter_map(|state| state.install).collect()
    }

    /// Returns the installed packages that are to go.
    pub(super) fn deletes(&self) -> Vec<PkgId> {
        (0u32..)
            .zip(&self.states)
            .filter(|(_, state)| state.mode == Mode::Delete)
            .map(|(id, _)| PkgId(id))
            .collect()
    }

    /// Returns whether what is marked satisfies a dependency (for a negative one: nothing marked hits it).
    pub(super) fn satisfied(&self, owner: VerId, dependency: &Dependency) -> bool {
        let hit = dependency
            .alternatives
            .iter()
            .any(|target| self.hit(owner, dependency.kind, target, Which::Install));
        hit != dependency.kind.is_negative()
    }

    /// Returns the first critical dependency of what is to be installed that is not satisfied.
    pub(super) fn broken(&self) -> Option<(VerId, &'u Dependency)> {
        let mut marked = self.states.iter().filter_map(|state| state.install);
        marked.find_map(|id| self.first_broken(id).map(|dependency| (id, dependency)))
    }

    /// Returns the versions marked for installation that a negative dependency hits.
    pub(super) fn hits(&self, owner: VerId, dependency: &Dependency) -> Vec<VerId> {
        dependency
            .alternatives
            .iter()
            .flat_map(|target| self.targets(owner, dependency.kind, target, Which::Install))
            .collect()
    }

    fn state(&self, package: PkgId) -> &State {
        &self.states[package.0 as usize]
    }

    fn state_mut(&mut self, package: PkgId) -> &mut State {
        &mut self.states[package.0 as usize]
    }

    fn version(&self, id: VerId) -> &'u Version {
        self.universe.version_of(id)
    }

    fn installed(&self, package: PkgId) -> Option<VerId> {
        self.universe.package(package).installed
    }

    fn which(&self, package: PkgId, which: Which) -> Option<VerId> {
        match which {
            Which::Install => self.state(package).install,
            Which::Candidate => self.state(package).candidate,
            Which::Installed => self.installed(package),
        }
    }

    /// Returns the versions that a target names, in the universe's order; a package never conflicts with itself.
    fn targets(&self, owner: VerId, kind: Kind, target: &Target, which: Which) -> Vec<VerId> {
        let owner = self.version(owner).package;
        let ignored = |package| kind.is_negative() && package == owner;
        let mut found = Vec::new();
        if !ignored(target.package)
            && let Some(id) = self.which(target.package, which)
            && target.admits(Some(&self.version(id).number))
        {
            found.push(id);
        }
        for (id, version) in &self.universe.package(target.package).providers {
            let provider = self.version(*id).package;
            if !ignored(provider)
                && self.which(provider, which) == Some(*id)
                && target.admits(version.as_ref())
                && !found.contains(id)
            {
                found.push(*id);
            }
        }
        found
    }

    fn hit(&self, owner: VerId, kind: Kind, target: &Target, which: Which) -> bool {
        !self.targets(owner, kind, target, which).is_empty()
    }

    fn important(&self, kind: Kind) -> bool {
        kind != Kind::Recommends || self.recommends
    }

    /// Returns whether what is marked for a package lacks a dependency, recommended ones included if they count.
    fn is_broken(&self, package: PkgId) -> bool {
        self.state(package).install.is_some_and(|id| {
            let dependencies = &self.version(id).dependencies;
            dependencies.iter().any(|one| self.important(one.kind) && !self.satisfied(id, one))
        })
    }

    /// Returns whether a dependency's mark may change a package.
    fn may_change(&self, package: PkgId, mode: Mode, depth: usize, by: By) -> bool {
        if depth > MAX_DEPTH || self.universe.package(package).versions.is_empty() {
            return false;
        }
        let state = self.state(package);
        if by == By::User || state.mode == mode {
            return true;
        }
        let entry = self.universe.package(package);
        !state.protected && !(mode == Mode::Delete && (entry.essential || entry.important))
    }

    fn keep(&mut self, package: PkgId, depth: usize) -> bool {
        if !self.may_change(package, Mode::Keep, depth, By::Dependency) {
            return false;
        }
        let installed = self.installed(package);
        let state = self.state_mut(package);
        if state.mode != Mode::Keep {
            state.mode = Mode::Keep;
            state.install = installed;
        }
        true
    }

    fn may_delete(&self, package: PkgId, depth: usize) -> bool {
        let requested_anew = self.installed(package).is_none()
            && self.state(package).install.is_some()
            && self.state(package).requested;
        self.may_change(package, Mode::Delete, depth, By::Dependency) && !requested_anew
    }

    fn delete(&mut self, package: PkgId, depth: usize) -> bool {
        if !self.may_change(package, Mode::Delete, depth, By::Dependency) {
            return false;
        }
        let state = self.state(package);
        if state.mode == Mode::Delete || state.install.is_none() {
            return true;
        }
        if !self.may_delete(package, depth) {
            return false;
        }
        let mode = if self.installed(package).is_none() { Mode::Keep } else { Mode::Delete };
        let state = self.state_mut(package);
        state.mode = mode;
        state.install = None;
        true
    }

    fn ruled_out(&self, package: PkgId) -> bool {
        let state = self.state(package);
        let absent = state.mode == Mode::Keep && self.installed(package).is_none();
        state.protected && (state.mode == Mode::Delete || absent)
    }

    /// Returns what could satisfy a dependency (or is hit by a negative one), in apt's order of preference.
    fn solutions(&self, owner: VerId, dependency: &Dependency, which: Which) -> Vec<VerId> {
        let (mut present, mut new) = (Vec::new(), Vec::new());
        for target in &dependency.alternatives {
            let mut found = self.targets(owner, dependency.kind, target, which);
            found.sort_by(|a, b| self.preference(target.package, *a, *b));
            for id in found {
                let there = self.installed(self.version(id).package).is_some();
                let list = if there { &mut present } else { &mut new };
                list.push(id);
            }
        }
        present.append(&mut new);
        present.dedup();
        if !dependency.kind.is_negative() {
            present.retain(|id| !self.ruled_out(self.version(*id).package));
        }
        present
    }

    fn preference(&self, target: PkgId, a: VerId, b: VerId) -> Ordering {
        let (a, b) = (self.version(a), self.version(b));
        let wins = |wins: &dyn Fn(&Version) -> bool| wins(b).cmp(&wins(a));
        let entry = |version: &Version| self.universe.package(version.package);
        wins(&|version| self.state(version.package).protected)
            .then_with(|| wins(&|version| entry(version).installed.is_some()))
            .then_with(|| wins(&|version| version.package == target))
            .then_with(|| wins(&|version| entry(version).essential))
            .then_with(|| wins(&|version| entry(version).important))
            .then_with(|| a.priority.cmp(&b.priority))
            .then_with(|| b.package.cmp(&a.package))
    }
}

//! apt's greedy marking: which packages a request installs, chosen the way `apt-get install` chooses.
//!
//! A satisfiability solver finds *a* solution; people expect apt's. apt goes depth first: it marks a package, then
//! for each dependency that nothing marked satisfies, the first alternative that can be marked in turn. What is asked
//! for by name is protected, and so is the only way to satisfy what is protected; protected packages are marked
//! before others are chosen, so that they serve as alternatives. A package whose dependencies fail is unmarked, and
//! the next alternative tried.

use crate::debian::universe::{Dependency, Kind, PkgId, Target, Universe, VerId, Version};
use std::cmp::Ordering;

/// As deep as apt follows dependencies.
const MAX_DEPTH: usize = 3000;
/// How often what is broken is mended before it counts as broken for good.
const MAX_REPAIRS: usize = 1000;

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

    /// Mends what greed has broken, as apt's problem resolver does after marking: a package that lost a dependency
    /// to a conflict gets another alternative, and of two that conflict the one goes that nobody asked for.
    fn repair(&mut self) {
        for _ in 0..MAX_REPAIRS {
            let Some((owner, dependency)) = self.broken() else { return };
            let mended = if dependency.kind.is_negative() {
                self.part(owner, dependency)
            } else {
                self.supply(owner, dependency)
            };
            if !mended {
                return;
            }
        }
    }

    /// Installs the first alternative that leaves less broken than before.
    fn supply(&mut self, owner: VerId, dependency: &Dependency) -> bool {
        let before = self.count_broken();
        for id in self.solutions(owner, dependency, Which::Candidate) {
            let saved = self.states.clone();
            let package = self.version(id).package;
            if self.install(package, true, 0, By::Dependency) && self.count_broken() < before {
                return true;
            }
            self.states = saved;
        }
        // Whoever needs in vain goes, if nobody asked for it; who needs that one comes next.
        self.drop_unasked(self.version(owner).package)
    }

    /// Parts two packages that conflict.
    fn part(&mut self, owner: VerId, dependency: &Dependency) -> bool {
        let hit = self.hits(owner, dependency).into_iter().map(|id| self.version(id).package);
        hit.collect::<Vec<_>>().into_iter().any(|package| self.drop_unasked(package))
            || self.drop_unasked(self.version(owner).package)
    }

    /// Takes a package out of consideration that is neither asked for nor there.
    fn drop_unasked(&mut self, package: PkgId) -> bool {
        let free = !self.state(package).protected && self.installed(package).is_none();
        if free {
            let state = self.state_mut(package);
            (state.mode, state.install, state.candidate) = (Mode::Keep, None, None);
        }
        free
    }

    fn count_broken(&self) -> usize {
        let marked = self.states.iter().filter_map(|state| state.install);
        marked.filter(|id| self.first_broken(*id).is_some()).count()
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

    /// Marks a package and, with `follow`, what it needs; returns whether that worked.
    fn install(&mut self, package: PkgId, follow: bool, depth: usize, by: By) -> bool {
        let installed = self.installed(package);
        let state = self.state(package);
        let kept = state.protected
            && state.mode == Mode::Keep
            && state.candidate.is_some()
            && state.candidate == installed;
        if !kept && !self.may_change(package, Mode::Install, depth, by) {
            return false;
        }
        let Some(candidate) = self.state(package).candidate else { return false };
        if !self.state(package).protected && !self.is_broken(package) {
            if Some(candidate) == installed {
                return self.state(package).install.is_some() || self.keep(package, depth + 1);
            }
            if self.state(package).mode == Mode::Install {
                return true;
            }
        }
        if follow && !self.satisfiable(package, candidate) {
            return false;
        }
        if by == By::User {
            self.mark(package);
        }
        if !follow {
            if by == By::Dependency {
                self.mark(package);
            }
            return true;
        }
        self.install_following(package, candidate, depth, by)
    }

    fn install_following(
        &mut self,
        package: PkgId,
        candidate: VerId,
        depth: usize,
        by: By,
    ) -> bool {
        let protected = self.state(package).protected;
        let fail_early = !protected && by == By::Dependency;
        let mut failed = false;
        let wanted: Vec<&Dependency> = self
            .version(candidate)
            .dependencies
            .iter()
            .filter(|one| {
                (protected || !self.satisfied(candidate, one)) && self.important(one.kind)
            })
            .collect();
        let mut clear = Clearing {
            owner: candidate,
            depth,
            lenient: protected || by == By::User,
            protect: protected,
            upgrade: Vec::new(),
            remove: Vec::new(),
        };
        for dependency in wanted.iter().filter(|one| one.kind.is_negative()) {
            if !self.clear_conflict(&mut clear, dependency) {
                failed = true;
                if fail_early {
                    return false;
                }
            }
        }
        let Clearing { mut upgrade, remove, .. } = clear;
        self.collect_dependents(candidate, &mut upgrade);
        if by == By::Dependency {
            self.mark(package);
        }

        // Nothing that follows from the package may undo it.
        self.state_mut(package).protected = true;
        self.upgrade_siblings(package, candidate, depth);
        failed |= !self.upgrade_or_remove(&upgrade, depth, protected, clear_lenient(protected, by));
        if !(failed && fail_early) {
            failed |= !self.install_dependencies(package, candidate, &wanted, depth, protected, by);
        }
        if !(failed && fail_early) {
            for other in remove {
                failed |= !self.delete(other, depth);
                if failed && fail_early {
                    break;
                }
            }
        }
        self.state_mut(package).protected = protected;
        if failed && fail_early {
            self.discard_install(package);
        }
        !failed
    }

    fn mark(&mut self, package: PkgId) {
        let installed = self.installed(package);
        let state = self.state_mut(package);
        if state.protected && state.install == state.candidate {
            return;
        }
        state.install = state.candidate;
        state.mode = if state.candidate == installed { Mode::Keep } else { Mode::Install };
    }

    fn discard_candidate(&mut self, package: PkgId) {
        let state = self.state_mut(package);
        state.candidate = state.install;
    }

    fn discard_install(&mut self, package: PkgId) {
        let installed = self.installed(package);
        let state = self.state_mut(package);
        if state.mode == Mode::Keep
            && state.install == state.candidate
            && state.candidate == installed
        {
            return;
        }
        state.install = installed;
        state.mode = Mode::Keep;
        state.candidate = installed;
    }

    /// Returns whether each critical dependency has something that satisfies it; else the candidate is given up.
    fn satisfiable(&mut self, package: PkgId, candidate: VerId) -> bool {
        let installed = self.installed(package);
        if Some(candidate) == installed {
            return true;
        }
        let hopeless = self.version(candidate).dependencies.iter().any(|one| {
            matches!(one.kind, Kind::PreDepends | Kind::Depends)
                && !one.alternatives.iter().any(|target| {
                    self.hit(candidate, one.kind, target, Which::Install)
                        || self.hit(candidate, one.kind, target, Which::Candidate)
                })
        });
        if hopeless && !self.state(package).protected {
            let state = self.state_mut(package);
            state.candidate = installed;
            if state.mode != Mode::Delete {
                state.mode = Mode::Keep;
            }
        }
        !hopeless
    }

    /// Makes way for what conflicts: keeps an old version, or notes what is to be upgraded or removed.
    fn clear_conflict(&mut self, clear: &mut Clearing, dependency: &Dependency) -> bool {
        let mut ok = true;
        let mut bad_candidates = Vec::new();
        for id in self.solutions(clear.owner, dependency, Which::Candidate) {
            let other = self.version(id).package;
            if self.state(other).candidate != Some(id) {
                continue;
            }
            let done = if self.installed(other) == Some(id) {
                self.remove_later(clear, other)
            } else if self.state(other).mode == Mode::Install && !self.keep(other, clear.depth) {
                false
            } else if clear.protect {
                self.discard_candidate(other);
                if self.installed(other).is_none() {
                    self.state_mut(other).protected = true;
                }
                true
            } else {
                bad_candidates.push(other);
                true
            };
            ok &= done;
            if !ok && !clear.lenient {
                return false;
            }
        }
        for id in self.solutions(clear.owner, dependency, Which::Installed) {
            let other = self.version(id).package;
            let candidate = self.state(other).candidate;
            if candidate.is_some() && candidate != Some(id) && !bad_candidates.contains(&other) {
                clear.upgrade.push(other);
            } else if candidate != Some(id) && !self.remove_later(clear, other) {
                ok = false;
                if !clear.lenient {
                    return false;
                }
            }
        }
        ok
    }

    fn remove_later(&mut self, clear: &mut Clearing, other: PkgId) -> bool {
        let deleted = self.state(other).mode == Mode::Delete;
        if !clear.protect {
            if deleted {
                return true;
            }
            let may = self.may_delete(other, clear.depth);
            if may {
                clear.remove.push(other);
            }
            return may;
        }
        if !deleted && !self.delete(other, clear.depth + 1) {
            return false;
        }
        self.discard_candidate(other);
        self.state_mut(other).protected = true;
        true
    }

    /// Notes the installed packages whose dependency on the old version the new one does not satisfy.
    fn collect_dependents(&self, candidate: VerId, upgrade: &mut Vec<PkgId>) {
        let package = self.version(candidate).package;
        let Some(installed) = self.installed(package).filter(|id| *id != candidate) else { return };
        let (old, new) = (&self.version(installed).number, &self.version(candidate).number);
        for &other in &self.present {
            let Some(id) = self.installed(other) else { continue };
            if self.state(other).mode == Mode::Install || upgrade.contains(&other) {
                continue;
            }
            let hurt = self.version(id).dependencies.iter().any(|one| {
                !one.kind.is_negative()
                    && self.important(one.kind)
                    && one.alternatives.iter().any(|target| {
                        target.package == package
                            && target.admits(Some(old))
                            && !target.admits(Some(new))
                    })
            });
            if hurt {
                upgrade.push(other);
            }
        }
    }

    /// Brings the installed packages built from the same source to the same version.
    fn upgrade_siblings(&mut self, package: PkgId, candidate: VerId, depth: usize) {
        let source = &self.version(candidate).source;
        let outdated = |other: PkgId| {
            let state = self.state(other);
            state.candidate.filter(|id| {
                self.installed(other) != Some(*id)
                    && self.version(*id).source == *source
                    && !(state.mode == Mode::Install && state.install == Some(*id))
            })
        };
        let siblings: Vec<PkgId> = self
            .present
            .iter()
            .copied()
            .filter(|&other| other != package && outdated(other).is_some())
            .collect();
        for follow in [false, true] {
            for &sibling in &siblings {
                self.install(sibling, follow, depth + 1, By::Dependency);
            }
        }
    }

    fn upgrade_or_remove(
        &mut self,
        upgrade: &[PkgId],
        depth: usize,
        protect: bool,
        lenient: bool,
    ) -> bool {
        let mut ok = true;
        for &other in upgrade {
            if self.state(other).mode == Mode::Install
                || self.install(other, true, depth + 1, By::Dependency)
            {
                continue;
            }
            if !self.delete(other, depth + 1) {
                ok = false;
                if !lenient {
                    return false;
                }
            } else if protect {
                self.state_mut(other).protected = true;
            }
        }
        ok
    }

    fn install_dependencies(
        &mut self,
        package: PkgId,
        owner: VerId,
        wanted: &[&'u Dependency],
        depth: usize,
        protect: bool,
        by: By,
    ) -> bool {
        let mut ok = true;
        for dependency in wanted.iter().filter(|one| !one.kind.is_negative()) {
            let critical = dependency.kind != Kind::Recommends;
            if self.satisfied(owner, dependency) {
                if protect && critical {
                    ok &= self.protect_only_solution(owner, dependency, depth);
                }
                continue;
            }
            if !critical && self.ignored_before(package, dependency) {
                continue;
            }
            let solved = self.install_first(owner, dependency, depth, protect);
            if !solved && critical {
                ok = false;
                if !protect && by == By::Dependency {
                    return false;
                }
            }
        }
        ok
    }

    /// Marks the first alternative that can be marked.
    fn install_first(
        &mut self,
        owner: VerId,
        dependency: &Dependency,
        depth: usize,
        protect: bool,
    ) -> bool {
        let solutions = self.solutions(owner, dependency, Which::Candidate);
        for &id in &solutions {
            let other = self.version(id).package;
            if self.state(other).candidate != Some(id) {
                continue;
            }
            if protect && dependency.kind != Kind::Recommends && solutions.len() == 1 {
                if !self.install(other, false, depth + 1, By::Dependency) {
                    continue;
                }
                self.state_mut(other).protected = true;
            }
            if self.install(other, true, depth + 1, By::Dependency) {
                return true;
            }
        }
        false
    }

    /// Protects the one package that can satisfy a dependency of a protected one, and what it needs.
    fn protect_only_solution(
        &mut self,
        owner: VerId,
        dependency: &Dependency,
        depth: usize,
    ) -> bool {
        let mut ids: Vec<VerId> = [Which::Candidate, Which::Installed]
            .into_iter()
            .flat_map(|which| {
                dependency.alternatives.iter().flat_map(move |target| [(target, which)])
            })
            .flat_map(|(target, which)| self.targets(owner, dependency.kind, target, which))
            .filter(|id| !self.ruled_out(self.version(*id).package))
            .collect();
        ids.sort_unstable();
        ids.dedup();
        let [only] = ids[..] else { return true };
        let other = self.version(only).package;
        if self.state(other).protected {
            return true;
        }
        self.state_mut(other).protected = true;
        self.install(other, true, depth + 1, By::Dependency)
    }

    fn ruled_out(&self, package: PkgId) -> bool {
        let state = self.state(package);
        let absent = state.mode == Mode::Keep && self.installed(package).is_none();
        state.protected && (state.mode == Mode::Delete || absent)
    }

    /// Returns whether the installed version had this recommendation, too, and it was not followed.
    fn ignored_before(&self, package: PkgId, dependency: &Dependency) -> bool {
        let Some(installed) = self.installed(package) else { return false };
        let first = dependency.alternatives[0].package;
        let before = self.version(installed).dependencies.iter().filter(|one| {
            one.kind == Kind::Recommends
                && one.alternatives.iter().any(|target| target.package == first)
        });
        let mut known = false;
        for one in before {
            known = true;
            if one
                .alternatives
                .iter()
                .any(|target| self.hit(installed, one.kind, target, Which::Installed))
            {
                return false;
            }
        }
        known
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

fn clear_lenient(protected: bool, by: By) -> bool {
    protected || by == By::User
}

/// The conflicts of one package being cleared away.
struct Clearing {
    owner: VerId,
    depth: usize,
    /// Goes on after a failure, so that all that is possible is done for what the user asked for.
    lenient: bool,
    protect: bool,
    upgrade: Vec<PkgId>,
    remove: Vec<PkgId>,
}

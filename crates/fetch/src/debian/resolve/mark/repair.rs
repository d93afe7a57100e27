//! Mending what greedy marking has left broken, as apt's problem resolver does.
//!
//! Every package gets a score for how much stands on it. From the highest to the lowest: of two that conflict the one
//! with the lower score goes; a package that lacks a dependency goes, or, if it is protected, gets another
//! alternative. What was only needed by a package that goes stays: apt does not look back, either.

use super::{By, Marks, Mode, Which};
use crate::debian::universe::{Dependency, Kind, PkgId, VerId};
use std::cmp::Reverse;

/// How often all packages are looked at.
const MAX_ROUNDS: usize = 20;

impl Marks<'_> {
    pub(super) fn repair(&mut self) {
        if self.broken().is_none() {
            return;
        }
        let scores = self.scores();
        let mut order: Vec<PkgId> = (0u32..).map(PkgId).take(scores.len()).collect();
        order.sort_by_key(|package| Reverse(scores[package.0 as usize]));
        for _ in 0..MAX_ROUNDS {
            let mut changed = false;
            for &package in &order {
                changed |= self.mend(package, &scores);
            }
            if !changed {
                return;
            }
        }
    }

    /// Mends one package; returns whether anything changed.
    fn mend(&mut self, package: PkgId, scores: &[i32]) -> bool {
        let Some(id) = self.chosen(package) else { return false };
        let score = |package: PkgId| scores[package.0 as usize];
        let mut changed = false;
        for dependency in &self.version(id).dependencies {
            if dependency.kind == Kind::Recommends || self.satisfied(id, dependency) {
                continue;
            }
            if !dependency.kind.is_negative() {
                if !self.state(package).protected {
                    return self.give_up(package);
                }
                changed |= self.supply(id, dependency);
                continue;
            }
            let others: Vec<PkgId> = self
                .hits(id, dependency)
                .into_iter()
                .map(|hit| self.version(hit).package)
                .collect();
            for other in others {
                if score(package) > score(other) {
                    changed |= self.give_up(other);
                } else if self.give_up(package) {
                    return true;
                }
            }
        }
        changed
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
        false
    }

    /// Does without a package, or without its newer version; not if it is protected.
    fn give_up(&mut self, package: PkgId) -> bool {
        if self.state(package).protected {
            return false;
        }
        let installed = self.installed(package);
        if installed.is_some() && self.state(package).mode != Mode::Install {
            return self.delete(package, 0);
        }
        let state = self.state_mut(package);
        (state.mode, state.install, state.candidate) = (Mode::Keep, installed, installed);
        true
    }

    fn count_broken(&self) -> usize {
        let marked = self.states.iter().filter_map(|state| state.install);
        marked.filter(|id| self.first_broken(*id).is_some()).count()
    }

    /// Scores all packages: by priority, by what depends on them, and, one step further, by how that scores.
    fn scores(&self) -> Vec<i32> {
        let mut scores = vec![0i32; self.states.len()];
        let chosen: Vec<VerId> = self.states.iter().filter_map(|state| state.install).collect();
        for &id in &chosen {
            let version = self.version(id);
            let entry = self.universe.package(version.package);
            let own = &mut scores[version.package.0 as usize];
            *own += [3, 2, 1, -1, -2][usize::from(version.priority - 1)];
            *own += 100 * i32::from(entry.essential || entry.important);
            *own += i32::from(entry.installed.is_some());
            for dependency in &version.dependencies {
                let weight = if dependency.kind.is_negative() { -1 } else { 1 };
                for target in &dependency.alternatives {
                    let itself = dependency.kind.is_negative() && target.package == version.package;
                    let there = self.chosen(target.package);
                    let fits =
                        there.is_some_and(|id| target.admits(Some(&self.version(id).number)));
                    if !itself && (target.bound.is_none() || fits) {
                        scores[target.package.0 as usize] += weight;
                    }
                    for hit in self.targets(id, dependency.kind, target, Which::Install) {
                        let provider = self.version(hit).package;
                        if provider != target.package {
                            scores[provider.0 as usize] += weight;
                        }
                    }
                }
            }
        }
        let direct = scores.clone();
        for &id in &chosen {
            let version = self.version(id);
            let inherited = direct[version.package.0 as usize].max(0);
            for dependency in version.dependencies.iter().filter(|one| !one.kind.is_negative()) {
                for target in &dependency.alternatives {
                    if self.chosen(target.package).is_some() {
                        scores[target.package.0 as usize] += inherited;
                    }
                }
            }
        }
        for (number, entry) in (0u32..).zip(&self.universe.packages) {
            let gained = (scores[number as usize] - direct[number as usize]).abs();
            let mut providers: Vec<PkgId> = entry
                .providers
                .iter()
                .map(|(id, _)| (*id, self.version(*id).package))
                .filter(|(id, package)| gained > 0 && self.chosen(*package) == Some(*id))
                .map(|(_, package)| package)
                .collect();
            providers.sort_unstable();
            providers.dedup();
            for provider in providers {
                scores[provider.0 as usize] += gained;
            }
        }
        for (score, (state, entry)) in
            scores.iter_mut().zip(self.states.iter().zip(&self.universe.packages))
        {
            *score += 10_000 * i32::from(state.protected)
                + 5_000 * i32::from(entry.essential || entry.important);
        }
        scores
    }
}

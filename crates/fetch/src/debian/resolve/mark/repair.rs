//! Mending what greedy marking has left broken.

use super::{By, Marks, Mode, Which};
use crate::debian::universe::{Dependency, PkgId, VerId};

/// How often what is broken is mended before it counts as broken for good.
const MAX_REPAIRS: usize = 1000;

impl Marks<'_> {
    /// Mends what greed has broken, as apt's problem resolver does after marking: a package that lost a dependency
    /// to a conflict gets another alternative, and of two that conflict the one goes that nobody asked for.
    pub(super) fn repair(&mut self) {
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
}

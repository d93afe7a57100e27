//! Making way for a package: what it conflicts with, and what is there that only its old version suits.

use super::{By, Marks, Mode, Which};
use crate::debian::universe::{Dependency, PkgId, VerId};

/// The conflicts of one package being cleared away.
pub(super) struct Clearing {
    pub(super) owner: VerId,
    pub(super) depth: usize,
    /// Goes on after a failure, so that all that is possible is done for what the user asked for.
    pub(super) lenient: bool,
    pub(super) protect: bool,
    pub(super) upgrade: Vec<PkgId>,
    pub(super) remove: Vec<PkgId>,
}

impl Marks<'_> {
    /// Makes way for what conflicts: keeps an old version, or notes what is to be upgraded or removed.
    pub(super) fn clear_conflict(&mut self, clear: &mut Clearing, dependency: &Dependency) -> bool {
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
    pub(super) fn collect_dependents(&self, candidate: VerId, upgrade: &mut Vec<PkgId>) {
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
    pub(super) fn upgrade_siblings(&mut self, package: PkgId, candidate: VerId, depth: usize) {
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

    pub(super) fn upgrade_or_remove(
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
}

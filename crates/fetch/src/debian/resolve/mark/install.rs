//! Marking one package for installation, and what it needs after it.

use super::{By, Marks, Mode, Which, conflicts::Clearing};
use crate::debian::universe::{Dependency, Kind, PkgId, VerId};

impl<'u> Marks<'u> {
    /// Marks a package and, with `follow`, what it needs; returns whether that worked.
    pub(super) fn install(&mut self, package: PkgId, follow: bool, depth: usize, by: By) -> bool {
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
        failed |= !self.upgrade_or_remove(&upgrade, depth, protected, protected || by == By::User);
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

    pub(super) fn discard_candidate(&mut self, package: PkgId) {
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
}

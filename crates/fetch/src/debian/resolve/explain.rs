//! Says why a request cannot be satisfied: the chain from what was asked for to what is missing or in the way.

use super::mark::Marks;
use crate::debian::universe::{Dependency, Kind, PkgId, Target, Universe, VerId};
use std::collections::{BTreeSet, VecDeque};

/// Looks for the reason below `owner`, whose `dependency` nothing marked satisfies, and says who of `wanted` needs it.
pub(super) fn explain(
    universe: &Universe,
    marks: &Marks<'_>,
    wanted: &[PkgId],
    owner: VerId,
    dependency: &Dependency,
) -> String {
    let search = Search { universe, marks };
    let mut links: Vec<String> = search.path(wanted, owner);
    links.push(if dependency.kind.is_negative() {
        search.clash(owner, dependency.kind, marks.hits(owner, dependency).first().copied())
    } else {
        search.chain(owner, dependency, &mut BTreeSet::new()).unwrap_or_else(|| {
            format!(
                "{}, which can be installed, but not together with the rest",
                search.needs(owner, dependency)
            )
        })
    });
    links.join("; ")
}

struct Search<'a> {
    universe: &'a Universe,
    marks: &'a Marks<'a>,
}

impl Search<'_> {
    /// Returns the shortest way by what is marked from a package asked for to `owner`, a link each.
    fn path(&self, wanted: &[PkgId], owner: VerId) -> Vec<String> {
        let mut queue: VecDeque<(VerId, Vec<String>)> = wanted
            .iter()
            .filter_map(|package| self.marks.chosen(*package))
            .map(|id| (id, Vec::new()))
            .collect();
        let mut seen: BTreeSet<VerId> = queue.iter().map(|(id, _)| *id).collect();
        while let Some((id, links)) = queue.pop_front() {
            if id == owner {
                return links;
            }
            for dependency in &self.universe.version_of(id).dependencies {
                if !matches!(dependency.kind, Kind::PreDepends | Kind::Depends) {
                    continue;
                }
                for next in self.marks.hits(id, dependency) {
                    if seen.insert(next) {
                        queue.push_back((
                            next,
                            [&links[..], &[self.needs(id, dependency)]].concat(),
                        ));
                    }
                }
            }
        }
        Vec::new()
    }

    /// Returns the chain to the first dead end, if there is one.
    fn chain(
        &self,
        owner: VerId,
        dependency: &Dependency,
        seen: &mut BTreeSet<VerId>,
    ) -> Option<String> {
        let solutions: Vec<VerId> =
            dependency.alternatives.iter().flat_map(|target| self.solutions(target)).collect();
        if solutions.is_empty() {
            let reasons: Vec<String> =
                dependency.alternatives.iter().map(|target| self.absence(target)).collect();
            return Some(format!("{}, {}", self.needs(owner, dependency), reasons.join(" and ")));
        }
        for id in solutions {
            if !seen.insert(id) {
                continue;
            }
            if let Some(clash) = self.clashes(id) {
                return Some(format!("{}, but {clash}", self.needs(owner, dependency)));
            }
            for inner in &self.universe.version_of(id).dependencies {
                let open = matches!(inner.kind, Kind::PreDepends | Kind::Depends)
                    && !self.marks.satisfied(id, inner);
                if open && let Some(rest) = self.chain(id, inner, seen) {
                    return Some(format!("{}; {rest}", self.needs(owner, dependency)));
                }
            }
        }
        None
    }

    fn solutions(&self, target: &Target) -> Vec<VerId> {
        let candidate = |package| self.universe.candidate(package);
        let own = candidate(target.package)
            .filter(|id| target.admits(Some(&self.universe.version_of(*id).number)));
        let providers =
            self.universe.package(target.package).providers.iter().filter(|(id, version)| {
                candidate(self.universe.version_of(*id).package) == Some(*id)
                    && target.admits(version.as_ref())
            });
        own.into_iter().chain(providers.map(|(id, _)| *id)).collect()
    }

    /// Says what keeps a version from being installed beside what is marked.
    fn clashes(&self, id: VerId) -> Option<String> {
        let version = self.universe.version_of(id);
        let own =
            version.dependencies.iter().filter(|one| one.kind.is_negative()).find_map(|one| {
                let hit = self.marks.hits(id, one);
                hit.first().map(|other| self.clash(id, one.kind, Some(*other)))
            });
        own.or_else(|| {
            self.universe.packages.iter().enumerate().find_map(|(number, _)| {
                let other = self.marks.chosen(PkgId(u32::try_from(number).ok()?))?;
                let dependencies = &self.universe.version_of(other).dependencies;
                dependencies.iter().filter(|one| one.kind.is_negative()).find_map(|one| {
                    one.alternatives
                        .iter()
                        .any(|target| other != id && self.solutions(target).contains(&id))
                        .then(|| self.clash(other, one.kind, Some(id)))
                })
            })
        })
    }

    fn clash(&self, owner: VerId, kind: Kind, hit: Option<VerId>) -> String {
        let verb = if kind == Kind::Breaks { "breaks" } else { "conflicts with" };
        let hit = hit.map_or_else(|| "what is installed".to_owned(), |id| self.full(id));
        format!("{} {verb} {hit}", self.full(owner))
    }

    fn needs(&self, owner: VerId, dependency: &Dependency) -> String {
        let wanted: Vec<String> =
            dependency.alternatives.iter().map(|target| self.target(target)).collect();
        format!("{} needs {}", self.full(owner), wanted.join(" or "))
    }

    fn full(&self, id: VerId) -> String {
        let version = self.universe.version_of(id);
        format!("`{}` {}", self.universe.name(version.package), version.number)
    }

    fn target(&self, target: &Target) -> String {
        let name = self.universe.name(target.package);
        match &target.bound {
            Some((operator, bound)) => format!("`{name} ({} {bound})`", operator.as_str()),
            None => format!("`{name}`"),
        }
    }

    fn absence(&self, target: &Target) -> String {
        match self.universe.candidate(target.package) {
            Some(id) => format!("of which only {} is there", self.universe.version_of(id).number),
            None => "which no repository has".to_owned(),
        }
    }
}

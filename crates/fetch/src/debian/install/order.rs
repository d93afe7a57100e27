//! In which order packages are unpacked and configured.

use std::collections::{BTreeMap, BTreeSet};

use super::{InstallError, Installed};
use crate::debian::deb::Package;

/// Packages by their numbers, each after what it depends on, as far as there are no circles.
#[derive(Debug)]
pub(super) struct Order {
    /// On an empty root: the essential packages and all they depend on.
    pub(super) essential: Vec<usize>,
    /// All others.
    pub(super) rest: Vec<usize>,
    /// For each package those that it depends on or pre-depends on.
    depends: Vec<Vec<usize>>,
    /// For each package those that it pre-depends on.
    pre_depends: Vec<Vec<usize>>,
}

impl Order {
    pub(super) fn new(packages: &[Package], installed: &Installed) -> Result<Self, InstallError> {
        let mut numbers: BTreeMap<&str, usize> = BTreeMap::new();
        for (number, package) in packages.iter().enumerate() {
            if numbers.insert(package.control.name(), number).is_some() {
                let package = package.control.name().to_owned();
                return Err(InstallError::Twice { package });
            }
        }
        let mut providers: BTreeMap<&str, BTreeSet<usize>> = BTreeMap::new();
        for number in numbers.values() {
            for name in packages[*number].control.provides() {
                providers.entry(name).or_default().insert(*number);
            }
        }
        let edges = |fields: &[&str]| -> Vec<Vec<usize>> {
            let edges = packages.iter().map(|package| {
                let groups = fields.iter().flat_map(|field| package.control.relations(field));
                let mut edges = BTreeSet::new();
                for group in groups.filter(|group| !group.iter().any(|n| installed.provides(n))) {
                    for name in group {
                        match numbers.get(name) {
                            Some(number) => {
                                edges.insert(*number);
                            }
                            None => edges.extend(providers.get(name).into_iter().flatten()),
                        }
                    }
                }
                edges.into_iter().collect()
            });
            edges.collect()
        };
        let (depends, pre_depends) = (edges(&["Pre-Depends", "Depends"]), edges(&["Pre-Depends"]));
        let mut order = Self { essential: Vec::new(), rest: Vec::new(), depends, pre_depends };
        let mut seen = BTreeSet::new();
        if installed.is_empty() {
            let essential = numbers.values().filter(|n| packages[**n].control.is_essential());
            order.essential = order.closure(essential.copied(), &mut seen);
        }
        order.rest = order.closure(numbers.values().copied(), &mut seen);
        Ok(order)
    }

    /// All packages.
    pub(super) fn all(&self) -> impl Iterator<Item = usize> + '_ {
        self.essential.iter().chain(&self.rest).copied()
    }

    /// What must be configured before this one is unpacked, without what is in `done`, in order; it is `done` then.
    pub(super) fn before_unpacking(&self, number: usize, done: &mut BTreeSet<usize>) -> Vec<usize> {
        self.closure(self.pre_depends[number].iter().copied(), done)
    }

    /// These and all that they depend on, each after what it depends on: pre-dependencies are visited first, so
    /// that they hold even where dependencies go in circles.
    fn closure(&self, of: impl Iterator<Item = usize>, seen: &mut BTreeSet<usize>) -> Vec<usize> {
        let mut order = Vec::new();
        for start in of {
            // Each entry: a package and how many of its dependencies have been looked at.
            let mut stack = vec![(start, 0)];
            if !seen.insert(start) {
                continue;
            }
            while let Some((number, looked)) = stack.last_mut() {
                let (pre, all) = (&self.pre_depends[*number], &self.depends[*number]);
                if let Some(next) = pre.iter().chain(all).nth(*looked) {
                    *looked += 1;
                    if seen.insert(*next) {
                        stack.push((*next, 0));
                    }
                } else {
                    order.push(*number);
                    stack.pop();
                }
            }
        }
        order
    }
}

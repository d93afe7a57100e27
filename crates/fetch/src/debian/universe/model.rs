//! The rows of the table: names, versions, and what they depend on.

use crate::debian::{relation::Operator, version::DebVersion};
use reimage_castore::Sha256;

/// A package name's number in its universe, in order of first mention.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::debian) struct PkgId(pub(in crate::debian) u32);

/// A version's number in its universe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::debian) struct VerId(pub(in crate::debian) u32);

/// A name: a package, or what packages provide, or what somebody depends on in vain.
#[derive(Debug)]
pub(in crate::debian) struct Package {
    pub(in crate::debian) name: Box<str>,
    /// Newest first.
    pub(in crate::debian) versions: Vec<VerId>,
    /// Who provides the name, and as which version.
    pub(in crate::debian) providers: Vec<(VerId, Option<DebVersion>)>,
    pub(in crate::debian) essential: bool,
    /// `Protected: yes` or `Important: yes`.
    pub(in crate::debian) important: bool,
    pub(in crate::debian) installed: Option<VerId>,
}

/// One version of a package.
#[derive(Debug)]
pub(in crate::debian) struct Version {
    pub(in crate::debian) package: PkgId,
    pub(in crate::debian) number: DebVersion,
    /// The native architecture or `all`.
    pub(in crate::debian) architecture: Box<str>,
    /// 1 required, 2 important, 3 standard, 4 optional, 5 extra.
    pub(in crate::debian) priority: u8,
    pub(in crate::debian) source: Box<str>,
    /// The dependencies, in apt's order: Pre-Depends, Depends, Conflicts, Breaks, Recommends.
    pub(in crate::debian) dependencies: Vec<Dependency>,
    /// Where it can be fetched from, best first; empty if it is only installed.
    pub(in crate::debian) files: Vec<PoolFile>,
    /// The highest priority among `files`, as apt's pins; 100 for an installed version.
    pub(in crate::debian) pin: i16,
}

/// A file of an archive's pool.
#[derive(Clone, Debug)]
pub(in crate::debian) struct PoolFile {
    pub(in crate::debian) index: usize,
    pub(in crate::debian) path: Box<str>,
    pub(in crate::debian) sha256: Sha256,
    pub(in crate::debian) size: u64,
}

/// What kind of dependency, in so far as the resolver cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::debian) enum Kind {
    PreDepends,
    Depends,
    Conflicts,
    Breaks,
    Recommends,
}

impl Kind {
    pub(in crate::debian) fn is_negative(self) -> bool {
        matches!(self, Self::Conflicts | Self::Breaks)
    }
}

/// A group of alternatives; a negative one has a single target.
#[derive(Debug)]
pub(in crate::debian) struct Dependency {
    pub(in crate::debian) kind: Kind,
    pub(in crate::debian) alternatives: Vec<Target>,
}

/// One name with its bound.
#[derive(Debug)]
pub(in crate::debian) struct Target {
    pub(in crate::debian) package: PkgId,
    pub(in crate::debian) bound: Option<(Operator, DebVersion)>,
}

impl Target {
    /// Returns whether a package of that `version` (none: an unversioned provide) fits.
    pub(in crate::debian) fn admits(&self, version: Option<&DebVersion>) -> bool {
        match (&self.bound, version) {
            (None, _) => true,
            (Some((operator, bound)), Some(version)) => operator.admits(version, bound),
            (Some(_), None) => false,
        }
    }
}

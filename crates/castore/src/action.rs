//! Actions: a piece of work, described by all that can influence its result and by nothing else.
//!
//! The [`ActionDigest`] is the BLAKE3 of the canonical encoding, so what is listed here is what enters it
//! (one test a row):
//!
//! | operation | what enters |
//! |---|---|
//! | every | the name and version of the operation, such as `copy-1` |
//! | `run-1` | root: digests of the diffs it stands on, lowest first · inputs: path and digest of each tree · argv · env · working directory · user as written · outputs · exclude · platform · baseline · demands: clock, entropy, stat · cpus · digest of the lock entry of a recording |
//! | `fetch-1` | SHA-256 of the file |
//! | `copy-1` | from: kind and digest of each, lowest first · path · to · include · exclude · chown · chmod · mtime |
//! | `unpack-1` | SHA-256 of the archive · strip |
//! | `oci-unpack-1` | SHA-256 of the layer · digests of the diffs below it, lowest first |
//! | `deb-unpack-2` | SHA-256 of the package · exclude |
//! | `debian-2` | root · SHA-256 of each package in order · scripts · exclude · platform · baseline · demands · cpus · version of the driver · version of the scrub list |
//!
//! What does not: names, comments, places on the host, parallelism, user, locale, time zone, mirrors,
//! credentials, the time, the machine, limits (they can only fail a step, and failures are not kept), and
//! whatever the machine happened to offer.

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{Digest, DigestError, Sha256, TreePath};

mod encode;

/// The digest of an [`Action`]: what its result is found by.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ActionDigest(Digest);

impl ActionDigest {
    /// Takes a digest that is one of an action.
    pub const fn new(digest: Digest) -> Self {
        Self(digest)
    }

    /// The plain digest.
    pub const fn digest(&self) -> &Digest {
        &self.0
    }

    /// The first 12 hexadecimal digits.
    pub fn short(&self) -> String {
        self.0.short()
    }
}

impl fmt::Display for ActionDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for ActionDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ActionDigest({})", self.0.short())
    }
}

impl FromStr for ActionDigest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        text.parse().map(Self)
    }
}

/// A piece of work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// One command in the sandbox.
    Run(RunAction),
    /// A file by its digest.
    Fetch(Sha256),
    /// The tree operation: merge, take a node, filter, own, place.
    Copy(CopyAction),
    /// The contents of an archive.
    Unpack(UnpackAction),
    /// A layer of an image, upon those below it.
    Layer(LayerAction),
    /// The files of one Debian package.
    Deb(DebAction),
    /// Debian packages installed on a root.
    Debian(DebianAction),
}

/// One command in the sandbox; makes a diff, or trees if it declares outputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunAction {
    /// Digests of the diffs of the root, lowest first.
    pub root: Vec<Digest>,
    /// Digests of the trees laid into the root, by where.
    pub inputs: BTreeMap<TreePath, Digest>,
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// All of its environment but what the baseline sets.
    pub env: BTreeMap<String, String>,
    /// The directory it starts in.
    pub workdir: TreePath,
    /// As whom it runs, as written: `NAME`, `UID` or `UID:GID`.
    pub user: String,
    /// The paths to keep; none keeps all that was written, as a diff.
    pub outputs: Option<Vec<TreePath>>,
    /// Patterns of what not to keep.
    pub exclude: Vec<String>,
    /// Where it runs, such as `linux/amd64`.
    pub platform: String,
    /// The version of the sandbox's constants.
    pub baseline: u32,
    /// What must be the same in every run.
    pub demands: Demands,
    /// The number of processors it sees; none is the machine's.
    pub cpus: Option<u32>,
    /// Digest of the lock entry of its recording, if it replays one.
    pub recorded: Option<Digest>,
}

/// What a step demands to be the same in every run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Demands {
    /// The time it sees.
    pub clock: Clock,
    /// The random numbers it sees.
    pub entropy: Demand,
    /// The inode numbers, file times and directory sizes it sees.
    pub stat: Demand,
}

impl Demands {
    /// Nothing.
    pub const REAL: Self = Self { clock: Clock::Real, entropy: Demand::Real, stat: Demand::Real };
    /// Everything.
    pub const FIXED: Self =
        Self { clock: Clock::Fixed, entropy: Demand::Fixed, stat: Demand::Fixed };
}

/// What time a step sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    /// It stands at the baseline's time F.
    Fixed,
    /// It stands at this time, in seconds since 1970.
    At(i64),
    /// It runs.
    Real,
}

/// Whether something is the same in every run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Demand {
    /// It is.
    Fixed,
    /// It is the machine's.
    Real,
}

/// What a [`CopyAction`] takes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// A layer of a stack.
    Diff(Digest),
    /// A tree, over what is below it.
    Tree(Digest),
}

/// Merges, takes a node, filters, owns, places; makes a diff.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyAction {
    /// What is merged, lowest first.
    pub from: Vec<Source>,
    /// The node to take.
    pub path: TreePath,
    /// Where it goes.
    pub to: TreePath,
    /// Patterns of what to take; none takes all, no pattern takes nothing.
    pub include: Option<Vec<String>>,
    /// Patterns of what not to take.
    pub exclude: Vec<String>,
    /// The owner and group of all of it.
    pub chown: Option<(u32, u32)>,
    /// The mode of all of it as written, such as `0755` or `u=rwX,go=rX`.
    pub chmod: Option<String>,
    /// The time of all of it in seconds since 1970.
    pub mtime: Option<i64>,
}

/// Unpacks an archive; makes a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnpackAction {
    /// The archive.
    pub archive: Sha256,
    /// Leading names of its members to drop.
    pub strip: u32,
}

/// Unpacks a layer of an image; makes a diff.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerAction {
    /// The layer's blob.
    pub layer: Sha256,
    /// Digests of the diffs below it, lowest first.
    pub below: Vec<Digest>,
}

impl LayerAction {
    /// The name and version of what unpacks layers.
    pub const OPERATION: &'static str = "oci-unpack-1";
}

/// Unpacks the files of a Debian package; makes a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DebAction {
    /// The package.
    pub package: Sha256,
    /// Patterns of files not to unpack.
    pub exclude: Vec<String>,
}

/// Installs Debian packages on a root; makes a diff.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DebianAction {
    /// Digests of the diffs of the root, lowest first.
    pub root: Vec<Digest>,
    /// The packages in the order of their unpacking.
    pub packages: Vec<Sha256>,
    /// What becomes of the packages' own scripts.
    pub scripts: Scripts,
    /// Patterns of files not to unpack.
    pub exclude: Vec<String>,
    /// Where it runs, such as `linux/amd64`.
    pub platform: String,
    /// The version of the sandbox's constants.
    pub baseline: u32,
    /// What must be the same in every run.
    pub demands: Demands,
    /// The number of processors it sees; none is the machine's.
    pub cpus: Option<u32>,
    /// The version of what drives dpkg.
    pub driver: u32,
    /// The version of the list of files that are scrubbed.
    pub scrub: u32,
}

/// What becomes of the scripts of Debian packages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scripts {
    /// They run.
    Run,
    /// They do not; the packages are only unpacked.
    Skip,
}

impl Action {
    /// The name and version of the operation; a change of what it makes of equal inputs moves the number.
    pub const fn operation(&self) -> &'static str {
        match self {
            Self::Run(_) => "run-1",
            Self::Fetch(_) => "fetch-1",
            Self::Copy(_) => "copy-1",
            Self::Unpack(_) => "unpack-1",
            Self::Layer(_) => LayerAction::OPERATION,
            Self::Deb(_) => "deb-unpack-2",
            Self::Debian(_) => "debian-2",
        }
    }

    /// The digest of the canonical encoding.
    pub fn digest(&self) -> ActionDigest {
        ActionDigest(Digest::of(&self.encode()))
    }
}

#[cfg(test)]
mod tests;

//! The packages that a request may choose from: several indexes and what is installed already, in one table.
//!
//! Packages and names that are only depended on or provided share one numbering, in order of first mention. apt
//! breaks ties between providers by that order, so the order in which indexes are added matters: the suite, then its
//! updates, then security updates, then other repositories, and the installed packages last.

use super::{
    relation::{Operator, Relation},
    version::DebVersion,
};
use deb822_fast::borrowed::BorrowedParagraphIter;
use std::collections::BTreeMap;

mod model;
mod paragraph;

pub(super) use model::{Dependency, Kind, Package, PkgId, PoolFile, Target, VerId, Version};
pub use paragraph::IndexError;
pub(super) use paragraph::sha256;
use paragraph::{Reader, priority, source};

/// The most packages that one index may list; Debian's largest has 70,000.
const MAX_PACKAGES: usize = 1_000_000;

/// What an index is, as far as choosing goes.
#[derive(Clone, Debug)]
pub struct IndexOrigin {
    /// The suite's name as the request has it, such as `bookworm-security`.
    pub suite: String,
    /// apt's priority of what it lists: 500, or 100 or 1 for suites that say `NotAutomatic`.
    pub priority: i16,
}

/// All packages that a request may choose from.
#[derive(Debug)]
pub struct Universe {
    architecture: String,
    names: BTreeMap<Box<str>, PkgId>,
    pub(super) packages: Vec<Package>,
    pub(super) versions: Vec<Version>,
    pub(super) indexes: Vec<IndexOrigin>,
}

const RELATIONS: [(&str, Option<Kind>); 8] = [
    ("Pre-Depends", Some(Kind::PreDepends)),
    ("Depends", Some(Kind::Depends)),
    ("Conflicts", Some(Kind::Conflicts)),
    ("Breaks", Some(Kind::Breaks)),
    ("Recommends", Some(Kind::Recommends)),
    ("Suggests", None),
    ("Replaces", None),
    ("Enhances", None),
];

impl Universe {
    /// Makes an empty universe for machines of Debian architecture `architecture`.
    pub fn new(architecture: &str) -> Self {
        Self {
            architecture: architecture.to_owned(),
            names: BTreeMap::new(),
            packages: Vec::new(),
            versions: Vec::new(),
            indexes: Vec::new(),
        }
    }

    /// Returns the native architecture.
    pub fn architecture(&self) -> &str {
        &self.architecture
    }

    /// Returns how many versions of packages there are to choose from.
    pub fn len(&self) -> usize {
        self.versions.len()
    }

    /// Returns whether there is nothing to choose from.
    pub fn is_empty(&self) -> bool {
        self.versions.is_empty()
    }

    /// Adds the packages of an index (`Packages`, decompressed); `label` names it in errors.
    pub fn add_index(
        &mut self,
        label: &str,
        origin: IndexOrigin,
        text: &str,
    ) -> Result<(), IndexError> {
        let index = self.indexes.len();
        let pin = origin.priority;
        self.indexes.push(origin);
        self.each_paragraph(label, text, |universe, reader| {
            let architecture = reader.require("Architecture")?;
            if architecture != universe.architecture && architecture != "all" {
                return Ok(());
            }
            let (size, digest) = (reader.require("Size")?, reader.require("SHA256")?);
            let file = PoolFile {
                index,
                path: reader.require("Filename")?.into(),
                sha256: sha256(digest).ok_or_else(|| reader.malformed("SHA256", digest))?,
                size: size.parse().map_err(|_| reader.malformed("Size", size))?,
            };
            let id = universe.version(reader, architecture)?;
            let version = &mut universe.versions[id.0 as usize];
            version.files.push(file);
            version.pin = version.pin.max(pin);
            Ok(())
        })
    }

    /// Adds what a root has installed: its `/var/lib/dpkg/status`.
    ///
    /// Only packages in the states `install ok installed` and `hold ok installed` count.
    pub fn add_status(&mut self, label: &str, text: &str) -> Result<(), IndexError> {
        self.each_paragraph(label, text, |universe, reader| {
            let status = reader.require("Status")?;
            let architecture =
                reader.get("Architecture").unwrap_or(&universe.architecture).to_owned();
            let native = architecture == universe.architecture || architecture == "all";
            if !status.ends_with(" ok installed") || !native {
                return Ok(());
            }
            let id = universe.version(reader, &architecture)?;
            let version = &mut universe.versions[id.0 as usize];
            version.pin = version.pin.max(100);
            let package = version.package;
            universe.packages[package.0 as usize].installed = Some(id);
            Ok(())
        })
    }

    /// Finds a name.
    pub(super) fn find(&self, name: &str) -> Option<PkgId> {
        self.names.get(name).copied()
    }

    pub(super) fn package(&self, id: PkgId) -> &Package {
        &self.packages[id.0 as usize]
    }

    pub(super) fn version_of(&self, id: VerId) -> &Version {
        &self.versions[id.0 as usize]
    }

    pub(super) fn name(&self, id: PkgId) -> &str {
        &self.package(id).name
    }

    /// Returns all names that have a version, sorted.
    pub(super) fn real_names(&self) -> impl Iterator<Item = &str> {
        self.names
            .iter()
            .filter(|(_, id)| !self.package(**id).versions.is_empty())
            .map(|(name, _)| &**name)
    }

    /// Returns the version that apt would install: of the highest priority, then the newest, never older than the
    /// installed one.
    pub(super) fn candidate(&self, id: PkgId) -> Option<VerId> {
        let package = self.package(id);
        let installed = package.installed.map(|id| &self.version_of(id).number);
        let mut best: Option<VerId> = None;
        for &id in &package.versions {
            let version = self.version_of(id);
            let downgrade = installed.is_some_and(|installed| version.number < *installed);
            if !downgrade && best.is_none_or(|best| version.pin > self.version_of(best).pin) {
                best = Some(id);
            }
        }
        best
    }

    fn each_paragraph(
        &mut self,
        label: &str,
        text: &str,
        mut add: impl FnMut(&mut Self, &Reader<'_>) -> Result<(), IndexError>,
    ) -> Result<(), IndexError> {
        for (number, paragraph) in BorrowedParagraphIter::new(text).enumerate() {
            let paragraph = paragraph.map_err(|source| IndexError::Format {
                index: label.to_owned(),
                packages: number,
                source,
            })?;
            if number == MAX_PACKAGES {
                return Err(IndexError::TooMany { index: label.to_owned(), limit: MAX_PACKAGES });
            }
            add(self, &Reader { label, number, paragraph: &paragraph })?;
        }
        Ok(())
    }

    /// Finds or makes the version that a paragraph describes.
    fn version(&mut self, reader: &Reader<'_>, architecture: &str) -> Result<VerId, IndexError> {
        let name = reader.require("Package")?;
        let version = DebVersion::new(reader.require("Version")?);
        let package = self.intern(name);
        let flags =
            |field| reader.get(field).is_some_and(|value| value.eq_ignore_ascii_case("yes"));
        let entry = &mut self.packages[package.0 as usize];
        entry.essential |= flags("Essential");
        entry.important |= flags("Important") || flags("Protected");

        let known = &self.packages[package.0 as usize].versions;
        let at = known.partition_point(|&id| self.version_of(id).number > version);
        if let Some(&id) = known.get(at)
            && self.version_of(id).number.as_str() == version.as_str()
        {
            return Ok(id);
        }
        let id =
            VerId(u32::try_from(self.versions.len()).expect("an index is bounded by MAX_PACKAGES"));
        self.packages[package.0 as usize].versions.insert(at, id);
        let dependencies = self.dependencies(reader)?;
        self.provides(reader, id, name, &version)?;
        self.versions.push(Version {
            package,
            architecture: architecture.into(),
            priority: priority(reader.get("Priority")),
            source: source(reader.get("Source"), name, version.as_str()),
            number: version,
            dependencies,
            files: Vec::new(),
            pin: i16::MIN,
        });
        Ok(id)
    }

    fn dependencies(&mut self, reader: &Reader<'_>) -> Result<Vec<Dependency>, IndexError> {
        let mut dependencies = Vec::new();
        for (field, kind) in RELATIONS {
            for group in reader.groups(field) {
                let group = group?;
                let alternatives = group.iter().map(|relation| self.target(relation));
                let mut alternatives: Vec<Target> = alternatives.collect();
                match kind {
                    None => {}
                    Some(kind) if kind.is_negative() => dependencies.extend(
                        alternatives
                            .drain(..)
                            .map(|one| Dependency { kind, alternatives: vec![one] }),
                    ),
                    Some(kind) => dependencies.push(Dependency { kind, alternatives }),
                }
            }
        }
        Ok(dependencies)
    }

    fn provides(
        &mut self,
        reader: &Reader<'_>,
        id: VerId,
        name: &str,
        version: &DebVersion,
    ) -> Result<(), IndexError> {
        let allowed =
            reader.get("Multi-Arch").is_some_and(|value| value.eq_ignore_ascii_case("allowed"));
        for group in reader.groups("Provides") {
            for relation in group? {
                let as_version = match relation.version {
                    None => None,
                    Some((Operator::Equal, version)) => Some(DebVersion::new(version)),
                    Some(_) => continue, // apt ignores it, with a warning
                };
                if allowed && relation.qualifier.is_none() {
                    self.provide(&format!("{}:any", relation.name), id, as_version.clone());
                }
                let provided = self.qualified(&relation);
                if provided != name
                    || as_version.as_ref().is_some_and(|other| other.as_str() != version.as_str())
                {
                    self.provide(&provided, id, as_version);
                }
            }
        }
        if allowed {
            self.provide(&format!("{name}:any"), id, Some(version.clone()));
        }
        Ok(())
    }

    fn provide(&mut self, name: &str, id: VerId, version: Option<DebVersion>) {
        let provided = self.intern(name);
        self.packages[provided.0 as usize].providers.push((id, version));
    }

    fn target(&mut self, relation: &Relation<'_>) -> Target {
        let name = self.qualified(relation);
        let bound =
            relation.version.map(|(operator, version)| (operator, DebVersion::new(version)));
        Target { package: self.intern(&name), bound }
    }

    /// Returns the name that a relation means here: `a:any` is a name of its own, provided by packages that are
    /// `Multi-Arch: allowed`; a foreign architecture's is one that nothing has.
    fn qualified(&self, relation: &Relation<'_>) -> String {
        match relation.qualifier {
            None | Some("native") => relation.name.to_owned(),
            Some(qualifier) if qualifier == self.architecture => relation.name.to_owned(),
            Some(qualifier) => format!("{}:{qualifier}", relation.name),
        }
    }

    fn intern(&mut self, name: &str) -> PkgId {
        if let Some(id) = self.names.get(name) {
            return *id;
        }
        let id = PkgId(
            u32::try_from(self.packages.len())
                .expect("names are bounded by the size of the indexes"),
        );
        self.names.insert(name.into(), id);
        self.packages.push(Package {
            name: name.into(),
            versions: Vec::new(),
            providers: Vec::new(),
            essential: false,
            important: false,
            installed: None,
        });
        id
    }
}

//! Pins a request: opens its suites, reads their indexes, resolves; and fetches what is pinned.

use super::{
    keyring::{Keyring, KeyringError},
    mirrors::{DebianConfig, MirrorError, Place, trimmed},
    repository::{RepositoryError, Suite},
    resolve::{Request, ResolveError, resolve},
    sources::{AptConfig, SourcesError},
    universe::{IndexError, IndexOrigin, Universe},
};
use reimage_http::{Downloader, Expected, HttpError, Progress};
use reimage_plan::{DebianPin, PackagePin, Repository};
use std::{
    collections::BTreeMap,
    fs::File,
    path::{Path, PathBuf},
    time::SystemTime,
};

#[cfg(test)]
mod tests;

/// Why a request could not be pinned, or a pinned package not be had.
#[derive(Debug, thiserror::Error)]
pub enum DebianError {
    /// There is nowhere to fetch from.
    #[error(transparent)]
    Mirrors(#[from] MirrorError),
    /// apt's configuration cannot be read.
    #[error(transparent)]
    Sources(#[from] SourcesError),
    /// The key of a repository is not one.
    #[error(transparent)]
    Key(#[from] KeyringError),
    /// A suite or an index cannot be had.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// An index or the root's dpkg status is malformed.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The request has no answer.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// No mirror has the package any more.
    #[error(
        "`{name}` {version} of suite `{suite}`, which the lock pins, is on no mirror any more; \
         run `reimage lock --update` to take what is there now, or build from a lock bundle that has it"
    )]
    Gone {
        /// The package.
        name: String,
        /// Its version.
        version: String,
        /// The suite that listed it.
        suite: String,
        /// What the mirrors answered.
        source: Box<HttpError>,
    },
    /// A package cannot be downloaded.
    #[error("`{name}` {version} cannot be fetched")]
    Package {
        /// The package.
        name: String,
        /// Its version.
        version: String,
        /// Why not.
        source: Box<HttpError>,
    },
}

/// What is to be pinned.
#[derive(Clone, Debug)]
pub struct DebianQuery<'a> {
    /// The suite, such as `bookworm`; its updates and security updates come with it.
    pub suite: &'a str,
    /// The components, such as `main`.
    pub components: &'a [String],
    /// More repositories.
    pub repositories: &'a [Repository],
    /// Debian's name of the architecture, such as `amd64`.
    pub architecture: &'a str,
    /// The packages and what comes with them.
    pub request: Request,
    /// The `/var/lib/dpkg/status` of the root they are installed upon.
    pub installed: Option<&'a str>,
    /// Pins to keep as far as they fit.
    pub keep: &'a [PackagePin],
    /// The present time, by the caller's clock.
    pub now: SystemTime,
    /// The newest `Date` seen of each suite.
    pub newest_seen: &'a BTreeMap<String, SystemTime>,
}

/// A pinned request.
#[derive(Clone, Debug)]
pub struct DebianLocked {
    /// The pin.
    pub pin: DebianPin,
    /// The `Date` of each suite that was read.
    pub dates: BTreeMap<String, SystemTime>,
    /// What the user should know, a sentence each.
    pub warnings: Vec<String>,
}

/// The Debian archives as this machine reaches them.
#[derive(Debug)]
pub struct Archives<'a> {
    downloader: &'a Downloader,
    config: &'a DebianConfig,
    root: &'a Path,
    cache: PathBuf,
    apt: AptConfig,
}

/// One index to read.
struct Wanted {
    suite: usize,
    label: String,
    offers: Vec<(String, Expected)>,
}

impl<'a> Archives<'a> {
    /// Reads apt's configuration below `root`; indexes are kept in the directory `cache`.
    pub fn new(
        downloader: &'a Downloader,
        config: &'a DebianConfig,
        root: &'a Path,
        cache: PathBuf,
    ) -> Result<Self, SourcesError> {
        Ok(Self { downloader, config, root, cache, apt: AptConfig::read(root)? })
    }

    /// Pins a request to the packages that its suites offer now.
    pub fn lock(&self, query: &DebianQuery<'_>) -> Result<DebianLocked, DebianError> {
        let mut warnings = Vec::new();
        let suites = self.suites(query, &mut warnings)?;
        let mut wanted = Vec::new();
        for (suite, (opened, components)) in suites.iter().enumerate() {
            for (label, offers) in opened.indexes(components, query.architecture)? {
                wanted.push(Wanted { suite, label, offers });
            }
        }
        let texts = self.downloader.parallel(&wanted, |one| {
            suites[one.suite].0.fetch_index(self.downloader, &one.offers, &self.cache)
        })?;
        let mut universe = Universe::new(query.architecture);
        for (one, text) in wanted.iter().zip(texts) {
            let release = &suites[one.suite].0.release;
            let origin = IndexOrigin { suite: release.suite.clone(), priority: release.priority };
            universe.add_index(&format!("the index {}", one.label), origin, &text)?;
        }
        if let Some(status) = query.installed {
            universe.add_status("the root's `/var/lib/dpkg/status`", status)?;
        }
        let keep = query.keep.iter().map(|pin| (pin.name.clone(), pin.version.clone())).collect();
        let request = Request { keep, ..query.request.clone() };
        let packages = resolve(&universe, &request).or_else(|error| match &error {
            // What was pinned before may not fit what is asked for now.
            ResolveError::Unsatisfiable { .. } | ResolveError::Removal { .. }
                if !request.keep.is_empty() =>
            {
                resolve(&universe, &query.request)
            }
            _ => Err(error),
        })?;
        let dates = suites
            .iter()
            .map(|(suite, _)| (suite.release.suite.clone(), suite.release.date))
            .collect();
        Ok(DebianLocked { pin: DebianPin { packages }, dates, warnings })
    }

    /// Downloads a pinned package into `file`, going on with what the file has already.
    pub fn fetch_package(
        &self,
        pin: &PackagePin,
        repositories: &[Repository],
        file: &mut File,
        progress: Progress<'_>,
    ) -> Result<(), DebianError> {
        let named = repositories.iter().filter(|repository| repository.suite == pin.suite);
        let mut urls: Vec<String> = named.map(|repository| trimmed(&repository.url)).collect();
        match self.config.places(&self.apt, self.root, &pin.suite) {
            Ok(places) => urls.extend(places.into_iter().map(|place| place.url)),
            Err(error) if urls.is_empty() => return Err(error.into()),
            Err(_) => {}
        }
        let urls: Vec<String> =
            urls.iter().map(|url| format!("{url}/{}", encoded(&pin.path))).collect();
        let expected = Expected::Exact { sha256: pin.sha256, size: pin.size };
        let failed = |source: HttpError| {
            let (name, version) = (pin.name.clone(), pin.version.clone());
            if source.is_missing() {
                DebianError::Gone {
                    name,
                    version,
                    suite: pin.suite.clone(),
                    source: Box::new(source),
                }
            } else {
                DebianError::Package { name, version, source: Box::new(source) }
            }
        };
        self.downloader.fetch(&urls, expected, file, progress).map(|_| ()).map_err(failed)
    }

    /// Opens the suite, its updates and security updates, and the other repositories, in apt's order.
    fn suites(
        &self,
        query: &DebianQuery<'_>,
        warnings: &mut Vec<String>,
    ) -> Result<Vec<(Suite, Vec<String>)>, DebianError> {
        let open = |name: &str, places: &[Place]| {
            let seen = query.newest_seen.get(name).copied();
            Suite::open(self.downloader, name, places, query.now, seen, &self.cache)
        };
        let mut suites = Vec::new();
        for (name, kind) in companions(query.suite) {
            let places = match self.config.places(&self.apt, self.root, &name) {
                Err(MirrorError::NoMirror { .. }) if kind.is_some() => Vec::new(),
                other => other?,
            };
            match (open(&name, &places), kind) {
                (Ok(suite), _) => suites.push((suite, query.components.to_vec())),
                (Err(RepositoryError::NoSuite { .. }), Some(kind)) => {
                    warnings.push(format!(
                        "No mirror has the suite `{name}`: there are no {kind} in the lock"
                    ));
                }
                (Err(error), _) => return Err(error.into()),
            }
        }
        for repository in query.repositories {
            let mut keyring = Keyring::default();
            keyring.add(
                &format!("`signed_by` of {}", repository.url),
                repository.signed_by.as_bytes(),
            )?;
            let places = [Place { url: trimmed(&repository.url), keyring, valid_until: true }];
            let components =
                repository.components.clone().unwrap_or_else(|| vec!["main".to_owned()]);
            suites.push((open(&repository.suite, &places)?, components));
        }
        Ok(suites)
    }
}

/// Returns a suite and those that belong to it, with what each holds.
fn companions(suite: &str) -> Vec<(String, Option<&'static str>)> {
    let alone = ["sid", "unstable", "experimental"].contains(&suite) || suite.contains(['-', '/']);
    let mut all = vec![(suite.to_owned(), None)];
    if !alone {
        all.push((format!("{suite}-updates"), Some("stable updates")));
        all.push((format!("{suite}-security"), Some("security updates")));
    }
    all
}

/// Returns a pool path as it stands in a URL: `+` and `~` as they are, all else that needs it escaped.
fn encoded(path: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~+:@!$&'()*,;=".contains(&byte);
    path.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

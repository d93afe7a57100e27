//! Where a suite is fetched from: what is configured, else what apt is configured to on this machine.

use super::{
    keyring::Keyring,
    sources::{AptConfig, AptSource, SourcesError, add_keyring},
};
use std::path::{Path, PathBuf};

#[cfg(test)]
mod tests;

/// The mirrors of Debian; all of it is the machine's and none of it in a pin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DebianConfig {
    /// URLs of archives, tried in order; none: apt's sources.
    pub mirrors: Vec<String>,
    /// URLs of archives of security updates; none: apt's sources, then `mirrors`.
    pub security_mirrors: Vec<String>,
    /// Keyring files whose keys sign them; none: the keys of apt's sources, then Debian's own keyring.
    pub keyrings: Vec<PathBuf>,
}

/// Why there is nowhere to fetch a suite from.
#[derive(Debug, thiserror::Error)]
pub enum MirrorError {
    /// apt's configuration or a keyring could not be read.
    #[error(transparent)]
    Sources(#[from] SourcesError),
    /// Nothing is configured.
    #[error(
        "No mirror is known that has the suite `{suite}`, neither from the configuration nor from apt's; \
         write to `config.toml`:\n\n\
         [debian]\n\
         mirrors = [\"https://HOST/debian\"]\n\
         security_mirrors = [\"https://HOST/debian-security\"]\n\
         keyrings = [\"/usr/share/keyrings/debian-archive-keyring.gpg\"]"
    )]
    NoMirror {
        /// The suite.
        suite: String,
    },
    /// There are mirrors, but no keys.
    #[error(
        "No keys are known that sign the suite `{suite}`; name keyring files in `config.toml`, which the package \
         `debian-archive-keyring` has:\n\n\
         [debian]\n\
         keyrings = [\"/usr/share/keyrings/debian-archive-keyring.gpg\"]"
    )]
    NoKeys {
        /// The suite.
        suite: String,
    },
}

/// One place that may have a suite, and the keys that must have signed it there.
#[derive(Clone, Debug)]
pub struct Place {
    /// The root of the archive, without slash at the end.
    pub url: String,
    /// The keys.
    pub keyring: Keyring,
    /// Whether `Valid-Until` counts there.
    pub valid_until: bool,
}

/// Where Debian keeps its keys.
const DEBIAN_KEYRING: &str = "usr/share/keyrings/debian-archive-keyring.gpg";

impl DebianConfig {
    /// Returns the places to try for a suite, best first.
    pub fn places(
        &self,
        apt: &AptConfig,
        root: &Path,
        suite: &str,
    ) -> Result<Vec<Place>, MirrorError> {
        let security = suite.ends_with("-security") || suite.ends_with("/updates");
        let configured = if security { &self.security_mirrors } else { &self.mirrors };
        let mut own = Keyring::default();
        for path in &self.keyrings {
            add_keyring(&mut own, path)?;
        }
        let mut places = Vec::new();
        if configured.is_empty() {
            self.add_apt(apt, root, suite, security, &own, &mut places)?;
        }
        let fallback = security && configured.is_empty();
        let urls = if fallback { &self.mirrors } else { configured };
        if !urls.is_empty() {
            let keyring = if own.is_empty() { default_keyring(apt, root)? } else { own };
            for url in urls {
                // What apt is told holds for its own sources.
                let (keyring, valid_until) = (keyring.clone(), true);
                places.push(Place { url: trimmed(url), keyring, valid_until });
            }
        }
        if places.is_empty() {
            return Err(MirrorError::NoMirror { suite: suite.to_owned() });
        }
        if places.iter().all(|place| place.keyring.is_empty()) {
            return Err(MirrorError::NoKeys { suite: suite.to_owned() });
        }
        places.retain(|place| !place.keyring.is_empty());
        Ok(places)
    }

    /// Adds what apt's sources have: those that name the suite, then the other archives of its kind, which may have
    /// it, too.
    fn add_apt(
        &self,
        apt: &AptConfig,
        root: &Path,
        suite: &str,
        security: bool,
        own: &Keyring,
        places: &mut Vec<Place>,
    ) -> Result<(), MirrorError> {
        let names = |source: &&AptSource| source.suites.iter().any(|name| name == suite);
        let alike = |source: &&AptSource| {
            let of_security = source
                .suites
                .iter()
                .any(|name| name.ends_with("-security") || name.ends_with("/updates"));
            of_security == security && !source.suites.iter().any(|name| name.ends_with('/'))
        };
        let exact = apt.sources.iter().filter(names);
        let others = apt
            .sources
            .iter()
            .filter(|source| !names(source) && alike(source) && !self.has_mirrors());
        for (source, exact) in
            exact.map(|source| (source, true)).chain(others.map(|source| (source, false)))
        {
            let mut keyring = if own.is_empty() { apt.keyring(source)? } else { own.clone() };
            let debian = root.join(DEBIAN_KEYRING);
            if own.is_empty() && (!exact || keyring.is_empty()) && debian.exists() {
                add_keyring(&mut keyring, &debian)?;
            }
            for url in source.urls.iter().filter(|url| url.starts_with("http")) {
                if !places.iter().any(|place: &Place| place.url == *url) {
                    let valid_until = apt.checks_valid_until(source);
                    places.push(Place { url: url.clone(), keyring: keyring.clone(), valid_until });
                }
            }
        }
        Ok(())
    }

    fn has_mirrors(&self) -> bool {
        !self.mirrors.is_empty()
    }
}

/// Reads Debian's own keyring, or all keys that apt trusts.
fn default_keyring(apt: &AptConfig, root: &Path) -> Result<Keyring, SourcesError> {
    let debian = root.join(DEBIAN_KEYRING);
    if debian.exists() {
        let mut keyring = Keyring::default();
        add_keyring(&mut keyring, &debian)?;
        return Ok(keyring);
    }
    apt.keyring(&AptSource::default())
}

/// Returns a URL without slash at the end.
pub(super) fn trimmed(url: &str) -> String {
    url.trim_end_matches('/').to_owned()
}

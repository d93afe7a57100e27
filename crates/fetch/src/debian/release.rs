//! A repository's `InRelease`: what it offers, from whom, until when, and the digests of its indexes.

use super::{
    keyring::{Keyring, KeyringError},
    universe::sha256,
};
use deb822_fast::borrowed::BorrowedParagraphIter;
use reimage_castore::Sha256;
use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

/// Why an `InRelease` was refused.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    /// Its signature.
    #[error(transparent)]
    Signature(#[from] KeyringError),
    /// It is not in the deb822 format.
    #[error("{name} is not a Release file")]
    Format {
        /// What the caller calls the file.
        name: String,
        /// What the parser found.
        source: Option<deb822_fast::Error>,
    },
    /// A field is missing or not what the field holds.
    #[error("{name} has no valid field `{field}`")]
    Field {
        /// What the caller calls the file.
        name: String,
        /// The field.
        field: &'static str,
    },
    /// It is not of the suite that was asked for: a mirror mixed up, or an attack.
    #[error("{name} is of suite `{suite}` (codename `{codename}`), not `{wanted}`")]
    WrongSuite {
        /// What the caller calls the file.
        name: String,
        /// Its `Suite`.
        suite: String,
        /// Its `Codename`.
        codename: String,
        /// The suite asked for.
        wanted: String,
    },
    /// Its time is over: the mirror stopped being updated, or somebody replays an old state.
    #[error(
        "{name} expired on {until}: the mirror is not updated, or the clock of this machine is wrong"
    )]
    Expired {
        /// What the caller calls the file.
        name: String,
        /// Its `Valid-Until`.
        until: String,
    },
    /// Something newer was seen before.
    #[error(
        "{name} is of {date}, older than what was seen before, of {seen}: the mirror went back in time"
    )]
    RolledBack {
        /// What the caller calls the file.
        name: String,
        /// Its `Date`.
        date: String,
        /// The newest date seen.
        seen: String,
    },
}

/// What an `InRelease` is checked against.
#[derive(Clone, Debug)]
pub struct ReleaseCheck {
    /// The present time, by the caller's clock.
    pub now: SystemTime,
    /// Whether `Valid-Until` counts: apt's `Acquire::Check-Valid-Until`, off for snapshots.
    pub valid_until: bool,
    /// The `Date` of the newest that was seen of this suite.
    pub newest_seen: Option<SystemTime>,
}

/// A verified `InRelease`.
#[derive(Clone, Debug)]
pub struct Release {
    /// The suite it was asked for as.
    pub suite: String,
    /// When it was made.
    pub date: SystemTime,
    /// Whether indexes can be fetched by their digests, which no update of the mirror tears apart.
    pub by_hash: bool,
    /// The architectures it has indexes of.
    pub architectures: Vec<String>,
    /// Whether packages of architecture `all` are only in an index of their own.
    pub separate_all: bool,
    /// apt's priority: 500, 100 for `ButAutomaticUpgrades`, 1 for `NotAutomatic`.
    pub priority: i16,
    /// The fingerprint of the key that signed it.
    pub signer: String,
    files: BTreeMap<String, (Sha256, u64)>,
}

impl Release {
    /// Verifies and reads an `InRelease` of `suite`; `name` names it in errors.
    pub fn verify(
        name: &str,
        message: &[u8],
        suite: &str,
        keyring: &Keyring,
        check: &ReleaseCheck,
    ) -> Result<Self, ReleaseError> {
        let verified = keyring.verify(name, message, check.now)?;
        let release = Self::parse(name, &verified.text, suite, verified.signer)?;
        release.check(name, &verified.text, check)?;
        Ok(release)
    }

    /// Reads the text of a Release file whose origin is known.
    pub(super) fn parse(
        name: &str,
        text: &str,
        wanted: &str,
        signer: String,
    ) -> Result<Self, ReleaseError> {
        let format = |source| ReleaseError::Format { name: name.to_owned(), source };
        let paragraph = BorrowedParagraphIter::new(text).next().ok_or_else(|| format(None))?;
        let paragraph = paragraph.map_err(|source| format(Some(source)))?;
        let get = |field| paragraph.get_single(field).map_or("", str::trim);
        let yes = |field| get(field).eq_ignore_ascii_case("yes");
        let missing = |field| ReleaseError::Field { name: name.to_owned(), field };

        let (suite, codename) = (get("Suite"), get("Codename"));
        let unnamed = suite.is_empty() && codename.is_empty();
        if wanted != suite && wanted != codename && !unnamed && !wanted.ends_with('/') {
            return Err(ReleaseError::WrongSuite {
                name: name.to_owned(),
                suite: suite.to_owned(),
                codename: codename.to_owned(),
                wanted: wanted.to_owned(),
            });
        }
        let mut files = BTreeMap::new();
        for line in paragraph.get("SHA256").ok_or_else(|| missing("SHA256"))? {
            let mut words = line.split_whitespace();
            let Some(digest) = words.next() else { continue };
            let entry = words.next().and_then(|size| Some((sha256(digest)?, size.parse().ok()?)));
            let (Some(entry), Some(path)) = (entry, words.next()) else {
                return Err(missing("SHA256"));
            };
            files.insert(path.to_owned(), entry);
        }
        Ok(Self {
            suite: wanted.to_owned(),
            date: date(get("Date")).ok_or_else(|| missing("Date"))?,
            by_hash: yes("Acquire-By-Hash"),
            architectures: get("Architectures").split_whitespace().map(str::to_owned).collect(),
            separate_all: get("Architectures").split_whitespace().any(|one| one == "all")
                && get("No-Support-for-Architecture-all") != "Packages",
            priority: match (yes("NotAutomatic"), yes("ButAutomaticUpgrades")) {
                (false, _) => 500,
                (true, true) => 100,
                (true, false) => 1,
            },
            signer,
            files,
        })
    }

    pub(super) fn check(
        &self,
        name: &str,
        text: &str,
        check: &ReleaseCheck,
    ) -> Result<(), ReleaseError> {
        let until = text.lines().find_map(|line| line.strip_prefix("Valid-Until:")).map(str::trim);
        if let Some(until) = until.filter(|_| check.valid_until) {
            let end = date(until).ok_or_else(|| ReleaseError::Field {
                name: name.to_owned(),
                field: "Valid-Until",
            })?;
            if end < check.now {
                return Err(ReleaseError::Expired {
                    name: name.to_owned(),
                    until: until.to_owned(),
                });
            }
        }
        match check.newest_seen {
            Some(seen) if self.date < seen => Err(ReleaseError::RolledBack {
                name: name.to_owned(),
                date: httpdate::fmt_http_date(self.date),
                seen: httpdate::fmt_http_date(seen),
            }),
            _ => Ok(()),
        }
    }

    /// Returns the digest and size of a file below the suite's directory.
    pub fn file(&self, path: &str) -> Option<(Sha256, u64)> {
        self.files.get(path).copied()
    }

    /// Returns the paths, best first, of the indexes to read for a component and an architecture; each with its
    /// digest and size. Only compressions that are read here are named.
    pub fn index(&self, component: &str, architecture: &str) -> Vec<(String, Sha256, u64)> {
        let base = if self.suite.ends_with('/') {
            "Packages".to_owned()
        } else {
            format!("{component}/binary-{architecture}/Packages")
        };
        [".xz", ".zst", ".gz", ""]
            .iter()
            .map(|suffix| format!("{base}{suffix}"))
            .filter_map(|path| self.file(&path).map(|(digest, size)| (path, digest, size)))
            .collect()
    }

    /// Returns the components that have an index for an architecture.
    pub fn components(&self, architecture: &str) -> Vec<String> {
        let ending = format!("/binary-{architecture}/Packages");
        let stem = |path: &str| path.split_once(&ending).map(|(component, _)| component.to_owned());
        let mut known: Vec<String> = self.files.keys().filter_map(|path| stem(path)).collect();
        known.dedup();
        known
    }

    /// Returns where to fetch a file of this Release below the suite's directory.
    pub fn location(&self, path: &str, digest: &Sha256) -> String {
        match path.rsplit_once('/') {
            Some((directory, _)) if self.by_hash => {
                format!("{directory}/by-hash/SHA256/{}", digest.hex())
            }
            None if self.by_hash => format!("by-hash/SHA256/{}", digest.hex()),
            _ => path.to_owned(),
        }
    }
}

/// Reads a date as archives write it: `Sat, 11 Jul 2026 10:16:37 UTC`.
fn date(text: &str) -> Option<SystemTime> {
    let (head, zone) = text.rsplit_once(' ')?;
    let time = httpdate::parse_http_date(&format!("{head} GMT")).ok()?;
    match zone {
        "UTC" | "GMT" | "Z" => Some(time),
        offset => {
            let (sign, digits) = (offset.get(..1)?, offset.get(1..)?);
            let (hours, minutes) =
                (digits.get(..2)?.parse::<u64>().ok()?, digits.get(2..4)?.parse::<u64>().ok()?);
            let shift = Duration::from_secs(hours * 3600 + minutes * 60);
            match sign {
                "+" => time.checked_sub(shift),
                "-" => time.checked_add(shift),
                _ => None,
            }
        }
    }
}

#[cfg(test)]
mod tests;

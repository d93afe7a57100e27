//! `config.toml`: where this machine keeps and fetches things.
//!
//! Read from `/etc/reimage/config.toml` (the machine's), then `$XDG_CONFIG_HOME/reimage/config.toml` (the user's),
//! then the flags of the command; each goes over the one before, key by key, lists as a whole. A key nobody knows
//! is an error. Nothing here is part of a digest, and nothing here comes from the project: a pull request could
//! edit that.

mod cache;
mod file;

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};

use clap::Args;
use reimage_plan::{NotASize, Size};
use reimage_sandbox::IdsSetting;
use serde::{Deserialize, Serialize};

use crate::{error::CommandError, machine::Machine};

pub(crate) use cache::{Cache, CacheFlags, Trust};
pub(crate) use file::{File, Prefix};

/// The effective values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Config {
    /// Where results are kept.
    pub(crate) store: Sourced<PathBuf>,
    /// Most steps at the same time.
    pub(crate) jobs: Sourced<usize>,
    /// URLs that stand in the place of a prefix, by that.
    pub(crate) http_mirrors: BTreeMap<String, Sourced<Vec<String>>>,
    /// Where images of a registry are looked for first, by its name.
    pub(crate) registry_mirrors: BTreeMap<String, Sourced<Vec<String>>>,
    /// Registries that are spoken to without encryption.
    pub(crate) insecure: Sourced<Vec<String>>,
    /// Debian mirrors; none: the machine's apt sources.
    pub(crate) mirrors: Sourced<Vec<String>>,
    /// Mirrors of Debian's security archive; none: the machine's apt sources.
    pub(crate) security_mirrors: Sourced<Vec<String>>,
    /// Key rings that sign Debian's archives; none: the machine's.
    pub(crate) keyrings: Sourced<Vec<PathBuf>>,
    /// Who answers for user ids in a rootless sandbox.
    pub(crate) ids: Sourced<Ids>,
    /// Memory that files written by running steps may take, all together.
    pub(crate) memory: Sourced<Memory>,
    /// Caches of the team.
    pub(crate) cache: Cache,
}

/// A value and where it was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sourced<T> {
    /// The value.
    pub(crate) value: T,
    /// Where it was said.
    pub(crate) origin: Origin,
}

/// Where a value was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Nowhere.
    Default,
    /// In this file.
    File(PathBuf),
    /// By this flag.
    Flag(&'static str),
}

/// Who answers for user ids in a rootless sandbox (`sandbox.ids`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Ids {
    /// Whatever the machine offers.
    #[default]
    Auto,
    /// The monitor, with one id.
    Notify,
    /// The kernel, with the ranges that `newuidmap` grants.
    Newuidmap,
}

impl From<Ids> for IdsSetting {
    fn from(ids: Ids) -> Self {
        match ids {
            Ids::Auto => Self::Auto,
            Ids::Notify => Self::Notify,
            Ids::Newuidmap => Self::Mapped,
        }
    }
}

/// A number of bytes, written as in a spec (`sandbox.memory`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Memory(pub(crate) u64);

impl TryFrom<String> for Memory {
    type Error = NotASize;

    fn try_from(text: String) -> Result<Self, NotASize> {
        text.parse().map(|Size(bytes)| Self(bytes))
    }
}

impl Serialize for Memory {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&Size(self.0))
    }
}

/// Who answers for user ids here; a configuration that cannot be read is reported by the verb that needs it.
pub(crate) fn ids(machine: &Machine) -> IdsSetting {
    let flags = Flags { store: Some(Path::new("")), ..Flags::default() };
    Config::load(machine, &flags).map(|config| config.ids.value.into()).unwrap_or_default()
}

/// Flags that go over `config.toml`, for the verbs that fetch.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Where sources come from")]
pub(crate) struct SourceFlags {
    /// Debian mirror to fetch from, instead of the configured ones (can be repeated)
    #[arg(long = "mirror", value_name = "URL")]
    pub(crate) mirrors: Vec<String>,
    /// Mirror of Debian's security archive (can be repeated)
    #[arg(long = "security-mirror", value_name = "URL")]
    pub(crate) security_mirrors: Vec<String>,
    /// Key ring that Debian's archives are verified with (can be repeated)
    #[arg(long = "keyring", value_name = "FILE")]
    pub(crate) keyrings: Vec<PathBuf>,
}

/// Flags that go over `config.toml`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Flags<'a> {
    /// `--store`
    pub(crate) store: Option<&'a Path>,
    /// `-j`
    pub(crate) jobs: Option<usize>,
    /// `--mirror` and the like.
    pub(crate) sources: SourceFlags,
    /// `--cache` and the like.
    pub(crate) caches: CacheFlags,
}

impl Config {
    /// The machine's file, the user's and the flags, in that order.
    pub(crate) fn load(machine: &Machine, flags: &Flags<'_>) -> Result<Self, CommandError> {
        let user = machine.xdg("XDG_CONFIG_HOME", ".config").ok();
        let system = machine.etc.join("reimage/config.toml");
        let files = [Some(system), user.map(|dir| dir.join("reimage/config.toml"))];
        let mut config = Self::defaults(machine, flags.store.is_some())?;
        for path in files.into_iter().flatten() {
            if let Some(file) = File::read(&path)? {
                config.apply(file, &path);
            }
        }
        config.flags(machine, flags);
        Ok(config)
    }

    fn defaults(machine: &Machine, store_given: bool) -> Result<Self, CommandError> {
        let cache = machine.xdg("XDG_CACHE_HOME", ".cache");
        let store = if store_given { cache.unwrap_or_default() } else { cache? };
        Ok(Self {
            store: Sourced::default_of(store.join("reimage")),
            jobs: Sourced::default_of(machine.processors),
            http_mirrors: BTreeMap::new(),
            registry_mirrors: BTreeMap::new(),
            insecure: Sourced::default_of(Vec::new()),
            mirrors: Sourced::default_of(Vec::new()),
            security_mirrors: Sourced::default_of(Vec::new()),
            keyrings: Sourced::default_of(Vec::new()),
            ids: Sourced::default_of(Ids::default()),
            memory: Sourced::default_of(Memory(machine.memory / 4)),
            cache: Cache::default(),
        })
    }

    fn apply(&mut self, file: File, path: &Path) {
        let origin = Origin::File(path.to_owned());
        let beside = |p: PathBuf| path.parent().map_or(p.clone(), |directory| directory.join(&p));
        self.store.set(file.store.path.map(beside), &origin);
        self.jobs.set(file.build.jobs.map(|jobs| usize::from(jobs.get())), &origin);
        for (Prefix(prefix), value) in file.http.mirrors {
            self.http_mirrors.insert(prefix, Sourced { value, origin: origin.clone() });
        }
        for (name, value) in file.registry.mirrors {
            self.registry_mirrors.insert(name, Sourced { value, origin: origin.clone() });
        }
        self.insecure.set(file.registry.insecure, &origin);
        self.mirrors.set(file.debian.mirrors, &origin);
        self.security_mirrors.set(file.debian.security_mirrors, &origin);
        let keyrings = file.debian.keyrings.map(|all| all.into_iter().map(beside).collect());
        self.keyrings.set(keyrings, &origin);
        self.ids.set(file.sandbox.ids, &origin);
        self.memory.set(file.sandbox.memory, &origin);
        self.cache.apply(file.cache, beside, &origin);
    }

    fn flags(&mut self, machine: &Machine, flags: &Flags<'_>) {
        fn given<T>(list: Vec<T>) -> Option<Vec<T>> {
            (!list.is_empty()).then_some(list)
        }
        let sources = flags.sources.clone();
        let keyrings = sources.keyrings.iter().map(|path| machine.absolute(path)).collect();
        self.store.set(flags.store.map(|path| machine.absolute(path)), &Origin::Flag("--store"));
        self.jobs.set(flags.jobs, &Origin::Flag("--jobs"));
        self.mirrors.set(given(sources.mirrors), &Origin::Flag("--mirror"));
        self.security_mirrors
            .set(given(sources.security_mirrors), &Origin::Flag("--security-mirror"));
        self.keyrings.set(given(keyrings), &Origin::Flag("--keyring"));
        self.cache.flags(machine, &flags.caches);
    }
}

impl<T> Sourced<T> {
    fn default_of(value: T) -> Self {
        Self { value, origin: Origin::Default }
    }

    fn set(&mut self, value: Option<T>, origin: &Origin) {
        if let Some(value) = value {
            *self = Self { value, origin: origin.clone() };
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Flag(flag) => f.write_str(flag),
        }
    }
}

#[cfg(test)]
mod tests;

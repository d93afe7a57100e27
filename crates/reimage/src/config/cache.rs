//! `[cache]`: caches of the team, in `config.toml` and as flags.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use serde::{Deserialize, Serialize};

use super::{Origin, Sourced};
use crate::machine::Machine;

/// How long the command waits for what is still to be sent, in seconds.
const WAIT: u32 = 300;

/// `[cache]`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct File {
    urls: Option<Vec<String>>,
    write: Option<Vec<String>>,
    trust: Option<Trust>,
    key: Option<PathBuf>,
    wait: Option<u32>,
}

/// Whose results are used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected \"server\" or a list of key files")]
pub(crate) enum Trust {
    /// Those of everybody who may write to the cache.
    Server(Server),
    /// Those that one of these keys signed.
    Keys(Vec<PathBuf>),
}

/// The word `server`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Server {
    /// It.
    #[serde(rename = "server")]
    Server,
}

/// The effective values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cache {
    /// Caches that are read, in this order.
    pub(crate) urls: Sourced<Vec<String>>,
    /// Caches that are written, and read after the others.
    pub(crate) write: Sourced<Vec<String>>,
    /// Whose results are used.
    pub(crate) trust: Sourced<Trust>,
    /// The private key that signs what is written; none: it is not signed.
    pub(crate) key: Sourced<Option<PathBuf>>,
    /// How long the command waits for what is still to be sent, in seconds.
    pub(crate) wait: Sourced<u32>,
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            urls: Sourced::default_of(Vec::new()),
            write: Sourced::default_of(Vec::new()),
            trust: Sourced::default_of(Trust::Keys(Vec::new())),
            key: Sourced::default_of(None),
            wait: Sourced::default_of(WAIT),
        }
    }
}

/// Flags that go over `[cache]`.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Caches of the team")]
pub(crate) struct CacheFlags {
    /// Take results from this cache, `file:///DIRECTORY` or `oci://REGISTRY/REPOSITORY`, instead of the configured ones
    /// (can be repeated: they are asked in order)
    #[arg(long = "cache", value_name = "URL")]
    urls: Vec<String>,
    /// Take results from this cache, too, and send it what is made here, instead of the configured ones (can be repeated)
    #[arg(long = "cache-write", value_name = "URL")]
    write: Vec<String>,
    /// Send nothing to any cache
    #[arg(long, conflicts_with = "write")]
    cache_read_only: bool,
    /// Use no cache
    #[arg(long, conflicts_with_all = ["urls", "write"])]
    no_cache: bool,
    /// Use results that this public key signed (can be repeated); `server`: those of everybody who may write there
    #[arg(long = "cache-trust", value_name = "FILE")]
    trust: Vec<PathBuf>,
    /// Sign what is sent with this private key, and use what it signed
    #[arg(long = "cache-key", value_name = "FILE")]
    key: Option<PathBuf>,
    /// Wait so long at the end for what is still to be sent
    #[arg(long = "cache-wait", value_name = "SECONDS")]
    wait: Option<u32>,
}

impl Cache {
    /// What a file says over what was said before; its paths are relative to it.
    pub(super) fn apply(
        &mut self,
        file: File,
        beside: impl Fn(PathBuf) -> PathBuf,
        origin: &Origin,
    ) {
        let File { urls, write, trust, key, wait } = file;
        let trust = trust.map(|trust| match trust {
            Trust::Keys(keys) => Trust::Keys(keys.into_iter().map(&beside).collect()),
            server @ Trust::Server(_) => server,
        });
        self.urls.set(urls, origin);
        self.write.set(write, origin);
        self.trust.set(trust, origin);
        // An empty one is none, as it is printed.
        let key = key.map(|key| (!key.as_os_str().is_empty()).then(|| beside(key)));
        self.key.set(key, origin);
        self.wait.set(wait, origin);
    }

    /// What flags say over that.
    pub(super) fn flags(&mut self, machine: &Machine, flags: &CacheFlags) {
        let given = |list: &[String]| (!list.is_empty()).then(|| list.to_vec());
        self.urls.set(given(&flags.urls), &Origin::Flag("--cache"));
        self.write.set(given(&flags.write), &Origin::Flag("--cache-write"));
        self.write.set(flags.cache_read_only.then(Vec::new), &Origin::Flag("--cache-read-only"));
        for list in [&mut self.urls, &mut self.write] {
            list.set(flags.no_cache.then(Vec::new), &Origin::Flag("--no-cache"));
        }
        let trust = match flags.trust.as_slice() {
            [] => None,
            [word] if word.as_os_str() == "server" => Some(Trust::Server(Server::Server)),
            keys => Some(Trust::Keys(keys.iter().map(|key| machine.absolute(key)).collect())),
        };
        self.trust.set(trust, &Origin::Flag("--cache-trust"));
        let key = flags.key.as_deref().map(|key| Some(machine.absolute(key)));
        self.key.set(key, &Origin::Flag("--cache-key"));
        self.wait.set(flags.wait, &Origin::Flag("--cache-wait"));
    }

    /// How long the command waits for what is still to be sent.
    pub(crate) fn wait(&self) -> Duration {
        Duration::from_secs(self.wait.value.into())
    }
}

//! The caches of the team as the configuration names them: opened before a build, and waited for at its end.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use reimage_castore::Store;
use reimage_http::HttpConfig;
use reimage_oci::Reference;
use reimage_registry::{Registry, RegistryConfig};
use reimage_remote::{
    Backend, Cache, CacheConfig, Directory, KeyError, Patience, PrivateKey, PublicKey, Remote,
    Repository, Sent, Trust, Warn,
};

use crate::{
    app::App,
    config::{self, Config, Sourced},
    error::{CommandError, Kind},
    network,
    ui::{Ui, bytes},
};

/// Names of what was not sent that are printed.
const NAMES: usize = 5;

/// Caches in use. When this goes, what is still to be sent is waited for.
pub(crate) struct Caches<'a> {
    ui: &'a Ui,
    cache: Cache,
    wait: Duration,
    warnings: Arc<Mutex<Vec<String>>>,
}

impl<'a> Caches<'a> {
    /// Those of `config`, of which only directories are used if `offline`; none if it names none.
    pub(crate) fn open(
        app: &'a App,
        config: &Config,
        store: &Store,
        offline: bool,
    ) -> Result<Option<Self>, CommandError> {
        let config::Cache { urls, write, trust, key, .. } = &config.cache;
        if urls.value.is_empty() && write.value.is_empty() {
            return Ok(None);
        }
        let signer = key.value.as_deref().map(|path| private(path, key)).transpose()?;
        let trust = match &trust.value {
            config::Trust::Server(_) => Trust::Server,
            config::Trust::Keys(keys) => {
                Trust::Keys(keys.iter().map(|path| public(path, trust)).collect::<Result<_, _>>()?)
            }
        };
        if trust == Trust::Keys(Vec::new()) && signer.is_none() {
            let message = "A cache is to be used, and it is not said whose results are trusted";
            return Err(CommandError::usage(message)
                .hint("name the public keys that sign them: `--cache-trust FILE`, or `cache.trust` in config.toml")
                .hint("`--cache-trust server` trusts everybody who may write to the cache"));
        }
        if !write.value.is_empty() && trust != Trust::Server && signer.is_none() {
            let message = "A cache is to be written to, and nobody who trusts keys could use what is not signed";
            return Err(CommandError::usage(message)
                .hint("`reimage cache keygen FILE` makes a key; name it with `--cache-key FILE` or `cache.key` in config.toml")
                .hint("`--cache-read-only` sends nothing"));
        }
        let warnings: Arc<Mutex<Vec<String>>> = Arc::default();
        let theirs = warnings.clone();
        let warn: Warn = Arc::new(move |what| {
            theirs.lock().unwrap_or_else(PoisonError::into_inner).push(what);
        });
        let mut remotes = Vec::new();
        let read_only = urls.value.iter().filter(|url| !write.value.contains(url));
        for (list, url) in
            read_only.map(|url| (urls, url)).chain(write.value.iter().map(|url| (write, url)))
        {
            let place = place(url, list)?;
            if offline && matches!(place, Place::Repository(_)) {
                continue;
            }
            let backend = place.backend(app, config)?;
            let (tmp, seed) = (store.tmp_dir(), std::process::id().into());
            let patience = Patience::default();
            let remote = Remote::new(url, backend, patience, tmp, seed, warn.clone());
            remotes.push((remote, write.value.contains(url)));
        }
        // In the order in which they are named.
        let order =
            |url: &str| urls.value.iter().position(|named| named == url).unwrap_or(usize::MAX);
        remotes.sort_by_key(|(remote, _)| order(remote.name()));
        if remotes.is_empty() {
            return Ok(None);
        }
        let cache = Cache::new(CacheConfig { remotes, trust, signer });
        Ok(Some(Self { ui: &app.ui, cache, wait: config.cache.wait(), warnings }))
    }

    /// What a build uses.
    pub(crate) fn cache(&self) -> &Cache {
        &self.cache
    }

    /// Says what there is to say of them.
    pub(crate) fn warn(&self) {
        let warnings =
            std::mem::take(&mut *self.warnings.lock().unwrap_or_else(PoisonError::into_inner));
        for warning in warnings {
            self.ui.warning(warning);
        }
    }
}

impl Drop for Caches<'_> {
    fn drop(&mut self) {
        let Sent { not_sent, .. } = self.cache.finish(self.wait);
        self.warn();
        if !not_sent.is_empty() {
            let (count, more) = (not_sent.len(), not_sent.len().saturating_sub(NAMES));
            let names = not_sent[..count - more].join(", ");
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            self.ui.warning(format!("Not sent to the cache: {names}{more}"));
        }
        for (name, metrics) in self.cache.metrics() {
            let reimage_remote::Metrics { hits, received, sent, .. } = metrics;
            if hits > 0 || sent > 0 {
                let (received, sent) = (bytes(received), bytes(sent));
                self.ui
                    .note(format!("Cache {name}: {hits} found, {received} received, {sent} sent"));
            }
        }
    }
}

/// Where a cache lies.
enum Place<'u> {
    Directory(&'u str),
    Repository(Reference),
}

/// Where `url` leads.
fn place<'u>(url: &'u str, list: &Sourced<Vec<String>>) -> Result<Place<'u>, CommandError> {
    let bad = || {
        CommandError::usage(format!("`{url}` is no cache ({})", list.origin)).hint(
            "a cache is a directory, `file:///mnt/cache`, or a repository of a registry, `oci://registry.example/team/cache`",
        )
    };
    if let Some(path) = url.strip_prefix("file://").filter(|path| path.starts_with('/')) {
        return Ok(Place::Directory(path));
    }
    let name = url.strip_prefix("oci://").ok_or_else(bad)?;
    let reference = name.parse::<Reference>().map_err(|error| bad().caused_by(error))?;
    // No registry is meant unless it is named, and records have tags of their own.
    if name != format!("{}/{}", reference.registry(), reference.path()) {
        return Err(bad());
    }
    Ok(Place::Repository(reference))
}

/// The caches that are repositories of registries.
pub(crate) fn repositories(config: &Config) -> Vec<Reference> {
    let config::Cache { urls, write, .. } = &config.cache;
    let all = [write, urls].map(|list| list.value.iter().filter_map(|url| place(url, list).ok()));
    let repository = |place| match place {
        Place::Repository(reference) => Some(reference),
        Place::Directory(_) => None,
    };
    all.into_iter().flatten().filter_map(repository).collect()
}

impl Place<'_> {
    fn backend(self, app: &App, config: &Config) -> Result<Arc<dyn Backend>, CommandError> {
        let reference = match self {
            Self::Directory(path) => {
                return Ok(Arc::new(Directory::new(path, app.machine.time())));
            }
            Self::Repository(reference) => reference,
        };
        let parallel = Patience::default().parallel;
        let http = HttpConfig { retries: 0, parallel, ..network::http(&app.machine, false) };
        let mirrors = BTreeMap::new();
        let registries = RegistryConfig { mirrors, ..network::registries(&app.machine, config) };
        let registry = Registry::new(http, registries)?;
        Ok(Arc::new(Repository::new(registry, reference.registry(), reference.path())))
    }
}

fn private(path: &Path, key: &Sourced<Option<PathBuf>>) -> Result<PrivateKey, CommandError> {
    PrivateKey::from_pem(&read(path, &key.origin)?).map_err(|error| bad_key(path, error))
}

fn public(path: &Path, trust: &Sourced<config::Trust>) -> Result<PublicKey, CommandError> {
    PublicKey::from_pem(&read(path, &trust.origin)?).map_err(|error| bad_key(path, error))
}

fn read(path: &Path, origin: &config::Origin) -> Result<String, CommandError> {
    fs_err::read_to_string(path).map_err(|error| {
        let message = format!("The key `{}` cannot be read ({origin})", path.display());
        CommandError::new(Kind::Usage, message).caused_by(error)
    })
}

fn bad_key(path: &Path, error: KeyError) -> CommandError {
    let message = format!("`{}` is no key", path.display());
    CommandError::usage(message)
        .caused_by(error)
        .hint("`reimage cache keygen FILE` writes FILE and FILE.pub")
}

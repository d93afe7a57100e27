//! All remote sources as one machine reaches them: what `build` and `lock` are given.

use crate::debian::{Archives, DebianConfig, SourcesError};
use reimage_http::{Downloader, Expected, HttpConfig, HttpError, Progress};
use reimage_plan::HttpPin;
use reimage_registry::{Registry, RegistryConfig};
use std::{collections::BTreeMap, fs::File, path::PathBuf};

/// How this machine reaches sources; none of it is in a lock or a digest.
#[derive(Clone, Debug)]
pub struct SourcesConfig {
    /// Connections, proxies, offline.
    pub http: HttpConfig,
    /// The registries.
    pub registry: RegistryConfig,
    /// The mirrors of Debian.
    pub debian: DebianConfig,
    /// The root below which apt's configuration and Debian's keyring lie: `/`.
    pub root: PathBuf,
    /// Where URLs that begin with a prefix are fetched from before they are themselves: URLs that stand in its place.
    pub http_mirrors: BTreeMap<String, Vec<String>>,
    /// A directory for package indexes, which may vanish at any time.
    pub cache: PathBuf,
    /// The largest file that an unpinned URL may give, in bytes.
    pub max_size: u64,
}

/// All remote sources; cheap to share between threads.
#[derive(Debug)]
pub struct Sources {
    config: SourcesConfig,
    downloader: Downloader,
    registry: Registry,
}

impl Sources {
    /// Takes a configuration; opens no connection.
    pub fn new(config: SourcesConfig) -> Result<Self, HttpError> {
        let downloader = Downloader::new(config.http.clone())?;
        let registry = Registry::new(config.http.clone(), config.registry.clone())?;
        Ok(Self { config, downloader, registry })
    }

    /// Returns whether no connection may be opened.
    pub fn is_offline(&self) -> bool {
        self.config.http.offline
    }

    /// Returns the downloader, for running downloads in parallel.
    pub fn downloader(&self) -> &Downloader {
        &self.downloader
    }

    /// Returns the registries.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Downloads a URL into `file`: what is pinned, or whatever it gives, and returns its pin.
    pub fn fetch_http(
        &self,
        url: &str,
        pin: Option<&HttpPin>,
        file: &mut File,
        progress: Progress<'_>,
    ) -> Result<HttpPin, HttpError> {
        let expected = match pin {
            Some(pin) => Expected::Exact { sha256: pin.sha256, size: pin.size },
            None => Expected::AtMost(self.config.max_size),
        };
        let fetched = self.downloader.fetch(&self.places(url), expected, file, progress)?;
        Ok(HttpPin { sha256: fetched.sha256, size: fetched.size })
    }

    /// Where `url` is fetched from: the mirrors of its longest prefix, then itself.
    fn places(&self, url: &str) -> Vec<String> {
        let fits = self.config.http_mirrors.iter().filter(|(prefix, _)| url.starts_with(*prefix));
        let longest = fits.max_by_key(|(prefix, _)| prefix.len());
        let mirrored = longest.into_iter().flat_map(|(prefix, mirrors)| {
            let rest = &url[prefix.len()..];
            mirrors.iter().map(move |mirror| format!("{}/{rest}", mirror.trim_end_matches('/')))
        });
        mirrored.chain([url.to_owned()]).collect()
    }

    /// Returns the Debian archives; reads apt's configuration.
    pub fn archives(&self) -> Result<Archives<'_>, SourcesError> {
        Archives::new(
            &self.downloader,
            &self.config.debian,
            &self.config.root,
            self.config.cache.clone(),
        )
    }
}

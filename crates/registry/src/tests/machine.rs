//! What the tests stand on: a client and images.

use std::{io::Write as _, path::Path, time::Duration};

use crate::{
    Credentials, Platforms, Pulled, Pushed, Registry, RegistryConfig, RegistryError, Repository,
    Source, pull, push,
};
use reimage_castore::Sha256;
use reimage_http::HttpConfig;
use reimage_oci::{Descriptor, Layout, Session};
use tempfile::TempDir;

/// Media type of a layer that is nothing in particular.
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// A client that tries three times, and soon.
pub(crate) fn client(config: RegistryConfig) -> Registry {
    making(config, HttpConfig::default().parallel)
}

fn making(config: RegistryConfig, parallel: usize) -> Registry {
    let http = HttpConfig {
        backoff: Duration::from_millis(1),
        timeout: Duration::from_secs(5),
        retries: 2,
        parallel,
        ..HttpConfig::default()
    };
    Registry::new(http, config).unwrap()
}

/// The same without credentials.
pub(crate) fn anonymous() -> Registry {
    client(RegistryConfig::default())
}

/// The same with what this text of a `config.json` says, one request at a time: tokens of the tests are for so many.
pub(crate) fn knowing(directory: &Path, text: &str) -> Registry {
    let file = directory.join("config.json");
    std::fs::write(&file, text).unwrap();
    let credentials = Credentials { files: vec![file] };
    making(RegistryConfig { credentials, ..RegistryConfig::default() }, 1)
}

/// A layout in a directory that goes with it.
pub(crate) struct Images {
    _directory: TempDir,
    pub(crate) layout: Layout,
}

/// Bytes that compress badly and differ by `seed`.
pub(crate) fn noise(seed: u8, size: usize) -> Vec<u8> {
    let mut state = u32::from(seed) + 1;
    let step = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    std::iter::repeat_with(step).take(size).collect()
}

impl Images {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::open_or_create(directory.path().join("oci")).unwrap();
        Self { _directory: directory, layout }
    }

    pub(crate) fn session(&self) -> Session {
        self.layout.session().unwrap()
    }

    fn blob(&self, media_type: &str, bytes: &[u8]) -> Descriptor {
        let session = self.session();
        let mut writer = session.new_blob().unwrap();
        writer.write_all(bytes).unwrap();
        let digest = Sha256::of(bytes);
        writer.commit(digest).unwrap();
        Descriptor::new(media_type, digest, bytes.len() as u64)
    }

    /// An image of these layers.
    pub(crate) fn image(&self, layers: &[Vec<u8>]) -> Descriptor {
        let layers: Vec<_> = layers.iter().map(|layer| self.blob(LAYER, layer)).collect();
        let ids: Vec<_> = layers.iter().map(|layer| layer.digest.to_string()).collect();
        let config = serde_json::json!({
            "architecture": "amd64", "os": "linux", "rootfs": { "type": "layers", "diff_ids": ids },
        });
        let config =
            self.blob("application/vnd.oci.image.config.v1+json", config.to_string().as_bytes());
        let manifest = serde_json::json!({
            "schemaVersion": 2,
            "mediaType": reimage_oci::MANIFEST,
            "config": config,
            "layers": layers,
        });
        self.blob(reimage_oci::MANIFEST, manifest.to_string().as_bytes())
    }

    /// An index of images, each for a platform.
    pub(crate) fn index(&self, images: &[(&str, Descriptor)]) -> Descriptor {
        let manifests = images.iter().map(|(architecture, image)| {
            let mut value = serde_json::to_value(image).unwrap();
            if !architecture.is_empty() {
                value["platform"] =
                    serde_json::json!({ "architecture": architecture, "os": "linux" });
            }
            value
        });
        let manifests: Vec<_> = manifests.collect();
        let index = serde_json::json!({
            "schemaVersion": 2, "mediaType": reimage_oci::INDEX, "manifests": manifests,
        });
        self.blob(reimage_oci::INDEX, index.to_string().as_bytes())
    }

    /// Pushes an image with these tags.
    pub(crate) fn push(
        &self,
        image: &Descriptor,
        to: &Repository<'_>,
        tags: &[&str],
    ) -> Result<Pushed, RegistryError> {
        let tags: Vec<_> = tags.iter().map(|&tag| tag.to_owned()).collect();
        let source = Source::Layout(&self.layout);
        push(source, image, &Platforms::All, to, &tags, &[], &|_, _, _| {})
    }

    /// Pulls what a tag names.
    pub(crate) fn pull(&self, from: &Repository<'_>, tag: &str) -> Result<Pulled, RegistryError> {
        let found = from.tagged(tag)?.expect("the tag is there");
        pull(Source::Repository(from), found, &Platforms::All, &self.session(), &|_, _, _| {})
    }

    /// Fails if anything in the layout is not what it should be.
    pub(crate) fn check(&self) {
        let checked = self.layout.check().unwrap();
        assert!(checked.damaged.is_empty() && checked.incomplete.is_empty(), "{checked:?}");
    }
}

//! The documents of an image: descriptor, manifest, index, configuration.
//!
//! They are written with fields in OCI's order, maps sorted and no white space, so that their bytes follow
//! from their values. What others wrote is digested as the bytes it is and only read through these types.

use std::collections::BTreeMap;

use reimage_castore::Sha256;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use thiserror::Error;

use crate::Config;

/// Media type of a manifest.
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Media type of an index.
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// Media type of a configuration.
pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// Docker's media type of a configuration.
pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
/// Docker's media type of a manifest.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Docker's media type of an index.
pub const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// A manifest, index or configuration that cannot be read.
#[derive(Debug, Error)]
#[error("The {kind} {digest} is not a valid one")]
pub struct DocumentError {
    /// What it should be.
    pub kind: &'static str,
    /// Its digest.
    pub digest: Sha256,
    /// Why it is not.
    #[source]
    pub source: serde_json::Error,
}

/// What names a blob from within another document.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What it is.
    pub media_type: String,
    /// Digest of its bytes.
    pub digest: Sha256,
    /// Size in bytes.
    pub size: u64,
    /// What it runs on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// Annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Fields of others, kept.
    #[serde(flatten)]
    pub other: BTreeMap<String, serde_json::Value>,
}

/// What an image runs on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Platform {
    /// `amd64`, `arm64`, ..
    pub architecture: String,
    /// `linux`
    pub os: String,
    /// `v8`, ..
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

/// A manifest: a configuration and layers, lowest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// 2
    pub schema_version: u32,
    /// [`MANIFEST`]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// The configuration.
    pub config: Descriptor,
    /// The layers, lowest first.
    pub layers: Vec<Descriptor>,
    /// Annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// An index: manifests, and what tells them apart.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// 2
    pub schema_version: u32,
    /// [`INDEX`]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// The manifests.
    #[serde(default)]
    pub manifests: Vec<Descriptor>,
    /// Annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// The document that a manifest calls its configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ImageConfig {
    /// When it was made, as RFC 3339 writes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// Who made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// What it runs on.
    #[serde(flatten)]
    pub platform: Platform,
    /// What runs.
    #[serde(default)]
    pub config: Option<Config>,
    /// The layers' archives.
    pub rootfs: RootFs,
    /// Where the layers come from.
    #[serde(default)]
    pub history: Option<Vec<History>>,
}

/// The archives of the layers, lowest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootFs {
    /// `layers`
    #[serde(rename = "type")]
    pub kind: String,
    /// Their digests.
    pub diff_ids: Vec<Sha256>,
}

/// Where one layer comes from.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct History {
    /// When, as RFC 3339 writes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// Who made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// From what content.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    /// More.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Whether it has no layer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub empty_layer: bool,
}

/// A document with the descriptor that names it.
#[derive(Debug, Clone, PartialEq)]
pub struct Blob {
    /// Its media type, digest and size.
    pub descriptor: Descriptor,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

impl Descriptor {
    /// Of a blob of this kind.
    pub fn new(media_type: &str, digest: Sha256, size: u64) -> Self {
        let (platform, annotations, other) = Default::default();
        Self { media_type: media_type.into(), digest, size, platform, annotations, other }
    }

    /// Whether it names a manifest, OCI's or docker's.
    pub fn is_manifest(&self) -> bool {
        matches!(&*self.media_type, MANIFEST | DOCKER_MANIFEST)
    }

    /// Whether it names an index, OCI's or docker's.
    pub fn is_index(&self) -> bool {
        matches!(&*self.media_type, INDEX | DOCKER_INDEX)
    }
}

impl Manifest {
    /// Reads one from the bytes that have `digest`.
    pub fn parse(digest: Sha256, bytes: &[u8]) -> Result<Self, DocumentError> {
        read("manifest", digest, bytes)
    }

    /// The configuration and the layers, as they are to be copied.
    pub fn blobs(&self) -> impl Iterator<Item = &Descriptor> {
        self.layers.iter().chain([&self.config])
    }
}

impl Index {
    /// Reads one from the bytes that have `digest`.
    pub fn parse(digest: Sha256, bytes: &[u8]) -> Result<Self, DocumentError> {
        read("index", digest, bytes)
    }

    /// As a blob.
    pub fn to_blob(&self) -> Blob {
        Blob::of(INDEX, self)
    }
}

impl ImageConfig {
    /// Reads one from the bytes that have `digest`.
    pub fn parse(digest: Sha256, bytes: &[u8]) -> Result<Self, DocumentError> {
        read("image configuration", digest, bytes)
    }

    /// What runs, with the author beside it.
    pub fn config(&self) -> Config {
        Config { author: self.author.clone(), ..self.config.clone().unwrap_or_default() }
    }
}

impl Blob {
    /// The bytes of `document`.
    pub(crate) fn of(media_type: &str, document: &impl Serialize) -> Self {
        let bytes = serde_json::to_vec(document)
            .expect("these documents have string keys and no failing parts");
        let descriptor = Descriptor::new(media_type, Sha256::of(&bytes), bytes.len() as u64);
        Self { descriptor, bytes }
    }
}

/// Reads a document from the bytes that have `digest`.
pub(crate) fn read<T: DeserializeOwned>(
    kind: &'static str,
    digest: Sha256,
    bytes: &[u8],
) -> Result<T, DocumentError> {
    serde_json::from_slice(bytes).map_err(|source| DocumentError { kind, digest, source })
}

//! `oci://`: a repository of a container registry.
//!
//! ```text
//! blobs                    blobs, those of images in the same repository among them
//! tags  cache-v1-KEY       records: manifests of one, which name its blobs as their layers
//! ```
//!
//! A record is found by one request for a tag. It stands in an annotation of its manifest, or in the first layer if it
//! is too long for that. All blobs that it names are layers of that manifest: a registry refuses it as long as one is
//! missing and keeps them as long as it is there, so whoever has just read a record need not ask for each blob.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    io::{self, Read, Write},
    sync::{Mutex, MutexGuard, PoisonError},
};

use reimage_castore::{Digest, Sha256};
use reimage_http::parallel;
use reimage_oci::{Descriptor, MANIFEST};
use reimage_registry::{self as registry, Found, Registry, RegistryError};
use serde::{Deserialize, Serialize};

use crate::{Again, Backend, BackendError, Blob, MAX_RECORD};

/// What a record's manifest is.
const KIND: &str = "application/vnd.reimage.cache.record.v1";
/// What its layers are.
const BLOB: &str = "application/vnd.reimage.cache.blob.v1";
/// The layer that is the record itself.
const RECORD: &str = "application/vnd.reimage.cache.record.v1+json";
/// The annotation that is the record itself.
const ANNOTATION: &str = "vnd.reimage.cache.record";
/// Bytes of a record in an annotation, at most: registries keep annotations in data bases, too.
const INLINE: usize = 64 << 10;
/// Requests at a time of one call.
const PARALLEL: usize = 8;
/// OCI's configuration of what has none.
const EMPTY: (&str, &[u8]) = ("application/vnd.oci.empty.v1+json", b"{}");

/// A repository as a cache.
#[derive(Debug)]
pub struct Repository {
    registry: Registry,
    host: String,
    path: String,
    /// Blobs that are there, since a record names them that is, or were missed.
    known: Mutex<BTreeMap<Blob, bool>>,
}

/// A record's manifest.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Manifest {
    schema_version: u32,
    media_type: String,
    artifact_type: String,
    config: Descriptor,
    layers: Vec<Descriptor>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
}

impl Repository {
    /// The cache in the repository `path` of the registry that names of images call `host`.
    ///
    /// `registry` should try once and know no mirrors: deadlines and retries are its user's, and a mirror may say of a
    /// tag what was so yesterday.
    pub fn new(registry: Registry, host: impl Into<String>, path: impl Into<String>) -> Self {
        Self { registry, host: host.into(), path: path.into(), known: Mutex::default() }
    }

    fn repository(&self) -> registry::Repository<'_> {
        self.registry.repository(&self.host, &self.path)
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<Blob, bool>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a blob whose bytes can be read once.
    fn send(&self, blob: &Blob, from: &mut dyn Read) -> Result<(), BackendError> {
        let once = RefCell::new(Some(from));
        let open = || match once.take() {
            Some(from) => Ok(Box::new(from) as Box<dyn Read + '_>),
            // Who we are was asked in the middle; the next try has it from the beginning.
            None => Err(io::Error::other("it was to be sent twice").into()),
        };
        self.repository().upload(blob.digest, blob.size, &[], &open).map_err(writing)?;
        self.known().insert(*blob, true);
        Ok(())
    }

    /// Sends what is here, if it is not there.
    fn send_small(&self, bytes: &[u8]) -> Result<Blob, BackendError> {
        let blob = Blob { digest: Sha256::of(bytes), size: bytes.len() as u64 };
        if !self.has(&[blob])?[0] {
            self.send(&blob, &mut &bytes[..])?;
        }
        Ok(blob)
    }

    /// The record that a manifest holds; none if it holds none.
    fn record_of(&self, found: &Found) -> Result<Option<Vec<u8>>, BackendError> {
        let Some(manifest) = Manifest::parse(&found.bytes) else { return Ok(None) };
        let record = match manifest.record() {
            Some(Place::Here(record)) => record.as_bytes().to_vec(),
            Some(Place::Blob(Blob { digest, size })) => {
                let mut record = Vec::new();
                let reader = self.repository().read(digest, size).map_err(reading)?;
                let Some(reader) = reader else { return Ok(None) };
                reader.take(size + 1).read_to_end(&mut record)?;
                if record.len() as u64 != size || Sha256::of(&record) != digest {
                    return Ok(None);
                }
                record
            }
            None => return Ok(None),
        };
        let mut known = self.known();
        for blob in manifest.blobs() {
            // One that was missed is to be put there again, whatever is said of it.
            known.entry(blob).or_insert(true);
        }
        drop(known);
        Ok(Some(record))
    }
}

/// Where a record stands.
pub(crate) enum Place<'m> {
    /// In its manifest.
    Here(&'m str),
    /// In a blob.
    Blob(Blob),
}

impl Manifest {
    /// Reads one; none if it is no record's.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let manifest: Self = serde_json::from_slice(bytes).ok()?;
        (manifest.artifact_type == KIND).then_some(manifest)
    }

    pub(crate) fn record(&self) -> Option<Place<'_>> {
        if let Some(record) = self.annotations.get(ANNOTATION) {
            return Some(Place::Here(record));
        }
        let layer = self.layers.first()?;
        let record = layer.media_type == RECORD && layer.size <= MAX_RECORD;
        record.then_some(Place::Blob(Blob { digest: layer.digest, size: layer.size }))
    }

    /// The blobs that the record names.
    pub(crate) fn blobs(&self) -> impl Iterator<Item = Blob> {
        let blobs = self.layers.iter().filter(|layer| layer.media_type == BLOB);
        blobs.map(|layer| Blob { digest: layer.digest, size: layer.size })
    }
}

impl Backend for Repository {
    fn has(&self, blobs: &[Blob]) -> Result<Vec<bool>, BackendError> {
        let has = |blob: &Blob| {
            if self.known().get(blob) == Some(&true) {
                return Ok(true);
            }
            let has = self.repository().has(blob.digest, blob.size).map_err(reading)?;
            self.known().insert(*blob, has);
            Ok(has)
        };
        parallel(PARALLEL, blobs, has)
    }

    fn get(&self, blob: &Blob, into: &mut dyn Write) -> Result<bool, BackendError> {
        let Some(mut reader) = self.repository().read(blob.digest, blob.size).map_err(reading)?
        else {
            self.known().insert(*blob, false);
            return Ok(false);
        };
        let mut buffer = vec![0; 256 << 10];
        loop {
            // What breaks off here does so on its way, whatever the system calls it.
            match reader.read(&mut buffer).map_err(BackendError::passing)? {
                0 => return Ok(true),
                read => into.write_all(&buffer[..read])?,
            }
        }
    }

    fn put(&self, blob: &Blob, from: &mut dyn Read) -> Result<(), BackendError> {
        self.send(blob, from)
    }

    fn record(&self, key: &Digest) -> Result<Option<Vec<u8>>, BackendError> {
        match self.repository().tagged(&tag(key)) {
            Ok(Some(found)) => self.record_of(&found),
            // Something else in its place is as nothing, and is replaced.
            Ok(None) | Err(RegistryError::Digest { .. }) => Ok(None),
            Err(error) => Err(reading(error)),
        }
    }

    fn put_record(
        &self,
        key: &Digest,
        record: &[u8],
        blobs: &[Blob],
        refused: Option<&[u8]>,
    ) -> Result<bool, BackendError> {
        if let Some(there) = self.record(key)?
            && Some(there.as_slice()) != refused
        {
            return Ok(false);
        }
        let config = self.send_small(EMPTY.1)?;
        let (mut layers, mut annotations) = (Vec::new(), BTreeMap::new());
        match str::from_utf8(record) {
            Ok(text) if record.len() <= INLINE => {
                annotations.insert(ANNOTATION.to_owned(), text.to_owned());
            }
            _ => {
                let Blob { digest, size } = self.send_small(record)?;
                layers.push(Descriptor::new(RECORD, digest, size));
            }
        }
        let blobs: BTreeSet<_> = blobs.iter().collect();
        layers.extend(blobs.iter().map(|blob| Descriptor::new(BLOB, blob.digest, blob.size)));
        let empty = Descriptor::new(EMPTY.0, config.digest, config.size);
        if layers.is_empty() {
            // Not all registries take a manifest without one.
            layers.push(empty.clone());
        }
        let manifest = Manifest {
            schema_version: 2,
            media_type: MANIFEST.to_owned(),
            artifact_type: KIND.to_owned(),
            config: empty,
            layers,
            annotations,
        };
        let bytes = serde_json::to_vec(&manifest).expect("a manifest is plain data");
        let descriptor = Descriptor::new(MANIFEST, Sha256::of(&bytes), bytes.len() as u64);
        let document = Found { descriptor, bytes };
        self.repository().put(&document, Some(&tag(key))).map_err(|error| {
            // It may have lost what it had: then it is asked again.
            self.known().extend(blobs.iter().chain([&&config]).map(|blob| (**blob, false)));
            if error.is_missing() {
                BackendError::new(Again::Others, error)
            } else {
                writing(error)
            }
        })?;
        Ok(true)
    }
}

/// What a record is tagged with.
fn tag(key: &Digest) -> String {
    format!("cache-v1-{key}")
}

/// What a failure means for what is read.
fn reading(error: RegistryError) -> BackendError {
    failed(error, &[])
}

/// What a failure means for what is written: these statuses speak of the one document or blob alone.
fn writing(error: RegistryError) -> BackendError {
    failed(error, &[400, 409, 413, 415, 422])
}

fn failed(error: RegistryError, of_one: &[u16]) -> BackendError {
    let (again, after) = match &error {
        RegistryError::Refused { status, .. } if of_one.contains(status) => (Again::Others, None),
        RegistryError::Refused { status, after, .. } => {
            let passes = matches!(status, 408 | 425 | 429 | 500 | 502..=599);
            (if passes { Again::Soon } else { Again::Never }, *after)
        }
        RegistryError::Http { source, .. } if source.may_pass() => (Again::Soon, None),
        // Other bytes than were sent, or bytes that cannot be sent a second time.
        RegistryError::Digest { .. } | RegistryError::Io(_) => (Again::Soon, None),
        _ => (Again::Never, None),
    };
    let mut failure = match &error {
        RegistryError::Denied { known: false, .. } => {
            BackendError::new(again, format!("{error} (`reimage login` says who we are)"))
        }
        _ => BackendError::new(again, error),
    };
    failure.after = after;
    failure
}

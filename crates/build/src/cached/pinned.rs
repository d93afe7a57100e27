//! What a base image is of, as the bytes that it is: who has the cache needs no access to the image's registry.
//!
//! The lock pins each of these blobs by its digest, so nobody need be believed of what they are; records of them are
//! there for whoever keeps the cache, who may throw away what no record names: one of what is enough to put something
//! upon the image, and one of all of it, which not everybody has who builds.

use std::{
    fs::File,
    io::{self, Read},
    sync::Arc,
};

use reimage_castore::{Digest, Sha256, Store, empty};
use reimage_plan::{OciPin, StepId};
use reimage_remote::{Blob, Record, Upload};
use serde::{Deserialize, Serialize};

use crate::{engine::Engine, sources::file_in};

/// The manifest, configuration and layers of a base image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct BaseSaid(Vec<Blob>);

impl Record for BaseSaid {
    const KIND: &'static str = "base";

    fn blobs(&self) -> Vec<Blob> {
        self.0.clone()
    }
}

/// The manifest, configuration and skeleton of a base image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct SkeletonSaid(Vec<Blob>);

impl Record for SkeletonSaid {
    const KIND: &'static str = "skeleton";

    fn blobs(&self) -> Vec<Blob> {
        self.0.clone()
    }
}

impl Engine<'_> {
    /// Writes what a pin names to `into`, if a cache has it.
    pub(crate) fn cached_blob(
        &self,
        (digest, size): (Sha256, u64),
        into: &mut File,
    ) -> io::Result<bool> {
        let Some(mut blob) = self.cache().and_then(|cache| cache.get(Blob { digest, size })) else {
            return Ok(false);
        };
        // An earlier run may have begun it.
        empty(into)?;
        io::copy(&mut blob, into)?;
        Ok(true)
    }

    /// Gives what the base image of step `id` is of, as far as it is here.
    pub(crate) fn give_base(&self, id: StepId, pin: &OciPin) {
        let manifest = (pin.digest, pin.size);
        let whole = [manifest].into_iter().chain(pin.blobs.iter().copied());
        let key = format!("reimage base image 1\n{}\n", pin.digest);
        self.give_blobs(id, "base image", &key, whole.collect(), BaseSaid);
        if let (Some(skeleton), Some(config)) = (&pin.skeleton, pin.blobs.first()) {
            let blobs = vec![manifest, *config, (skeleton.sha256, skeleton.size)];
            let key = format!("reimage base skeleton 1\n{}\n{}\n", pin.digest, skeleton.sha256);
            self.give_blobs(id, "skeleton", &key, blobs, SkeletonSaid);
        }
    }

    /// Gives these blobs and what says that they belong together, if all of them are here.
    fn give_blobs<R: Record + Send + 'static>(
        &self,
        id: StepId,
        what: &str,
        key: &str,
        blobs: Vec<(Sha256, u64)>,
        said: fn(Vec<Blob>) -> R,
    ) {
        let Some(cache) = self.given_to(id) else { return };
        let (store, key) = (self.store().clone(), Digest::of(key.as_bytes()));
        cache.push(&format!("the {what} of `{}`", self.name(id)), key, move || {
            let upload = |&(digest, size): &(Sha256, u64)| {
                let (content, _) = file_in(&store, digest)?;
                let blob = Blob { digest, size };
                Some((blob, of_store(store.clone(), content, size)))
            };
            let Some(uploads) = blobs.iter().map(upload).collect::<Option<Vec<Upload>>>() else {
                return Ok(None);
            };
            Ok(Some((said(uploads.iter().map(|(blob, _)| *blob).collect()), uploads)))
        });
    }
}

fn of_store(
    store: Store,
    content: Digest,
    size: u64,
) -> Arc<dyn Fn() -> io::Result<Box<dyn Read + Send>> + Send + Sync> {
    Arc::new(move || Ok(Box::new(store.reader(&content, size).map_err(io::Error::other)?)))
}

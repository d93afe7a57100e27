//! What a base image is of, as the bytes that it is: who has the cache needs no access to the image's registry.
//!
//! The lock pins each of these blobs by its digest, so nobody need be believed of what they are; a record of them all
//! is there for whoever keeps the cache, who may throw away what no record names.

use std::{
    fs::File,
    io::{self, Read, Seek as _},
    sync::Arc,
};

use reimage_castore::{Action, Digest, Node, Output, Sha256, Store};
use reimage_plan::{OciPin, StepId};
use reimage_remote::{Blob, Record, Upload};
use serde::{Deserialize, Serialize};

use crate::engine::Engine;

/// The manifest, configuration and layers of a base image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct BaseSaid(Vec<Blob>);

impl Record for BaseSaid {
    const KIND: &'static str = "base";

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
        into.set_len(0)?;
        into.rewind()?;
        io::copy(&mut blob, into)?;
        Ok(true)
    }

    /// Gives what the base image of step `id` is of, if all of it is here.
    pub(crate) fn give_base(&self, id: StepId, pin: &OciPin) {
        let Some(cache) = self.given_to(id) else { return };
        let store = self.store().clone();
        let mut blobs = vec![(pin.digest, pin.size)];
        blobs.extend(&pin.blobs);
        let key = Digest::of(format!("reimage base image 1\n{}\n", pin.digest).as_bytes());
        cache.push(&format!("the base image of `{}`", self.name(id)), key, move || {
            let upload = |&(digest, size): &(Sha256, u64)| {
                let content = content(&store, digest)?;
                let blob = Blob { digest, size };
                Some((blob, of_store(store.clone(), content, size)))
            };
            let Some(uploads) = blobs.iter().map(upload).collect::<Option<Vec<Upload>>>() else {
                return Ok(None);
            };
            let said = BaseSaid(uploads.iter().map(|(blob, _)| *blob).collect());
            Ok(Some((said, uploads)))
        });
    }
}

/// The content that a file of this digest has in the store.
fn content(store: &Store, sha256: Sha256) -> Option<Digest> {
    let result = store.result(&Action::Fetch(sha256).digest()).ok()??;
    let Output::Tree(tree) = result.output else { return None };
    match store.tree(&tree).ok()?.root().node {
        Node::File { digest, .. } => Some(digest),
        _ => None,
    }
}

fn of_store(
    store: Store,
    content: Digest,
    size: u64,
) -> Arc<dyn Fn() -> io::Result<Box<dyn Read + Send>> + Send + Sync> {
    Arc::new(move || Ok(Box::new(store.reader(&content, size).map_err(io::Error::other)?)))
}

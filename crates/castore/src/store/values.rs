//! Trees and diffs in the store: blobs of their canonical encoding, decoded once.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use rayon::prelude::*;

use super::{Store, StoreError};
use crate::{DecodeError, Diff, Digest, Tree};

impl Store {
    /// Stores the encoding of a tree; its blobs are stored apart.
    pub fn put_tree(&self, tree: impl Into<Arc<Tree>>) -> Result<Digest, StoreError> {
        let tree = tree.into();
        let digest = self.put(&tree.encode())?;
        remember(&self.0.trees, digest, &tree);
        Ok(digest)
    }

    /// Stores the encoding of a diff; its blobs are stored apart.
    pub fn put_diff(&self, diff: impl Into<Arc<Diff>>) -> Result<Digest, StoreError> {
        let diff = diff.into();
        let digest = self.put(&diff.encode())?;
        remember(&self.0.diffs, digest, &diff);
        Ok(digest)
    }

    /// The tree of this digest; its blobs may be missing.
    pub fn tree(&self, digest: &Digest) -> Result<Arc<Tree>, StoreError> {
        self.value(&self.0.trees, digest, "tree", Tree::decode)
    }

    /// The diff of this digest; its blobs may be missing.
    pub fn diff(&self, digest: &Digest) -> Result<Arc<Diff>, StoreError> {
        self.value(&self.0.diffs, digest, "diff", Diff::decode)
    }

    /// Decodes again what is asked for next.
    pub(super) fn forget_values(&self) {
        lock(&self.0.trees).clear();
        lock(&self.0.diffs).clear();
    }

    fn value<T>(
        &self,
        known: &Mutex<BTreeMap<Digest, Arc<T>>>,
        digest: &Digest,
        what: &'static str,
        decode: impl FnOnce(&[u8]) -> Result<T, DecodeError>,
    ) -> Result<Arc<T>, StoreError> {
        if let Some(value) = lock(known).get(digest) {
            return Ok(value.clone());
        }
        let bytes = self.read(digest)?;
        let value = decode(&bytes).map_err(|source| StoreError::Decode {
            digest: *digest,
            what,
            source,
        })?;
        let value = Arc::new(value);
        remember(known, *digest, &value);
        Ok(value)
    }

    /// The blobs of these that are not there with their size.
    pub fn missing(&self, blobs: impl IntoIterator<Item = (Digest, u64)>) -> Vec<Digest> {
        let mut blobs: Vec<_> = blobs.into_iter().collect();
        blobs.sort_unstable();
        blobs.dedup();
        let gone = |(digest, size): &(Digest, u64)| !self.has_sized(digest, *size);
        blobs.into_par_iter().with_min_len(256).filter(gone).map(|(digest, _)| digest).collect()
    }
}

fn remember<T>(known: &Mutex<BTreeMap<Digest, Arc<T>>>, digest: Digest, value: &Arc<T>) {
    lock(known).insert(digest, value.clone());
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

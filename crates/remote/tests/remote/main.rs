//! Backends, and what is made of them.

mod believed;
mod faulty;
mod patience;
mod suite;
mod uploads;

use std::{sync::Arc, time::SystemTime};

use reimage_castore::Sha256;
use reimage_remote::{Backend, Blob, Directory};
use tempfile::TempDir;

/// An empty cache in a directory.
fn directory() -> (TempDir, Arc<Directory>) {
    let there = tempfile::tempdir().expect("a directory");
    let backend = Directory::new(there.path(), SystemTime::UNIX_EPOCH);
    (there, Arc::new(backend))
}

fn blob(bytes: &[u8]) -> Blob {
    Blob { digest: Sha256::of(bytes), size: bytes.len() as u64 }
}

fn put(backend: &dyn Backend, bytes: &[u8]) -> Blob {
    let blob = blob(bytes);
    backend.put(&blob, &mut &bytes[..]).expect("it is kept");
    blob
}

/// A blob, as it comes.
fn get(backend: &dyn Backend, blob: &Blob) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    backend.get(blob, &mut bytes).expect("it answers").then_some(bytes)
}

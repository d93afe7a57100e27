//! Backends, and what is made of them.

mod believed;
mod faulty;
mod patience;
mod repository;
mod suite;
mod uploads;

use std::{
    sync::Arc,
    thread,
    time::{Duration, SystemTime},
};

use reimage_castore::Sha256;
use reimage_remote::{Again, Backend, BackendError, Blob, Directory, Record};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

/// A record that says which blobs it names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Made(Vec<Blob>);

impl Record for Made {
    const KIND: &'static str = "step";

    fn blobs(&self) -> Vec<Blob> {
        self.0.clone()
    }
}

/// An empty cache in a directory.
fn directory() -> (TempDir, Arc<Directory>) {
    let there = tempfile::tempdir().expect("a directory");
    let backend = Directory::new(there.path(), SystemTime::UNIX_EPOCH);
    (there, Arc::new(backend))
}

fn blob(bytes: &[u8]) -> Blob {
    Blob { digest: Sha256::of(bytes), size: bytes.len() as u64 }
}

/// Asks again what may pass: docker's registry fails when what is read is being written.
fn patient<T>(call: impl Fn() -> Result<T, BackendError>) -> T {
    for _ in 0..50 {
        match call() {
            Err(error) if error.again == Again::Soon => thread::sleep(Duration::from_millis(20)),
            answer => return answer.expect("it answers"),
        }
    }
    panic!("it does not pass")
}

fn put(backend: &dyn Backend, bytes: &[u8]) -> Blob {
    let blob = blob(bytes);
    patient(|| backend.put(&blob, &mut &bytes[..]));
    blob
}

/// A blob, as it comes.
fn get(backend: &dyn Backend, blob: &Blob) -> Option<Vec<u8>> {
    patient(|| {
        let mut bytes = Vec::new();
        Ok(backend.get(blob, &mut bytes)?.then_some(bytes))
    })
}

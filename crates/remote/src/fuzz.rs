//! The readers of what a cache says, one entry point each, for fuzzers.
//!
//! The answer to any bytes is a value or an error: no panic, and nothing unsigned that is believed.

use std::sync::LazyLock;

use reimage_castore::{Digest, FuzzTarget, Store};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use crate::{
    Blob, MAX_RECORD, PrivateKey, Record, Trust, open, read_pack, record,
    repository::{Manifest, Place},
};

/// All readers of this crate.
pub const FUZZ_TARGETS: &[FuzzTarget] =
    &[("cache-record", said), ("cache-manifest", manifest), ("cache-pack", pack)];

/// A record that names blobs.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Names(Vec<Blob>);

impl Record for Names {
    const KIND: &'static str = "step";

    fn blobs(&self) -> Vec<Blob> {
        self.0.clone()
    }
}

fn said(bytes: &[u8]) {
    // With trust in the server anything that has the form is read, and by a key that nobody has nothing.
    let _ = open(bytes, &Trust::Server);
    let key = PrivateKey::generate().public();
    assert!(open(bytes, &Trust::Keys(vec![key])).is_err(), "nobody could have signed it");
    // What is read says the same of the same key, written again.
    let key = Digest::of(b"a key");
    if let Ok(names) = record::read::<Names>(&key, bytes, &Trust::Server) {
        let again = record::write(&key, &names, None);
        let read = record::read::<Names>(&key, &again, &Trust::Server).expect("it was one");
        assert_eq!(read.blobs(), names.blobs());
    }
}

/// A registry's manifest of a record.
fn manifest(bytes: &[u8]) {
    let Some(manifest) = Manifest::parse(bytes) else { return };
    if let Some(Place::Blob(blob)) = manifest.record() {
        assert!(blob.size <= MAX_RECORD, "it is bounded");
    }
    let _ = manifest.blobs().count();
}

/// Where contents go: one store for the whole process.
static STORE: LazyLock<(Store, TempDir)> = LazyLock::new(|| {
    let directory = tempfile::tempdir().expect("fuzzers have a temporary directory");
    (Store::open(directory.path().join("store")).expect("it is empty"), directory)
});

fn pack(bytes: &[u8]) {
    let contents = [(Digest::of(b"one"), 3), (Digest::of(b"three"), 5)];
    if read_pack(&STORE.0, &contents, bytes).is_ok() {
        assert!(STORE.0.missing(contents).is_empty(), "what was read is there");
    }
}

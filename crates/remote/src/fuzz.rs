//! The readers of what a cache says, one entry point each, for fuzzers.
//!
//! The answer to any bytes is a value or an error: no panic, and nothing unsigned that is believed.

use std::sync::LazyLock;

use reimage_castore::{Digest, FuzzTarget, Store};
use tempfile::TempDir;

use crate::{PrivateKey, Trust, open, read_pack};

/// All readers of this crate.
pub const FUZZ_TARGETS: &[FuzzTarget] = &[("cache-record", record), ("cache-pack", pack)];

fn record(bytes: &[u8]) {
    // With trust in the server anything that has the form is read, and by a key that nobody has nothing.
    let _ = open(bytes, &Trust::Server);
    let key = PrivateKey::generate().public();
    assert!(open(bytes, &Trust::Keys(vec![key])).is_err(), "nobody could have signed it");
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

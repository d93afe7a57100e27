//! The readers of foreign archives and indexes, one entry point each, for fuzzers.
//!
//! A reader must end, must not panic, must stay within its limits, and what it accepts must be a tree.

use std::{
    io::{self, Read},
    sync::LazyLock,
};

use reimage_castore::{FuzzTarget, Patterns, Sha256, Store, Tree};
use tempfile::TempDir;

use crate::{
    Limits,
    archive::decompress,
    debian::{
        deb::{Control, Package, UnpackOptions, unpack_deb},
        fuzz::{inrelease, keyring, packages, relation, release, sources, status, version},
    },
    unpack,
};

/// All readers of this crate.
pub const FUZZ_TARGETS: &[FuzzTarget] = &[
    ("stream", stream),
    ("archive", archive),
    ("deb", deb),
    ("control", control),
    ("packages", packages),
    ("status", status),
    ("relation", relation),
    ("version", version),
    ("release", release),
    ("inrelease", inrelease),
    ("keyring", keyring),
    ("apt-sources", sources),
];

const LIMITS: Limits = Limits { bytes: 1 << 20, entries: 1000 };

/// Where what is read goes: one store for the whole process.
static STORE: LazyLock<(Store, TempDir)> = LazyLock::new(|| {
    let directory = tempfile::tempdir().expect("fuzzers have a temporary directory");
    (Store::open(directory.path().join("store")).expect("it is empty"), directory)
});

/// gzip, bzip2, xz, lzma, zstd.
fn stream(bytes: &[u8]) {
    if let Ok(reader) = decompress(bytes) {
        let _ = io::copy(&mut reader.take(LIMITS.bytes), &mut io::sink());
    }
}

fn archive(bytes: &[u8]) {
    for strip in [0, 1] {
        if let Ok(tree) = unpack(&STORE.0, "fuzz", io::Cursor::new(bytes), strip, LIMITS) {
            check(&tree);
        }
    }
}

fn deb(bytes: &[u8]) {
    let exclude = Patterns::default();
    let options = UnpackOptions { exclude: &exclude, file_time: 0, limits: LIMITS };
    if let Ok(tree) = unpack_deb(&STORE.0, "fuzz", bytes, &options) {
        check(&tree);
        let _ = Package::open(&STORE.0, "fuzz", Sha256::of(bytes), &tree);
    }
}

fn control(bytes: &[u8]) {
    if let Ok(control) = Control::parse(bytes) {
        assert!(!control.name().is_empty() && !control.name().contains('/'));
        let _ = (control.relations("Depends"), control.provides().count());
    }
}

fn check(tree: &Tree) {
    assert_eq!(Tree::decode(&tree.encode()).as_ref(), Ok(tree), "what it makes is a tree");
    let bytes: u64 = tree.blobs().map(|(_, size)| size).sum();
    // Hard links count once in an archive and twice in a tree.
    assert!(bytes <= LIMITS.bytes * LIMITS.entries, "it stays within its limits");
}

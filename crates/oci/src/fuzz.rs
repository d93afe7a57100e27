//! The readers of foreign images, one entry point each, for fuzzers.
//!
//! The answer to any bytes is a value or an error: no panic, no diff that is not canonical.

use std::{io, sync::LazyLock};

use reimage_castore::{Attrs, Change, Diff, Digest, Entry, FuzzTarget, TreePath, View};
use tempfile::TempDir;

use crate::{
    ImageConfig, Index, Layout, Limits, Manifest, Reference, decode, import_archive, unpack,
};

/// All readers of this crate.
pub const FUZZ_TARGETS: &[FuzzTarget] = &[
    ("layer", layer),
    ("blob", blob),
    ("document", document),
    ("image-archive", image_archive),
    ("reference", reference),
];

const LIMITS: Limits = Limits { bytes: 1 << 20, members: 1000 };

/// Where images go: one layout for the whole process.
static LAYOUT: LazyLock<(Layout, TempDir)> = LazyLock::new(|| {
    let directory = tempfile::tempdir().expect("fuzzers have a temporary directory");
    (Layout::open_or_create(directory.path()).expect("it is empty"), directory)
});

/// What the layer stands on: directories, links and a file that it may change.
fn beneath() -> View {
    let mut lower = Diff::new();
    let mut put = |path: &str, entry| {
        lower.insert(TreePath::new(path).expect("a good path"), Change::Put(entry));
    };
    put("a", Entry::directory());
    put("a/old", Entry::symlink("b"));
    put("gone", Entry::symlink("b"));
    let mut file = Entry::file(Digest::of(b"x"), 1);
    file.attrs = Attrs::mode(0o4755);
    put("file", file);
    View::new(vec![lower.into()])
}

/// A layer's archive; its checksums are mended, so that what comes after them is reached.
fn layer(bytes: &[u8]) {
    let mut bytes = bytes.to_vec();
    mend(&mut bytes);
    let put = |content: &mut dyn io::Read| {
        let mut all = Vec::new();
        content.read_to_end(&mut all)?;
        Ok((Digest::of(&all), all.len() as u64))
    };
    let beneath = beneath();
    if let Ok(diff) = unpack(bytes.as_slice(), &beneath, 0, LIMITS, put) {
        assert_eq!(Diff::decode(&diff.encode()).as_ref(), Ok(&diff), "it is canonical");
        let mut tree = beneath.tree().expect("it is one");
        diff.apply(&mut tree).expect("it is of this tree");
    }
}

/// A compressed blob.
fn blob(bytes: &[u8]) {
    if let Ok(mut reader) = decode(bytes, LIMITS.bytes) {
        let read = io::copy(&mut reader, &mut io::sink());
        assert!(read.is_err() || read.is_ok_and(|read| read <= LIMITS.bytes));
    }
}

/// A manifest, an index or a configuration.
fn document(bytes: &[u8]) {
    if let Ok(manifest) = serde_json::from_slice::<Manifest>(bytes) {
        assert!(serde_json::to_vec(&manifest).is_ok());
    }
    if let Ok(index) = serde_json::from_slice::<Index>(bytes) {
        assert!(serde_json::to_vec(&index).is_ok());
    }
    let _ = serde_json::from_slice::<ImageConfig>(bytes).map(|config| config.config());
}

fn image_archive(bytes: &[u8]) {
    let mut bytes = bytes.to_vec();
    mend(&mut bytes);
    let session = LAYOUT.0.session().expect("it is ours alone");
    let _ = import_archive(&session, bytes.as_slice(), LIMITS);
}

fn reference(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(reference) = text.parse::<Reference>() {
        assert_eq!(reference.full().parse(), Ok(reference.clone()));
        assert_eq!(reference.familiar().parse(), Ok(reference));
    }
}

/// Writes the checksums of what look like headers of a tar archive.
fn mend(bytes: &mut [u8]) {
    for header in bytes.chunks_exact_mut(512).filter(|block| block[257..262] == *b"ustar") {
        let sum: u32 = header[..148].iter().chain(&header[156..]).map(|b| u32::from(*b)).sum();
        header[148..156].copy_from_slice(format!("{:06o}\0 ", sum + 256).as_bytes());
    }
}

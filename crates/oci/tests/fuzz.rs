//! Fuzzing of what reads foreign bytes: references, documents, layers, archives of images.
//!
//! Each run mutates good inputs a few hundred times from a fixed seed; `REIMAGE_FUZZ_ROUNDS` sets how often. The
//! answer to any bytes is a value or an error: no panic, no diff that is not canonical.

use std::{collections::BTreeMap, io};

use reimage_castore::{Attrs, Change, Diff, Digest, Entry, Node, TreePath, View};
use reimage_oci::{
    Archive, Config, Image, ImageConfig, ImageLayer, Index, LayerContent, Layout, Limits, Manifest,
    Platform, Profile, Reference, assemble, decode, export_archive, import_archive, unpack,
    write_tar,
};

/// xorshift64*: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(high).expect("31 bits") % below.max(1)
    }

    /// Changes, cuts, doubles or swaps some of `seed`.
    fn mutate(&mut self, seed: &[u8]) -> Vec<u8> {
        let mut bytes = seed.to_vec();
        for _ in 0..=self.next(4) {
            let at = self.next(bytes.len());
            match self.next(6) {
                0 | 1 if !bytes.is_empty() => {
                    bytes[at] = u8::try_from(self.next(256)).expect("a byte");
                }
                2 if !bytes.is_empty() => bytes[at] ^= 1 << self.next(8),
                3 => bytes.truncate(at),
                4 => {
                    let part = bytes[at..(at + self.next(600)).min(bytes.len())].to_vec();
                    let to = self.next(bytes.len());
                    bytes.splice(to..to, part);
                }
                _ => {
                    let end = (at + self.next(40)).min(bytes.len());
                    bytes.drain(at..end);
                }
            }
        }
        bytes
    }
}

#[expect(clippy::disallowed_methods, reason = "how long to look is no part of any result")]
fn rounds() -> usize {
    std::env::var("REIMAGE_FUZZ_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(300)
}

fn layer() -> Vec<u8> {
    let path = |text: &str| TreePath::new(text).expect("a good path");
    let mut diff = Diff::new();
    let mut file = Entry::file(Digest::of(b"x"), 1);
    file.attrs = Attrs { mtime: Some(-3), ..Attrs::mode(0o4755) }.owned(5_000_000, 1);
    file.attrs.set_xattr(b"user.a", b"1\n2").expect("allowed");
    diff.insert(path("a"), Change::Put(Entry::directory()));
    diff.insert(path("a/b"), Change::Put(file.clone()));
    diff.insert(path("a/c"), Change::Put(file));
    diff.insert(path(&"n".repeat(180)), Change::Put(Entry::symlink("t".repeat(150))));
    diff.insert(path("p"), Change::Put(Entry { node: Node::Fifo, attrs: Attrs::mode(0o600) }));
    diff.insert(path("gone"), Change::Remove);
    diff.link(vec![path("a/b"), path("a/c")]).expect("equal files");
    let content = LayerContent::new(&beneath(), &diff).expect("a good layer");
    write_tar(&content, 0, |_| Ok(&b"x"[..]), Vec::new()).expect("it packs")
}

fn beneath() -> View {
    let mut lower = Diff::new();
    let put = |entry| Change::Put(entry);
    lower.insert(TreePath::new("a").expect("good"), put(Entry::directory()));
    lower.insert(TreePath::new("a/old").expect("good"), put(Entry::symlink("b")));
    lower.insert(TreePath::new("gone").expect("good"), put(Entry::symlink("b")));
    View::new(vec![lower.into()])
}

#[test]
fn layers() {
    let (seed, mut random) = (layer(), Random(1));
    for _ in 0..rounds() * 10 {
        let mut bytes = random.mutate(&seed);
        if random.next(2) == 0 {
            // Mend the checksums, so that what comes after them is reached.
            for header in bytes.chunks_exact_mut(512) {
                let sum: u32 =
                    header[..148].iter().chain(&header[156..]).map(|b| u32::from(*b)).sum();
                header[148..156].copy_from_slice(format!("{:06o}\0 ", sum + 256).as_bytes());
            }
        }
        let put = |content: &mut dyn io::Read| {
            let mut all = Vec::new();
            content.read_to_end(&mut all)?;
            Ok((Digest::of(&all), all.len() as u64))
        };
        if let Ok(diff) = unpack(bytes.as_slice(), &beneath(), 0, Limits::default(), put) {
            assert_eq!(Diff::decode(&diff.encode()).expect("it is canonical"), diff);
            let mut tree = beneath().tree().expect("a tree");
            diff.apply(&mut tree).expect("it is of this tree");
        }
    }
}

#[test]
fn encodings() {
    let mut random = Random(2);
    for profile in [Profile::Gzip1, Profile::Zstd1] {
        let content = LayerContent::new(&View::default(), &Diff::new()).expect("a good layer");
        let mut blob = Vec::new();
        reimage_oci::pack(&content, profile, 0, |_| Ok(&b""[..]), &mut blob).expect("it packs");
        for _ in 0..rounds() {
            let bytes = random.mutate(&blob);
            if let Ok(mut reader) = decode(bytes.as_slice(), 1 << 20) {
                let read = io::copy(&mut reader, &mut io::sink());
                assert!(read.is_err() || read.is_ok_and(|read| read <= 1 << 20));
            }
        }
    }
}

fn archive() -> (Vec<u8>, Vec<Vec<u8>>) {
    let dir = tempfile::tempdir().expect("a directory");
    let layout = Layout::open_or_create(dir.path()).expect("a layout");
    let session = layout.session().expect("a session");
    let content = LayerContent::new(&View::default(), &Diff::new()).expect("a good layer");
    let packed = session.pack(&content, Profile::Plain, 0, |_| Ok(&b""[..])).expect("it packs");
    let image = assemble(&Image {
        config: Config { cmd: Some(vec!["/x".into()]), ..Config::default() },
        platform: Platform { architecture: "amd64".into(), os: "linux".into(), variant: None },
        created: 0,
        layers: vec![ImageLayer { packed, created_by: "x".into() }],
        annotations: BTreeMap::new(),
    });
    let image = image.expect("a good image");
    session.add(&image, &["web:1".parse().expect("a good name")]).expect("it is added");
    let mut bytes = Vec::new();
    let stored = layout.find("web:1").expect("found");
    export_archive(&layout, &stored, Archive::Docker, &mut bytes).expect("it leaves");
    let index = serde_json::to_vec(&layout.index().expect("readable")).expect("JSON");
    (bytes, vec![image.manifest.bytes, image.config.bytes, index])
}

#[test]
fn documents() {
    let (_, seeds) = archive();
    let mut random = Random(3);
    for _ in 0..rounds() * 10 {
        let seed = random.next(seeds.len());
        let bytes = random.mutate(&seeds[seed]);
        if let Ok(manifest) = serde_json::from_slice::<Manifest>(&bytes) {
            assert!(serde_json::to_vec(&manifest).is_ok());
        }
        let _ = serde_json::from_slice::<Index>(&bytes);
        let _ = serde_json::from_slice::<ImageConfig>(&bytes).map(|config| config.config());
    }
}

#[test]
fn archives() {
    let (seed, _) = archive();
    let mut random = Random(4);
    let dir = tempfile::tempdir().expect("a directory");
    let layout = Layout::open_or_create(dir.path()).expect("a layout");
    let session = layout.session().expect("a session");
    assert!(import_archive(&session, seed.as_slice(), Limits::default()).is_ok());
    for _ in 0..rounds() {
        let mut bytes = random.mutate(&seed);
        for header in bytes.chunks_exact_mut(512).filter(|block| block[257..262] == *b"ustar") {
            let sum: u32 = header[..148].iter().chain(&header[156..]).map(|b| u32::from(*b)).sum();
            header[148..156].copy_from_slice(format!("{:06o}\0 ", sum + 256).as_bytes());
        }
        let _ = import_archive(&session, bytes.as_slice(), Limits::default());
    }
}

#[test]
fn references() {
    let mut random = Random(5);
    let seed = format!("registry.example:5000/some/path__x:v1.0_a@sha256:{}", "ab".repeat(32));
    for _ in 0..rounds() * 30 {
        let bytes = random.mutate(seed.as_bytes());
        let text = String::from_utf8_lossy(&bytes);
        if let Ok(reference) = text.parse::<Reference>() {
            assert_eq!(reference.full().parse(), Ok(reference.clone()));
            assert_eq!(reference.familiar().parse(), Ok(reference));
        }
    }
}

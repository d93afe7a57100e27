//! Packing a layer of 64 MiB in 2,000 files: archive, two digests and encoding, by profile.

use std::{collections::BTreeMap, io};

use divan::{Bencher, counter::BytesCount};
use reimage_castore::{Change, Diff, Digest, Entry, TreePath, View};
use reimage_oci::{LayerContent, Profile, pack};

fn main() {
    divan::main();
}

/// Bytes as compressible as programs are, other ones for each seed.
fn content(seed: u64, size: usize) -> Vec<u8> {
    let mut state = seed * 2 + 1;
    let mut bytes = Vec::with_capacity(size + 64);
    while bytes.len() < size {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        let word = (state >> 20).to_le_bytes();
        if word[0] < 96 && bytes.len() > 256 {
            let from = bytes.len() - 1 - usize::from(word[1]);
            bytes.extend_from_within(from..(from + usize::from(word[2] & 63)).min(bytes.len()));
        } else {
            bytes.extend(word.map(|b| b & 0x5f));
        }
    }
    bytes.truncate(size);
    bytes
}

#[divan::bench(args = ["gzip-1", "zstd-1", "none"], sample_count = 10)]
fn layer(bencher: Bencher<'_, '_>, profile: &str) {
    let profile = Profile::ALL.into_iter().find(|p| p.name() == profile).expect("a profile");
    let mut contents = BTreeMap::new();
    let mut diff = Diff::new();
    for number in 0..2000_u64 {
        let content = content(number, 32 << 10);
        let digest = Digest::of(&content);
        let path = TreePath::new(format!("usr-{number}")).expect("a good path");
        diff.insert(path, Change::Put(Entry::file(digest, content.len() as u64)));
        contents.insert(digest, content);
    }
    let layer = LayerContent::new(&View::default(), &diff).expect("a good layer");
    bencher.counter(BytesCount::new(2000_u64 * (32 << 10))).bench(|| {
        let open = |digest: &Digest| Ok(contents[digest].as_slice());
        pack(&layer, profile, 0, open, &mut io::sink()).expect("it packs")
    });
}

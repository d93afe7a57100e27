//! How contents travel that are no layer of an image: many small ones together, large ones alone.
//!
//! A pack is contents put after each other and compressed. Which ones, in what order and how long follows from the
//! tree or diff that names them, which whoever reads a pack has: so a pack says nothing of itself.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, Read, Write},
};

use reimage_castore::{Digest, Sha256Hasher, Store};
use tempfile::{NamedTempFile, TempPath};

use crate::Blob;

/// Bytes of content in a pack, at most, unless it is one content alone.
const MOST: u64 = 4 << 20;
/// Contents of this many bytes and more travel alone.
const ALONE: u64 = 1 << 20;
/// Zstandard's level.
const LEVEL: i32 = 3;

/// A content: its digest and size in bytes.
pub type Content = (Digest, u64);

/// The packs for these contents, which come by path; each content once, empty ones nowhere.
pub fn packs(contents: impl IntoIterator<Item = Content>) -> Vec<Vec<Content>> {
    let mut seen = BTreeSet::new();
    let (mut packs, mut pack, mut size) = (Vec::new(), Vec::new(), 0);
    for (digest, length) in contents {
        if length == 0 || !seen.insert(digest) {
            continue;
        }
        if length >= ALONE {
            packs.push(vec![(digest, length)]);
            continue;
        }
        if size + length > MOST {
            packs.push(std::mem::take(&mut pack));
            size = 0;
        }
        pack.push((digest, length));
        size += length;
    }
    if !pack.is_empty() {
        packs.push(pack);
    }
    packs
}

/// Packs contents of the store into a file that goes when its path is dropped.
pub fn write_pack(store: &Store, contents: &[Content]) -> io::Result<(Blob, TempPath)> {
    let (file, path) = NamedTempFile::new_in(store.tmp_dir())?.into_parts();
    let digesting = Digesting { file, hasher: Sha256Hasher::new(), size: 0 };
    let mut encoder = zstd::Encoder::new(digesting, LEVEL)?;
    for (digest, size) in contents {
        let mut reader = store.reader(digest, *size).map_err(io::Error::other)?;
        io::copy(&mut reader, &mut encoder)?;
    }
    let Digesting { hasher, size, .. } = encoder.finish()?;
    Ok((Blob { digest: hasher.finish(), size }, path))
}

/// Takes the contents of a pack into the store. Fails if it is not the pack of exactly these.
pub fn read_pack(store: &Store, contents: &[Content], pack: impl Read) -> io::Result<()> {
    let wrong = || io::Error::new(io::ErrorKind::InvalidData, "it is another pack");
    let mut decoder = zstd::Decoder::new(pack)?;
    for content in contents {
        let found = store.put_reader((&mut decoder).take(content.1)).map_err(io::Error::other)?;
        if found != *content {
            return Err(wrong());
        }
    }
    if decoder.read(&mut [0])? > 0 {
        return Err(wrong());
    }
    Ok(())
}

struct Digesting {
    file: File,
    hasher: Sha256Hasher,
    size: u64,
}

impl Write for Digesting {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write_all(bytes)?;
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn store() -> (tempfile::TempDir, Store) {
        let directory = tempfile::tempdir().expect("a directory");
        let store = Store::open(directory.path().join("store")).expect("a store");
        (directory, store)
    }

    fn content(number: u64, size: usize) -> Vec<u8> {
        number.to_le_bytes().into_iter().cycle().take(size).collect()
    }

    #[test]
    fn a_pack_travels() {
        let ((_here, ours), (_there, theirs)) = (store(), store());
        let sizes = [1, 70_000, 1 << 20, 3];
        let contents: Vec<Content> = (1..)
            .zip(sizes)
            .map(|(n, size)| (ours.put(&content(n, size)).expect("kept"), size as u64))
            .collect();
        for pack in packs(contents.clone()) {
            let (blob, path) = write_pack(&ours, &pack).expect("packed");
            let file = File::open(&path).expect("it is there");
            assert_eq!(file.metadata().expect("a file").len(), blob.size);
            read_pack(&theirs, &pack, file).expect("unpacked");
        }
        assert!(theirs.missing(contents).is_empty());
    }

    #[test]
    fn another_pack_is_refused() {
        let ((_here, ours), (_there, theirs)) = (store(), store());
        let one = (ours.put(&content(1, 9)).expect("kept"), 9);
        let two = (ours.put(&content(2, 9)).expect("kept"), 9);
        let pack = |contents: &[Content]| {
            File::open(write_pack(&ours, contents).expect("packed").1).expect("it is there")
        };
        for (said, is) in [
            (&[one, two][..], &[two, one][..]),
            (&[one], &[two]),
            (&[one], &[one, two]),
            (&[one, two], &[one]),
            (&[one], &[]),
        ] {
            assert!(read_pack(&theirs, said, pack(is)).is_err(), "{said:?} {is:?}");
        }
        assert!(read_pack(&theirs, &[one], &b"no pack"[..]).is_err());
        // A bomb is read no further than it should be.
        let mut bomb = zstd::encode_all(io::repeat(0).take(64 << 20), 3).expect("compressed");
        bomb.truncate(bomb.len() - 1);
        assert!(read_pack(&theirs, &[one], &bomb[..]).is_err());
    }

    proptest! {
        #[test]
        fn every_content_is_in_one_pack(sizes in proptest::collection::vec(0..3_u64 << 20, 0..40)) {
            let contents: Vec<Content> = (0_u64..)
                .zip(sizes)
                .map(|(n, size)| (Digest::of(&(n / 2).to_le_bytes()), size))
                .collect();
            let packs = packs(contents.clone());
            let all: Vec<_> = packs.iter().flatten().map(|c| c.0).collect();
            let set: BTreeSet<_> = all.iter().copied().collect();
            prop_assert_eq!(all.len(), set.len());
            for pack in &packs {
                let size: u64 = pack.iter().map(|c| c.1).sum();
                prop_assert!(!pack.is_empty() && (pack.len() == 1 || size <= MOST));
            }
            for (digest, size) in contents {
                prop_assert!(size == 0 || set.contains(&digest));
            }
        }
    }
}

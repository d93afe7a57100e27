//! The memory of a local tree: digests of files that have the inode, size and times they had.
//!
//! It is an accelerator. A file whose times are as young as the memory itself may change again without
//! their changing, so it is not remembered (git's "racily clean"); whatever is wrong with the memory, files are
//! read again.

use std::{
    os::unix::ffi::OsStrExt,
    path::Path,
    time::{Duration, SystemTime},
};

use super::{
    LocalError, LocalOptions,
    walk::{FileStat, Found, Times, What},
};
use crate::{Decoder, Digest, Encoder, Store, StoreError, TreePath, store::Generation};

const MAGIC: &str = "reimage stat 1\n";
const BUCKET: &str = "stat-v1";

/// What is known of one tree, and when it was looked at.
pub(super) struct Remembered {
    key: Digest,
    bytes: Vec<u8>,
    /// Blobs may have gone since.
    stale: bool,
    generation: Generation,
    /// The time before the walk began, by the file system's clock.
    began: SystemTime,
    /// How many files were remembered, and how many of them were found as they were.
    known: (usize, usize),
}

impl Remembered {
    /// Reads what is known of `root` with these patterns.
    pub(super) fn load(
        store: &Store,
        root: &Path,
        options: &LocalOptions,
    ) -> Result<Self, LocalError> {
        // One memory for each set of options, or two sources of one directory would forget each other's files.
        let LocalOptions { project, include, exclude, gitignore } = options;
        let mut key = Encoder::new("");
        key.bytes(root.as_os_str().as_bytes()).bytes(project.as_os_str().as_bytes());
        for patterns in [include.as_ref(), Some(exclude)] {
            key.option(patterns, |e, patterns| {
                e.list(patterns.written().iter(), |e, pattern| {
                    e.bytes(pattern.as_bytes());
                });
            });
        }
        key.number((*gitignore).into());
        let key = Digest::of(&key.finish());
        let bytes = store.read_record(BUCKET, &key)?.unwrap_or_default();
        let generation = store.generation()?;
        let began = store.present()?;
        Ok(Self { key, bytes, stale: false, generation, began, known: (0, 0) })
    }

    /// The digest of each file that is as it was.
    pub(super) fn look_up(&mut self, store: &Store, found: &[Found]) -> Vec<Option<Digest>> {
        let mut digests = vec![None; found.len()];
        let Some(known) = self.decode() else { return digests };
        let mut at = 0;
        let mut hits = 0;
        for (found, digest) in found.iter().zip(&mut digests) {
            let What::File(stat) = &found.what else { continue };
            // Both are sorted: what is behind in the memory is gone from the tree.
            while known.get(at).is_some_and(|(path, ..)| *path < found.path) {
                at += 1;
            }
            if let Some((path, remembered, known)) = known.get(at)
                && *path == found.path
                && remembered == stat
            {
                *digest = Some(*known);
                hits += 1;
            }
        }
        self.known = (known.len(), hits);
        if self.stale {
            let sizes = found.iter().zip(&digests).filter_map(|(found, digest)| match found.what {
                What::File(stat) => Some(((*digest)?, stat.size)),
                _ => None,
            });
            let missing = store.missing(sizes);
            for digest in &mut digests {
                if digest.is_some_and(|d| missing.binary_search(&d).is_ok()) {
                    *digest = None;
                }
            }
        }
        digests
    }

    fn decode(&mut self) -> Option<Vec<(TreePath, FileStat, Digest)>> {
        let mut d = Decoder::new(&self.bytes, MAGIC).ok()?;
        let generation = Generation([d.number().ok()?, d.number().ok()?, d.number().ok()?]);
        self.stale = generation != self.generation;
        let entries = d.list(|d| {
            let path = crate::tree::decode_path(d)?;
            let stat = FileStat {
                device: d.number()?,
                inode: d.number()?,
                size: d.number()?,
                times: Times {
                    modified: (d.signed()?, d.number()?),
                    changed: (d.signed()?, d.number()?),
                },
                executable: d.number()? == 1,
            };
            Ok((path, stat, Digest::from_bytes(d.raw32()?)))
        });
        let entries = entries.ok()?;
        d.finish().ok()?;
        entries.is_sorted_by(|a, b| a.0 < b.0).then_some(entries)
    }

    /// Writes down what is now known, if it is more or less than was.
    pub(super) fn save(
        &self,
        store: &Store,
        found: &[Found],
        digests: &[Digest],
    ) -> Result<(), StoreError> {
        let files: Vec<_> = found
            .iter()
            .zip(digests)
            .filter_map(|(found, digest)| match &found.what {
                What::File(stat) if self.is_settled(stat) => Some((&found.path, stat, digest)),
                _ => None,
            })
            .collect();
        let (known, hits) = self.known;
        if known == hits && hits == files.len() && !self.stale && !self.bytes.is_empty() {
            return Ok(());
        }
        let mut e = Encoder::new(MAGIC);
        for number in self.generation.0 {
            e.number(number);
        }
        e.list(files.into_iter(), |e, (path, stat, digest)| {
            let FileStat { device, inode, size, times, executable } = *stat;
            e.bytes(path.as_bytes()).number(device).number(inode).number(size);
            for (seconds, nanos) in [times.modified, times.changed] {
                e.signed(seconds).number(nanos);
            }
            e.number(executable.into()).raw(digest.as_bytes());
        });
        store.write_record(BUCKET, &self.key, &e.finish(), true).map(drop)
    }

    /// Whether a further change would have to show in the times.
    fn is_settled(&self, stat: &FileStat) -> bool {
        [stat.times.modified, stat.times.changed].iter().all(|(seconds, nanos)| {
            // File systems without fractions count in seconds, or in pairs of them; a tick has 10 ms at most.
            let tick = Duration::from_millis(if *nanos == 0 { 2_000 } else { 20 });
            let Ok(seconds) = u64::try_from(*seconds) else { return true };
            let time = SystemTime::UNIX_EPOCH
                .checked_add(Duration::from_secs(seconds))
                .and_then(|time| time.checked_add(Duration::from_nanos(*nanos) + tick));
            time.is_some_and(|time| time < self.began)
        })
    }
}

//! Whether a root still is what was laid out: its seal is a digest over what the file system says of every path.
//!
//! A changed, exchanged, shortened or removed file has another change time, which no program can set: one look at
//! each path finds it. Bits that turned on the disk by themselves change no time; `verify` reads every file.

use std::{
    collections::BTreeSet,
    fs, io,
    os::unix::{
        ffi::OsStrExt,
        fs::{FileTypeExt, MetadataExt},
    },
    path::Path,
};

use rayon::prelude::*;

use crate::{Change, Decoder, Diff, Digest, Encoder, Entry, Hasher, Node, TreePath};

const MAGIC: &str = "reimage seal 1\n";

/// What lies beside a root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seal {
    /// The diff that it is of.
    pub(super) diff: Digest,
    /// What [`seal`] said of it.
    pub(super) stats: Digest,
}

impl Seal {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut e = Encoder::new(MAGIC);
        e.raw(self.diff.as_bytes()).raw(self.stats.as_bytes());
        e.finish()
    }

    /// Reads one; none if it is not whole.
    pub(super) fn read(path: &Path) -> io::Result<Option<Self>> {
        let bytes = match fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            bytes => bytes?,
        };
        let decode = || {
            let mut d = Decoder::new(&bytes, MAGIC).ok()?;
            let (diff, stats) = (d.raw32().ok()?, d.raw32().ok()?);
            d.finish().ok()?;
            Some(Self { diff: Digest::from_bytes(diff), stats: Digest::from_bytes(stats) })
        };
        Ok(decode())
    }
}

/// A digest over inode, kind, mode, size and change time of every path that `diff` lays out at `root`; none if one is
/// not there.
pub(super) fn seal(root: &Path, diff: &Diff) -> Option<Digest> {
    let mut paths: BTreeSet<TreePath> = BTreeSet::from([TreePath::root()]);
    let mut last = TreePath::root();
    for (path, _) in diff {
        let parent = path.parent().unwrap_or_default();
        if parent != last {
            paths.extend(path.ancestors());
            last = parent;
        }
        paths.insert(path.clone());
    }
    let paths: Vec<_> = paths.into_iter().collect();
    let stats: Option<Vec<_>> = paths
        .par_iter()
        .with_min_len(256)
        .map(|path| {
            let m = path.on(root).symlink_metadata().ok()?;
            let (ctime, nanos) = (m.ctime().cast_unsigned(), m.ctime_nsec().cast_unsigned());
            Some([m.ino(), m.mode().into(), m.size(), m.rdev(), ctime, nanos])
        })
        .collect();
    let mut hasher = Hasher::new();
    for number in stats?.iter().flatten() {
        hasher.update(&number.to_le_bytes());
    }
    Some(hasher.finish())
}

/// Whether every file and link of `diff` at `root` has the content that it is to have: reads all of them.
pub(super) fn is_as_written(root: &Path, diff: &Diff) -> bool {
    let changes: Vec<_> = diff.iter().collect();
    changes.into_par_iter().all(|(path, change)| {
        let at = path.on(root);
        let Ok(found) = at.symlink_metadata() else { return false };
        match change {
            Change::Put(Entry { node: Node::File { digest, size }, .. }) => {
                found.is_file()
                    && found.len() == *size
                    && digest_of(&at).is_ok_and(|d| d == *digest)
            }
            Change::Put(Entry { node: Node::Symlink { target }, .. }) => {
                fs::read_link(&at).is_ok_and(|there| there.as_os_str().as_bytes() == &**target)
            }
            Change::Put(entry) => found.is_dir() == entry.is_directory(),
            Change::Remove => found.file_type().is_char_device(),
        }
    })
}

fn digest_of(path: &Path) -> io::Result<Digest> {
    let mut hasher = Hasher::new();
    io::copy(&mut fs::File::open(path)?, &mut hasher)?;
    Ok(hasher.finish())
}

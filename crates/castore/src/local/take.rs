//! Takes files into the store and says their digests.

use std::{
    fs::File,
    io::Read,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
};

use rayon::prelude::*;
use rustix::fs::{Mode, OFlags};

use super::{
    LocalError, TRIES, is_gone,
    remember::Remembered,
    walk::{FileStat, Found, What},
};
use crate::{Digest, Store, StoreError};

/// How every pointer file of git-lfs begins.
const LFS: &[u8] = b"version https://git-lfs.github.com/spec/";
/// Pointers are smaller than this many bytes.
const LFS_MAX: u64 = 1024;

/// Digests of what was found.
pub(super) struct Taken {
    /// One for each path, that of nothing for what is no file.
    pub(super) digests: Vec<Digest>,
    /// How many files were read.
    pub(super) read: usize,
}

/// Digests all files, reading those that are not remembered; the inner error is a path that changed.
pub(super) fn digests(
    store: &Store,
    root: &Path,
    found: &[Found],
    remembered: &mut Remembered,
) -> Result<Result<Taken, PathBuf>, LocalError> {
    let known = remembered.look_up(store, found);
    let read = AtomicUsize::new(0);
    let digest = |(found, known): (&Found, Option<Digest>)| match (&found.what, known) {
        (What::File(_), Some(digest)) => Ok(Ok(digest)),
        (What::File(stat), None) => {
            read.fetch_add(1, Ordering::Relaxed);
            take(store, &found.path.on(root), stat)
        }
        _ => Ok(Ok(Digest::EMPTY)),
    };
    let unknown = |(found, known): &(&Found, &Option<Digest>)| {
        known.is_none() && matches!(found.what, What::File(_))
    };
    let digests: Result<Result<Vec<_>, _>, _> = if found.iter().zip(&known).any(|f| unknown(&f)) {
        let all: Result<Vec<_>, _> =
            found.par_iter().zip(known).with_min_len(8).map(digest).collect();
        all.map(|all| all.into_iter().collect())
    } else {
        found
            .iter()
            .zip(known)
            .map(digest)
            .collect::<Result<Vec<_>, _>>()
            .map(|all| all.into_iter().collect())
    };
    Ok(digests?.map(|digests| Taken { digests, read: read.into_inner() }))
}

/// Stores one file that must be what `listed` says.
fn take(
    store: &Store,
    path: &Path,
    listed: &FileStat,
) -> Result<Result<Digest, PathBuf>, LocalError> {
    for _ in 0..TRIES {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let fd: OwnedFd = match rustix::fs::open(path, flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(error) if is_gone(error) => break,
            Err(error) => return Err(LocalError::read(path, error)),
        };
        let stat = |fd: &File| {
            let stat = rustix::fs::fstat(fd).map_err(|e| LocalError::read(path, e))?;
            Ok::<_, LocalError>(FileStat::of(&stat))
        };
        let file = File::from(fd);
        if stat(&file)? != *listed {
            break;
        }
        let (digest, size) = if listed.size < 1 << 20 {
            let mut bytes = Vec::with_capacity(usize::try_from(listed.size).unwrap_or(0) + 1);
            (&file)
                .take(listed.size + 1)
                .read_to_end(&mut bytes)
                .map_err(|e| LocalError::read(path, e))?;
            if listed.size < LFS_MAX && bytes.starts_with(LFS) {
                return Err(LocalError::LfsPointer { path: path.into() });
            }
            (store.put(&bytes)?, bytes.len() as u64)
        } else {
            match store.put_file(&file) {
                Err(StoreError::Source { source }) => return Err(LocalError::read(path, source)),
                other => other?,
            }
        };
        // Whoever writes meanwhile leaves another size or another time, and the bytes are not to be trusted.
        if size == listed.size && stat(&file)? == *listed {
            return Ok(Ok(digest));
        }
    }
    Ok(Err(path.into()))
}

//! Blobs: bytes named by their BLAKE3, checked whenever they are used.

use std::{
    fs::File,
    io::{self, Read},
    os::fd::{AsFd, OwnedFd},
    time::SystemTime,
};

use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT},
    io::Errno,
};

use super::{Store, StoreError, error::Context};
use crate::{Digest, Hasher, read_full};

/// What is read into memory at once; larger files are streamed.
const SMALL: u64 = 1 << 20;
const BUFFER: usize = 256 << 10;

/// `ab/cd…`: where the blob or record of this digest lies in its bucket.
pub(super) fn name(digest: &Digest) -> String {
    let mut name = digest.to_string();
    name.insert(2, '/');
    name
}

impl Store {
    /// Stores `bytes`.
    pub fn put(&self, bytes: &[u8]) -> Result<Digest, StoreError> {
        let digest = Digest::of(bytes);
        if !self.keep(&digest, bytes.len() as u64)? {
            let mut temp = self.temp()?;
            temp.write(bytes)?;
            temp.persist(&digest)?;
        }
        Ok(digest)
    }

    /// Stores all that `from` gives; returns the size in bytes, too.
    pub fn put_reader(&self, mut from: impl Read) -> Result<(Digest, u64), StoreError> {
        let mut small = Vec::new();
        from.by_ref().take(SMALL).read_to_end(&mut small).map_err(source)?;
        if (small.len() as u64) < SMALL {
            return Ok((self.put(&small)?, small.len() as u64));
        }
        let mut temp = self.temp()?;
        let mut hasher = Hasher::new();
        let mut size = 0;
        let mut buffer = small;
        let mut filled = buffer.len();
        while filled > 0 {
            hasher.update(&buffer[..filled]);
            temp.write(&buffer[..filled])?;
            size += filled as u64;
            filled = read_full(&mut from, &mut buffer[..BUFFER]).map_err(source)?;
        }
        let digest = hasher.finish();
        if !self.keep(&digest, size)? {
            temp.persist(&digest)?;
        }
        Ok((digest, size))
    }

    /// Stores all of `file` from its beginning; shares its extents where the file system can.
    pub fn put_file(&self, file: &File) -> Result<(Digest, u64), StoreError> {
        let size = file.metadata().map_err(source)?.len();
        if size >= SMALL {
            let temp = self.temp()?;
            if rustix::fs::ioctl_ficlone(&temp.file, file).is_ok() {
                // What is digested is the clone: nobody else can change it.
                let mut clone = self.open_temp(&temp)?;
                let mut hasher = Hasher::new();
                let size = io::copy(&mut clone, &mut hasher).map_err(source)?;
                let digest = hasher.finish();
                if !self.keep(&digest, size)? {
                    temp.persist(&digest)?;
                }
                return Ok((digest, size));
            }
        }
        let mut file = file;
        io::Seek::rewind(&mut file).map_err(source)?;
        if let Some(length) = usize::try_from(size).ok().filter(|_| size < SMALL) {
            // One byte more than it has shows its end: two reads, where a reader of unknown length takes many.
            let mut bytes = vec![0; length + 1];
            let filled = read_full(&mut file, &mut bytes).map_err(source)?;
            if filled <= length {
                bytes.truncate(filled);
                return Ok((self.put(&bytes)?, filled as u64));
            }
            io::Seek::rewind(&mut file).map_err(source)?;
        }
        self.put_reader(file)
    }

    /// Whether a blob is there, of any size.
    pub fn has(&self, digest: &Digest) -> bool {
        self.stat_object(digest).is_ok_and(|stat| stat.is_some())
    }

    /// Whether a blob of this size in bytes is there: as much as can be known without reading it.
    pub fn has_sized(&self, digest: &Digest, size: u64) -> bool {
        self.stat_object(digest).is_ok_and(|stat| stat.is_some_and(|(len, _)| len == size))
    }

    /// A blob as a whole, verified.
    pub fn read(&self, digest: &Digest) -> Result<Vec<u8>, StoreError> {
        let mut file = self.open_object(digest)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).at("read", self.object_path(digest))?;
        if Digest::of(&bytes) == *digest { Ok(bytes) } else { Err(self.corrupt(digest)) }
    }

    /// A blob of this size in bytes, to be read bit by bit; the last bytes come only if all were right.
    pub fn reader(&self, digest: &Digest, size: u64) -> Result<BlobReader, StoreError> {
        let file = self.open_object(digest)?;
        let found = file.metadata().at("stat", self.object_path(digest))?.len();
        if found != size {
            return Err(self.corrupt(digest));
        }
        let store = self.clone();
        let mut reader =
            BlobReader { store, file, digest: *digest, hasher: Hasher::new(), left: size };
        reader.check_end()?;
        Ok(reader)
    }

    pub(crate) fn object_path(&self, digest: &Digest) -> std::path::PathBuf {
        self.bucket("objects-v1").join(name(digest))
    }

    pub(crate) fn open_object(&self, digest: &Digest) -> Result<File, StoreError> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        match rustix::fs::openat(self.objects(), name(digest), flags, Mode::empty()) {
            Ok(fd) => Ok(File::from(fd)),
            Err(Errno::NOENT) => {
                self.blobs_are_missing();
                Err(StoreError::Missing { digest: *digest })
            }
            Err(error) => Err(StoreError::io("open", self.object_path(digest), error)),
        }
    }

    /// Size in bytes and time of the last use.
    pub(crate) fn stat_object(
        &self,
        digest: &Digest,
    ) -> Result<Option<(u64, SystemTime)>, StoreError> {
        match rustix::fs::statat(self.objects(), name(digest), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile => {
                Ok(Some((stat.st_size.cast_unsigned(), time(&stat))))
            }
            Ok(_) | Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(StoreError::io("stat", self.object_path(digest), error)),
        }
    }

    /// Whether the blob is there with this size; if it is, marks it as used so that `prune` leaves it.
    fn keep(&self, digest: &Digest, size: u64) -> Result<bool, StoreError> {
        let Some((found, used)) = self.stat_object(digest)? else { return Ok(false) };
        if found != size {
            return Ok(false);
        }
        if used < self.0.opened {
            match rustix::fs::utimensat(self.objects(), name(digest), &NOW, AtFlags::empty()) {
                Ok(()) => {}
                Err(Errno::NOENT) => return Ok(false),
                Err(error) => return Err(StoreError::io("touch", self.object_path(digest), error)),
            }
        }
        Ok(true)
    }

    /// Sets a blob that is not what it should be aside.
    pub(crate) fn corrupt(&self, digest: &Digest) -> StoreError {
        let quarantine = self.set_aside(&self.object_path(digest), &digest.to_string());
        self.blobs_are_missing();
        StoreError::Corrupt { digest: *digest, quarantine }
    }

    fn temp(&self) -> Result<Temp<'_>, StoreError> {
        let name = self.temp_number();
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = rustix::fs::openat(self.0.tmp.as_fd(), &*name, flags, Mode::from(0o444));
        let file = file.at("make", self.0.tmp_path.join(&name))?;
        Ok(Temp { store: self, name: Some(name), file })
    }

    fn open_temp(&self, temp: &Temp<'_>) -> Result<File, StoreError> {
        let path = self.0.tmp_path.join(temp.name());
        File::open(&path).at("open", path)
    }
}

/// Both times become the present.
pub(super) const NOW: Timestamps = Timestamps {
    last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT as _ },
    last_modification: Timespec { tv_sec: 0, tv_nsec: UTIME_NOW as _ },
};

/// A file being written; it goes unless it is persisted.
struct Temp<'a> {
    store: &'a Store,
    name: Option<String>,
    file: OwnedFd,
}

impl Temp<'_> {
    fn name(&self) -> &str {
        self.name.as_deref().expect("it is taken only when `self` goes")
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let mut left = bytes;
        while !left.is_empty() {
            match rustix::io::write(&self.file, left) {
                Ok(written) => left = &left[written..],
                Err(Errno::INTR) => {}
                Err(error) => {
                    let path = self.store.0.tmp_path.join(self.name());
                    return Err(StoreError::io("write", path, error));
                }
            }
        }
        Ok(())
    }

    /// Makes it the blob `digest`, whose bytes it holds.
    fn persist(mut self, digest: &Digest) -> Result<(), StoreError> {
        let to = name(digest);
        let (tmp, objects) = (self.store.0.tmp.as_fd(), self.store.0.objects.as_fd());
        let rename = |from: &str| rustix::fs::renameat(tmp, from, objects, &*to);
        let from = self.name.take().expect("it is taken only here");
        let mut renamed = rename(&from);
        if renamed == Err(Errno::NOENT) {
            renamed = match rustix::fs::mkdirat(objects, &to[..2], Mode::from(0o700)) {
                Ok(()) | Err(Errno::EXIST) => rename(&from),
                Err(error) => Err(error),
            };
        }
        if renamed.is_err() {
            self.name = Some(from);
        }
        renamed.at("write", self.store.object_path(digest))
    }
}

impl Drop for Temp<'_> {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            let _ = rustix::fs::unlinkat(self.store.0.tmp.as_fd(), &**name, AtFlags::empty());
        }
    }
}

/// Reads a blob and verifies it on the way: reading fails before the last byte if the blob is not what its
/// digest says, and the blob is set aside.
pub struct BlobReader {
    store: Store,
    file: File,
    digest: Digest,
    hasher: Hasher,
    left: u64,
}

impl BlobReader {
    fn check_end(&mut self) -> Result<(), StoreError> {
        if self.left == 0 && self.hasher.finish() != self.digest {
            return Err(self.store.corrupt(&self.digest));
        }
        Ok(())
    }

    /// The number of bytes that are still to be read.
    pub fn left(&self) -> u64 {
        self.left
    }
}

impl std::fmt::Debug for BlobReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlobReader")
            .field("digest", &self.digest)
            .field("left", &self.left)
            .finish_non_exhaustive()
    }
}

impl Read for BlobReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        let read = self.file.read(&mut buffer[..most])?;
        if read == 0 {
            return Err(io::Error::other(self.store.corrupt(&self.digest)));
        }
        self.hasher.update(&buffer[..read]);
        self.left -= read as u64;
        self.check_end().map_err(io::Error::other)?;
        Ok(read)
    }
}

fn source(source: io::Error) -> StoreError {
    StoreError::Source { source }
}

fn time(stat: &rustix::fs::Stat) -> SystemTime {
    let secs = std::time::Duration::from_secs(stat.st_mtime.max(0).cast_unsigned());
    let nanos = std::time::Duration::from_nanos(stat.st_mtime_nsec);
    SystemTime::UNIX_EPOCH + secs + nanos
}

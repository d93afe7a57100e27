//! `file://`: a directory that machines share, such as one on NFS.
//!
//! ```text
//! DIR/blobs-v1/ab/cd…      blobs by their SHA-256
//! DIR/records-v1/ab/cd…    records by their key
//! ```
//!
//! A file is written under a temporary name beside its own, synced and then renamed, or linked where one that is
//! there must stay: NFS does both as a whole, so no reader sees half of one and nobody needs a lock. Who uses a file
//! of yesterday makes it today's, so that deleting what is old deletes what nobody uses. Modes are the umask's.

use std::{
    fs::{self, File, Permissions},
    io::{self, Read, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use reimage_castore::{Digest, touch};
use rustix::fs::{Mode, OFlags};
use tempfile::NamedTempFile;

use crate::{Backend, BackendError, Blob, MAX_RECORD};

/// From this age on a file that is used is marked as used.
const DAY: Duration = Duration::from_hours(24);

/// A directory as a cache.
#[derive(Debug)]
pub struct Directory {
    root: PathBuf,
    now: SystemTime,
}

impl Directory {
    /// The cache in `root`, an absolute path, which somebody made: one that is missing is not mounted. `now` is the
    /// present time.
    pub fn new(root: impl Into<PathBuf>, now: SystemTime) -> Self {
        Self { root: root.into(), now }
    }

    fn blob(&self, blob: &Blob) -> PathBuf {
        self.place("blobs-v1", &blob.digest.hex())
    }

    fn place(&self, bucket: &str, hex: &str) -> PathBuf {
        self.root.join(bucket).join(&hex[..2]).join(&hex[2..])
    }

    /// A new file in the directory of `path`.
    fn temporary(&self, path: &Path) -> io::Result<NamedTempFile> {
        let directory = path.parent().expect("files lie in buckets");
        let begin = || {
            let mut builder = tempfile::Builder::new();
            builder.prefix(".tmp-").permissions(Permissions::from_mode(0o666));
            builder.tempfile_in(directory)
        };
        match begin() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // Not the root: where nothing is mounted, nothing is to be written.
                fs::metadata(&self.root)?;
                fs::create_dir_all(directory)?;
                begin()
            }
            other => other,
        }
    }

    /// The file at `path`, marked as used; none: it is not there.
    fn open(&self, path: &Path) -> io::Result<Option<File>> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file = match rustix::fs::open(path, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(rustix::io::Errno::NOENT) => {
                // It may be the directory that is missing: that is no answer.
                return fs::metadata(&self.root).map(|_| None);
            }
            Err(error) => return Err(error.into()),
        };
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Ok(None);
        }
        if self.now.duration_since(metadata.modified()?).is_ok_and(|age| age > DAY) {
            // Whoever may only read cannot; somebody who may write will.
            let _ = touch(path);
        }
        Ok(Some(file))
    }
}

impl Backend for Directory {
    fn has(&self, blobs: &[Blob]) -> Result<Vec<bool>, BackendError> {
        fs::metadata(&self.root)?;
        let there = |blob: &Blob| match fs::symlink_metadata(self.blob(blob)) {
            Ok(metadata) => Ok(metadata.is_file() && metadata.len() == blob.size),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error.into()),
        };
        blobs.iter().map(there).collect()
    }

    fn get(&self, blob: &Blob, into: &mut dyn Write) -> Result<bool, BackendError> {
        let Some(mut file) = self.open(&self.blob(blob))? else { return Ok(false) };
        // One that was cut off is as none, so that the next who has it puts it there again.
        if file.metadata()?.len() != blob.size {
            return Ok(false);
        }
        let mut buffer = vec![0; 256 << 10];
        loop {
            match file.read(&mut buffer) {
                Ok(0) => return Ok(true),
                Ok(read) => into.write_all(&buffer[..read])?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn put(&self, blob: &Blob, from: &mut dyn Read) -> Result<(), BackendError> {
        let path = self.blob(blob);
        let mut temporary = self.temporary(&path)?;
        io::copy(from, temporary.as_file_mut())?;
        temporary.as_file().sync_all()?;
        temporary.persist(&path).map_err(|failed| failed.error)?;
        Ok(())
    }

    fn record(&self, key: &Digest) -> Result<Option<Vec<u8>>, BackendError> {
        let path = self.place("records-v1", &key.to_string());
        let Some(file) = self.open(&path)? else { return Ok(None) };
        let mut record = Vec::new();
        file.take(MAX_RECORD).read_to_end(&mut record)?;
        Ok(Some(record))
    }

    fn put_record(
        &self,
        key: &Digest,
        record: &[u8],
        _: &[Blob],
        refused: Option<&[u8]>,
    ) -> Result<bool, BackendError> {
        let path = self.place("records-v1", &key.to_string());
        let mut temporary = self.temporary(&path)?;
        temporary.write_all(record)?;
        temporary.as_file().sync_all()?;
        let kept = match refused {
            Some(refused) if self.record(key)?.as_deref() == Some(refused) => {
                temporary.persist(&path)
            }
            _ => temporary.persist_noclobber(&path),
        };
        match kept {
            Ok(_) => Ok(true),
            Err(failed) if failed.error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(failed) => Err(failed.error.into()),
        }
    }
}

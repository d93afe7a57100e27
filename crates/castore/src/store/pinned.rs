//! Which locks were built from: what they pin may be gone from where it came from, so `prune` leaves it.

use std::{
    ffi::OsStr,
    fs,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use super::{Store, StoreError, error::Context};
use crate::Digest;

const BUCKET: &str = "pinned-v1";

impl Store {
    /// Remembers that the lock at `path`, an absolute one, was built from.
    pub fn remember_lock(&self, path: &Path) -> Result<(), StoreError> {
        let path = path.as_os_str().as_bytes();
        let key = Digest::of(path);
        if self.record_path(BUCKET, &key).exists() {
            return Ok(());
        }
        self.write_record(BUCKET, &key, path, false).map(drop)
    }

    /// Every lock that was built from, whether or not it is still there; sorted.
    pub fn locks(&self) -> Result<Vec<PathBuf>, StoreError> {
        let mut locks = Vec::new();
        for record in self.list(BUCKET)?.0 {
            if let Some(path) = self.read_record(BUCKET, &record.digest)? {
                locks.push(PathBuf::from(OsStr::from_bytes(&path)));
            }
        }
        locks.sort();
        Ok(locks)
    }

    /// Forgets a lock that is gone.
    pub fn forget_lock(&self, path: &Path) -> Result<(), StoreError> {
        let record = self.record_path(BUCKET, &Digest::of(path.as_os_str().as_bytes()));
        match fs::remove_file(&record) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            other => other.at("remove", record),
        }
    }
}

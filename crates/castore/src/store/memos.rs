//! Memos, and the mark that tells whether blobs may have gone.

use std::{fs, os::unix::fs::MetadataExt};

use super::{Store, StoreError, error::Context};
use crate::Digest;

const BUCKET: &str = "memos-v1";

/// When blobs of a store were last found or made missing; equal marks mean that none have gone since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Generation(pub(crate) [u64; 3]);

impl Store {
    /// A memo, as it was put; none if it is not there or not intact.
    pub fn memo(&self, key: &Digest) -> Result<Option<Vec<u8>>, StoreError> {
        let record = self.read_record(BUCKET, key)?;
        if record.is_some() {
            self.touch_record(BUCKET, key);
        }
        Ok(record)
    }

    /// Puts a memo in the place of the one before.
    pub fn put_memo(&self, key: &Digest, record: &[u8]) -> Result<(), StoreError> {
        self.write_record(BUCKET, key, record, true).map(drop)
    }

    /// The present generation; made when asked for first.
    pub(crate) fn generation(&self) -> Result<Generation, StoreError> {
        // Among the objects, so that it goes with them when somebody empties the bucket by hand.
        let path = self.bucket("objects-v1").join("generation");
        let metadata = match fs::metadata(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                fs::File::create(&path).and_then(|file| file.metadata())
            }
            other => other,
        };
        let m = metadata.at("stat", &path)?;
        Ok(Generation([m.ino(), m.mtime().cast_unsigned(), m.mtime_nsec().cast_unsigned()]))
    }

    /// The present time by the clock of the store's file system.
    pub(crate) fn present(&self) -> Result<std::time::SystemTime, StoreError> {
        let path = self.tmp_name();
        let time = fs::File::create_new(&path).and_then(|file| file.metadata()?.modified());
        let _ = fs::remove_file(&path);
        time.at("make", path)
    }

    /// Says that blobs are missing, so that whoever relied on their presence looks again.
    pub(crate) fn blobs_are_missing(&self) {
        let path = self.bucket("objects-v1").join("generation");
        // Another file, so that even two within one tick of the clock are told apart.
        let temp = self.tmp_name();
        let _ = fs::File::create_new(&temp).and_then(|_| fs::rename(&temp, &path));
    }
}

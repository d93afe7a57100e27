//! Records: small files that are not named by their own digest, so they carry one.
//!
//! A record is its bytes and then the BLAKE3 of its key and its bytes: a torn, flipped or misplaced one is
//! found when it is read, set aside, and counts as not there.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{CWD, RenameFlags},
    io::Errno,
};

use super::{Store, StoreError, blobs::name, error::Context};
use crate::{Digest, Hasher};

fn check(key: &Digest, bytes: &[u8]) -> Digest {
    let mut hasher = Hasher::new();
    hasher.update(key.as_bytes());
    hasher.update(bytes);
    hasher.finish()
}

impl Store {
    pub(crate) fn record_path(&self, bucket: &str, key: &Digest) -> PathBuf {
        self.bucket(bucket).join(name(key))
    }

    /// The bytes of a record, if it is there and intact.
    pub(crate) fn read_record(
        &self,
        bucket: &str,
        key: &Digest,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let path = self.record_path(bucket, key);
        let mut bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StoreError::io("read", path, error)),
        };
        let intact = bytes.len().checked_sub(32).is_some_and(|end| {
            let found = check(key, &bytes[..end]);
            let intact = bytes[end..] == found.as_bytes()[..];
            bytes.truncate(end);
            intact
        });
        if intact {
            return Ok(Some(bytes));
        }
        self.set_aside(&path, &format!("{bucket}-{key}"));
        Ok(None)
    }

    /// Writes a record; unless `replace`, one that is there stays, and the answer says whether ours is it.
    pub(crate) fn write_record(
        &self,
        bucket: &str,
        key: &Digest,
        bytes: &[u8],
        replace: bool,
    ) -> Result<bool, StoreError> {
        let path = self.record_path(bucket, key);
        let temp = self.tmp_name();
        let written = fs::File::create_new(&temp).and_then(|mut file| {
            file.write_all(bytes)?;
            file.write_all(check(key, bytes).as_bytes())
        });
        written.at("write", &temp)?;
        let place = || if replace { fs::rename(&temp, &path) } else { place_new(&temp, &path) };
        let mut placed = place();
        if placed.as_ref().is_err_and(|e| e.kind() == io::ErrorKind::NotFound) {
            let parent = path.parent().expect("records lie in a bucket");
            fs::create_dir_all(parent).at("make", parent)?;
            placed = place();
        }
        let _ = fs::remove_file(&temp);
        match placed {
            Ok(()) => Ok(true),
            Err(error) if !replace && error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(StoreError::io("write", path, error)),
        }
    }

    /// Marks a record as used, so that `prune` leaves it and what it needs.
    pub(crate) fn touch_record(&self, bucket: &str, key: &Digest) {
        let path = self.record_path(bucket, key);
        let old = fs::metadata(&path).and_then(|m| m.modified()).is_ok_and(|t| t < self.0.opened);
        if old {
            let _ = touch(&path);
        }
    }

    /// Moves a bad file out of the way; where it lies now, or where it was if it could not be moved.
    pub(crate) fn set_aside(&self, path: &Path, label: &str) -> PathBuf {
        for number in 0..1000 {
            let to = self.bucket("quarantine").join(format!("{label}.{number}"));
            // A link never replaces, so two bad copies of one blob are both kept.
            match fs::hard_link(path, &to) {
                Ok(()) => {
                    let _ = fs::remove_file(path);
                    self.say_damaged(format!(
                        "{} is set aside as {}",
                        path.display(),
                        to.display()
                    ));
                    return to;
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(_) => break,
            }
        }
        let _ = fs::remove_file(path);
        self.say_damaged(format!("{} is removed", path.display()));
        path.to_owned()
    }
}

/// Renames a file to a name that must be new.
fn place_new(temp: &Path, path: &Path) -> io::Result<()> {
    match rustix::fs::renameat_with(CWD, temp, CWD, path, RenameFlags::NOREPLACE) {
        // The file system cannot; a link never replaces, either.
        Err(Errno::INVAL | Errno::NOSYS) => fs::hard_link(temp, path),
        other => Ok(other?),
    }
}

/// Sets the time of a file to the present of its file system.
pub fn touch(path: &Path) -> io::Result<()> {
    let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
    Ok(rustix::fs::utimensat(CWD, path, &super::blobs::NOW, flags)?)
}

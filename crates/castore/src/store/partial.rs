//! Downloads that a digest is known of, kept from one process to the next until they are complete.

use std::{
    fs::{self, File},
    io,
    path::PathBuf,
};

use super::{Store, StoreError, error::Context};
use crate::{
    Sha256,
    files::{is_same, open},
};

/// A file with the beginning of a download, or nothing yet. What is in it is unchecked, and may be anything.
///
/// Dropped, it stays for who comes next, unless it is empty.
#[derive(Debug)]
pub struct Partial {
    /// The file.
    pub file: File,
    /// Where it stays; none: another has it, and this one goes when it is closed.
    path: Option<PathBuf>,
}

impl Store {
    /// The download of the file with this digest: what was begun and did not end, or a new one.
    pub fn partial(&self, sha256: &Sha256) -> Result<Partial, StoreError> {
        let path = self.bucket("partial").join(sha256.hex());
        loop {
            let file = open(&path, true).at("open", &path)?;
            // A file system without locks, too, is as one where somebody else has it.
            if file.try_lock().is_err() {
                break;
            }
            // Whoever had it may have taken it away just now.
            if is_same(&file, &path).at("open", &path)? {
                return Ok(Partial { file, path: Some(path) });
            }
        }
        let path = self.tmp_name();
        let file = open(&path, true).at("open", &path)?;
        fs::remove_file(&path).at("remove", &path)?;
        Ok(Partial { file, path: None })
    }
}

impl Partial {
    /// It is complete, and has been put where it belongs.
    pub fn done(mut self) -> io::Result<()> {
        self.path.take().map_or(Ok(()), fs::remove_file)
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        let empty = || self.file.metadata().is_ok_and(|metadata| metadata.len() == 0);
        if let Some(path) = self.path.take().filter(|_| empty()) {
            // While it is locked; it is in nobody's way.
            let _ = fs::remove_file(path);
        }
    }
}

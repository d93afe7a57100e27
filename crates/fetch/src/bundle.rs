//! The lock bundle: a directory beside a lock with the files that it pins, each under its digest.
//!
//! `reimage.lock.d/sha256/HEX`. It is part of the project and so foreign: a file is verified when it is used, and one
//! that is not what its name says is never taken. What has another kind of name is not ours and stays.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, Read, Write as _},
    path::{Path, PathBuf},
};

use reimage_castore::{Sha256, Sha256Hasher, empty, read_dir_sorted};

/// Begins the names of files that are being written.
const TEMPORARY: &str = ".tmp-";

/// Keeps version control from touching a byte of what it takes for text.
const ATTRIBUTES: &str = "sha256/* binary\n";

/// The directory of a lock's bundle, whether or not it is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    directory: PathBuf,
}

/// A bundle that fails.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// A file is not what its name says.
    #[error("`{path}` is damaged: it has digest {got}; `reimage lock --vendor` repairs it", path = path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Its digest.
        got: Sha256,
    },
    /// A file cannot be read.
    #[error("Cannot read `{path}` of the lock bundle", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file cannot be written, or what is to be written cannot be read.
    #[error("Cannot write `{path}` of the lock bundle", path = path.display())]
    Write {
        /// The file or directory.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

impl Bundle {
    /// The bundle of the lock at this path.
    pub fn of_lock(lock: &Path) -> Self {
        let mut name = lock.as_os_str().to_owned();
        name.push(".d");
        Self { directory: name.into() }
    }

    /// Its directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Whether there is one.
    pub fn exists(&self) -> bool {
        self.files().is_dir()
    }

    /// Whether it has a file of this digest and size in bytes: as much as can be known without reading it.
    pub fn has(&self, sha256: &Sha256, size: u64) -> bool {
        let found = std::fs::metadata(self.path(sha256));
        found.is_ok_and(|found| found.is_file() && found.len() == size)
    }

    /// Copies the file of this digest into `to`, an empty file; false: it is not there. After an error `to` is empty.
    pub fn copy(&self, sha256: &Sha256, to: &mut File) -> Result<bool, BundleError> {
        let path = self.path(sha256);
        let read = |source| BundleError::Read { path: path.clone(), source };
        let got = match digest(&path, |bytes| to.write_all(bytes)) {
            Ok(Some(got)) => got,
            Ok(None) => return Ok(false),
            Err(error) => {
                empty(to).map_err(read)?;
                return Err(read(error));
            }
        };
        if got == *sha256 {
            return Ok(true);
        }
        empty(to).map_err(read)?;
        Err(BundleError::Damaged { path, got })
    }

    /// Begins to write; waits for others who do.
    pub fn writer(&self) -> Result<BundleWriter<'_>, BundleError> {
        let files = self.files();
        let failed = |source| BundleError::Write { path: files.clone(), source };
        std::fs::create_dir_all(&files).map_err(failed)?;
        let lock = File::open(&files).map_err(failed)?;
        lock.lock().map_err(failed)?;
        let mut writer = BundleWriter { bundle: self, lock, before: BTreeSet::new() };
        writer.tidy().map_err(failed)?;
        let attributes = self.directory.join(".gitattributes");
        if !attributes.exists() {
            let written = temporary(&files).and_then(|mut file| {
                file.write_all(ATTRIBUTES.as_bytes())?;
                persist(file, &attributes)
            });
            written.map_err(|source| BundleError::Write { path: attributes, source })?;
        }
        Ok(writer)
    }

    fn files(&self) -> PathBuf {
        self.directory.join("sha256")
    }

    fn path(&self, sha256: &Sha256) -> PathBuf {
        self.files().join(sha256.hex())
    }
}

/// A bundle that nobody else writes to.
#[derive(Debug)]
pub struct BundleWriter<'a> {
    bundle: &'a Bundle,
    /// Its directory, locked until this is dropped.
    lock: File,
    before: BTreeSet<Sha256>,
}

impl BundleWriter<'_> {
    /// Whether the file of this digest is there and intact; it is read for that.
    pub fn has_intact(&self, sha256: &Sha256) -> bool {
        digest(&self.bundle.path(sha256), |_| Ok(())).is_ok_and(|got| got == Some(*sha256))
    }

    /// Writes the file of this digest.
    pub fn put(&self, sha256: &Sha256, from: impl Read) -> Result<(), BundleError> {
        let path = self.bundle.path(sha256);
        let written = temporary(&self.bundle.files()).and_then(|mut file| {
            let got = digest_of(from, |bytes| file.write_all(bytes))?;
            if got == *sha256 {
                persist(file, &path)?;
            }
            Ok(got)
        });
        match written {
            Ok(got) if got == *sha256 => Ok(()),
            Ok(got) => Err(BundleError::Damaged { path, got }),
            Err(source) => Err(BundleError::Write { path, source }),
        }
    }

    /// Removes the files of other digests than these, and ends; returns how many there were.
    pub fn keep(self, digests: &BTreeSet<Sha256>) -> Result<usize, BundleError> {
        let mut removed = 0;
        for sha256 in self.before.difference(digests) {
            let path = self.bundle.path(sha256);
            std::fs::remove_file(&path).map_err(|source| BundleError::Write { path, source })?;
            removed += 1;
        }
        let failed = |source| BundleError::Write { path: self.bundle.files(), source };
        self.lock.sync_all().map_err(failed)?;
        Ok(removed)
    }

    /// Lists what is there, and removes what a writer that was killed has left.
    fn tidy(&mut self) -> io::Result<()> {
        for entry in read_dir_sorted(self.bundle.files())? {
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            if name.starts_with(TEMPORARY) {
                std::fs::remove_file(entry.path())?;
            } else if let Ok(sha256) = format!("sha256:{name}").parse() {
                self.before.insert(sha256);
            }
        }
        Ok(())
    }
}

fn temporary(directory: &Path) -> io::Result<tempfile::NamedTempFile> {
    tempfile::Builder::new().prefix(TEMPORARY).tempfile_in(directory)
}

fn persist(file: tempfile::NamedTempFile, path: &Path) -> io::Result<()> {
    // Made for other people to read, unlike other temporaries.
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    file.as_file().set_permissions(mode)?;
    file.as_file().sync_all()?;
    file.persist(path).map(drop).map_err(|error| error.error)
}

/// The digest of a file, whose bytes `each` is given; none if it is not there.
fn digest(path: &Path, each: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<Option<Sha256>> {
    match std::fs::metadata(path) {
        // A fifo would never end.
        Ok(found) if !found.is_file() => {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it is not a file"));
        }
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    }
    digest_of(File::open(path)?, each).map(Some)
}

fn digest_of(
    mut from: impl Read,
    mut each: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<Sha256> {
    let mut hasher = Sha256Hasher::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        let read = from.read(&mut buffer)?;
        if read == 0 {
            return Ok(hasher.finish());
        }
        hasher.update(&buffer[..read]);
        each(&buffer[..read])?;
    }
}

#[cfg(test)]
mod tests;

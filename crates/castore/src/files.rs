//! Small things with files that the standard library does not have.

use std::{
    fs::{File, Metadata, TryLockError},
    io::{self, Read, Seek as _},
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// What lies in a directory, sorted by the bytes of the names: the one way to list a directory.
pub fn read_dir_sorted(path: impl AsRef<Path>) -> io::Result<Vec<fs_err::DirEntry>> {
    #[expect(clippy::disallowed_methods, reason = "sorted right below")]
    let mut entries = fs_err::read_dir(path.as_ref())?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(fs_err::DirEntry::file_name);
    Ok(entries)
}

/// Reads until `buffer` is full or nothing more comes; how many bytes came.
pub fn read_full(mut from: impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match from.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Takes what a file holds away: it is written from its beginning then.
pub fn empty(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()
}

/// Bytes that a file takes on disk.
pub fn disk_size(metadata: &Metadata) -> u64 {
    metadata.blocks() * 512
}

/// A path for an error: on one line whatever its names hold, and of a very long one the beginning and the end.
pub(crate) fn shown(path: &Path) -> String {
    let text = path.to_string_lossy();
    let mut shown = String::with_capacity(text.len());
    let count = text.chars().count();
    for (number, c) in text.chars().enumerate() {
        match number {
            _ if count <= SHOWN || number < SHOWN / 2 || number >= count - SHOWN / 2 => {
                if c.is_control() { shown.extend(c.escape_debug()) } else { shown.push(c) }
            }
            _ if number == SHOWN / 2 => shown.push('…'),
            _ => {}
        }
    }
    shown
}

/// Characters of a path that are shown.
const SHOWN: usize = 300;

/// Takes away a file or a directory with all in it, whatever its directories' modes; nothing there is fine.
pub fn remove_all(path: &Path) -> io::Result<()> {
    let metadata = match path.symlink_metadata() {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !metadata.is_dir() {
        return fs_err::remove_file(path);
    }
    if metadata.mode() & 0o700 != 0o700 {
        fs_err::set_permissions(path, PermissionsExt::from_mode(0o700))?;
    }
    for entry in read_dir_sorted(path)? {
        if entry.file_type()?.is_dir() {
            remove_all(&entry.path())?;
        } else {
            fs_err::remove_file(entry.path())?;
        }
    }
    fs_err::remove_dir(path)
}

/// A file that this process has locked; it goes when the lock is let go of.
///
/// The kernel lets go of it however the process ends, so a file that can be locked belongs to nobody.
#[derive(Debug)]
pub(crate) struct Locked {
    file: File,
    path: PathBuf,
}

impl Locked {
    /// Makes `path` if it is not there and waits until it is ours.
    pub(crate) fn wait(path: &Path) -> io::Result<Self> {
        loop {
            let file = open(path, true)?;
            while let Err(error) = file.lock() {
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
            if let Some(locked) = Self::check(file, path)? {
                return Ok(locked);
            }
        }
    }

    /// The same without waiting: none if another has it, or if it is not there and not to be made.
    pub(crate) fn attempt(path: &Path, create: bool) -> io::Result<Option<Self>> {
        loop {
            let file = match open(path, create) {
                Err(error) if error.kind() == io::ErrorKind::NotFound && !create => {
                    return Ok(None);
                }
                other => other?,
            };
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) => return Err(error),
            }
            match Self::check(file, path)? {
                Some(locked) => return Ok(Some(locked)),
                None if create => {}
                None => return Ok(None),
            }
        }
    }

    /// Whoever had it before may have taken the file away: then the lock is on nothing.
    fn check(file: File, path: &Path) -> io::Result<Option<Self>> {
        let ours = is_same(&file, path)?;
        Ok(ours.then(|| Self { file, path: path.to_owned() }))
    }

    /// The file.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        // While it is still locked, so that nobody who waits for it takes a file that is gone.
        let _ = fs_err::remove_file(&self.path);
    }
}

/// Whether an open file is the one that lies at `path` now.
pub(crate) fn is_same(file: &File, path: &Path) -> io::Result<bool> {
    let ours = file.metadata()?;
    match path.symlink_metadata() {
        Ok(there) => Ok((there.dev(), there.ino()) == (ours.dev(), ours.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Opens a file of our own to read and write.
pub(crate) fn open(path: &Path, create: bool) -> io::Result<File> {
    File::options().read(true).write(true).create(create).truncate(false).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_shown_on_one_line() {
        assert_eq!(shown(Path::new("/a b/ä\n\x1b[31m\t")), "/a b/ä\\n\\u{1b}[31m\\t");
        let long = format!("/{}end", "d/".repeat(2000));
        assert_eq!(
            shown(Path::new(&long)),
            format!("/{}d…{}/end", "d/".repeat(74), "/d".repeat(73))
        );
    }
}

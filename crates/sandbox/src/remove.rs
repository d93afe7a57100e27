//! Removing trees that hold directories of mode 0000 and files of other ids.

use std::ffi::{CStr, CString, OsStr};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, chmodat, openat, unlinkat};
use rustix::io::Errno;

/// Why a tree could not be removed.
#[derive(Debug, thiserror::Error)]
#[error("Cannot remove `{}`", path.display())]
pub struct RemoveError {
    /// The entry that stayed.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub source: io::Error,
}

/// Removes `path` and everything below it, whatever the modes and however deep; symbolic links are not
/// followed, other file systems mounted inside are an error. A path that does not exist is removed already.
pub fn remove_tree(path: &Path) -> Result<(), RemoveError> {
    let mut at = path.to_path_buf();
    remove(path, &mut at).map_err(|source| RemoveError { path: at, source })
}

/// A directory that is being emptied.
struct Level {
    /// Device and inode, to be sure that `..` leads back.
    identity: (u64, u64),
    /// Its own name in the level above.
    name: CString,
    entries: Vec<CString>,
}

/// `at` is always what is being removed, for the message.
fn remove(path: &Path, at: &mut PathBuf) -> io::Result<()> {
    let name = CString::new(path.as_os_str().as_bytes())?;
    // One descriptor and no recursion: the depth of the tree is bounded by neither.
    let Removed::Directory(mut dir) = remove_one(CWD, &name)? else { return Ok(()) };
    let mut levels = vec![list(&dir, name)?];
    while let Some(level) = levels.last_mut() {
        if let Some(name) = level.entries.pop() {
            at.push(OsStr::from_bytes(name.to_bytes()));
            if let Removed::Directory(below) = remove_one(&dir, &name)? {
                levels.push(list(&below, name)?);
                dir = below;
            } else {
                at.pop();
            }
            continue;
        }
        let Some(Level { name, .. }) = levels.pop() else { break };
        if let Some(above) = levels.last() {
            let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
            dir = openat(&dir, c"..", flags, Mode::empty())?;
            if identity(&dir)? != above.identity {
                return Err(io::Error::other("the tree changed while it was removed"));
            }
        }
        let above = if levels.is_empty() { CWD } else { dir.as_fd() };
        match unlinkat(above, &name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
        at.pop();
    }
    Ok(())
}

fn identity(dir: &OwnedFd) -> rustix::io::Result<(u64, u64)> {
    let stat = rustix::fs::fstat(dir)?;
    Ok((stat.st_dev, stat.st_ino))
}

enum Removed {
    Gone,
    Directory(OwnedFd),
}

/// Unlinks an entry, or opens it if it is a directory that is not empty.
fn remove_one(dir: impl AsFd, name: &CStr) -> rustix::io::Result<Removed> {
    match unlinkat(&dir, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(Removed::Gone),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(error) => return Err(error),
    }
    match unlinkat(&dir, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => return Ok(Removed::Gone),
        Err(Errno::NOTEMPTY | Errno::EXIST | Errno::ACCESS) => {}
        Err(error) => return Err(error),
    }
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = match openat(&dir, name, flags, Mode::empty()) {
        Err(Errno::ACCESS) => {
            // Not in a user namespace that overrides modes: we own it, so we may give ourselves the right.
            chmodat(&dir, name, Mode::RWXU, AtFlags::empty())?;
            openat(&dir, name, flags, Mode::empty())?
        }
        opened => opened?,
    };
    Ok(Removed::Directory(opened))
}

fn list(dir: &OwnedFd, name: CString) -> rustix::io::Result<Level> {
    // Readable but not writable or searchable: its entries could not be unlinked.
    let mode = Mode::from_raw_mode(rustix::fs::fstat(dir)?.st_mode);
    if !mode.contains(Mode::RWXU) {
        rustix::fs::fchmod(dir, Mode::RWXU)?;
    }
    let mut entries = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        if entry.file_name() != c"." && entry.file_name() != c".." {
            entries.push(entry.file_name().to_owned());
        }
    }
    Ok(Level { identity: identity(dir)?, name, entries })
}

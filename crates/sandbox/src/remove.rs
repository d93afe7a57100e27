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

/// Removes `path` and everything below it, whatever the modes; symbolic links are not followed, other
/// file systems mounted inside are an error. A path that does not exist is removed already.
pub fn remove_tree(path: &Path) -> Result<(), RemoveError> {
    let name = CString::new(path.as_os_str().as_bytes())
        .map_err(|_| RemoveError { path: path.into(), source: Errno::INVAL.into() })?;
    // The directories that are open, from the top down: recursion would end at the stack's size.
    let mut open: Vec<Level> = Vec::new();
    let mut at = path.to_path_buf();
    let fail =
        |path: &Path, source: Errno| RemoveError { path: path.into(), source: source.into() };
    match remove_one(CWD, &name).map_err(|error| fail(path, error))? {
        Removed::Gone => return Ok(()),
        Removed::Directory(dir) => open.push(list(dir, name).map_err(|error| fail(path, error))?),
    }
    while let Some(level) = open.last_mut() {
        if let Some(name) = level.entries.pop() {
            let child = at.join(OsStr::from_bytes(name.to_bytes()));
            match remove_one(level.dir.as_fd(), &name).map_err(|error| fail(&child, error))? {
                Removed::Gone => {}
                Removed::Directory(dir) => {
                    open.push(list(dir, name).map_err(|error| fail(&child, error))?);
                    at = child;
                }
            }
            continue;
        }
        let Some(Level { name, .. }) = open.pop() else { break };
        let above = open.last().map_or(CWD, |level| level.dir.as_fd());
        match unlinkat(above, &name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(fail(&at, error)),
        }
        at.pop();
    }
    Ok(())
}

struct Level {
    dir: OwnedFd,
    /// Its own name in the level above.
    name: CString,
    entries: Vec<CString>,
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

fn list(dir: OwnedFd, name: CString) -> rustix::io::Result<Level> {
    // Readable but not writable or searchable: its entries could not be unlinked.
    let mode = Mode::from_raw_mode(rustix::fs::fstat(&dir)?.st_mode);
    if !mode.contains(Mode::RWXU) {
        rustix::fs::fchmod(&dir, Mode::RWXU)?;
    }
    let mut entries = Vec::new();
    for entry in Dir::read_from(&dir)? {
        let entry = entry?;
        if entry.file_name() != c"." && entry.file_name() != c".." {
            entries.push(entry.file_name().to_owned());
        }
    }
    Ok(Level { dir, name, entries })
}

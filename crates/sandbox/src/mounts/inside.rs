//! Places inside a root whose symbolic links must not lead out, and plain directories and files.

use std::fs;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::mount::{MountFlags, mount_bind_recursive, mount_remount};

use crate::error::{During, Failure};

pub(super) fn bind_at(source: &Path, target: &OwnedFd, read_only: bool) -> Result<(), Failure> {
    let what = || format!("make `{}` visible in the sandbox", source.display());
    let at = fd_path(target);
    mount_bind_recursive(source, at.as_str()).during(what)?;
    if read_only {
        // The mount covers `target`: reach it through the descriptor's own directory entry.
        let over = reopen(target).during(what)?;
        let flags = MountFlags::BIND | MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NOEXEC;
        mount_remount(fd_path(&over), flags, c"").during(what)?;
    }
    Ok(())
}

/// Opens what is now mounted over the place that `fd` was opened at.
pub(super) fn reopen(fd: &OwnedFd) -> io::Result<OwnedFd> {
    let path = fs::read_link(fd_path(fd))?;
    Ok(openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty())?)
}

/// Opens `path` inside `root`, whose symbolic links cannot lead out.
pub(crate) fn open_in(root: impl AsFd, path: &Path) -> io::Result<OwnedFd> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    Ok(openat2(root, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve)?)
}

pub(super) fn target(root: &OwnedFd, path: &Path) -> Result<OwnedFd, Failure> {
    open_in(root, path).during(|| format!("find `{}` in the root", path.display()))
}

/// Opens `path` inside `root`, making what is missing of it (0755, root).
pub(super) fn ensure(root: &OwnedFd, path: &Path, directory: bool) -> Result<OwnedFd, Failure> {
    if let Ok(found) = open_in(root, path) {
        return Ok(found);
    }
    let what = || format!("make `{}` in the root", path.display());
    let mut at = target(root, Path::new("/"))?;
    let mut parts = path.components().peekable();
    let mut reached = PathBuf::from("/");
    while let Some(part) = parts.next() {
        let Component::Normal(name) = part else { continue };
        reached.push(name);
        if open_in(root, &reached).is_err() {
            if parts.peek().is_some() || directory {
                rustix::fs::mkdirat(&at, name, Mode::from(0o755)).during(what)?;
            } else {
                let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
                openat(&at, name, flags, Mode::from(0o644)).during(what)?;
            }
        }
        at = open_in(root, &reached).during(what)?;
    }
    Ok(at)
}

/// A name for a descriptor that mount(2) accepts.
pub(crate) fn fd_path(fd: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

pub(super) fn open_dir(path: &Path) -> Result<OwnedFd, Failure> {
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    openat(CWD, path, flags, Mode::empty()).during(|| format!("open `{}`", path.display()))
}

pub(super) fn make_dir(path: &Path, mode: u32) -> Result<(), Failure> {
    let what = || format!("make the directory `{}`", path.display());
    fs::DirBuilder::new().mode(mode).create(path).during(what)
}

pub(super) fn write_file(path: &Path, content: &[u8]) -> Result<(), Failure> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true).mode(0o644);
    let written = options.open(path).and_then(|mut file| file.write_all(content));
    written.during(|| format!("write `{}`", path.display()))
}

pub(super) fn make_dirs(path: &Path) -> Result<(), Failure> {
    let what = || format!("make the directory `{}`", path.display());
    fs::DirBuilder::new().recursive(true).mode(0o755).create(path).during(what)
}

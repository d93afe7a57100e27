//! A root file system as a directory of this machine, as far as its user may make one.

use std::{
    io::{self, Write},
    os::unix::{
        ffi::OsStrExt,
        fs::{PermissionsExt, lchown, symlink},
    },
    path::Path,
};

use fs_err as fs;
use reimage_castore::{Entry, Node, Tree, TreePath};
use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags};

use super::{ExportError, whole};
use crate::{Layout, Spool, StoredImage, rootfs::rootfs};

/// What only root may make, and was left out or became the user's.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NotKept {
    /// Number of paths that have another owner, and no setuid and setgid bits.
    pub owners: u64,
    /// Devices that are not there.
    pub devices: Vec<TreePath>,
    /// Number of paths without their extended attributes.
    pub xattrs: u64,
}

/// Writes an image's layers, merged, into `dir`, which must be new or empty.
///
/// Whoever is not root gets a tree of his own; what could not be kept is told.
pub fn export_rootfs_dir(
    layout: &Layout,
    image: &StoredImage,
    dir: &Path,
) -> Result<NotKept, ExportError> {
    let (tree, contents) = rootfs(layout, image)?;
    whole(dir, |dir| write(&tree, &contents, dir).map_err(Into::into))
}

fn write(tree: &Tree, contents: &Spool, dir: &Path) -> io::Result<NotKept> {
    let mut not_kept = NotKept::default();
    for (path, entry) in tree {
        let at = dir.join(path.as_path());
        let first = tree.links().group(path).map(|group| &group[0]).filter(|first| *first != path);
        match first {
            Some(first) if not_kept.devices.contains(first) => not_kept.devices.push(path.clone()),
            Some(first) => fs::hard_link(dir.join(first.as_path()), at)?,
            None if make(path, entry, &at, contents)? => {
                if !entry.is_directory() {
                    set_attrs(entry, &at, &mut not_kept)?;
                }
            }
            None => not_kept.devices.push(path.clone()),
        }
    }
    finish_directories(tree, dir, &mut not_kept)?;
    Ok(not_kept)
}

/// Makes one path, open to its user alone; says whether it could.
fn make(path: &TreePath, entry: &Entry, at: &Path, contents: &Spool) -> io::Result<bool> {
    let mode = Mode::from_raw_mode(0o600);
    let node = |kind, major, minor| {
        let device = rustix::fs::makedev(major, minor);
        match rustix::fs::mknodat(CWD, at, kind, mode, device) {
            Err(rustix::io::Errno::PERM) => Ok(false),
            done => done.map(|()| true).map_err(|e| context(&e.into(), at)),
        }
    };
    match &entry.node {
        Node::Directory | Node::Implied if path.is_root() => {}
        Node::Directory | Node::Implied => {
            fs::create_dir(at)?;
            fs::set_permissions(at, std::fs::Permissions::from_mode(0o700))?;
        }
        Node::File { digest, size } => {
            let mut file = fs::OpenOptions::new().write(true).create_new(true).open(at)?;
            if *size > 0 {
                io::copy(&mut contents.open(digest)?, &mut file)?;
            }
            file.flush()?;
        }
        Node::Symlink { target } => {
            symlink(std::ffi::OsStr::from_bytes(target), at).map_err(|e| context(&e, at))?;
        }
        Node::Fifo => return node(FileType::Fifo, 0, 0),
        Node::CharDevice { major, minor } => {
            return node(FileType::CharacterDevice, *major, *minor);
        }
        Node::BlockDevice { major, minor } => return node(FileType::BlockDevice, *major, *minor),
    }
    Ok(true)
}

/// Directories get their attributes last and from below: one may not be writable, and all have times.
fn finish_directories(tree: &Tree, dir: &Path, not_kept: &mut NotKept) -> io::Result<()> {
    let directories: Vec<_> = tree.iter().filter(|(_, entry)| entry.is_directory()).collect();
    for (path, entry) in directories.into_iter().rev() {
        set_attrs(entry, &dir.join(path.as_path()), not_kept)?;
    }
    Ok(())
}

fn set_attrs(entry: &Entry, at: &Path, not_kept: &mut NotKept) -> io::Result<()> {
    let attrs = &entry.attrs;
    let mut mode = u32::from(attrs.mode);
    match lchown(at, Some(attrs.uid), Some(attrs.gid)) {
        // Who has one id can name no other: that is EINVAL.
        Err(e)
            if matches!(
                e.kind(),
                io::ErrorKind::PermissionDenied | io::ErrorKind::InvalidInput
            ) =>
        {
            not_kept.owners += 1;
            mode &= 0o1777;
        }
        owned => owned.map_err(|e| context(&e, at))?,
    }
    let mut lost = false;
    for (name, value) in &attrs.xattrs {
        match rustix::fs::lsetxattr(at, &**name, value, XattrFlags::empty()) {
            Err(rustix::io::Errno::PERM | rustix::io::Errno::OPNOTSUPP) => lost = true,
            set => set.map_err(|e| context(&e.into(), at))?,
        }
    }
    not_kept.xattrs += u64::from(lost);
    if !matches!(entry.node, Node::Symlink { .. }) {
        fs::set_permissions(at, std::fs::Permissions::from_mode(mode))?;
    }
    let time = Timespec { tv_sec: attrs.mtime.unwrap_or(0), tv_nsec: 0 };
    let times = Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(CWD, at, &times, AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|e| context(&e.into(), at))
}

fn context(e: &io::Error, at: &Path) -> io::Error {
    io::Error::new(e.kind(), format!("{}: {e}", at.display()))
}

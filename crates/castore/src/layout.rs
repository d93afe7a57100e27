//! Writes nodes as files of the host, verified on the way: what `materialize` and `export` have in common.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read, Write},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

use rayon::prelude::*;
use rustix::{
    fs::{AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags, makedev},
    io::Errno,
};

use crate::{
    Attrs, Change, Diff, Digest, Entry, Hasher, Links, Node, Store, StoreError, TreePath,
    store::Context,
};

/// The extended attribute that holds the owner of a file, `UID:GID`, when it is not root's.
pub const OWNER_XATTR: &str = "user.reimage.owner";
/// The extended attribute that says which device an empty file stands for, `c MAJOR MINOR` or `b …`.
pub const DEVICE_XATTR: &str = "user.reimage.dev";
/// The extended attribute that holds `security.capability` where the kernel does not take that.
pub const CAPABILITY_XATTR: &str = "user.reimage.capability";

const CAPABILITY: &[u8] = b"security.capability";
/// Files up to this many bytes are read whole; larger ones are streamed.
const SMALL: u64 = 1 << 20;
/// A directory's files are written in groups of this many, side by side.
const CHUNK: usize = 64;

/// What becomes of owners, devices, special bits and deletions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Real ones.
    Physical,
    /// Extended attributes.
    Recorded,
    /// Nothing: files of whoever runs this.
    Plain,
}

/// How to write nodes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layout<'a> {
    pub(crate) store: &'a Store,
    pub(crate) kind: Kind,
    /// The time of nodes without one, in seconds since 1970 and nanoseconds; none leaves it as it comes.
    pub(crate) time: Option<(i64, u32)>,
}

/// One directory to write: its attributes, and what lies in it but directories.
struct Directory<'a> {
    path: &'a TreePath,
    attrs: &'a Attrs,
    below: Vec<(&'a TreePath, &'a Change)>,
}

impl Layout<'_> {
    /// Writes what `diff` puts and removes into `root`, which is not there yet. `implied` are all
    /// directories that it passes through without listing them.
    pub(crate) fn write(
        &self,
        root: &Path,
        diff: &Diff,
        implied: &BTreeMap<TreePath, Attrs>,
    ) -> Result<(), StoreError> {
        let directories = directories(diff, implied);
        for directory in &directories {
            let path = directory.path.on(root);
            rustix::fs::mkdir(&path, Mode::from(0o700)).at("make", path)?;
        }
        directories.par_iter().try_for_each(|d| self.fill(root, d, diff.links()))?;
        for group in diff.links().iter() {
            let first = group[0].on(root);
            for path in &group[1..] {
                let path = path.on(root);
                std::fs::hard_link(&first, &path).at("link", path)?;
            }
        }
        // The deepest first: neither a mode nor a time must be in the way of what lies below.
        for directory in directories.iter().rev() {
            let path = directory.path.on(root);
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let fd = rustix::fs::open(&path, flags, Mode::empty()).at("open", &path)?;
            self.attributes(fd.as_fd(), directory.attrs, None, &path)?;
        }
        Ok(())
    }

    fn fill(
        &self,
        root: &Path,
        directory: &Directory<'_>,
        links: &Links,
    ) -> Result<(), StoreError> {
        if directory.below.is_empty() {
            return Ok(());
        }
        let path = directory.path.on(root);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(&path, flags, Mode::empty()).at("open", &path)?;
        directory.below.par_chunks(CHUNK).try_for_each(|chunk| {
            chunk.iter().try_for_each(|(path, change)| {
                let Change::Put(entry) = change else {
                    return whiteout(fd.as_fd(), path, &path.on(root));
                };
                // The first of its group; the others are linked to it.
                if links.group(path).is_none_or(|group| group[0] == **path) {
                    let name = path.name().expect("the root is no file in a directory");
                    self.node(fd.as_fd(), name, path, entry, &path.on(root))?;
                }
                Ok(())
            })
        })
    }

    /// Writes one node that is no directory as `name`; `path` and `at` are its names for errors.
    pub(crate) fn node(
        &self,
        fd: BorrowedFd<'_>,
        name: &[u8],
        path: &TreePath,
        entry: &Entry,
        at: &Path,
    ) -> Result<(), StoreError> {
        let attrs = &entry.attrs;
        let device = match &entry.node {
            Node::File { digest, size } => {
                let file = create(fd, name, at)?;
                self.content(&file, digest, *size, path, at)?;
                return self.attributes(file.as_fd(), attrs, None, at);
            }
            Node::Symlink { target } => {
                rustix::fs::symlinkat(&**target, fd, name).at("make", at)?;
                return self.bare(fd, name, attrs, None, at);
            }
            Node::Fifo => {
                let mode = Mode::from(0o600);
                rustix::fs::mknodat(fd, name, FileType::Fifo, mode, 0).at("make", at)?;
                return self.bare(fd, name, attrs, Some(self.mode(attrs)), at);
            }
            Node::CharDevice { major: 0, minor: 0 } if self.kind == Kind::Physical => {
                let why = "the character device 0:0 is how overlayfs marks what is deleted";
                return Err(StoreError::Layout { path: path.clone(), why: why.to_owned() });
            }
            Node::CharDevice { major, minor } => ('c', FileType::CharacterDevice, *major, *minor),
            Node::BlockDevice { major, minor } => ('b', FileType::BlockDevice, *major, *minor),
            Node::Directory | Node::Implied => unreachable!("directories are made before all else"),
        };
        let (letter, kind, major, minor) = device;
        match self.kind {
            Kind::Plain => {
                let why =
                    format!("it is a {}, and only root's file systems have any", entry.node.kind());
                return Err(StoreError::Layout { path: path.clone(), why });
            }
            Kind::Physical => {
                let mode = Mode::from(0o600);
                match rustix::fs::mknodat(fd, name, kind, mode, makedev(major, minor)) {
                    Ok(()) => return self.bare(fd, name, attrs, Some(self.mode(attrs)), at),
                    // Root of a user namespace: it has owners, but makes no devices.
                    Err(Errno::PERM) => {}
                    Err(error) => return Err(StoreError::io("make", at, error)),
                }
            }
            Kind::Recorded => {}
        }
        let file = create(fd, name, at)?;
        let device = format!("{letter} {major} {minor}");
        self.attributes(file.as_fd(), attrs, Some(&device), at)
    }

    fn content(
        &self,
        mut file: &File,
        digest: &Digest,
        size: u64,
        path: &TreePath,
        at: &Path,
    ) -> Result<(), StoreError> {
        if size < SMALL {
            let bytes = self.store.read(digest)?;
            if bytes.len() as u64 != size {
                let why = format!("its tree says {size} bytes, and {digest} has {}", bytes.len());
                return Err(StoreError::Layout { path: path.clone(), why });
            }
            return file.write_all(&bytes).at("write", at);
        }
        let object = self.store.open_object(digest)?;
        if rustix::fs::ioctl_ficlone(file, &object).is_ok() {
            let mut hasher = Hasher::new();
            // The clone is digested: nobody else can change it.
            let mut clone = File::open(at).at("open", at)?;
            io::copy(&mut clone, &mut hasher).at("read", at)?;
            return if hasher.finish() == *digest {
                Ok(())
            } else {
                Err(self.store.corrupt(digest))
            };
        }
        let mut reader = self.store.reader(digest, size)?;
        let mut buffer = vec![0; 256 << 10];
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(read) => file.write_all(&buffer[..read]).at("write", at)?,
                Err(error) => {
                    return Err(error.downcast().unwrap_or_else(|e| StoreError::io("read", at, e)));
                }
            }
        }
    }

    /// Owner, extended attributes, mode and time of an open file or directory, in an order in which none undoes
    /// another.
    fn attributes(
        &self,
        fd: BorrowedFd<'_>,
        attrs: &Attrs,
        device: Option<&str>,
        at: &Path,
    ) -> Result<(), StoreError> {
        let set =
            |name: &[u8], value: &[u8]| rustix::fs::fsetxattr(fd, name, value, XattrFlags::empty());
        let not_root = (attrs.uid, attrs.gid) != (0, 0);
        match self.kind {
            Kind::Physical if not_root || !is_root() => {
                let (uid, gid) = ids(attrs);
                rustix::fs::fchown(fd, uid, gid).at("give away", at)?;
            }
            Kind::Recorded if not_root => {
                let owner = format!("{}:{}", attrs.uid, attrs.gid);
                set(OWNER_XATTR.as_bytes(), owner.as_bytes()).at("record the owner of", at)?;
            }
            _ => {}
        }
        if let Some(device) = device {
            set(DEVICE_XATTR.as_bytes(), device.as_bytes()).at("record the device of", at)?;
        }
        for (name, value) in &attrs.xattrs {
            let mut done = set(name, value);
            if self.kind == Kind::Plain {
                // Whoever exports may be unable to have it: it is content for a root file system.
                done = Ok(());
            } else if done == Err(Errno::PERM) && **name == *CAPABILITY {
                done = set(CAPABILITY_XATTR.as_bytes(), value);
            }
            done.at("set an extended attribute of", at)?;
        }
        rustix::fs::fchmod(fd, self.mode(attrs)).at("set the mode of", at)?;
        match self.times(attrs) {
            Some(times) => rustix::fs::futimens(fd, &times).at("set the time of", at),
            None => Ok(()),
        }
    }

    /// The same of what cannot be opened, or not without effect; it has no extended attributes.
    fn bare(
        &self,
        fd: BorrowedFd<'_>,
        name: &[u8],
        attrs: &Attrs,
        mode: Option<Mode>,
        at: &Path,
    ) -> Result<(), StoreError> {
        if self.kind == Kind::Physical && ((attrs.uid, attrs.gid) != (0, 0) || !is_root()) {
            let (uid, gid) = ids(attrs);
            rustix::fs::chownat(fd, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)
                .at("give away", at)?;
        }
        if let Some(mode) = mode {
            rustix::fs::chmodat(fd, name, mode, AtFlags::empty()).at("set the mode of", at)?;
        }
        match self.times(attrs) {
            Some(times) => rustix::fs::utimensat(fd, name, &times, AtFlags::SYMLINK_NOFOLLOW)
                .at("set the time of", at),
            None => Ok(()),
        }
    }

    fn mode(&self, attrs: &Attrs) -> Mode {
        let bits = if self.kind == Kind::Plain { attrs.mode & 0o777 } else { attrs.mode };
        Mode::from(u32::from(bits))
    }

    fn times(&self, attrs: &Attrs) -> Option<Timestamps> {
        let (seconds, nanos) = match (attrs.mtime, self.time) {
            (Some(own), Some(_)) => (own, 0),
            (None, Some(time)) => time,
            (_, None) => return None,
        };
        let time = Timespec { tv_sec: seconds, tv_nsec: nanos.into() };
        Some(Timestamps { last_access: time, last_modification: time })
    }
}

/// Every directory that is put or lies above a change, in order, the root first.
fn directories<'a>(diff: &'a Diff, implied: &'a BTreeMap<TreePath, Attrs>) -> Vec<Directory<'a>> {
    let mut directories = BTreeMap::new();
    for (path, attrs) in implied {
        directories.insert(path, Directory { path, attrs, below: Vec::new() });
    }
    for (path, change) in diff {
        match change {
            Change::Put(entry) if entry.is_directory() => {
                let below = Vec::new();
                directories.insert(path, Directory { path, attrs: &entry.attrs, below });
            }
            _ => {
                let parent = path.parent().expect("the root is a directory");
                let parent = directories.get_mut(&parent);
                parent.expect("it is put or implied").below.push((path, change));
            }
        }
    }
    directories.into_values().collect()
}

/// Marks what is deleted as overlayfs does.
fn whiteout(fd: BorrowedFd<'_>, path: &TreePath, at: &Path) -> Result<(), StoreError> {
    let name = path.name().expect("the root is never removed");
    let kind = FileType::CharacterDevice;
    rustix::fs::mknodat(fd, name, kind, Mode::empty(), makedev(0, 0)).at("make a whiteout at", at)
}

fn create(fd: BorrowedFd<'_>, name: &[u8], at: &Path) -> Result<File, StoreError> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let fd: OwnedFd = rustix::fs::openat(fd, name, flags, Mode::from(0o600)).at("make", at)?;
    Ok(File::from(fd))
}

fn ids(attrs: &Attrs) -> (Option<Uid>, Option<Gid>) {
    (Some(Uid::from_raw(attrs.uid)), Some(Gid::from_raw(attrs.gid)))
}

/// Whether what this process makes is root's already.
fn is_root() -> bool {
    rustix::process::geteuid().is_root() && rustix::process::getegid().is_root()
}

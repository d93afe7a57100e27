//! Reading what a command has written, once none of its processes is left.
//!
//! **Invariant:** follows no symbolic link, opens no fifo, socket or device, leaves the upper by no way.

use std::collections::BTreeMap;
use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Stat, fstat, openat, openat2, readlinkat,
    statat,
};

use crate::command::Owner;
use crate::ids::Ids;
use crate::outcome::Outcome;
use crate::sys;
use crate::xattr;

/// One entry of an upper directory: what differs from what the command stood on.
#[derive(Debug)]
pub struct Entry {
    /// Path in the root: bytes, relative, empty for the root itself.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: EntryKind,
    /// The twelve mode bits.
    pub mode: u32,
    /// Owner: recorded or physical, as the id backend has it.
    pub uid: u32,
    /// Group, likewise.
    pub gid: u32,
    /// Modification time: seconds since 1970 and nanoseconds.
    pub mtime: (i64, u32),
    /// `user.*` (but ours and overlayfs's) and `security.capability` as the kernel stores it; sorted.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Inode number; entries of one upper with the same number are hard links of each other.
    /// Meaningless for whiteouts, which overlayfs links to save inodes.
    pub inode: u64,
    /// Number of names that the inode has.
    pub links: u64,
}

/// What an [`Entry`] is.
#[derive(Debug)]
pub enum EntryKind {
    /// A regular file.
    File {
        /// Open for reading, at the start.
        file: File,
        /// Size in bytes.
        size: u64,
    },
    /// A directory; its own entries follow.
    Directory {
        /// Whether it hides what lies at this path below.
        opaque: bool,
    },
    /// A symbolic link.
    Symlink {
        /// Its target, bytes.
        target: Vec<u8>,
    },
    /// A named pipe.
    Fifo,
    /// A device, physical or recorded.
    Device {
        /// Block device rather than character device.
        block: bool,
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// What lies at this path below is removed.
    Whiteout,
    /// A socket, which no tree holds.
    Socket,
}

/// Why an upper could not be read.
#[derive(Debug, thiserror::Error)]
#[error("Cannot read `/{}` of what the step wrote", String::from_utf8_lossy(path))]
pub struct CaptureError {
    /// Path in the root, bytes, relative.
    pub path: Vec<u8>,
    /// Why.
    #[source]
    pub source: io::Error,
}

/// The entries of an upper: a directory before what it holds, siblings by the bytes of their names.
#[derive(Debug)]
pub struct Entries {
    ids: Ids,
    owners: BTreeMap<Vec<u8>, (u32, u32)>,
    skip: Vec<Vec<u8>>,
    /// The directory that is being read; one descriptor however deep the tree.
    dir: OwnedFd,
    path: Vec<u8>,
    levels: Vec<Level>,
    root_is_due: bool,
}

#[derive(Debug)]
struct Level {
    /// Device and inode, to be sure that `..` leads back.
    identity: (u64, u64),
    /// Length of the path of this directory.
    path: usize,
    /// Names that are still to come, last first.
    names: Vec<CString>,
}

impl Outcome {
    /// What the command wrote to the root, without what no result holds and without what lies at or
    /// below `skip` (paths in the root, absolute).
    pub fn entries(&self, skip: &[PathBuf]) -> Result<Entries, CaptureError> {
        let skip = self.uncaptured.iter().chain(skip);
        Entries::new(self.upper.as_fd(), self.ids, &self.owners, skip)
    }

    /// What the command wrote to the input with this position in `Command::inputs`.
    pub fn input_entries(&self, input: usize) -> Result<Entries, CaptureError> {
        Entries::new(self.input_uppers[input].as_fd(), self.ids, &self.input_owners[input], [])
    }
}

impl Entries {
    /// Starts at the top of an upper directory.
    pub(crate) fn new<'a>(
        upper: BorrowedFd<'_>,
        ids: Ids,
        owners: &[Owner],
        skip: impl IntoIterator<Item = &'a PathBuf>,
    ) -> Result<Self, CaptureError> {
        let relative =
            |path: &Path| path.strip_prefix("/").unwrap_or(path).as_os_str().as_bytes().to_vec();
        let dir =
            open_dir(upper, c".").map_err(|source| CaptureError { path: Vec::new(), source })?;
        Ok(Self {
            ids,
            owners: owners
                .iter()
                .map(|owner| (relative(&owner.path), (owner.uid, owner.gid)))
                .collect(),
            skip: skip.into_iter().map(|path| relative(path)).collect(),
            dir,
            path: Vec::new(),
            levels: Vec::new(),
            root_is_due: true,
        })
    }

    fn step(&mut self) -> io::Result<Option<Entry>> {
        if std::mem::take(&mut self.root_is_due) {
            let entry = self.directory(&fstat(&self.dir)?)?;
            self.descend()?;
            return Ok(Some(entry));
        }
        while let Some(level) = self.levels.last_mut() {
            self.path.truncate(level.path);
            let Some(name) = level.names.pop() else {
                self.levels.pop();
                if let Some(above) = self.levels.last() {
                    let identity = above.identity;
                    self.dir = open_dir(self.dir.as_fd(), c"..")?;
                    if self.identity()? != identity {
                        return Err(io::Error::other("the tree changed while it was read"));
                    }
                }
                continue;
            };
            if !self.path.is_empty() {
                self.path.push(b'/');
            }
            self.path.extend_from_slice(name.to_bytes());
            if self.skip.contains(&self.path) {
                continue;
            }
            return self.entry(&name).map(Some);
        }
        Ok(None)
    }

    fn identity(&self) -> io::Result<(u64, u64)> {
        let stat = fstat(&self.dir)?;
        Ok((stat.st_dev, stat.st_ino))
    }

    /// Reads the names of the current directory, which becomes the deepest level.
    fn descend(&mut self) -> io::Result<()> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.dir)? {
            let entry = entry?;
            if entry.file_name() != c"." && entry.file_name() != c".." {
                names.push(entry.file_name().to_owned());
            }
        }
        names.sort_unstable_by(|a, b| b.cmp(a));
        self.levels.push(Level { identity: self.identity()?, path: self.path.len(), names });
        Ok(())
    }

    fn entry(&mut self, name: &CString) -> io::Result<Entry> {
        let stat = statat(&self.dir, name.as_c_str(), AtFlags::SYMLINK_NOFOLLOW)?;
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                self.dir = open_dir(self.dir.as_fd(), name)?;
                let entry = self.directory(&stat)?;
                self.descend()?;
                return Ok(entry);
            }
            FileType::RegularFile => return self.file(name, &stat),
            FileType::Symlink => EntryKind::Symlink {
                target: readlinkat(&self.dir, name.as_c_str(), Vec::new())?.into_bytes(),
            },
            FileType::Fifo => EntryKind::Fifo,
            FileType::Socket => EntryKind::Socket,
            FileType::CharacterDevice if stat.st_rdev == 0 => EntryKind::Whiteout,
            FileType::CharacterDevice | FileType::BlockDevice => EntryKind::Device {
                block: FileType::from_raw_mode(stat.st_mode) == FileType::BlockDevice,
                major: rustix::fs::major(stat.st_rdev),
                minor: rustix::fs::minor(stat.st_rdev),
            },
            FileType::Unknown => return Err(io::Error::other("a file of unknown type")),
        };
        let owner = match self.ids {
            Ids::Notify => self.owners.get(&self.path).copied().unwrap_or((0, 0)),
            Ids::Full | Ids::Mapped => (stat.st_uid, stat.st_gid),
        };
        Ok(self.finish(kind, &stat, owner, BTreeMap::new()))
    }

    fn directory(&self, stat: &Stat) -> io::Result<Entry> {
        let (kept, ours) = xattrs(self.dir.as_fd())?;
        let opaque = ours.get(b"user.overlay.opaque".as_slice()).is_some_and(|value| value == b"y");
        let owner = self.owner(stat, &ours);
        Ok(self.finish(EntryKind::Directory { opaque }, stat, owner, kept))
    }

    fn file(&self, name: &CString, stat: &Stat) -> io::Result<Entry> {
        let flags =
            OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = openat2(&self.dir, name.as_c_str(), flags, Mode::empty(), RESOLVE)?;
        let opened = fstat(&file)?;
        if (opened.st_ino, opened.st_mode) != (stat.st_ino, stat.st_mode) {
            return Err(io::Error::other("the file changed while it was read"));
        }
        // What could not be written is lost, and reading it back need not show it.
        sys::write_error(&file)?;
        let (kept, ours) = xattrs(file.as_fd())?;
        let device =
            ours.get(xattr::DEVICE.to_bytes()).and_then(|record| xattr::parse_device(record));
        let (kind, kept) = match device {
            Some((kind, major, minor)) if self.ids != Ids::Full => {
                // Of a physical one no attributes are read, either.
                (EntryKind::Device { block: kind == libc::S_IFBLK, major, minor }, BTreeMap::new())
            }
            _ => {
                (EntryKind::File { file: file.into(), size: opened.st_size.cast_unsigned() }, kept)
            }
        };
        let owner = self.owner(stat, &ours);
        Ok(self.finish(kind, stat, owner, kept))
    }

    fn owner(&self, stat: &Stat, ours: &BTreeMap<Vec<u8>, Vec<u8>>) -> (u32, u32) {
        if self.ids.physical() {
            return (stat.st_uid, stat.st_gid);
        }
        let record = ours.get(xattr::OWNER.to_bytes());
        record.and_then(|record| xattr::parse_owner(record)).unwrap_or((0, 0))
    }

    fn finish(
        &self,
        kind: EntryKind,
        stat: &Stat,
        (uid, gid): (u32, u32),
        xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    ) -> Entry {
        let nanoseconds = u32::try_from(stat.st_mtime_nsec).unwrap_or(0);
        Entry {
            path: self.path.clone(),
            kind,
            mode: stat.st_mode & 0o7777,
            uid,
            gid,
            mtime: (stat.st_mtime, nanoseconds),
            xattrs,
            inode: stat.st_ino,
            links: links(stat),
        }
    }
}

/// Names of the inode: a number of 64 bits here, of 32 there.
#[cfg_attr(
    target_arch = "x86_64",
    expect(clippy::useless_conversion, reason = "aarch64 has 32 bits")
)]
fn links(stat: &Stat) -> u64 {
    stat.st_nlink.into()
}

impl Iterator for Entries {
    type Item = Result<Entry, CaptureError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.step() {
            Ok(entry) => entry.map(Ok),
            Err(source) => {
                self.levels.clear(); // an error ends the walk: what follows could not be trusted
                Some(Err(CaptureError { path: std::mem::take(&mut self.path), source }))
            }
        }
    }
}

const RESOLVE: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS)
    .union(ResolveFlags::NO_XDEV);

fn open_dir(at: BorrowedFd<'_>, name: &std::ffi::CStr) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    if name == c".." {
        return Ok(openat(at, name, flags, Mode::empty())?); // not beneath; the caller checks where it led
    }
    Ok(openat2(at, name, flags, Mode::empty(), RESOLVE)?)
}

type Xattrs = BTreeMap<Vec<u8>, Vec<u8>>;

/// The attributes to keep, and ours and overlayfs's.
fn xattrs(file: BorrowedFd<'_>) -> io::Result<(Xattrs, Xattrs)> {
    let (mut kept, mut ours) = (Xattrs::new(), Xattrs::new());
    for name in xattr::names(&xattr::grow(|buffer| rustix::fs::flistxattr(file, buffer))?) {
        let mine = name.starts_with(xattr::OURS) || name.starts_with(xattr::OVERLAY);
        if !mine && !name.starts_with(b"user.") && name != b"security.capability" {
            continue;
        }
        let value =
            xattr::grow(|buffer| rustix::fs::fgetxattr(file, OsStr::from_bytes(name), buffer))?;
        let map = if mine { &mut ours } else { &mut kept };
        map.insert(name.to_vec(), value);
    }
    Ok((kept, ours))
}

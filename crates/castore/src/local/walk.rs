//! Lists what a local tree takes, in the order of a tree's paths, without opening a file.

use std::{
    ffi::CStr,
    mem::MaybeUninit,
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
    sync::Arc,
};

use rayon::prelude::*;
use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, RawDir, Stat},
    io::Errno,
};

use super::{LocalError, LocalOptions, gitignore::Ignore, is_gone};
use crate::TreePath;

/// A walk that has not begun.
pub(super) struct Walk<'a> {
    root: &'a Path,
    options: &'a LocalOptions,
    /// The path of `root` seen from the project, with a slash at its end; empty if they are the same.
    prefix: Vec<u8>,
}

/// All that was found, and the times of the directories it was found in.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// Sorted by path; directories only where something in them is kept, and the root.
    pub(super) entries: Vec<Found>,
    directories: Vec<(TreePath, Times)>,
}

/// One path that is kept.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) path: TreePath,
    pub(super) what: What,
}

/// What lies there.
#[derive(Debug)]
pub(super) enum What {
    File(FileStat),
    Symlink(Box<[u8]>),
    Directory,
}

/// What tells that a file has not changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileStat {
    pub(super) device: u64,
    pub(super) inode: u64,
    pub(super) size: u64,
    pub(super) times: Times,
    pub(super) executable: bool,
}

/// Times of the last modification and of the last change, in seconds and nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Times {
    pub(super) modified: (i64, u64),
    pub(super) changed: (i64, u64),
}

impl Times {
    pub(super) fn of(stat: &Stat) -> Self {
        Self {
            modified: (stat.st_mtime, stat.st_mtime_nsec),
            changed: (stat.st_ctime, stat.st_ctime_nsec),
        }
    }
}

impl FileStat {
    pub(super) fn of(stat: &Stat) -> Self {
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            size: stat.st_size.cast_unsigned(),
            times: Times::of(stat),
            executable: stat.st_mode & 0o100 != 0,
        }
    }
}

/// The outer error ends the ingest, the inner one is a path that changed meanwhile.
type Step<T> = Result<Result<T, PathBuf>, LocalError>;

impl<'a> Walk<'a> {
    pub(super) fn new(root: &'a Path, options: &'a LocalOptions) -> Self {
        let prefix = root.strip_prefix(&options.project).ok().map(|p| p.as_os_str().as_bytes());
        let prefix = match prefix {
            Some(prefix) if !prefix.is_empty() => [prefix, b"/"].concat(),
            _ => Vec::new(),
        };
        Self { root, options, prefix }
    }

    /// Lists everything.
    pub(super) fn run(&self) -> Step<Listing> {
        let stat = match rustix::fs::lstat(self.root) {
            Ok(stat) => stat,
            Err(Errno::NOENT | Errno::NOTDIR) => {
                return Err(LocalError::NotThere { path: self.root.into() });
            }
            Err(error) => return Err(LocalError::read(self.root, error)),
        };
        let what = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => What::File(FileStat::of(&stat)),
            FileType::Symlink => {
                let target = rustix::fs::readlink(self.root, Vec::new());
                let target = target.map_err(|e| LocalError::read(self.root, e))?;
                What::Symlink(target.into_bytes().into())
            }
            FileType::Directory => return self.directory_root(),
            other => {
                let kind = kind(other).unwrap_or("device");
                return Err(LocalError::Special { path: self.root.into(), kind });
            }
        };
        let entries = vec![Found { path: TreePath::root(), what }];
        Ok(Ok(Listing { entries, directories: Vec::new() }))
    }

    fn directory_root(&self) -> Step<Listing> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(self.root, flags, Mode::empty())
            .map_err(|e| LocalError::read(self.root, e))?;
        let ignore = self.options.gitignore.then(|| self.ignore_above()).flatten();
        let mut listing = match self.directory(&root, TreePath::root(), ignore)? {
            Ok(listing) => listing,
            Err(changed) => return Ok(Err(changed)),
        };
        if listing.entries.is_empty() {
            // Unlike a directory below, the root is there even with nothing in it.
            listing.entries.push(Found { path: TreePath::root(), what: What::Directory });
        }
        Ok(Ok(listing))
    }

    /// The .gitignore files of the directories from the project down to the one that holds the root.
    fn ignore_above(&self) -> Option<Arc<Ignore>> {
        let mut ignore = None;
        let ends = self.prefix.iter().enumerate().filter(|(_, b)| **b == b'/').map(|(i, _)| i + 1);
        for depth in std::iter::once(0).chain(ends).filter(|depth| *depth < self.prefix.len()) {
            let directory = self.options.project.join(os(&self.prefix[..depth]));
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            if let Ok(fd) = rustix::fs::open(&directory, flags, Mode::empty()) {
                ignore = Ignore::enter(ignore, fd.as_fd(), depth);
            }
        }
        ignore
    }

    fn directory(
        &self,
        root: &OwnedFd,
        path: TreePath,
        ignore: Option<Arc<Ignore>>,
    ) -> Step<Listing> {
        let here = || path.on(self.root);
        let mut names = Vec::new();
        let (times, ignore, below) = {
            let fd = if path.is_root() {
                rustix::io::fcntl_dupfd_cloexec(root, 0)
            } else {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
                rustix::fs::openat(root, path.as_path(), flags, Mode::empty())
            };
            let fd = match fd {
                Ok(fd) => fd,
                Err(error) if is_gone(error) => return Ok(Err(here())),
                Err(error) => return Err(LocalError::read(here(), error)),
            };
            let stat = rustix::fs::fstat(&fd).map_err(|e| LocalError::read(here(), e))?;
            let depth = self.depth(&path);
            let ignore = if self.options.gitignore {
                Ignore::enter(ignore, fd.as_fd(), depth)
            } else {
                None
            };
            list(&fd, &mut names).map_err(|e| LocalError::read(here(), e))?;
            names.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
            let mut below = Vec::with_capacity(names.len());
            for (name, kind) in names {
                match self.look(&fd, &path, &name, kind, ignore.as_deref())? {
                    Ok(Some(found)) => below.push(found),
                    Ok(None) => {}
                    Err(changed) => return Ok(Err(changed)),
                }
            }
            (Times::of(&stat), ignore, below)
        };
        self.descend(root, path, times, ignore.as_ref(), below)
    }

    /// Lists the directories among `below` side by side and puts all in order.
    fn descend(
        &self,
        root: &OwnedFd,
        path: TreePath,
        times: Times,
        ignore: Option<&Arc<Ignore>>,
        below: Vec<Found>,
    ) -> Step<Listing> {
        let list = |found: Found| match found.what {
            What::Directory => self.directory(root, found.path, ignore.cloned()),
            _ => Ok(Ok(Listing { entries: vec![found], directories: Vec::new() })),
        };
        let directories = below.iter().filter(|f| matches!(f.what, What::Directory)).count();
        let parts: Vec<_> = if directories > 1 {
            below.into_par_iter().map(list).collect()
        } else {
            below.into_iter().map(list).collect()
        };
        let mut listing = Listing::default();
        listing.directories.push((path.clone(), times));
        listing.entries.push(Found { path, what: What::Directory });
        for part in parts {
            match part? {
                Ok(part) => {
                    listing.entries.extend(part.entries);
                    listing.directories.extend(part.directories);
                }
                Err(changed) => return Ok(Err(changed)),
            }
        }
        if listing.entries.len() == 1 {
            listing.entries.clear();
        }
        Ok(Ok(listing))
    }

    /// Says what one name is, if it is kept; of a directory only that it is to be listed.
    fn look(
        &self,
        fd: &OwnedFd,
        directory: &TreePath,
        name: &[u8],
        kind_listed: FileType,
        ignore: Option<&Ignore>,
    ) -> Step<Option<Found>> {
        if matches!(name, b".git" | b"reimage.lock" | b"reimage.lock.d") {
            return Ok(Ok(None));
        }
        let path = if directory.is_root() {
            TreePath::new(name)
        } else {
            TreePath::new([directory.as_bytes(), b"/", name].concat())
        };
        let at = || directory.on(self.root).join(os(name));
        let path = path.map_err(|source| LocalError::Name { path: at(), source })?;
        let mut stat = None;
        let mut kind_found = kind_listed;
        if matches!(kind_listed, FileType::RegularFile | FileType::Unknown) {
            match rustix::fs::statat(fd, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(found) => {
                    kind_found = FileType::from_raw_mode(found.st_mode);
                    stat = Some(found);
                }
                Err(error) if is_gone(error) => return Ok(Err(at())),
                Err(error) => return Err(LocalError::read(at(), error)),
            }
        }
        let is_directory = kind_found == FileType::Directory;
        if !self.keeps(&path, is_directory, ignore) {
            return Ok(Ok(None));
        }
        let what = match (kind_found, stat) {
            (FileType::Directory, _) => What::Directory,
            (FileType::RegularFile, Some(stat)) => What::File(FileStat::of(&stat)),
            (FileType::Symlink, _) => match rustix::fs::readlinkat(fd, name, Vec::new()) {
                Ok(target) => What::Symlink(target.into_bytes().into()),
                Err(error) if is_gone(error) => return Ok(Err(at())),
                Err(error) => return Err(LocalError::read(at(), error)),
            },
            (other, _) => {
                let kind = kind(other).unwrap_or("device");
                return Err(LocalError::Special { path: at(), kind });
            }
        };
        Ok(Ok(Some(Found { path, what })))
    }

    /// Whether a path belongs to the tree; of a directory, whether something in it may.
    fn keeps(&self, path: &TreePath, is_directory: bool, ignore: Option<&Ignore>) -> bool {
        let LocalOptions { include, exclude, .. } = self.options;
        if exclude.matches(path) {
            return false;
        }
        let included = include.as_ref().is_none_or(|include| {
            include.matches(path) || is_directory && include.may_match_below(path)
        });
        let module = !is_directory && path.as_bytes().ends_with(b".ncl");
        let named = || include.as_ref().is_some_and(|include| include.names_module(path));
        if !included || module && !named() {
            return false;
        }
        ignore.is_none_or(|ignore| {
            let seen = [&self.prefix, path.as_bytes()].concat();
            !ignore.excludes(&seen, is_directory)
        })
    }

    fn depth(&self, directory: &TreePath) -> usize {
        let len = directory.as_bytes().len();
        self.prefix.len() + if len == 0 { 0 } else { len + 1 }
    }
}

impl Listing {
    /// A directory in which something came, went or was renamed since it was listed.
    pub(super) fn changed(&self, root: &Path) -> Option<PathBuf> {
        self.directories.par_iter().find_map_any(|(path, times)| {
            let path = path.on(root);
            let now = rustix::fs::lstat(&path).map(|stat| Times::of(&stat));
            (now != Ok(*times)).then_some(path)
        })
    }
}

fn list(fd: &OwnedFd, names: &mut Vec<(Vec<u8>, FileType)>) -> Result<(), Errno> {
    let mut buffer = [MaybeUninit::uninit(); 8 << 10];
    let mut entries = RawDir::new(fd, &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = CStr::to_bytes(entry.file_name());
        if name != b"." && name != b".." {
            names.push((name.to_vec(), entry.file_type()));
        }
    }
    Ok(())
}

fn kind(file_type: FileType) -> Option<&'static str> {
    match file_type {
        FileType::Fifo => Some("named pipe"),
        FileType::Socket => Some("socket"),
        FileType::CharacterDevice => Some("character device"),
        FileType::BlockDevice => Some("block device"),
        _ => None,
    }
}

fn os(bytes: &[u8]) -> &std::ffi::OsStr {
    OsStrExt::from_bytes(bytes)
}

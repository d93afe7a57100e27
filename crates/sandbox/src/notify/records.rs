//! Who owns a file when the kernel knows one id: a record on the inode, or beside it.
//!
//! Regular files and directories carry the extended attribute [`OWNER`](crate::xattr::OWNER), which
//! survives renaming, linking and copying up, and dies with the inode. Symbolic links and special files cannot
//! carry one: a table holds theirs, by what the file system of the upper calls the inode.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::rc::Rc;

use rustix::fs::{
    AtFlags, CWD, Mode, OFlags, XattrFlags, chownat, getxattr, lgetxattr, openat, readlinkat,
    removexattr, setxattr,
};

use super::place::At;
use super::{Failed, fell_back, unresolved};
use crate::capture::{Entries, EntryKind};
use crate::command::Owner;
use crate::error::{During, Failure};
use crate::ids::Ids;
use crate::mounts::Root;
use crate::sys;
use crate::xattr::{DEVICE, OWNER, parse_device, parse_owner};

/// Names an inode for as long as the sandbox lives, beyond the reuse of its number.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Inode {
    device: u64,
    number: u64,
    /// Birth time: seconds, nanoseconds. The clock of files stands still for milliseconds.
    born: (i64, u32),
    /// The file system's own name for it, with its generation; empty where it has none.
    handle: Vec<u8>,
}

impl Inode {
    /// The inode that `path` names in `dir`; an empty one names `dir` itself.
    fn of(dir: BorrowedFd<'_>, path: &CStr) -> io::Result<Self> {
        let flags = libc::AT_SYMLINK_NOFOLLOW | libc::AT_EMPTY_PATH;
        let found = sys::statx_at(dir, path, flags, IDENTITY)?;
        let (number, born) = found.identity();
        let handle = sys::file_handle(dir, path)?;
        Ok(Self { device: found.device(), number, born, handle })
    }
}

/// The owner that the kernel shows for ids it has no number for: files of the host's root.
const UNMAPPED: u32 = 65_534;

/// The records that lie on no inode.
pub(super) struct Records {
    beside: BTreeMap<Inode, (u32, u32)>,
    uppers: Vec<Upper>,
    host_proc: Rc<OwnedFd>,
}

/// An overlay and where its writes lie. What overlayfs says of a link's inode changes when it is copied up
/// and again when its cache forgets it; the inode in the upper does not.
struct Upper {
    mount: u64,
    /// Path of the mount point in the root, without the last slash.
    path: Vec<u8>,
    dir: OwnedFd,
}

/// The length of a record; `None` if there is none.
fn recorded(read: rustix::io::Result<usize>) -> Result<Option<usize>, Failed> {
    use rustix::io::Errno;
    match read {
        Ok(length) => Ok(Some(length)),
        // Files of /proc and the like carry none.
        Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(None),
        Err(error) => Err(unresolved(error)),
    }
}

/// Whether a file of this mode carries its own record.
pub(super) fn carries(mode: u32) -> bool {
    matches!(mode & libc::S_IFMT, libc::S_IFREG | libc::S_IFDIR)
}

const IDENTITY: u32 = libc::STATX_INO | libc::STATX_BTIME;

impl Records {
    /// Takes over the records of the lower layers. Their inodes are copied up at once, so that they have one
    /// in the upper.
    pub(super) fn new(owners: &[Owner], root: &Root, host_proc: Rc<OwnedFd>) -> io::Result<Self> {
        let mut uppers = Vec::new();
        let inputs = root.inputs.iter().map(|(path, dir)| (path.as_os_str().as_bytes(), dir));
        for (path, dir) in std::iter::once((b"".as_slice(), &root.upper)).chain(inputs) {
            let at = CString::new([path, b"/"].concat())?;
            let mount = sys::statx_at(CWD, &at, 0, libc::STATX_MNT_ID)?.mount();
            uppers.push(Upper { mount, path: path.to_vec(), dir: dir.try_clone()? });
        }
        let mut records = Self { beside: BTreeMap::new(), uppers, host_proc };
        for owner in owners {
            let path = CString::new(owner.path.as_os_str().as_bytes())?;
            let (uid, gid) = (Some(rustix::fs::Uid::ROOT), Some(rustix::fs::Gid::ROOT));
            match chownat(CWD, &path, uid, gid, AtFlags::SYMLINK_NOFOLLOW) {
                // A higher layer may have removed it.
                Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => {}
                other => {
                    other?;
                    let inode = records.inode(At { path: &path, root: b"" }, false)?;
                    records.beside.extend(inode.map(|inode| (inode, (owner.uid, owner.gid))));
                }
            }
        }
        Ok(records)
    }

    /// The lasting inode of what `at` names; `None` if it lies in a lower layer, where nothing has a record.
    fn inode(&self, at: At<'_>, follow: bool) -> io::Result<Option<Inode>> {
        let nofollow = if follow { OFlags::empty() } else { OFlags::NOFOLLOW };
        let flags = OFlags::PATH | OFlags::CLOEXEC | nofollow;
        let fd = openat(CWD, at.path, flags, Mode::empty())?;
        let found = sys::statx_at(fd.as_fd(), c"", libc::AT_EMPTY_PATH, libc::STATX_MNT_ID)?;
        let Some(upper) = self.uppers.iter().find(|upper| upper.mount == found.mount()) else {
            return Inode::of(fd.as_fd(), c"").map(Some);
        };
        let own = format!("self/fd/{}", fd.as_raw_fd());
        let named = readlinkat(&self.host_proc, own, Vec::new())?;
        let path = [at.root, named.to_bytes()].concat();
        let Some(inside) = path.strip_prefix(upper.path.as_slice()) else { return Ok(None) };
        let inside = CString::new(inside.strip_prefix(b"/").unwrap_or(inside))?;
        match Inode::of(upper.dir.as_fd(), &inside) {
            Ok(inode) => Ok(Some(inode)),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The owner of what `at` names, whose type and owner according to the kernel are given.
    pub(super) fn owner(
        &self,
        at: At<'_>,
        follow: bool,
        mode: u32,
        kernel: (u32, u32),
    ) -> Result<(u32, u32), Failed> {
        let record = if carries(mode) {
            let mut buffer = [0; 32];
            let read = if follow {
                getxattr(at.path, OWNER, &mut buffer)
            } else {
                lgetxattr(at.path, OWNER, &mut buffer)
            };
            recorded(read)?.and_then(|length| parse_owner(&buffer[..length]))
        } else if self.beside.is_empty() {
            None
        } else {
            let inode = self.inode(at, follow).map_err(unresolved)?;
            inode.and_then(|inode| self.beside.get(&inode).copied())
        };
        let shown = |id| if id == UNMAPPED { 0 } else { id };
        Ok(record.unwrap_or((shown(kernel.0), shown(kernel.1))))
    }

    /// The device that an empty regular file stands for: type bits, major, minor.
    pub(super) fn device(path: &CStr) -> Result<Option<(u32, u32, u32)>, Failed> {
        let mut buffer = [0; 40];
        let length = recorded(getxattr(path, DEVICE, &mut buffer))?;
        Ok(length.and_then(|length| parse_device(&buffer[..length])))
    }

    /// Records the owner of what `at` names.
    pub(super) fn record(
        &mut self,
        at: At<'_>,
        follow: bool,
        mode: u32,
        owner: (u32, u32),
    ) -> Result<(), Failed> {
        let lost = |error: io::Error| match error.raw_os_error() {
            Some(errno @ (libc::ENOSPC | libc::EDQUOT | libc::EROFS)) => Failed::Errno(errno),
            _ => fell_back("the owner of a file", error),
        };
        if !carries(mode) {
            let gone = || fell_back("the owner of a link", "it is not where its owner was changed");
            let inode = self.inode(at, follow).map_err(lost)?.ok_or_else(gone)?;
            if owner == (0, 0) {
                self.beside.remove(&inode);
            } else {
                self.beside.insert(inode, owner);
            }
        } else if owner == (0, 0) {
            match removexattr(at.path, OWNER) {
                Ok(()) | Err(rustix::io::Errno::NODATA | rustix::io::Errno::OPNOTSUPP) => {}
                Err(error) => return Err(lost(error.into())),
            }
        } else {
            let record = format!("{}:{}", owner.0, owner.1);
            let set = setxattr(at.path, OWNER, record.as_bytes(), XattrFlags::empty());
            set.map_err(|error| lost(error.into()))?;
        }
        Ok(())
    }

    /// The owners that lie on no inode, for what is in the upper: paths in the root, sorted.
    pub(super) fn list(&self, upper: &OwnedFd, skip: &[PathBuf]) -> Result<Vec<Owner>, Failure> {
        let mut owners = Vec::new();
        if self.beside.is_empty() {
            return Ok(owners);
        }
        let entries = Entries::new(upper.as_fd(), Ids::Notify, &[], skip);
        let read = |error: crate::CaptureError| Failure::setup(error.to_string());
        for entry in entries.map_err(read)? {
            let entry = entry.map_err(read)?;
            if !matches!(entry.kind, EntryKind::Symlink { .. } | EntryKind::Fifo) {
                continue;
            }
            let named = CString::new(entry.path).during(|| "name what the step wrote".into())?;
            let inode = Inode::of(upper.as_fd(), &named);
            let inode = inode.during(|| "look at what the step wrote".into())?;
            if let Some((uid, gid)) = self.beside.get(&inode) {
                let path = [b"/", named.to_bytes()].concat();
                let path = PathBuf::from(std::ffi::OsString::from_vec(path));
                owners.push(Owner { path, uid: *uid, gid: *gid });
            }
        }
        owners.sort();
        Ok(owners)
    }
}

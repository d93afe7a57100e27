//! Who owns a file when the kernel knows one id: a record on the inode, or beside it.
//!
//! Regular files and directories carry the extended attribute [`OWNER`](crate::xattr::OWNER), which
//! survives renaming, linking and copying up, and dies with the inode. Symbolic links and special files cannot
//! carry one: a table holds theirs, by inode and birth time.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use rustix::fs::{AtFlags, CWD, XattrFlags, chownat, getxattr, lgetxattr, removexattr, setxattr};

use super::{Failed, fell_back};
use crate::capture::{Entries, EntryKind};
use crate::command::Owner;
use crate::error::{During, Failure};
use crate::ids::Ids;
use crate::sys;
use crate::xattr::{DEVICE, OWNER, parse_device, parse_owner};

/// Names an inode for as long as the sandbox lives, beyond the reuse of its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Inode {
    pub(crate) device: u64,
    pub(crate) number: u64,
    /// Birth time: seconds, nanoseconds.
    pub(crate) born: (i64, u32),
}

/// The owner that the kernel shows for ids it has no number for: files of the host's root.
const UNMAPPED: u32 = 65_534;

/// The records that lie on no inode.
pub(super) struct Records {
    beside: BTreeMap<Inode, (u32, u32)>,
}

/// Whether a file of this mode carries its own record.
fn carries(mode: u32) -> bool {
    matches!(mode & libc::S_IFMT, libc::S_IFREG | libc::S_IFDIR)
}

fn inode_of(path: &CStr, follow: bool) -> io::Result<Inode> {
    let flags = if follow { 0 } else { libc::AT_SYMLINK_NOFOLLOW };
    Ok(sys::statx_at(path, flags, libc::STATX_INO | libc::STATX_BTIME)?.identity())
}

impl Records {
    /// Takes over the records of the lower layers. Their inodes are copied up at once, because a later
    /// copying up would give them another number.
    pub(super) fn new(owners: &[Owner]) -> io::Result<Self> {
        let mut beside = BTreeMap::new();
        for owner in owners {
            let path = CString::new(owner.path.as_os_str().as_bytes())?;
            let root = (Some(rustix::fs::Uid::ROOT), Some(rustix::fs::Gid::ROOT));
            match chownat(CWD, &path, root.0, root.1, AtFlags::SYMLINK_NOFOLLOW) {
                // A higher layer may have removed it.
                Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => {}
                other => {
                    other?;
                    beside.insert(inode_of(&path, false)?, (owner.uid, owner.gid));
                }
            }
        }
        Ok(Self { beside })
    }

    /// The owner of what `path` names, whose type and owner according to the kernel are given.
    pub(super) fn owner(
        &self,
        path: &CStr,
        follow: bool,
        mode: u32,
        kernel: (u32, u32),
    ) -> (u32, u32) {
        let record = if carries(mode) {
            let mut buffer = [0; 32];
            let read = if follow {
                getxattr(path, OWNER, &mut buffer)
            } else {
                lgetxattr(path, OWNER, &mut buffer)
            };
            read.ok().and_then(|length| parse_owner(&buffer[..length]))
        } else if self.beside.is_empty() {
            None
        } else {
            inode_of(path, follow).ok().and_then(|inode| self.beside.get(&inode).copied())
        };
        let shown = |id| if id == UNMAPPED { 0 } else { id };
        record.unwrap_or((shown(kernel.0), shown(kernel.1)))
    }

    /// The device that an empty regular file stands for: type bits, major, minor.
    pub(super) fn device(path: &CStr) -> Option<(u32, u32, u32)> {
        let mut buffer = [0; 40];
        let length = getxattr(path, DEVICE, &mut buffer).ok()?;
        parse_device(&buffer[..length])
    }

    /// Records the owner of what `path` names.
    pub(super) fn record(
        &mut self,
        path: &CStr,
        follow: bool,
        mode: u32,
        owner: (u32, u32),
    ) -> Result<(), Failed> {
        let lost = |error: io::Error| match error.raw_os_error() {
            Some(errno @ (libc::ENOSPC | libc::EDQUOT | libc::EROFS)) => Failed::Errno(errno),
            _ => fell_back("the owner of a file", error),
        };
        if !carries(mode) {
            let inode = inode_of(path, follow).map_err(lost)?;
            if owner == (0, 0) {
                self.beside.remove(&inode);
            } else {
                self.beside.insert(inode, owner);
            }
        } else if owner == (0, 0) {
            match removexattr(path, OWNER) {
                Ok(()) | Err(rustix::io::Errno::NODATA | rustix::io::Errno::OPNOTSUPP) => {}
                Err(error) => return Err(lost(error.into())),
            }
        } else {
            let record = format!("{}:{}", owner.0, owner.1);
            let set = setxattr(path, OWNER, record.as_bytes(), XattrFlags::empty());
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
            let path = [b"/", entry.path.as_slice()].concat();
            let named = CString::new(path.clone()).during(|| "name what the step wrote".into())?;
            if let Ok(inode) = inode_of(&named, false)
                && let Some((uid, gid)) = self.beside.get(&inode)
            {
                let path = PathBuf::from(std::ffi::OsString::from_vec(path));
                owners.push(Owner { path, uid: *uid, gid: *gid });
            }
        }
        owners.sort();
        Ok(owners)
    }
}

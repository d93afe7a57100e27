//! The stat structures as the kernel lays them out, to be patched and handed on as bytes.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::checked;

/// `struct stat` of this architecture.
pub(crate) struct RawStat(libc::stat);

/// `struct statx`.
pub(crate) struct RawStatx(libc::statx);

/// Describes `path` (relative to the working directory) as `newfstatat` does.
pub(crate) fn stat_at(path: &CStr, flags: i32) -> io::Result<RawStat> {
    // SAFETY: an all-zero `stat` is valid; `path` is NUL-terminated; both outlive the call.
    unsafe {
        let mut raw: libc::stat = std::mem::zeroed();
        let result = libc::fstatat(libc::AT_FDCWD, path.as_ptr(), &raw mut raw, flags);
        checked(i64::from(result)).map(|_| RawStat(raw))
    }
}

/// Describes `path`, relative to `dir`, as `statx` does.
pub(crate) fn statx_at(
    dir: BorrowedFd<'_>,
    path: &CStr,
    flags: i32,
    mask: u32,
) -> io::Result<RawStatx> {
    // SAFETY: an all-zero `statx` is valid; `path` is NUL-terminated; both outlive the call.
    unsafe {
        let mut raw: libc::statx = std::mem::zeroed();
        let result = libc::statx(dir.as_raw_fd(), path.as_ptr(), flags, mask, &raw mut raw);
        checked(i64::from(result)).map(|_| RawStatx(raw))
    }
}

fn bytes_of<T>(value: &T) -> &[u8] {
    // SAFETY: only called with kernel structures without padding that were zeroed first.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(value).cast(), size_of::<T>()) }
}

impl RawStat {
    /// File type and mode bits.
    pub(crate) fn mode(&self) -> u32 {
        self.0.st_mode
    }

    /// Device of the file system.
    pub(crate) fn device(&self) -> u64 {
        self.0.st_dev
    }

    /// Size in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.0.st_size.cast_unsigned()
    }

    /// Owner and group as the kernel sees them.
    pub(crate) fn owner(&self) -> (u32, u32) {
        (self.0.st_uid, self.0.st_gid)
    }

    /// Replaces owner and group.
    pub(crate) fn set_owner(&mut self, uid: u32, gid: u32) {
        (self.0.st_uid, self.0.st_gid) = (uid, gid);
    }

    /// Replaces the file type by that of a device and sets its number.
    pub(crate) fn set_device(&mut self, kind: u32, major: u32, minor: u32) {
        self.0.st_mode = (self.0.st_mode & !libc::S_IFMT) | kind;
        self.0.st_rdev = libc::makedev(major, minor);
    }

    /// The structure as the calling program expects it.
    pub(crate) fn bytes(&self) -> &[u8] {
        bytes_of(&self.0)
    }
}

impl RawStatx {
    /// File type and mode bits.
    pub(crate) fn mode(&self) -> u32 {
        u32::from(self.0.stx_mode)
    }

    /// Size in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.0.stx_size
    }

    /// Owner and group as the kernel sees them.
    pub(crate) fn owner(&self) -> (u32, u32) {
        (self.0.stx_uid, self.0.stx_gid)
    }

    /// Device of the file system.
    pub(crate) fn device(&self) -> u64 {
        libc::makedev(self.0.stx_dev_major, self.0.stx_dev_minor)
    }

    /// Number and birth time (seconds and nanoseconds) of the inode.
    pub(crate) fn identity(&self) -> (u64, (i64, u32)) {
        (self.0.stx_ino, (self.0.stx_btime.tv_sec, self.0.stx_btime.tv_nsec))
    }

    /// Number of the mount that it was found on.
    pub(crate) fn mount(&self) -> u64 {
        self.0.stx_mnt_id
    }

    /// Replaces owner and group.
    pub(crate) fn set_owner(&mut self, uid: u32, gid: u32) {
        (self.0.stx_uid, self.0.stx_gid) = (uid, gid);
    }

    /// Replaces the file type by that of a device and sets its number.
    pub(crate) fn set_device(&mut self, kind: u32, major: u32, minor: u32) {
        let kind = u16::try_from(kind & libc::S_IFMT).unwrap_or(0);
        self.0.stx_mode = (self.0.stx_mode & 0o7777) | kind;
        (self.0.stx_rdev_major, self.0.stx_rdev_minor) = (major, minor);
    }

    /// The structure as the calling program expects it.
    pub(crate) fn bytes(&self) -> &[u8] {
        bytes_of(&self.0)
    }
}

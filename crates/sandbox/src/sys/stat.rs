//! The stat structures as the kernel lays them out, to be patched and handed on as bytes.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::checked;

/// `struct stat` of this architecture.
pub(crate) struct RawStat(libc::stat);

/// `struct statx`.
pub(crate) struct RawStatx(libc::statx);

/// Bytes of a block, for every file.
const BLOCK: u32 = 4096;

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

    /// Size in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.0.st_size.cast_unsigned()
    }

    /// Owner and group as the kernel sees them.
    pub(crate) fn owner(&self) -> (u32, u32) {
        (self.0.st_uid, self.0.st_gid)
    }

    /// The structure as the calling program expects it.
    pub(crate) fn bytes(&self) -> &[u8] {
        bytes_of(&self.0)
    }
}

impl RawStatx {
    /// A regular file, for tests of what is made of such.
    #[cfg(test)]
    pub(crate) fn of(inode: u64, born: (i64, u32), links: u32) -> Self {
        // SAFETY: an all-zero `statx` is valid.
        let mut raw: libc::statx = unsafe { std::mem::zeroed() };
        (raw.stx_ino, raw.stx_nlink, raw.stx_mode) = (inode, links, 0o100_644);
        (raw.stx_btime.tv_sec, raw.stx_btime.tv_nsec) = born;
        Self(raw)
    }

    /// File type and mode bits.
    pub(crate) fn mode(&self) -> u32 {
        u32::from(self.0.stx_mode)
    }

    /// Whether it is a directory.
    pub(crate) fn is_directory(&self) -> bool {
        self.mode() & libc::S_IFMT == libc::S_IFDIR
    }

    /// How many names it has.
    pub(crate) fn links(&self) -> u32 {
        self.0.stx_nlink
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
        (self.0.stx_ino, self.born())
    }

    /// Device, number and birth time.
    pub(crate) fn inode(&self) -> (u64, u64, (i64, u32)) {
        (self.device(), self.0.stx_ino, self.born())
    }

    /// Birth time: seconds and nanoseconds; zeros where the file system keeps none.
    pub(crate) fn born(&self) -> (i64, u32) {
        (self.0.stx_btime.tv_sec, self.0.stx_btime.tv_nsec)
    }

    /// Time of the last modification: seconds and nanoseconds.
    pub(crate) fn modified(&self) -> (i64, u32) {
        (self.0.stx_mtime.tv_sec, self.0.stx_mtime.tv_nsec)
    }

    /// What no machine and no file system is in: `wanted` is the mask that the caller gave.
    pub(crate) fn face(&self, time: (i64, u32), inode: u32, device: u32, wanted: u32) -> Self {
        // SAFETY: an all-zero `statx` is valid.
        let mut face: libc::statx = unsafe { std::mem::zeroed() };
        let real = &self.0;
        let mount = wanted & libc::STATX_MNT_ID;
        face.stx_mask = libc::STATX_BASIC_STATS | libc::STATX_BTIME | mount;
        face.stx_blksize = BLOCK;
        (face.stx_uid, face.stx_gid, face.stx_mode) = (real.stx_uid, real.stx_gid, real.stx_mode);
        (face.stx_rdev_major, face.stx_rdev_minor) = (real.stx_rdev_major, real.stx_rdev_minor);
        (face.stx_nlink, face.stx_size) = match u32::from(real.stx_mode) & libc::S_IFMT {
            // One link: how many directories it holds is not said.
            libc::S_IFDIR => (1, u64::from(BLOCK)),
            _ => (real.stx_nlink, real.stx_size),
        };
        face.stx_blocks = face.stx_size.div_ceil(u64::from(BLOCK)) * u64::from(BLOCK / 512);
        face.stx_ino = inode.into();
        face.stx_dev_minor = device;
        if mount != 0 {
            face.stx_mnt_id = device.into();
        }
        for to in
            [&mut face.stx_mtime, &mut face.stx_atime, &mut face.stx_ctime, &mut face.stx_btime]
        {
            (to.tv_sec, to.tv_nsec) = time;
        }
        Self(face)
    }

    /// The same as the older calls give it.
    pub(crate) fn to_stat(&self) -> RawStat {
        // SAFETY: an all-zero `stat` is valid.
        let mut stat: libc::stat = unsafe { std::mem::zeroed() };
        let from = &self.0;
        stat.st_dev = self.device();
        stat.st_ino = from.stx_ino;
        stat.st_nlink = from.stx_nlink.into();
        stat.st_mode = self.mode();
        (stat.st_uid, stat.st_gid) = self.owner();
        stat.st_rdev = libc::makedev(from.stx_rdev_major, from.stx_rdev_minor);
        stat.st_size = from.stx_size.cast_signed();
        stat.st_blksize = from.stx_blksize.into();
        stat.st_blocks = from.stx_blocks.cast_signed();
        let nanoseconds = |time: libc::statx_timestamp| (time.tv_sec, time.tv_nsec.into());
        (stat.st_atime, stat.st_atime_nsec) = nanoseconds(from.stx_atime);
        (stat.st_mtime, stat.st_mtime_nsec) = nanoseconds(from.stx_mtime);
        (stat.st_ctime, stat.st_ctime_nsec) = nanoseconds(from.stx_ctime);
        RawStat(stat)
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

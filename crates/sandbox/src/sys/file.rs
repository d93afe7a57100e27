//! What the kernel knows of a file beyond its content.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use super::checked;

/// Fails if writing this file back to its device has ever failed (EIO, ENOSPC): its pages may be gone, and reading
/// it again may give what it held before. Waits for what is being written, and begins nothing.
pub(crate) fn write_error(file: impl AsFd) -> io::Result<()> {
    // SAFETY: takes no pointer. A length of 0 is all of the file.
    let result = unsafe {
        let fd = file.as_fd().as_raw_fd();
        libc::sync_file_range(fd, 0, 0, libc::SYNC_FILE_RANGE_WAIT_BEFORE)
    };
    checked(i64::from(result)).map(drop)
}

/// Bytes of the longest handle (`MAX_HANDLE_SZ`).
const LONGEST: u8 = 128;

/// What the file system itself calls the inode that `path` names in `dir` (a last link is not followed; an empty path names `dir`): another inode
/// that gets the same number gets another handle. Empty where a file system gives none.
pub(crate) fn file_handle(dir: BorrowedFd<'_>, path: &CStr) -> io::Result<Vec<u8>> {
    // `struct file_handle`: two ints, the first of which is the room behind them, then the used length.
    let mut handle = [0_u8; 8 + LONGEST as usize];
    handle[..4].copy_from_slice(&u32::from(LONGEST).to_ne_bytes());
    let mut mount: libc::c_int = 0;
    // SAFETY: `path` is NUL-terminated; the kernel writes at most LONGEST bytes behind the two ints, and one int.
    let result = unsafe {
        let (fd, path) = (dir.as_raw_fd(), path.as_ptr());
        let (handle, mount) = (handle.as_mut_ptr(), &raw mut mount);
        libc::syscall(libc::SYS_name_to_handle_at, fd, path, handle, mount, libc::AT_EMPTY_PATH)
    };
    match checked(result) {
        Ok(_) => {}
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    }
    let length = handle[..4].try_into().map_or(0, u32::from_ne_bytes).min(LONGEST.into());
    Ok(handle[4..8 + length as usize].to_vec())
}

//! Extended attributes: our own records, and lists of names.

use std::ffi::{CStr, CString};
use std::io;
use std::path::Path;

use rustix::io::Errno;

/// Record of a regular file's or directory's owner: `UID:GID`, decimal. Absent: 0:0.
pub const OWNER: &CStr = c"user.reimage.owner";

/// Record of a device, on an empty regular file: `c MAJOR MINOR` or `b MAJOR MINOR`, decimal.
pub const DEVICE: &CStr = c"user.reimage.dev";

/// Prefix of our records, which no step sees.
pub(crate) const OURS: &[u8] = b"user.reimage.";

/// Prefix of overlayfs's own records under `userxattr`.
pub(crate) const OVERLAY: &[u8] = b"user.overlay.";

/// Reads with a call that reports the size it needs, until the buffer is large enough.
pub(crate) fn grow(
    mut read: impl FnMut(&mut [u8]) -> rustix::io::Result<usize>,
) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0; 256];
    loop {
        match read(&mut buffer) {
            Ok(length) => {
                buffer.truncate(length);
                return Ok(buffer);
            }
            Err(Errno::RANGE) if buffer.len() < 1 << 17 => buffer.resize(buffer.len() * 8, 0),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Splits what `listxattr` returns.
pub(crate) fn names(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|byte| *byte == 0).filter(|name| !name.is_empty())
}

/// Copies the `user.*` attributes of a directory, overlayfs's own excepted.
pub(crate) fn copy_user(from: &Path, to: &Path) -> io::Result<()> {
    let list = match grow(|buffer| rustix::fs::listxattr(from, buffer)) {
        Ok(list) => list,
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => return Ok(()),
        Err(error) => return Err(error),
    };
    for name in names(&list) {
        if name.starts_with(b"user.") && !name.starts_with(OVERLAY) {
            let name = CString::new(name).map_err(io::Error::other)?;
            let value = grow(|buffer| rustix::fs::getxattr(from, &name, buffer))?;
            rustix::fs::setxattr(to, &name, &value, rustix::fs::XattrFlags::empty())?;
        }
    }
    Ok(())
}

/// Parses an owner record.
pub(crate) fn parse_owner(record: &[u8]) -> Option<(u32, u32)> {
    let (uid, gid) = std::str::from_utf8(record).ok()?.split_once(':')?;
    Some((uid.parse().ok()?, gid.parse().ok()?))
}

/// Parses a device record into its file type bits, major and minor number.
pub(crate) fn parse_device(record: &[u8]) -> Option<(u32, u32, u32)> {
    let mut words = std::str::from_utf8(record).ok()?.split(' ');
    let kind = match words.next()? {
        "c" => libc::S_IFCHR,
        "b" => libc::S_IFBLK,
        _ => return None,
    };
    let (major, minor) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    words.next().is_none().then_some((kind, major, minor))
}

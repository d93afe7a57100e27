//! Reading and writing the memory of another process.

use std::io;

use super::checked;

fn vectors(buffer: *mut u8, address: u64, length: usize) -> (libc::iovec, libc::iovec) {
    let local = libc::iovec { iov_base: buffer.cast(), iov_len: length };
    let remote = libc::iovec {
        iov_base: std::ptr::with_exposed_provenance_mut(usize::try_from(address).unwrap_or(0)),
        iov_len: length,
    };
    (local, remote)
}

/// Reads from `address` in process `pid`; returns the number of bytes read, short at an unmapped page.
pub(crate) fn read_memory(pid: u32, address: u64, buffer: &mut [u8]) -> io::Result<usize> {
    let (local, remote) = vectors(buffer.as_mut_ptr(), address, buffer.len());
    // SAFETY: the local vector is `buffer`; the remote address is checked by the kernel.
    let read = unsafe {
        libc::process_vm_readv(pid.cast_signed(), &raw const local, 1, &raw const remote, 1, 0)
    };
    checked(read as i64).map(i64::cast_unsigned).and_then(to_usize)
}

/// Writes all of `bytes` to `address` in process `pid`; `EFAULT` if any of it is not writable.
pub(crate) fn write_memory(pid: u32, address: u64, bytes: &[u8]) -> io::Result<()> {
    let (local, remote) = vectors(bytes.as_ptr().cast_mut(), address, bytes.len());
    // SAFETY: the local vector is `bytes` and is only read; the kernel checks the remote address.
    let written = unsafe {
        libc::process_vm_writev(pid.cast_signed(), &raw const local, 1, &raw const remote, 1, 0)
    };
    if checked(written as i64).map(i64::cast_unsigned).and_then(to_usize)? == bytes.len() {
        Ok(())
    } else {
        Err(io::Error::from_raw_os_error(libc::EFAULT))
    }
}

fn to_usize(n: u64) -> io::Result<usize> {
    usize::try_from(n).map_err(io::Error::other)
}

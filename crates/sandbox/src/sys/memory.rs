//! Reading and writing the memory of another process.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::thread;
use std::time::Duration;

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

/// Writes `bytes` to `address` in `memory`, that of `thread`, as its tracer: a kernel may let nobody else write to what the
/// thread may not write itself. Another thread of ours traces it for as long as the write takes, and does not stop it;
/// with that thread's end it is traced no more.
pub(crate) fn write_as_tracer(
    memory: &File,
    thread: u32,
    address: u64,
    bytes: &[u8],
) -> io::Result<()> {
    let write = || {
        let mut tries = 0..1000;
        // SAFETY: the arguments are integers.
        while let Err(error) =
            checked(unsafe { libc::ptrace(libc::PTRACE_SEIZE, thread.cast_signed(), 0, 0) })
        {
            // The tracer of the write before ends a little after it is joined.
            if error.raw_os_error() != Some(libc::EPERM) || tries.next().is_none() {
                return Err(error);
            }
            thread::sleep(Duration::from_millis(1));
        }
        memory.write_all_at(bytes, address)
    };
    thread::scope(|scope| {
        let tracer = thread::Builder::new().spawn_scoped(scope, write)?;
        tracer.join().unwrap_or_else(|_| Err(io::Error::other("the tracer was lost")))
    })
}

fn to_usize(n: u64) -> io::Result<usize> {
    usize::try_from(n).map_err(io::Error::other)
}

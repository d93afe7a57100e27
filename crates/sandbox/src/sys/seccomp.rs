//! seccomp: installing a filter, and the user notifications that it sends.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use super::checked;

/// One BPF instruction.
pub(crate) type Instruction = libc::sock_filter;

/// A system call that waits for our answer (`struct seccomp_notif`).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Notification {
    /// Names this call until it is answered or its thread dies.
    pub(crate) id: u64,
    /// The thread that made it, in our pid namespace.
    pub(crate) pid: u32,
    /// Number of the system call.
    pub(crate) nr: i64,
    /// `AUDIT_ARCH_*` of the call.
    pub(crate) arch: u32,
    /// Its arguments.
    pub(crate) args: [u64; 6],
}

/// What the waiting call gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Returns this value; the kernel does nothing.
    Value(i64),
    /// Fails with this errno; the kernel does nothing.
    Errno(i32),
    /// The kernel executes the call as it stands.
    Continue,
}

const SET_MODE_FILTER: u32 = 1;

/// Installs `program` for this thread and all its descendants and returns the listener.
/// Needs `no_new_privs`; the notifications can be interrupted by nothing but a fatal signal.
pub(crate) fn install_filter(program: &[Instruction]) -> io::Result<OwnedFd> {
    let length = u16::try_from(program.len())
        .map_err(|_| io::Error::other("the seccomp filter is longer than the kernel takes"))?;
    let fprog = libc::sock_fprog { len: length, filter: program.as_ptr().cast_mut() };
    let flags =
        libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
    // SAFETY: `fprog` describes `program`, which lives until the call returns; the kernel copies it.
    // The result is a new descriptor.
    unsafe {
        let fd = libc::syscall(libc::SYS_seccomp, SET_MODE_FILTER, flags, &raw const fprog);
        Ok(OwnedFd::from_raw_fd(i32::try_from(checked(fd)?).map_err(io::Error::other)?))
    }
}

/// Asks the kernel to hand the CPU over directly between a call and its answer (Linux 6.6).
pub(crate) fn wake_synchronously(listener: impl AsFd) -> io::Result<()> {
    const SYNC_WAKE_UP: libc::c_ulong = 1;
    // SAFETY: the argument is an integer.
    let result = unsafe {
        libc::ioctl(listener.as_fd().as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SET_FLAGS, SYNC_WAKE_UP)
    };
    checked(i64::from(result)).map(drop)
}

/// Receives one notification; `ENOENT` when its thread died in between.
pub(crate) fn receive(listener: impl AsFd) -> io::Result<Notification> {
    // SAFETY: the structure is plain data, zeroed as the kernel demands, and outlives the call.
    unsafe {
        let mut raw: libc::seccomp_notif = std::mem::zeroed();
        let result =
            libc::ioctl(listener.as_fd().as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_RECV, &raw mut raw);
        checked(i64::from(result))?;
        Ok(Notification {
            id: raw.id,
            pid: raw.pid,
            nr: i64::from(raw.data.nr),
            arch: raw.data.arch,
            args: raw.data.args,
        })
    }
}

/// Answers a notification; `ENOENT` when nobody waits for it any more.
pub(crate) fn reply(listener: impl AsFd, id: u64, answer: Answer) -> io::Result<()> {
    let (val, error, flags) = match answer {
        Answer::Value(value) => (value, 0, 0),
        Answer::Errno(errno) => (0, -errno, 0),
        Answer::Continue => (0, 0, 1), // SECCOMP_USER_NOTIF_FLAG_CONTINUE
    };
    let mut raw = libc::seccomp_notif_resp { id, val, error, flags };
    // SAFETY: the structure outlives the call.
    let result = unsafe {
        libc::ioctl(listener.as_fd().as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SEND, &raw mut raw)
    };
    checked(i64::from(result)).map(drop)
}

/// Whether the call still waits: its thread id has not been reused.
pub(crate) fn notification_valid(listener: impl AsFd, id: u64) -> bool {
    // SAFETY: the kernel reads eight bytes of `id`.
    unsafe {
        libc::ioctl(listener.as_fd().as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_ID_VALID, &raw const id)
            == 0
    }
}

/// Answers a notification with a new descriptor, a duplicate of `fd`, in one atomic step.
pub(crate) fn reply_with_fd(
    listener: impl AsFd,
    id: u64,
    fd: impl AsFd,
    close_on_exec: bool,
) -> io::Result<()> {
    const FLAG_SEND: u32 = 2;
    let raw = libc::seccomp_notif_addfd {
        id,
        flags: FLAG_SEND,
        srcfd: fd.as_fd().as_raw_fd().cast_unsigned(),
        newfd: 0,
        newfd_flags: if close_on_exec { libc::O_CLOEXEC.cast_unsigned() } else { 0 },
    };
    // SAFETY: the structure outlives the call; the kernel takes its own reference to the file.
    let result = unsafe {
        libc::ioctl(listener.as_fd().as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_ADDFD, &raw const raw)
    };
    checked(i64::from(result)).map(drop)
}

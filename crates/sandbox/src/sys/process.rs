//! Processes and namespaces: fork, clone, execve, signal dispositions, the loopback device.

use std::convert::Infallible;
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use rustix::process::Pid;

use super::checked;

/// Who we are after a fork.
pub(crate) enum Fork {
    /// The new process.
    Child,
    /// The old process, with the id of the new one.
    Parent(Pid),
}

fn forked(pid: i64) -> Fork {
    match i32::try_from(pid).ok().and_then(Pid::from_raw) {
        Some(child) => Fork::Parent(child),
        None => Fork::Child,
    }
}

/// Forks. Only for processes with a single thread: the child goes on allocating.
pub(crate) fn fork() -> io::Result<Fork> {
    // SAFETY: callers are single-threaded (`start`, the zygote, the monitor, init), so no lock is held
    // by a thread that the child lacks.
    checked(i64::from(unsafe { libc::fork() })).map(forked)
}

/// Forks into a new pid namespace, where the child is process 1.
pub(crate) fn clone_into_pid_namespace() -> io::Result<Fork> {
    let flags = i64::from(libc::CLONE_NEWPID | libc::SIGCHLD);
    // SAFETY: a clone without CLONE_VM and with a null stack is a fork; single-threaded as in `fork`.
    checked(unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) }).map(forked)
}

/// Places memory at the same addresses from the next exec on, here and in all that is started.
pub(crate) fn same_addresses() -> io::Result<()> {
    // SAFETY: takes an integer.
    let result = unsafe { libc::personality(libc::ADDR_NO_RANDOMIZE.cast_unsigned().into()) };
    checked(i64::from(result)).map(drop)
}

/// Moves this process into new namespaces (`CLONE_NEW*` bits).
pub(crate) fn namespaces(flags: libc::c_int) -> io::Result<()> {
    // SAFETY: unshare takes no pointer; CLONE_FILES and CLONE_FS, which could surprise, are not used.
    checked(i64::from(unsafe { libc::unshare(flags) })).map(drop)
}

/// Replaces this process's image; returns only an error.
pub(crate) fn exec(program: &CStr, argv: &[CString], env: &[CString]) -> io::Result<Infallible> {
    let pointers = |list: &[CString]| {
        list.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect::<Vec<_>>()
    };
    let (argv, env) = (pointers(argv), pointers(env));
    // SAFETY: all pointers are to NUL-terminated strings that outlive the call; both lists end in null.
    unsafe { libc::execve(program.as_ptr(), argv.as_ptr(), env.as_ptr()) };
    Err(io::Error::last_os_error())
}

/// Ends this process at once, running no destructor and flushing nothing.
pub(crate) fn terminate(code: i32) -> ! {
    // SAFETY: `_exit` has no precondition.
    unsafe { libc::_exit(code) }
}

/// Sends a signal to a process that a pidfd stands for.
pub(crate) fn send_signal(process: &OwnedFd, signal: i32) -> io::Result<()> {
    let none = std::ptr::null::<libc::siginfo_t>();
    let process = process.as_raw_fd();
    // SAFETY: a null siginfo is what kill(2) would send.
    checked(unsafe { libc::syscall(libc::SYS_pidfd_send_signal, process, signal, none, 0) })
        .map(drop)
}

/// A descriptor of another process, shared with it, position and all. `pid` may be any of its threads. Errors: `EBADF`
/// if it has no such descriptor, `ESRCH` if it is gone.
pub(crate) fn borrow_fd(pid: u32, fd: u32) -> io::Result<OwnedFd> {
    const PIDFD_THREAD: u32 = 0o200; // O_EXCL; Linux 6.9
    // SAFETY: both calls take integers; each result is a new descriptor, owned from here on.
    unsafe {
        let open = |pid: u32, flags: u32| checked(libc::syscall(libc::SYS_pidfd_open, pid, flags));
        let process = match open(pid, PIDFD_THREAD) {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => open(leader(pid)?, 0)?,
            other => other?,
        };
        let process = OwnedFd::from_raw_fd(i32::try_from(process).map_err(io::Error::other)?);
        let fd = checked(libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), fd, 0))?;
        Ok(OwnedFd::from_raw_fd(i32::try_from(fd).map_err(io::Error::other)?))
    }
}

/// The process of a thread, as the /proc that we stand in says; `ESRCH` if it is gone.
pub(crate) fn leader(thread: u32) -> io::Result<u32> {
    let gone = || io::Error::from_raw_os_error(libc::ESRCH);
    let status = std::fs::read_to_string(format!("{thread}/status")).map_err(|_| gone())?;
    let line = status.lines().find_map(|line| line.strip_prefix("Tgid:"));
    line.and_then(|line| line.trim().parse().ok()).ok_or_else(gone)
}

/// The field of this number, from 4 on, of a process's `stat` file (`proc_pid_stat(5)`), if it is a number.
pub(crate) fn stat_field(stat: &str, number: usize) -> Option<u64> {
    // The name, which is 2, may hold anything but ends with the last parenthesis.
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(number - 3)?.parse().ok()
}

/// Marks every descriptor from `first` on as close-on-exec.
pub(crate) fn close_on_exec_from(first: u32) -> io::Result<()> {
    let cloexec = libc::CLOSE_RANGE_CLOEXEC;
    // SAFETY: only sets a flag on descriptors.
    checked(unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, cloexec) }).map(drop)
}

/// Gives every signal its default action and blocks none.
pub(crate) fn default_signals() {
    // The kernel's own sigaction, all zero: SIG_DFL, no flags, an empty mask. The C library would refuse the two
    // signals that it keeps for itself, and a step would see what reimage's parent did with them.
    let action = [0_u64; 4];
    for signal in 1..=64_i64 {
        // SAFETY: SIG_DFL runs no code of ours, and `action` is as large as the kernel reads; refused for SIGKILL and
        // SIGSTOP, which is fine.
        unsafe {
            let none = std::ptr::null_mut::<u64>();
            libc::syscall(libc::SYS_rt_sigaction, signal, action.as_ptr(), none, 8_usize);
        }
    }
    // SAFETY: an all-zero sigset_t is valid storage, initialised by sigemptyset before its use.
    unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}

/// Ignores what a terminal or a closed pipe sends: `reimage` alone decides about its sandboxes.
pub(crate) fn ignore_terminal_signals() {
    for signal in [libc::SIGINT, libc::SIGQUIT, libc::SIGTERM, libc::SIGHUP, libc::SIGPIPE] {
        // SAFETY: SIG_IGN runs no code of ours.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}

/// Brings the loopback device of this network namespace up.
pub(crate) fn loopback_up() -> io::Result<()> {
    // SAFETY: the descriptor is fresh and owned from here on; the request is fully initialised
    // and lives until the ioctl returns.
    unsafe {
        let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC;
        let fd = checked(i64::from(libc::socket(libc::AF_INET, kind, 0)))?;
        let socket = OwnedFd::from_raw_fd(i32::try_from(fd).map_err(io::Error::other)?);
        let mut request: libc::ifreq = std::mem::zeroed();
        for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
            *to = libc::c_char::from_ne_bytes([*from]);
        }
        request.ifr_ifru.ifru_flags =
            i16::try_from(libc::IFF_UP | libc::IFF_RUNNING).map_err(io::Error::other)?;
        let result = libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request);
        checked(i64::from(result)).map(drop)
    }
}

fn locks_limit(tid: u32, new: Option<&libc::rlimit64>) -> io::Result<libc::rlimit64> {
    let new = new.map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: `new` is null or valid; the old value is plain data that outlives the call.
    unsafe {
        let mut old: libc::rlimit64 = std::mem::zeroed();
        let result = libc::prlimit64(tid.cast_signed(), libc::RLIMIT_LOCKS, new, &raw mut old);
        checked(i64::from(result)).map(|_| old)
    }
}

/// The soft limit of `RLIMIT_LOCKS`, which the kernel has not looked at since Linux 2.4.
pub(crate) fn soft_locks_limit(tid: u32) -> io::Result<u64> {
    locks_limit(tid, None).map(|limit| limit.rlim_cur)
}

/// Sets the soft limit of `RLIMIT_LOCKS` of a process, by one of its threads.
pub(crate) fn set_soft_locks_limit(tid: u32, soft: u64) -> io::Result<()> {
    let old = locks_limit(tid, None)?;
    locks_limit(tid, Some(&libc::rlimit64 { rlim_cur: soft, ..old })).map(drop)
}

//! The system calls that no safe crate offers: processes, namespaces, seccomp, other processes' memory.
//! The only `unsafe` of the workspace; everything exported here is safe to call.
#![expect(
    unsafe_code,
    reason = "fork, execve, seccomp and process_vm have no safe wrapper in rustix"
)]

mod file;
mod memory;
mod process;
mod seccomp;
mod stat;
mod time;
mod vdso;

pub(crate) use file::{file_handle, write_error};
pub(crate) use memory::{read_memory, write_as_tracer, write_memory};
pub(crate) use process::{
    Fork, borrow_fd, clone_into_pid_namespace, close_on_exec_from, default_signals, exec, fork,
    ignore_terminal_signals, leader, loopback_up, namespaces, same_addresses, send_signal,
    set_soft_locks_limit, soft_locks_limit, stat_field, terminate,
};
pub(crate) use seccomp::{
    Answer, Instruction, Notification, install_filter, notification_valid, receive, reply,
    reply_with_fd, wake_synchronously,
};
pub(crate) use stat::{RawStat, RawStatx, stat_at, statx_at};
pub(crate) use time::{monotonic, realtime};
pub(crate) use vdso::{MARK, PASS, Parts, Patch, Words};

use std::io;

/// Turns the `-1` of libc into the calling thread's last error.
fn checked(result: i64) -> io::Result<i64> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

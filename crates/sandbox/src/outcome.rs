//! What became of a command: its status, why its result may not count, and where its writes are.

use std::fmt;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::command::Owner;
use crate::ids::Ids;
use crate::wire::paths;

/// The end of a command whose sandbox worked.
#[derive(Debug)]
pub struct Outcome {
    /// How the command itself ended.
    pub status: Status,
    /// Why the result must not be stored although the status may be 0 (design §6); empty if nothing was hit.
    pub voided: Vec<Void>,
    /// Owners of the symbolic links and fifos in `upper` that are not 0:0 (only under `Ids::Notify`,
    /// where no record can lie on the inode), sorted by path.
    pub owners: Vec<Owner>,
    /// The same for each input, in the order of `Command::inputs`; paths in the input.
    pub input_owners: Vec<Vec<Owner>>,
    /// Paths of the root that no result holds, resolved: /proc, /sys, /dev, /run, /tmp, /var/tmp, the
    /// inputs, the volumes and the bound files. [`entries`](Self::entries) leaves them out.
    pub uncaptured: Vec<PathBuf>,
    /// How ids were kept.
    pub ids: Ids,
    /// Wall clock time from the start of the command to its end.
    pub elapsed: Duration,
    /// What the command wrote to the root.
    pub upper: OwnedFd,
    /// What it wrote to each input, in the order of `Command::inputs`.
    pub input_uppers: Vec<OwnedFd>,
}

impl Outcome {
    /// Whether the result may be stored: exit status 0 and nothing hit.
    pub fn succeeded(&self) -> bool {
        self.status == Status::Exited(0) && self.voided.is_empty()
    }
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    /// It returned this exit code.
    Exited(i32),
    /// This signal ended it.
    Signaled(i32),
}

impl Status {
    /// The code that a shell would report: the exit code, or 128 and the signal.
    pub fn code(self) -> i32 {
        match self {
            Self::Exited(code) => code,
            Self::Signaled(signal) => 128 + signal,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(code) => write!(f, "exit status {code}"),
            Self::Signaled(signal) => match name(*signal) {
                Some(name) => write!(f, "ended by {name}"),
                None => write!(f, "ended by signal {signal}"),
            },
        }
    }
}

/// What kill(1) calls a signal.
fn name(signal: i32) -> Option<&'static str> {
    Some(match signal {
        libc::SIGHUP => "SIGHUP",
        libc::SIGINT => "SIGINT",
        libc::SIGQUIT => "SIGQUIT",
        libc::SIGILL => "SIGILL",
        libc::SIGTRAP => "SIGTRAP",
        libc::SIGABRT => "SIGABRT",
        libc::SIGBUS => "SIGBUS",
        libc::SIGFPE => "SIGFPE",
        libc::SIGKILL => "SIGKILL",
        libc::SIGSEGV => "SIGSEGV",
        libc::SIGPIPE => "SIGPIPE",
        libc::SIGALRM => "SIGALRM",
        libc::SIGTERM => "SIGTERM",
        libc::SIGXCPU => "SIGXCPU",
        libc::SIGXFSZ => "SIGXFSZ",
        libc::SIGSYS => "SIGSYS",
        _ => return None,
    })
}

/// Something that makes a result worthless whatever the exit status says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Void {
    /// The wall clock limit passed.
    #[error("It ran longer than its limit of {} s", limit.as_secs_f64())]
    Timeout {
        /// The limit.
        limit: Duration,
    },
    /// Its processes used more memory than allowed.
    #[error("It used {used} bytes of memory, more than its limit of {limit}")]
    Memory {
        /// Bytes in use when it was noticed.
        used: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// It wrote more than allowed.
    #[error("It wrote {used} bytes, more than its limit of {limit}")]
    Disk {
        /// Bytes written when it was noticed.
        used: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// It wrote more than [`UpperOn::Memory`](crate::UpperOn::Memory) may hold.
    #[error("It wrote {used} bytes, more than is kept in memory")]
    Spilled {
        /// Bytes in memory when it was noticed.
        used: u64,
    },
    /// The file system that holds its writes was nearly full.
    #[error(
        "The file system of its writes was full or nearly so: {free} bytes and {files} files were free"
    )]
    HostDisk {
        /// Bytes free when it was noticed.
        free: u64,
        /// Inodes free then.
        files: u64,
    },
    /// /dev/shm was nearly full; how large it is depends on the machine.
    #[error("/dev/shm was full or nearly so: {free} bytes were free")]
    SharedMemory {
        /// Bytes free when it was noticed.
        free: u64,
    },
    /// It had more processes than allowed.
    #[error("It had {count} processes, more than its limit of {limit}")]
    Processes {
        /// Processes when it was noticed.
        count: u64,
        /// The limit.
        limit: u64,
    },
    /// The kernel ended processes of this machine for want of memory while it ran.
    #[error("The kernel ran out of memory and ended {count} processes while it ran")]
    OutOfMemory {
        /// How many, anywhere on the machine.
        count: u64,
    },
    /// A control group above us refused a process or a thread (`pids.max`).
    #[error(
        "A limit of this machine on processes (pids.max of a control group) refused {count} of its own or others'"
    )]
    ForkRefused {
        /// How many, anywhere in those groups.
        count: u64,
    },
    /// A program for another architecture called the kernel.
    #[error(
        "It ran a program for another architecture (32-bit x86, system call {nr}), which a step cannot: \
         use the 64-bit one"
    )]
    ForeignArchitecture {
        /// Number of the call.
        nr: i64,
    },
    /// SIGSYS ended it or a process that had lost its parent: a filter refused a system call. Of a process that
    /// still has its parent only the parent knows.
    #[error("A refused system call ended it, or a process of it (SIGSYS)")]
    BadSystemCall,
    /// The monitor could not answer a system call and had to let the kernel do it.
    #[error("The monitor could not keep {what}: {reason}")]
    FellBack {
        /// What should have been kept.
        what: String,
        /// Why it could not.
        reason: String,
    },
    /// Its caller asked for its end.
    #[error("It was stopped")]
    Stopped,
}

/// The part of an outcome that travels as bytes.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) status: Status,
    pub(crate) voided: Vec<Void>,
    pub(crate) owners: Vec<Owner>,
    pub(crate) input_owners: Vec<Vec<Owner>>,
    #[serde(with = "paths")]
    pub(crate) uncaptured: Vec<PathBuf>,
    pub(crate) ids: Ids,
    pub(crate) elapsed: Duration,
}

//! The system calls that the monitor answers, and the loop that serves them.
//!
//! One table: call, condition, the feature that demands it, the function that answers. A feature that
//! nobody demands costs nothing: its calls are not in the filter.
//!
//! **Rules for `Continue`** (the kernel executes the call as it stands; any other use voids the result):
//! the call's effect under the kernel's own rules is already right (root creating a file outside of
//! setgid directories, `chroot`, an attribute that is not ours), or the path could not be resolved, so that
//! the kernel fails the call with its own errno.

mod chown;
mod create;
mod creds;
mod place;
mod records;
mod stat;
mod xattrs;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use crate::command::{Command, Owner};
use crate::error::{During, Failure};
use crate::filter::{Action, Rule, When};
use crate::ids::Ids;
use crate::mounts::Root;
use crate::outcome::Void;
use crate::sys::{self, Answer, Notification};

pub(crate) use records::Inode;

use creds::Credentials;
use records::Records;

/// What a handled call gets.
enum Reply {
    Value(i64),
    Continue,
    /// These bytes at this address, then this value.
    Write {
        address: u64,
        bytes: Vec<u8>,
        value: i64,
    },
    /// A new descriptor.
    Fd {
        fd: OwnedFd,
        close_on_exec: bool,
    },
}

/// Why a call does not succeed.
enum Failed {
    /// The program gets this errno.
    Errno(i32),
    /// We could not keep what we promise; the step ends.
    FellBack { what: &'static str, reason: String },
    /// The thread is gone.
    Gone,
}

impl From<std::io::Error> for Failed {
    fn from(error: std::io::Error) -> Self {
        Self::Errno(error.raw_os_error().unwrap_or(libc::EIO))
    }
}

impl From<rustix::io::Errno> for Failed {
    fn from(errno: rustix::io::Errno) -> Self {
        Self::Errno(errno.raw_os_error())
    }
}

type Handled = Result<Reply, Failed>;
type Run = fn(&mut Notifier, &Notification) -> Handled;

/// What a step's id backend demands of the monitor.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Feature {
    /// Owners of files and ids of processes, when the kernel knows one id only.
    Ownership,
    /// Device nodes, which no user namespace may make, and the privacy of our records.
    Devices,
}

struct Handler {
    nr: i64,
    when: When,
    feature: Feature,
    run: Run,
}

const fn on(nr: i64, when: When, feature: Feature, run: Run) -> Handler {
    Handler { nr, when, feature, run }
}

fn demanded(ids: Ids) -> &'static [Feature] {
    match ids {
        Ids::Full => &[],
        Ids::Mapped => &[Feature::Devices],
        Ids::Notify => &[Feature::Ownership, Feature::Devices],
    }
}

fn handlers(ids: Ids) -> impl Iterator<Item = &'static Handler> {
    let tables =
        [stat::TABLE, chown::TABLE, create::TABLE, creds::TABLE, xattrs::TABLE, place::TABLE];
    let demanded = demanded(ids);
    tables.into_iter().flatten().filter(|handler| demanded.contains(&handler.feature))
}

/// The rules that send calls to the monitor under this id backend.
pub(crate) fn rules(ids: Ids) -> Vec<Rule> {
    let nr = |nr| u32::try_from(nr).expect("system call numbers are small and positive");
    handlers(ids)
        .map(|handler| Rule { nr: nr(handler.nr), when: handler.when, action: Action::Notify })
        .collect()
}

/// Serves the notifications of one sandbox.
pub(crate) struct Notifier {
    listener: OwnedFd,
    /// By system call number.
    table: Vec<Option<Run>>,
    /// The host's /proc, our working directory: other processes' files are `TID/cwd/…`, `TID/fd/N`.
    host_proc: Rc<OwnedFd>,
    /// The device of the host's /proc.
    proc_device: u64,
    /// The sandbox's root, ours too.
    root: Rc<OwnedFd>,
    /// Whether any process has ever called `chroot`.
    chrooted: bool,
    records: Records,
    credentials: Credentials,
    voided: Vec<Void>,
}

impl Notifier {
    /// Begins to serve. The root is the sandbox's, the working directory the host's /proc.
    pub(crate) fn new(
        ids: Ids,
        listener: OwnedFd,
        host_proc: OwnedFd,
        command: &Command,
        built: &Root,
    ) -> Result<Self, Failure> {
        let root = place::open_path(c"/").during(|| "open the sandbox's root".into())?;
        let mut table = vec![None; 512];
        for handler in handlers(ids) {
            let at =
                usize::try_from(handler.nr).expect("system call numbers are small and positive");
            table[at] = Some(handler.run);
        }
        let proc_device = rustix::fs::fstat(&host_proc);
        let proc_device = proc_device.during(|| "look at the host's /proc".into())?.st_dev;
        let host_proc = Rc::new(host_proc);
        let owners = if ids == Ids::Notify { command.owners.as_slice() } else { &[] };
        let records = Records::new(owners, built, Rc::clone(&host_proc))
            .during(|| "find the links with recorded owners".into())?;
        let credentials = Credentials::new(&command.user);
        if ids == Ids::Notify {
            // Faster on two cores by far; an older kernel does without.
            let _older_kernel = sys::wake_synchronously(&listener);
        }
        Ok(Self {
            listener,
            table,
            proc_device,
            host_proc,
            root: Rc::new(root),
            chrooted: false,
            records,
            credentials,
            voided: Vec::new(),
        })
    }

    /// What to poll for calls.
    pub(crate) fn listener(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }

    /// Whether the step must end now.
    pub(crate) fn must_end(&self) -> bool {
        !self.voided.is_empty()
    }

    /// Why its result does not count.
    pub(crate) fn take_voided(&mut self) -> Vec<Void> {
        std::mem::take(&mut self.voided)
    }

    /// The owners that lie on no inode, for what is in the upper.
    pub(crate) fn owners(
        &self,
        upper: &OwnedFd,
        skip: &[std::path::PathBuf],
    ) -> Result<Vec<Owner>, Failure> {
        self.records.list(upper, skip)
    }

    /// Answers the call that waits.
    pub(crate) fn serve_one(&mut self) {
        let Ok(call) = sys::receive(&self.listener) else { return };
        if call.arch != crate::filter::ARCH {
            self.voided.push(Void::ForeignArchitecture { nr: call.nr });
            return self.answer(&call, Answer::Errno(libc::ENOSYS));
        }
        let run =
            usize::try_from(call.nr).ok().and_then(|nr| self.table.get(nr).copied().flatten());
        let handled = match run {
            Some(run) => run(self, &call),
            None => Err(fell_back("an answer", format!("system call {} has no handler", call.nr))),
        };
        match handled {
            Ok(Reply::Value(value)) => self.answer(&call, Answer::Value(value)),
            Ok(Reply::Continue) => self.answer(&call, Answer::Continue),
            Ok(Reply::Write { address, bytes, value }) => {
                let answer = match self.write(&call, address, &bytes) {
                    Ok(()) => Answer::Value(value),
                    Err(Failed::Errno(errno)) => Answer::Errno(errno),
                    Err(_) => return,
                };
                self.answer(&call, answer);
            }
            Ok(Reply::Fd { fd, close_on_exec }) => {
                if let Err(error) = sys::reply_with_fd(&self.listener, call.id, fd, close_on_exec) {
                    self.answer(&call, Answer::Errno(error.raw_os_error().unwrap_or(libc::EMFILE)));
                }
            }
            Err(Failed::Errno(errno)) => self.answer(&call, Answer::Errno(errno)),
            Err(Failed::Gone) => {}
            Err(Failed::FellBack { what, reason }) => {
                self.voided.push(Void::FellBack { what: what.into(), reason });
                self.answer(&call, Answer::Continue);
            }
        }
    }

    fn answer(&self, call: &Notification, answer: Answer) {
        // ENOENT: the thread was killed while we worked; nobody waits.
        let _gone = sys::reply(&self.listener, call.id, answer);
    }

    /// Makes sure that what was read of the caller's memory was the caller's: its id is not reused.
    fn still_there(&self, call: &Notification) -> Result<(), Failed> {
        if sys::notification_valid(&self.listener, call.id) { Ok(()) } else { Err(Failed::Gone) }
    }

    fn write(&self, call: &Notification, address: u64, bytes: &[u8]) -> Result<(), Failed> {
        self.still_there(call)?;
        sys::write_memory(call.pid, address, bytes).map_err(|_| Failed::Errno(libc::EFAULT))
    }
}

fn fell_back(what: &'static str, reason: impl std::fmt::Display) -> Failed {
    Failed::FellBack { what, reason: reason.to_string() }
}

/// An `int` argument.
fn int(argument: u64) -> i32 {
    let [a, b, c, d, ..] = argument.to_le_bytes();
    i32::from_le_bytes([a, b, c, d])
}

/// An `unsigned int`, `uid_t` or `mode_t` argument.
fn unsigned(argument: u64) -> u32 {
    int(argument).cast_unsigned()
}

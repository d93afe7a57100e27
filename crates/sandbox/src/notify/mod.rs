//! The system calls that the monitor answers, and the loop that serves them.
//!
//! Calls without `at` are those of x86-64; newer architectures have none of them.
//!
//! One table: call, condition, the feature that demands it, the function that answers. A feature that
//! nobody demands costs nothing: its calls are not in the filter.
//!
//! **Rules for `Continue`** (the kernel executes the call as it stands; any other use voids the result): the call's
//! effect under the kernel's own rules is already right (root creating a file outside of setgid directories,
//! `chroot`, an attribute that is not ours, the first call of a program whose seed is replaced, a write that is
//! counted, a call that waits), or the path could not be resolved, so that the kernel fails the call with its own errno. An error that the program did not ask for
//! (no memory, no descriptor left, an I/O error) is never passed on as an answer: it voids the result, too.
//!
//! **Known limits** of one id: modes bind a process that is root no more where it makes files, opens existing ones
//! with `O_CREAT` or changes owners, not on other paths; `/proc/PID/status`, `SO_PEERCRED` and `access` speak of uid
//! 0; capabilities that a process keeps when it stops being root serve to change its ids alone; the threads of a
//! process share their ids; a recorded device opens as an empty file and `readdir` calls it a regular one; writing to
//! a setuid file clears the bit for root, too (the kernel does so in every user namespace); a signal whose handler
//! lacks `SA_RESTART` can interrupt a call that the monitor has not received yet (EINTR; nothing of it has happened).

mod changes;
mod chown;
mod clock;
mod create;
mod creds;
mod entropy;
mod limits;
mod listing;
mod machine;
mod numbers;
mod place;
mod program;
mod records;
mod stat;
mod times;
mod waits;
mod xattrs;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use crate::clock::Clock;
use crate::command::{Command, Owner};
use crate::entropy::Entropy;
use crate::error::{During, Failure};
use crate::filter::{Action, Rule, When};
use crate::ids::Ids;
use crate::machine::Machine;
use crate::mounts::Root;
use crate::outcome::Void;
use crate::rlimits::Shown;
use crate::stat::Stat;
use crate::sys::{self, Answer, Notification, Parts, Patch};

use changes::Expected;
use clock::Clocks;
use creds::Credentials;
use entropy::Streams;
pub(crate) use entropy::random;
use listing::Listings;
use numbers::Numbers;
pub(crate) use program::try_replace;
use records::Records;
use times::Times;

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
    /// What the caller names is not there: the kernel finds the same, after its own checks, and says so.
    Unresolved,
    /// We could not keep what we promise; the step ends.
    FellBack { what: &'static str, reason: String },
    /// The thread is gone.
    Gone,
}

/// Errors that are the machine's or ours, never the answer to what a program asked for.
fn ours(errno: i32) -> bool {
    matches!(errno, libc::EIO | libc::EMFILE | libc::ENFILE | libc::ENOMEM)
}

impl From<std::io::Error> for Failed {
    fn from(error: std::io::Error) -> Self {
        match error.raw_os_error() {
            Some(errno) if !ours(errno) => Self::Errno(errno),
            _ => fell_back("an answer", error),
        }
    }
}

impl From<rustix::io::Errno> for Failed {
    fn from(errno: rustix::io::Errno) -> Self {
        std::io::Error::from(errno).into()
    }
}

/// A failed look at what the caller names.
fn unresolved(error: impl Into<std::io::Error>) -> Failed {
    match Failed::from(error.into()) {
        Failed::Errno(_) => Failed::Unresolved,
        other => other,
    }
}

/// A failed look into the caller's memory.
fn unreadable(error: std::io::Error) -> Failed {
    match error.raw_os_error() {
        Some(libc::EFAULT) => Failed::Errno(libc::EFAULT),
        Some(libc::ESRCH) => Failed::Gone,
        _ => fell_back("what a process says in its memory", error),
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
    /// The baseline's machine.
    Machine,
    /// Random numbers that are the same each time.
    Entropy,
    /// Times, numbers and sizes of files that are the same each time.
    Stat,
    /// A clock that is the same each time.
    Clock,
    /// Any of the last three: what the kernel puts into a new program.
    Program,
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

fn demanded(ids: Ids, command: &Command) -> Vec<Feature> {
    let mut features = match ids {
        Ids::Full => vec![],
        Ids::Mapped => vec![Feature::Devices],
        Ids::Notify => vec![Feature::Ownership, Feature::Devices],
    };
    if command.machine != Machine::Real {
        features.push(Feature::Machine);
    }
    if command.entropy != Entropy::Real {
        features.push(Feature::Entropy);
    }
    if command.stat != Stat::Real {
        features.push(Feature::Stat);
    }
    if command.clock != Clock::Real {
        features.push(Feature::Clock);
    }
    if program::any(program::parts(command)) {
        features.push(Feature::Program);
    }
    features
}

fn handlers(ids: Ids, command: &Command) -> impl Iterator<Item = &'static Handler> {
    let tables = [
        stat::TABLE,
        chown::TABLE,
        create::TABLE,
        creds::TABLE,
        limits::TABLE,
        xattrs::TABLE,
        place::TABLE,
        machine::TABLE,
        listing::TABLE,
        entropy::TABLE,
        changes::TABLE,
        clock::TABLE,
        waits::TABLE,
        program::TABLE,
    ];
    let demanded = demanded(ids, command);
    tables.into_iter().flatten().filter(move |handler| demanded.contains(&handler.feature))
}

/// The rules that send calls to the monitor under this id backend, for what `command` is to see, and where a limit is not
/// what a step sees.
pub(crate) fn rules(ids: Ids, command: &Command, shown: &[Shown]) -> Vec<Rule> {
    let rule = |nr, when| Rule {
        nr: u32::try_from(nr).expect("system call numbers are small and positive"),
        when,
        action: Action::Notify,
    };
    let handlers = handlers(ids, command);
    let mut rules: Vec<_> = handlers.map(|handler| rule(handler.nr, handler.when)).collect();
    if !shown.is_empty() {
        // The monitor lives as long as its filter.
        let resources: &[u32] = shown.iter().map(|s| s.resource).collect::<Vec<_>>().leak();
        rules.extend(limits::TABLE.iter().map(|handler| {
            let When::Is(argument, _) = handler.when else {
                unreachable!("a limit is an argument")
            };
            rule(handler.nr, When::Is(argument, resources))
        }));
    }
    rules
}

/// Serves the notifications of one sandbox.
pub(crate) struct Notifier {
    listener: OwnedFd,
    ids: Ids,
    /// By system call number.
    table: Vec<Option<Run>>,
    /// The host's /proc, our working directory: other processes' files are `TID/cwd/…`, `TID/fd/N`.
    host_proc: Rc<OwnedFd>,
    /// The device of the host's /proc.
    proc_device: u64,
    /// That of the sandbox's own.
    sandbox_proc: u64,
    /// The sandbox's root, ours too.
    root: Rc<OwnedFd>,
    /// Whether any process has ever called `chroot`.
    chrooted: bool,
    records: Records,
    credentials: Credentials,
    /// What uname(2) says, and how many processors there are, of the baseline's machine.
    utsname: Vec<u8>,
    cpus: u32,
    listings: Listings,
    streams: Streams,
    numbers: Numbers,
    expected: Vec<Expected>,
    /// Times of files, if they are to be the same in every run.
    times: Option<Times>,
    /// What is replaced of a new program.
    parts: Parts,
    patch: Option<Patch>,
    clocks: Option<Clocks>,
    /// Limits that the machine does not give.
    shown: Vec<Shown>,
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
        shown: Vec<Shown>,
    ) -> Result<Self, Failure> {
        let root = place::open_path(c"/").during(|| "open the sandbox's root".into())?;
        let mut table = vec![None; 512];
        for handler in handlers(ids, command).chain(limits::TABLE) {
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
        let parts = program::parts(command);
        let patch = program::any(parts).then(|| Patch::new(parts)).transpose();
        let patch = patch.map_err(|what| Failure::invalid(format!("this kernel has {what}")))?;
        let credentials = Credentials::new(&command.user);
        let (mut numbers, mut times, mut sandbox_proc) = (Numbers::default(), None, 0);
        if let Stat::Fixed { file_time } = command.stat {
            numbers = Numbers::new(built.made)?;
            times = Some(Times::new(file_time, built.made));
            let proc = rustix::fs::stat("/proc").during(|| "look at the sandbox's /proc".into())?;
            sandbox_proc = proc.st_dev;
        }
        if ids == Ids::Notify || command.stat != Stat::Real {
            // Faster on two cores by far; an older kernel does without.
            let _older_kernel = sys::wake_synchronously(&listener);
        }
        Ok(Self {
            listener,
            ids,
            table,
            proc_device,
            host_proc,
            root: Rc::new(root),
            chrooted: false,
            records,
            credentials,
            utsname: crate::machine::utsname(&command.hostname),
            cpus: command.machine.cpus(),
            listings: Listings::default(),
            streams: Streams::default(),
            numbers,
            expected: Vec::new(),
            times,
            sandbox_proc,
            parts,
            patch,
            clocks: command.clock.start().map(Clocks::new),
            shown,
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
        let settled = self.settle(call.pid);
        let handled = settled.and_then(|()| match run {
            Some(run) => run(self, &call),
            None => Err(fell_back("an answer", format!("system call {} has no handler", call.nr))),
        });
        let handled = handled.and_then(|reply| match &reply {
            Reply::Write { address, bytes, .. } => {
                self.write(&call, *address, bytes).map(|()| reply)
            }
            _ => Ok(reply),
        });
        match handled {
            Ok(Reply::Continue) | Err(Failed::Unresolved) => {
                self.answer(&call, Answer::Continue);
            }
            Ok(Reply::Value(value) | Reply::Write { value, .. }) => {
                self.answer(&call, Answer::Value(value));
            }
            Ok(Reply::Fd { fd, close_on_exec }) => {
                // The caller may have no room for one more.
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
        sys::write_memory(call.pid, address, bytes).map_err(unreadable)
    }

    /// Fills `buffer` from the caller's memory.
    fn read(&self, call: &Notification, address: u64, buffer: &mut [u8]) -> Result<(), Failed> {
        let read = sys::read_memory(call.pid, address, buffer).map_err(unreadable)?;
        self.still_there(call)?;
        if read == buffer.len() { Ok(()) } else { Err(Failed::Errno(libc::EFAULT)) }
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

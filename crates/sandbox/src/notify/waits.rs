//! Calls that wait, under [`Clock::Fixed`](crate::Clock::Fixed): the kernel waits for real, as long as was asked for,
//! and the clocks then show that it has.
//!
//! A *sleep* (nothing can end it but its time or a signal) moves the step's time; a wait for an *event*, in vain, the
//! clock that its thread next reads, in its own process; shorter ones nothing. What a wait that the event ended took is
//! not shown, but added up: a process that goes on waiting gets a `CLOCK_MONOTONIC` that runs. So a time that is shown
//! is, to the nanosecond, what was asked for, and who waits for a time to pass sees it pass.
//!
//! Nobody tells us that a wait has ended. It is looked at a little before: a thread that is still in the call then is
//! taken to stay there. From then on whoever must see its end asks us for the time.
//!
//! Deadlines are times of the step's clocks; the kernel is given its own, in the caller's memory. What was there is
//! **never** put back, for by then it may be another variable's place; but who passes it again is recognised.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use rustix::fs::{CWD, Dir, Mode, OFlags, openat};

use super::clock::{Face, Kind, SECOND};
use super::program::{Auxiliary, Memory};
use super::{Failed, Feature, Handled, Handler, Notifier, Reply, fell_back, int, on, unsigned};
use crate::clock::{LOOK, PASSED, SHORT, SLEEP_OF_ANOTHER, WAIT_OF_ANOTHER, WAITED};
use crate::filter::When;
use crate::sys::{self, Notification, Words};

const FUTEX_OPERATION: u32 = 127;
const FUTEX_CLOCK_REALTIME: u32 = 256;
const FUTEX_WAIT: u32 = 0;
const FUTEX_LOCK_PI: u32 = 6;
const FUTEX_WAIT_BITSET: u32 = 9;
const FUTEX_WAIT_REQUEUE_PI: u32 = 11;
const FUTEX_LOCK_PI2: u32 = 13;

const FUTEX_WAITS: When = When::MaskedGiven {
    argument: 1,
    mask: FUTEX_OPERATION,
    values: &[FUTEX_WAIT, FUTEX_LOCK_PI, FUTEX_WAIT_BITSET, FUTEX_WAIT_REQUEUE_PI, FUTEX_LOCK_PI2],
    given: 3,
};

const TIMER_ABSTIME: u32 = 1;

/// A pointer that is not null, or a number that is not 0.
const fn given(argument: u8) -> When {
    When::AnyBit(argument, u32::MAX)
}

const fn waits(nr: i64, when: When, run: super::Run) -> Handler {
    on(nr, when, Feature::Clock, run)
}

pub(super) const TABLE: &[Handler] = &[
    waits(libc::SYS_nanosleep, When::Always, nanosleep),
    waits(libc::SYS_clock_nanosleep, When::Always, clock_nanosleep),
    waits(libc::SYS_ppoll, given(2), |n, c| for_spec(n, c, 2, c.args[1] == 0)),
    waits(libc::SYS_pselect6, given(4), |n, c| for_spec(n, c, 4, c.args[0] == 0)),
    waits(libc::SYS_epoll_pwait, When::Positive(3), |n, c| for_milliseconds(n, c, 3, false)),
    waits(libc::SYS_epoll_pwait2, given(3), |n, c| for_spec(n, c, 3, false)),
    waits(libc::SYS_rt_sigtimedwait, given(2), |n, c| for_spec(n, c, 2, false)),
    waits(libc::SYS_recvmmsg, given(4), |n, c| for_spec(n, c, 4, false)),
    waits(libc::SYS_semtimedop, given(3), |n, c| for_spec(n, c, 3, false)),
    waits(libc::SYS_mq_timedsend, given(4), |n, c| until(n, c, 4, Kind::Realtime, false)),
    waits(libc::SYS_mq_timedreceive, given(4), |n, c| until(n, c, 4, Kind::Realtime, false)),
    waits(libc::SYS_futex, FUTEX_WAITS, futex),
    waits(libc::SYS_timer_settime, When::AnyBit(1, TIMER_ABSTIME), timer),
    waits(libc::SYS_timerfd_settime, When::AnyBit(1, TIMER_ABSTIME), timer),
    #[cfg(target_arch = "x86_64")]
    waits(libc::SYS_poll, When::Positive(2), |n, c| for_milliseconds(n, c, 2, c.args[1] == 0)),
    #[cfg(target_arch = "x86_64")]
    waits(libc::SYS_select, given(4), select),
    #[cfg(target_arch = "x86_64")]
    waits(libc::SYS_epoll_wait, When::Positive(3), |n, c| for_milliseconds(n, c, 3, false)),
];

/// Longer than any step.
const FOR_EVER: u64 = 1 << 60;

/// A thread's wait.
pub(super) struct Wait {
    /// The process of the thread.
    process: u32,
    nr: i64,
    args: [u64; 6],
    /// By `CLOCK_MONOTONIC` of this machine, in nanoseconds.
    begun: u64,
    ends: u64,
    /// Whether it is known to have ended before its time.
    early: bool,
    asks: Asks,
    /// How often somebody has asked since it ended.
    asked: u32,
    moves: Moves,
}

impl Wait {
    /// When it is looked at.
    fn look(&self) -> u64 {
        self.ends - nanoseconds(LOOK).min((self.ends - self.begun) / 2)
    }

    /// Whether it was in vain and a clock does not show it yet.
    fn unseen(&self) -> bool {
        let ended = !self.early && self.ends <= sys::monotonic();
        ended && matches!(&self.moves, Moves::Process(clocks) if !clocks.is_empty())
    }

    /// How long it took, if it was for an event that came and is no sleep.
    fn in_vain(&self, now: u64) -> u64 {
        let ended = self.early || now < self.ends;
        let event = matches!(self.moves, Moves::Process(_)) && ended;
        if event { now.min(self.ends) - self.begun } else { 0 }
    }
}

/// Who asks us for the time because of a wait.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asks {
    Nobody,
    Process,
    Everybody,
}

/// What a wait moves at its end.
enum Moves {
    /// The step's time, to this.
    Step(u64),
    /// Each clock of its process, to this, when its thread reads it.
    Process(BTreeMap<Kind, u64>),
}

/// All waits of a step.
#[derive(Default)]
pub(super) struct Waits {
    /// The last one of each thread.
    of: BTreeMap<u32, Wait>,
    /// When to look at which thread's.
    looks: BTreeSet<(u64, u32)>,
    deadlines: Deadlines,
}

/// Deadlines that were given to the kernel in its own time, and what they were.
#[derive(Default)]
struct Deadlines {
    were: BTreeMap<(Kind, [u8; 16]), i128>,
    order: VecDeque<(Kind, [u8; 16])>,
}

impl Deadlines {
    const MOST: usize = 1 << 16;

    fn remember(&mut self, kind: Kind, given: [u8; 16], was: i128) {
        if self.were.insert((kind, given), was).is_none() {
            self.order.push_back((kind, given));
        }
        if self.order.len() > Self::MOST
            && let Some(oldest) = self.order.pop_front()
        {
            self.were.remove(&oldest);
        }
    }
}

impl Waits {
    /// Whether a sleep is about to end.
    pub(super) fn anybody(&self) -> bool {
        self.of.values().any(|wait| wait.asks == Asks::Everybody)
    }

    /// Whether any process must ask because of its own waits.
    pub(super) fn of_processes(&self) -> bool {
        self.of.values().any(|wait| wait.asks == Asks::Process)
    }

    /// Whether this process must. Not for ever: a thread whose wait has ended may be gone, or never look at a clock.
    pub(super) fn asks(&mut self, process: u32) -> bool {
        const ENOUGH: u32 = 1024;
        let now = sys::monotonic();
        let mut own = false;
        let asking = |wait: &&mut Wait| wait.asks == Asks::Process && wait.process == process;
        for wait in self.of.values_mut().filter(asking) {
            wait.asked += u32::from(now >= wait.ends);
            if wait.asked > ENOUGH {
                (wait.early, wait.asks) = (true, Asks::Nobody);
            } else {
                own = true;
            }
        }
        own
    }

    pub(super) fn forget(&mut self, thread: u32) -> Option<Wait> {
        let wait = self.of.remove(&thread)?;
        self.looks.remove(&(wait.look(), thread));
        self.looks.remove(&(wait.ends, thread));
        Some(wait)
    }

    fn insert(&mut self, thread: u32, wait: Wait) {
        const MANY: usize = 1024;
        if self.of.len() > MANY {
            // Those that ended in time and were followed by nothing are left over.
            let gone: Vec<_> = self.of.keys().copied().filter(|thread| !exists(*thread)).collect();
            for thread in gone {
                self.forget(thread);
            }
        }
        self.looks.insert((wait.look(), thread));
        self.of.insert(thread, wait);
    }
}

/// What a wait for an event moves, if it is in vain: further than one before it whose end was not seen.
fn own(face: &Face, length: u64, before: Option<&Wait>) -> Moves {
    let unseen = before.filter(|wait| wait.unseen()).map(|wait| &wait.moves);
    let at = |kind| {
        let from = match unseen {
            Some(Moves::Process(clocks)) => clocks.get(&kind).copied().unwrap_or(0),
            _ => 0,
        };
        (kind, from.max(face.now(kind)) + length + PASSED)
    };
    Moves::Process([at(Kind::Realtime), at(Kind::Monotonic)].into())
}

pub(super) fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(FOR_EVER)
}

impl Notifier {
    /// When to call [`look`](Self::look) at the latest.
    pub(crate) fn next_look(&self) -> Option<Duration> {
        let (at, _) = self.clocks.as_ref()?.waits.looks.first()?;
        Some(Duration::from_nanos(at.saturating_sub(sys::monotonic())))
    }

    /// Looks at the waits whose time has come; an error voids the result.
    pub(crate) fn look(&mut self) {
        if self.clocks.is_some()
            && let Err(Failed::FellBack { what, reason }) = self.pass()
        {
            self.voided.push(crate::outcome::Void::FellBack { what: what.into(), reason });
        }
    }

    /// Looks at the waits whose time has come.
    pub(super) fn pass(&mut self) -> Result<(), Failed> {
        let now = sys::monotonic();
        while let Some((at, thread)) = self.clocks().waits.looks.first().copied() {
            if at > now {
                break;
            }
            self.clocks().waits.looks.pop_first();
            self.look_at(thread, now)?;
        }
        Ok(())
    }

    fn look_at(&mut self, thread: u32, now: u64) -> Result<(), Failed> {
        let words = self.patch.as_ref().and_then(|patch| patch.words).unwrap_or(0);
        let clocks = self.clocks();
        let Some(wait) = clocks.waits.of.get_mut(&thread) else { return Ok(()) };
        match wait.moves {
            Moves::Step(to) if now >= wait.ends && !wait.early => {
                clocks.slept = clocks.slept.max(to);
                clocks.waits.of.remove(&thread);
            }
            // We may be late: then it is taken to have ended in time.
            _ if now < wait.ends && !still_in(thread, wait) => {
                (wait.early, wait.asks) = (true, Asks::Nobody);
            }
            Moves::Step(_) if wait.early => {}
            Moves::Step(_) => {
                wait.asks = Asks::Everybody;
                clocks.waits.looks.insert((wait.ends, thread));
                ask_everybody(words)?;
            }
            Moves::Process(_) => {
                wait.asks = Asks::Process;
                ask(&thread.to_string(), words)?;
            }
        }
        Ok(())
    }

    /// What the end of the calling thread's wait means for a clock that it reads now.
    pub(super) fn after_wait(&mut self, call: &Notification, kind: Kind, face: &mut Face) {
        let now = sys::monotonic();
        let clocks = self.clocks();
        let Some(wait) = clocks.waits.of.get_mut(&call.pid) else { return };
        match &mut wait.moves {
            // A signal ended it; it may go on.
            Moves::Step(_) => (wait.early, wait.asks) = (true, Asks::Nobody),
            Moves::Process(clocks_at) if now >= wait.ends && !wait.early => {
                if let Some(time) = clocks_at.remove(&kind) {
                    face.raise(kind, time);
                }
                if clocks_at.is_empty() {
                    clocks.waits.forget(call.pid);
                }
            }
            Moves::Process(_) => {
                face.waited(wait.in_vain(now), nanoseconds(WAITED));
                clocks.waits.forget(call.pid);
            }
        }
    }

    /// The caller begins to wait, this many nanoseconds at most.
    fn wait(&mut self, call: &Notification, length: u64, sleeps: bool) -> Handled {
        self.wait_until(call, length, sys::monotonic().saturating_add(length), sleeps)
    }

    fn wait_until(&mut self, call: &Notification, length: u64, ends: u64, sleeps: bool) -> Handled {
        self.pass()?;
        let before = self.clocks().waits.forget(call.pid);
        let mut face = self.face(call)?;
        if let Some(before) = &before {
            face.waited(before.in_vain(sys::monotonic()), nanoseconds(WAITED));
        }
        let process = self.process(call, &mut face)?;
        let first = process == call.pid;
        let moves = match (first, sleeps) {
            (true, true) if length < nanoseconds(SHORT) => {
                face.short(length);
                self.put(call, &face)?;
                return Ok(Reply::Continue);
            }
            (true, true) => self.step(before.as_ref(), length, ends),
            (false, true) if length >= nanoseconds(SLEEP_OF_ANOTHER) => {
                self.step(before.as_ref(), length, ends)
            }
            (true, false) if length >= nanoseconds(SHORT) => own(&face, length, before.as_ref()),
            (false, _) if length >= nanoseconds(WAIT_OF_ANOTHER) => {
                own(&face, length, before.as_ref())
            }
            _ => {
                face.waited(length, nanoseconds(WAITED));
                self.put(call, &face)?;
                if let Some(before) = before.filter(Wait::unseen) {
                    self.clocks().waits.of.insert(call.pid, before);
                }
                return Ok(Reply::Continue);
            }
        };
        // A first thread is most often the only one: it need not be looked at in time.
        let asks = if first { Asks::Process } else { Asks::Nobody };
        if first {
            face.words.ask = 1;
        }
        self.put(call, &face)?;
        let Notification { nr, args, pid, .. } = *call;
        let begun = ends.saturating_sub(length);
        let wait = Wait { process, nr, args, begun, ends, early: false, asks, asked: 0, moves };
        self.clocks().waits.insert(pid, wait);
        Ok(Reply::Continue)
    }

    /// What a sleep moves.
    fn step(&mut self, before: Option<&Wait>, length: u64, ends: u64) -> Moves {
        match before {
            // What is left of one that a signal interrupted.
            Some(Wait { moves: Moves::Step(to), ends: end, .. })
                if end.abs_diff(ends) < nanoseconds(LOOK) =>
            {
                Moves::Step(*to)
            }
            _ => Moves::Step(self.clocks().slept + length + PASSED),
        }
    }

    /// A deadline at `address` becomes the kernel's; returns how far away it is, and when it
    /// is by `CLOCK_MONOTONIC` of this machine.
    fn deadline(
        &mut self,
        call: &Notification,
        address: u64,
        kind: Option<Kind>,
    ) -> Result<Option<(u64, u64)>, Failed> {
        let mut bytes = [0; 16];
        self.read(call, address, &mut bytes)?;
        let Some(asked) = timespec(bytes) else { return Ok(None) };
        let face = self.face(call)?;
        let begins = self.clocks().begins();
        let now = |kind| match kind {
            Kind::Realtime => begins + i128::from(face.now(kind)),
            Kind::Monotonic => i128::from(face.now(kind)),
        };
        // Of a timer only its maker knows the clock; the two are decades apart.
        let kind = kind.unwrap_or_else(|| {
            let nearer = |kind| now(kind).abs_diff(asked);
            let realtime = nearer(Kind::Realtime) < nearer(Kind::Monotonic);
            if realtime { Kind::Realtime } else { Kind::Monotonic }
        });
        let deadlines = &mut self.clocks().waits.deadlines;
        let asked = deadlines.were.get(&(kind, bytes)).copied().unwrap_or(asked);
        let left = u64::try_from((asked - now(kind)).max(0)).unwrap_or(FOR_EVER).min(FOR_EVER);
        let ends = sys::monotonic() + left;
        let given = match kind {
            Kind::Realtime => sys::realtime() + left,
            Kind::Monotonic => ends,
        };
        let given = super::clock::pair((given / SECOND).cast_signed(), given % SECOND);
        if let Ok(given) = given.as_slice().try_into() {
            deadlines.remember(kind, given, asked);
        }
        match self.write(call, address, &given) {
            // A constant.
            Err(Failed::Errno(libc::EFAULT)) => {
                Memory::of(&call.pid.to_string())?.write(address, &given)?;
            }
            written => written?,
        }
        Ok(Some((left, ends)))
    }
}

fn exists(thread: u32) -> bool {
    std::path::Path::new(&thread.to_string()).exists()
}

/// Whether a thread is still in the call that it waits in.
fn still_in(thread: u32, wait: &Wait) -> bool {
    const RESTART: i64 = libc::SYS_restart_syscall;
    let Ok(text) = std::fs::read_to_string(format!("{thread}/syscall")) else { return false };
    let mut words = text.split_whitespace();
    let nr = words.next().and_then(|word| word.parse::<i64>().ok());
    let args = words.map(|word| u64::from_str_radix(word.trim_start_matches("0x"), 16).ok());
    nr.is_some_and(|nr| nr == wait.nr || nr == RESTART)
        && args.take(6).eq(wait.args.iter().map(|argument| Some(*argument)))
}

/// Has a process ask us for the time, if it has words of ours.
fn ask(process: &str, words: u64) -> Result<(), Failed> {
    const ASK: u64 = 8;
    let asking = || {
        let auxiliary = Auxiliary::of(process)?;
        let Some(vdso) = auxiliary.get(libc::AT_SYSINFO_EHDR) else { return Ok(()) };
        let memory = Memory::of(process)?;
        let mut bytes = [0; Words::SIZE];
        memory.read(vdso + words, &mut bytes)?;
        if Words::from_bytes(bytes).is_some_and(|words| words.ask == 0) {
            memory.write(vdso + words + ASK, &1_u64.to_ne_bytes())?;
        }
        Ok(())
    };
    match asking() {
        Err(Failed::Gone) => Ok(()),
        other => other,
    }
}

/// Has every process ask us for the time; those that are forked meanwhile copy it.
fn ask_everybody(words: u64) -> Result<(), Failed> {
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    let proc = openat(CWD, "/proc", flags, Mode::empty());
    let failed = |error| fell_back("the clock", std::io::Error::from(error));
    for entry in Dir::read_from(proc.map_err(failed)?).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_string_lossy();
        // Process 1 is ours and reads no clock.
        if name != "1" && name.bytes().all(|byte| byte.is_ascii_digit()) {
            ask(&format!("/proc/{name}"), words)?;
        }
    }
    Ok(())
}

/// Nanoseconds of a `struct timespec`; none if the kernel refuses it.
fn timespec(bytes: [u8; 16]) -> Option<i128> {
    let [seconds, parts] = *bytes.as_chunks::<8>().0 else { return None };
    let (seconds, parts) = (i64::from_ne_bytes(seconds), i64::from_ne_bytes(parts));
    let second = SECOND.cast_signed();
    let valid = seconds >= 0 && (0..second).contains(&parts);
    valid.then(|| i128::from(seconds) * i128::from(second) + i128::from(parts))
}

/// Waits for as long as the timespec says that this argument points to.
fn for_spec(
    notifier: &mut Notifier,
    call: &Notification,
    argument: usize,
    sleeps: bool,
) -> Handled {
    let mut bytes = [0; 16];
    notifier.read(call, call.args[argument], &mut bytes)?;
    match timespec(bytes).map(|time| u64::try_from(time).unwrap_or(FOR_EVER).min(FOR_EVER)) {
        None | Some(0) => Ok(Reply::Continue),
        Some(time) => notifier.wait(call, time, sleeps),
    }
}

fn for_milliseconds(
    notifier: &mut Notifier,
    call: &Notification,
    argument: usize,
    sleeps: bool,
) -> Handled {
    notifier.wait(call, u64::from(unsigned(call.args[argument])) * 1_000_000, sleeps)
}

/// Waits until the time that this argument points to.
fn until(
    notifier: &mut Notifier,
    call: &Notification,
    argument: usize,
    kind: Kind,
    sleeps: bool,
) -> Handled {
    match notifier.deadline(call, call.args[argument], Some(kind))? {
        None | Some((0, _)) => Ok(Reply::Continue),
        Some((length, ends)) => notifier.wait_until(call, length, ends, sleeps),
    }
}

fn nanosleep(notifier: &mut Notifier, call: &Notification) -> Handled {
    for_spec(notifier, call, 0, true)
}

fn clock_nanosleep(notifier: &mut Notifier, call: &Notification) -> Handled {
    let (clock, flags) = (unsigned(call.args[0]), int(call.args[1]));
    let kind = if crate::clock::REALTIME.contains(&clock) {
        Kind::Realtime
    } else if crate::clock::MONOTONIC.contains(&clock) {
        Kind::Monotonic
    } else {
        return Ok(Reply::Continue); // processor time
    };
    if flags & libc::TIMER_ABSTIME != 0 {
        until(notifier, call, 2, kind, true)
    } else {
        for_spec(notifier, call, 2, true)
    }
}

#[cfg(target_arch = "x86_64")]
fn select(notifier: &mut Notifier, call: &Notification) -> Handled {
    let mut bytes = [0; 16];
    notifier.read(call, call.args[4], &mut bytes)?;
    let [seconds, parts] = *bytes.as_chunks::<8>().0 else { return Ok(Reply::Continue) };
    let (seconds, parts) = (i64::from_ne_bytes(seconds), i64::from_ne_bytes(parts));
    let (Ok(seconds), Ok(parts)) = (u64::try_from(seconds), u64::try_from(parts)) else {
        return Ok(Reply::Continue); // the kernel refuses it
    };
    let time = seconds.saturating_mul(SECOND).saturating_add(parts.saturating_mul(1000));
    let [all, reading, writing, other, ..] = call.args;
    let sleeps = all == 0 || [reading, writing, other] == [0; 3];
    match time.min(FOR_EVER) {
        0 => Ok(Reply::Continue),
        time => notifier.wait(call, time, sleeps),
    }
}

fn futex(notifier: &mut Notifier, call: &Notification) -> Handled {
    let operation = unsigned(call.args[1]);
    let realtime = operation & FUTEX_CLOCK_REALTIME != 0;
    match operation & FUTEX_OPERATION {
        FUTEX_WAIT => for_spec(notifier, call, 3, false),
        FUTEX_LOCK_PI => until(notifier, call, 3, Kind::Realtime, false),
        _ if realtime => until(notifier, call, 3, Kind::Realtime, false),
        _ => until(notifier, call, 3, Kind::Monotonic, false),
    }
}

/// A timer is set to a time: it ends in the kernel's, and counts as a wait of its length.
fn timer(notifier: &mut Notifier, call: &Notification) -> Handled {
    // The interval is first.
    let first = call.args[2].wrapping_add(16);
    let mut bytes = [0; 16];
    notifier.read(call, first, &mut bytes)?;
    if timespec(bytes).is_none_or(|time| time == 0) {
        return Ok(Reply::Continue); // refused, or switched off
    }
    let length = notifier.deadline(call, first, None)?.map_or(0, |(left, _)| left);
    let mut face = notifier.face(call)?;
    face.waited(length, nanoseconds(WAITED));
    notifier.put(call, &face)?;
    Ok(Reply::Continue)
}

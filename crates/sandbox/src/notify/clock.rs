//! What time it is, under [`Clock::Fixed`](crate::Clock::Fixed).
//!
//! Most reads never come here: the functions that [`program`](super::program) puts into a program answer them from
//! words in its own memory. Here are system calls made by hand, processor time, and reads while somebody's wait is
//! about to end ([`waits`](super::waits)): those find in their words that they must ask.
//!
//! There is one time of the step, which sleeps move, and each process adds what its own waits and reads add.

use std::collections::BTreeMap;

use super::program::{Auxiliary, Memory};
use super::waits::{Waits, nanoseconds};
use super::{Failed, Feature, Handled, Handler, Notifier, Reply, fell_back, int, on};
use crate::clock::{
    BEGINS_AT, BOOTED_FOR, CALL_READ, COARSE, COARSE_ONES, MONOTONIC, PROCESSOR, PROCESSOR_TIME,
    REALTIME, SHORT, ahead,
};
use crate::filter::When;
use crate::sys::{self, MARK, Notification, Words};

pub(super) const TABLE: &[Handler] = &[
    on(libc::SYS_clock_gettime, When::Always, Feature::Clock, gettime),
    on(libc::SYS_clock_getres, When::Always, Feature::Clock, resolution),
    on(libc::SYS_gettimeofday, When::Always, Feature::Clock, timeofday),
    on(libc::SYS_times, When::Always, Feature::Clock, times),
    on(libc::SYS_getrusage, When::Always, Feature::Clock, usage),
    #[cfg(target_arch = "x86_64")]
    on(libc::SYS_time, When::Always, Feature::Clock, time),
];

pub(super) const SECOND: u64 = 1_000_000_000;

/// The two that move.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Realtime,
    Monotonic,
}

/// The clocks of a step.
pub(super) struct Clocks {
    /// When it begins, in seconds since 1970.
    start: i64,
    /// How far its time is from there, in nanoseconds.
    pub(super) slept: u64,
    pub(super) waits: Waits,
    /// How often a thread has read processor time.
    processor: BTreeMap<u32, u64>,
    /// The process of a thread.
    leaders: BTreeMap<u32, u32>,
    /// Where words have been found, in whatever process; the latest last.
    found: Vec<u64>,
}

/// The words of a process, and where they are.
pub(super) struct Face {
    address: u64,
    before: Words,
    pub(super) words: Words,
    /// How often the process has read a clock.
    pub(super) reads: u64,
}

impl Clocks {
    pub(super) fn new(start: i64) -> Self {
        Self {
            start,
            slept: 0,
            waits: Waits::default(),
            processor: BTreeMap::new(),
            leaders: BTreeMap::new(),
            found: Vec::new(),
        }
    }

    /// The words of a new program.
    pub(super) fn first_words(&self, counter: u64) -> Words {
        Words {
            mark: MARK,
            ask: u64::from(self.waits.anybody()),
            counter,
            start: self.start,
            real: u64::from(BEGINS_AT) + self.slept,
            monotonic: BOOTED_FOR + self.slept,
            seen: self.slept,
            ..Words::default()
        }
    }

    /// When the step begins, in nanoseconds since 1970.
    pub(super) fn begins(&self) -> i128 {
        i128::from(self.start) * i128::from(SECOND)
    }
}

impl Face {
    /// `CLOCK_REALTIME` in nanoseconds since the step's start, or `CLOCK_MONOTONIC`.
    pub(super) fn now(&self, kind: Kind) -> u64 {
        match kind {
            Kind::Realtime => self.words.real + ahead(self.reads),
            Kind::Monotonic if self.words.runs != 0 => {
                sys::monotonic().saturating_add_signed(self.words.offset)
            }
            Kind::Monotonic => self.words.monotonic + ahead(self.reads),
        }
    }

    /// Moves a clock forward to `time`.
    pub(super) fn raise(&mut self, kind: Kind, time: u64) {
        let by = time.saturating_sub(self.now(kind));
        match kind {
            Kind::Realtime => self.words.real += by,
            Kind::Monotonic if self.words.runs != 0 => {}
            Kind::Monotonic => self.words.monotonic += by,
        }
    }

    /// Adds a short sleep of its first thread; enough of them, and its clocks move.
    pub(super) fn short(&mut self, time: u64) {
        self.words.short += time;
        if self.words.short >= nanoseconds(SHORT) {
            let time = std::mem::take(&mut self.words.short);
            for kind in [Kind::Realtime, Kind::Monotonic] {
                self.raise(kind, self.now(kind) + time);
            }
        }
    }

    /// Counts time that passed without being shown; enough of it, and `CLOCK_MONOTONIC` runs.
    pub(super) fn waited(&mut self, time: u64, enough: u64) {
        self.words.waited = self.words.waited.saturating_add(time);
        if self.words.runs == 0 && self.words.waited >= enough {
            let now = self.now(Kind::Monotonic).cast_signed();
            self.words.offset = now - sys::monotonic().cast_signed();
            self.words.runs = 1;
        }
    }
}

impl Notifier {
    pub(super) fn clocks(&mut self) -> &mut Clocks {
        self.clocks.as_mut().expect("the calls of a clock come here only if there is one")
    }

    /// The words of the calling process, brought up to the step's time.
    pub(super) fn face(&mut self, call: &Notification) -> Result<Face, Failed> {
        let (address, before) = self.words(call)?;
        let mut reads = [0; 8];
        self.read(call, before.counter, &mut reads)?;
        let mut words = before;
        let moved = self.clocks().moved_since(words.seen);
        words.real += moved;
        words.monotonic += moved;
        words.seen += moved;
        Ok(Face { address, before, words, reads: u64::from_ne_bytes(reads) })
    }

    fn words(&mut self, call: &Notification) -> Result<(u64, Words), Failed> {
        for again in [false, true] {
            let mut bytes = [0; Words::SIZE];
            for at in (0..self.clocks().found.len()).rev() {
                let address = self.clocks().found[at];
                // Nothing there in another program is no error.
                let read = sys::read_memory(call.pid, address, &mut bytes);
                if read.is_ok_and(|read| read == Words::SIZE)
                    && let Some(words) = Words::from_bytes(bytes)
                {
                    self.still_there(call)?;
                    return Ok((address, words));
                }
            }
            if again {
                break;
            }
            // A program of its own making, which has not set its thread register: replaced now.
            let process = call.pid.to_string();
            let auxiliary = Auxiliary::of(&process)?;
            self.replace(&process, call, &auxiliary)?;
            let words = self.patch.as_ref().and_then(|patch| patch.words);
            if let (Some(vdso), Some(words)) = (auxiliary.get(libc::AT_SYSINFO_EHDR), words) {
                let found = &mut self.clocks().found;
                found.push(vdso + words);
                if found.len() > 4 {
                    found.remove(0);
                }
            }
        }
        Err(fell_back("the clock", "a program without vDSO"))
    }

    /// Writes what has changed of a process's words.
    pub(super) fn put(&self, call: &Notification, face: &Face) -> Result<(), Failed> {
        if face.words == face.before {
            return Ok(());
        }
        let memory = Memory::of(&call.pid.to_string())?;
        self.still_there(call)?;
        put(&memory, face.address, &face.words)
    }

    /// One read of the calling process.
    fn now(&mut self, call: &Notification, kind: Kind) -> Result<u64, Failed> {
        self.pass()?;
        let mut face = self.face(call)?;
        self.after_wait(call, kind, &mut face);
        let now = face.now(kind);
        // While a wait is looked at, those come here that would have read by themselves.
        let count = if face.words.ask == 0 { CALL_READ } else { 1 };
        self.write(call, face.words.counter, &face.reads.wrapping_add(count).to_ne_bytes())?;
        if face.words.ask != 0 && !self.must_ask(call, &mut face)? {
            face.words.ask = 0;
        }
        self.put(call, &face)?;
        Ok(now)
    }

    /// The process of the calling thread.
    pub(super) fn process(&mut self, call: &Notification, face: &mut Face) -> Result<u32, Failed> {
        const MOST: usize = 4096;
        let known = |process: u32| u64::from(process) == face.words.process;
        if known(call.pid) {
            return Ok(call.pid);
        }
        // A thread that has come to be one of another process since has other words.
        let leaders = &mut self.clocks().leaders;
        if let Some(leader) = leaders.get(&call.pid).copied().filter(|leader| known(*leader)) {
            return Ok(leader);
        }
        let leader = sys::leader(call.pid).map_err(|_| Failed::Gone)?;
        if leaders.len() > MOST {
            leaders.clear();
        }
        leaders.insert(call.pid, leader);
        face.words.process = leader.into();
        Ok(leader)
    }

    /// Whether the calling process must go on asking.
    fn must_ask(&mut self, call: &Notification, face: &mut Face) -> Result<bool, Failed> {
        if self.clocks().waits.of_processes() {
            let process = self.process(call, face)?;
            if self.clocks().waits.asks(process) {
                return Ok(true);
            }
        }
        Ok(self.clocks().waits.anybody())
    }

    /// `CLOCK_REALTIME` of the calling process: seconds and nanoseconds.
    fn real_time(&mut self, call: &Notification) -> Result<(i64, u64), Failed> {
        let now = self.now(call, Kind::Realtime)?;
        Ok((self.clocks().start + (now / SECOND).cast_signed(), now % SECOND))
    }
}

impl Clocks {
    /// How far the step's time has moved since it was `seen` there.
    fn moved_since(&self, seen: u64) -> u64 {
        self.slept.saturating_sub(seen)
    }
}

/// Writes words so that whoever reads meanwhile finds none of a later time beside one of an earlier.
pub(super) fn put(memory: &Memory, address: u64, words: &Words) -> Result<(), Failed> {
    const HEAD: usize = 24; // mark, ask, runs
    let bytes = words.bytes();
    memory.write(address + HEAD as u64, &bytes[HEAD..])?;
    memory.write(address, &bytes[..HEAD])
}

/// A `struct timespec` or `timeval`.
pub(super) fn pair(seconds: i64, parts: u64) -> Vec<u8> {
    [seconds.to_ne_bytes(), parts.to_ne_bytes()].concat()
}

fn gettime(notifier: &mut Notifier, call: &Notification) -> Handled {
    let (clock, address) = (int(call.args[0]), call.args[1]);
    let (seconds, nanoseconds) = match clock.cast_unsigned() {
        clock if REALTIME.contains(&clock) => notifier.real_time(call)?,
        clock if MONOTONIC.contains(&clock) => {
            let now = notifier.now(call, Kind::Monotonic)?;
            ((now / SECOND).cast_signed(), now % SECOND)
        }
        number if PROCESSOR.contains(&number) || clock < 0 => {
            let reads = notifier.clocks().processor.entry(call.pid).or_default();
            *reads += CALL_READ;
            let now = PROCESSOR_TIME + ahead(*reads);
            ((now / SECOND).cast_signed(), now % SECOND)
        }
        _ => return Err(Failed::Errno(libc::EINVAL)),
    };
    Ok(Reply::Write { address, bytes: pair(seconds, nanoseconds), value: 0 })
}

fn resolution(_: &mut Notifier, call: &Notification) -> Handled {
    let (clock, address) = (int(call.args[0]), call.args[1]);
    let number = clock.cast_unsigned();
    let known = [REALTIME.as_slice(), &MONOTONIC, &PROCESSOR].iter().any(|of| of.contains(&number));
    if !known && clock >= 0 {
        return Err(Failed::Errno(libc::EINVAL));
    }
    let nanoseconds = if COARSE_ONES.contains(&number) { COARSE } else { 1 };
    if address == 0 {
        return Ok(Reply::Value(0));
    }
    Ok(Reply::Write { address, bytes: pair(0, nanoseconds.into()), value: 0 })
}

fn timeofday(notifier: &mut Notifier, call: &Notification) -> Handled {
    let [time, zone, ..] = call.args;
    let (seconds, nanoseconds) = notifier.real_time(call)?;
    if time != 0 {
        notifier.write(call, time, &pair(seconds, nanoseconds / 1000))?;
    }
    if zone != 0 {
        notifier.write(call, zone, &[0; 8])?;
    }
    Ok(Reply::Value(0))
}

#[cfg(target_arch = "x86_64")]
fn time(notifier: &mut Notifier, call: &Notification) -> Handled {
    let (seconds, _) = notifier.real_time(call)?;
    match call.args[0] {
        0 => Ok(Reply::Value(seconds)),
        address => {
            Ok(Reply::Write { address, bytes: seconds.to_ne_bytes().to_vec(), value: seconds })
        }
    }
}

/// Ticks of a hundredth of a second since the machine began, and none of them spent.
fn times(notifier: &mut Notifier, call: &Notification) -> Handled {
    let ticks = (notifier.now(call, Kind::Monotonic)? / (SECOND / 100)).cast_signed();
    match call.args[0] {
        0 => Ok(Reply::Value(ticks)),
        address => Ok(Reply::Write { address, bytes: vec![0; 32], value: ticks }),
    }
}

/// Nothing of anything.
fn usage(_: &mut Notifier, call: &Notification) -> Handled {
    // Self, children, thread.
    if ![0, -1, 1].contains(&int(call.args[0])) {
        return Err(Failed::Errno(libc::EINVAL));
    }
    let bytes = vec![0; size_of::<libc::rusage>()];
    Ok(Reply::Write { address: call.args[1], bytes, value: 0 })
}

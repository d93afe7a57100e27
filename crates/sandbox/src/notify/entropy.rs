//! Random numbers that are the same in every run.
//!
//! Each process has a stream of its own, found by its command line and by how many processes with that command line
//! have asked before it: neither process ids nor what else runs at the time is in it. Nothing of it is secret.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use super::{Failed, Feature, Handled, Handler, Notifier, Reply, fell_back, on, unsigned};
use crate::filter::When;
use crate::sys::{self, Notification};

pub(super) const TABLE: &[Handler] =
    &[on(libc::SYS_getrandom, When::Always, Feature::Entropy, getrandom)];

/// What distinguishes our streams from every other use of the hash function.
const CONTEXT: &str = "reimage 2026-11 entropy of a step 1";

/// Bytes that one call gives at most, as in the kernel.
const MOST: u64 = (1 << 25) - 1;

/// `GRND_NONBLOCK`, `GRND_RANDOM`, `GRND_INSECURE`.
const FLAGS: u32 = 1 | 2 | 4;

/// Bytes of the stream of this name, from `position` on.
pub(crate) fn random(name: &[u8], number: u64, position: u64, to: &mut [u8]) {
    let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
    hasher.update(&number.to_le_bytes());
    hasher.update(name);
    let mut reader = hasher.finalize_xof();
    reader.set_position(position);
    reader.fill(to);
}

/// A process, for as long as the machine runs: its id, when it began, and the digest of its command line.
type Process = (u32, u64, [u8; 32]);

/// Who has asked for what.
#[derive(Default)]
pub(super) struct Streams {
    /// How many processes with this command line have asked.
    asked: BTreeMap<[u8; 32], u64>,
    /// The number of each process among them, and how far it is.
    at: BTreeMap<Process, (u64, u64)>,
    /// Threads that began a program: each is its process's first.
    leaders: BTreeSet<u32>,
    /// Threads that asked lately, each with a file of its own in /proc, which cannot be read when it is gone.
    recent: BTreeMap<u32, (File, Process)>,
}

/// Threads that are kept in mind.
const RECENT: usize = 64;

impl Streams {
    /// Takes note that a thread has begun a program.
    pub(super) fn begin(&mut self, thread: u32) {
        self.leaders.insert(thread);
        self.recent.remove(&thread);
    }

    /// Who a thread belongs to, as the host's /proc says, in which we stand.
    fn process(&mut self, thread: u32) -> Result<Process, Failed> {
        if let Some((alive, process)) = self.recent.get(&thread)
            && alive.read_at(&mut [0; 16], 0).is_ok()
        {
            return Ok(*process);
        }
        let gone = |_| Failed::Gone;
        let leader = match self.leaders.get(&thread) {
            Some(leader) => *leader,
            None => sys::leader(thread).map_err(gone)?,
        };
        let alive = File::open(format!("{thread}/comm")).map_err(gone)?;
        let line = fs::read(format!("{leader}/cmdline")).map_err(gone)?;
        let stat = fs::read(format!("{leader}/stat")).map_err(gone)?;
        // The time of its beginning is field 22.
        let began = sys::stat_field(&String::from_utf8_lossy(&stat), 22);
        let began = began.ok_or_else(|| fell_back("random numbers", "a process without a time"))?;
        let process = (leader, began, blake3::hash(&line).into());
        if self.recent.len() >= RECENT {
            self.recent.clear();
        }
        self.recent.insert(thread, (alive, process));
        Ok(process)
    }

    /// The next bytes of a process.
    fn fill(&mut self, process: Process, to: &mut [u8]) {
        let (_, _, name) = process;
        let (number, position) = self.at.entry(process).or_insert_with(|| {
            let asked = self.asked.entry(name).or_default();
            *asked += 1;
            (*asked, 0)
        });
        random(&name, *number, *position, to);
        *position += to.len() as u64;
    }
}

fn getrandom(notifier: &mut Notifier, call: &Notification) -> Handled {
    let [address, length, flags, ..] = call.args;
    let flags = unsigned(flags);
    if flags & !FLAGS != 0 || flags & 6 == 6 {
        return Err(Failed::Errno(libc::EINVAL));
    }
    let length = length.min(MOST);
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
    let process = notifier.streams.process(call.pid)?;
    notifier.still_there(call)?;
    notifier.streams.fill(process, &mut bytes);
    Ok(Reply::Write { address, bytes, value: length.cast_signed() })
}

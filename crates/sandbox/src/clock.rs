//! What time it is in a step, and the constants of [`Clock::Fixed`] (docs/determinism.md says what programs see).
//!
//! Whoever changes one of the constants changes what steps see: the baseline's number moves with it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::machine::UPTIME;

/// The clock of a command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Clock {
    /// This machine's.
    #[default]
    Real,
    /// One that begins at the same time in every run and moves as the command waits.
    Fixed {
        /// When it begins, in seconds since 1970.
        start: i64,
    },
}

/// Clocks that show the time of day: `CLOCK_REALTIME`, its `COARSE` and `ALARM`, `CLOCK_TAI`.
pub(crate) const REALTIME: [u32; 4] = [0, 5, 8, 11];

/// Clocks that count from the start of the machine: `CLOCK_MONOTONIC`, its `RAW` and `COARSE`, `CLOCK_BOOTTIME` and
/// its `ALARM`.
pub(crate) const MONOTONIC: [u32; 5] = [1, 4, 6, 7, 9];

/// Clocks of processor time, besides all with a negative number.
pub(crate) const PROCESSOR: [u32; 2] = [2, 3];

/// Clocks that say they are coarse.
pub(crate) const COARSE_ONES: [u32; 2] = [5, 6];

/// The resolution that they have, in nanoseconds; every other clock has 1.
pub(crate) const COARSE: u32 = 4_000_000;

/// So many reads of a process show the same time: more than a program makes that does not wait for time to pass (a build
/// by Go makes tens of thousands, and how many is a race).
pub(crate) const FROZEN_READS: u64 = 1 << 20;

/// After q times as many, the clocks of a process are ahead by q² times these nanoseconds, so that waiting in a loop
/// ends: 30 s after 21 million reads.
pub(crate) const ACCELERATION: u64 = 75_000_000;

/// What a process has used of a processor, in nanoseconds, before [`ACCELERATION`].
pub(crate) const PROCESSOR_TIME: u64 = 1_000_000;

/// One read by a system call, as each of processor time is, counts as so many: it takes longer.
pub(crate) const CALL_READ: u64 = 64;

/// `CLOCK_REALTIME` when a step begins, in nanoseconds after its start: later than all file times of that second.
pub(crate) const BEGINS_AT: u32 = 10_000_000;

/// `CLOCK_MONOTONIC` when a step begins, in nanoseconds.
pub(crate) const BOOTED_FOR: u64 = UPTIME * 1_000_000_000;

/// Sleeps of a process's first thread move the clocks of all processes; those shorter than this its own, once they
/// add up to it.
pub(crate) const SHORT: Duration = Duration::from_millis(1);

/// Sleeps of its other threads do if they are at least this long: run-time systems sleep for their own purposes.
pub(crate) const SLEEP_OF_ANOTHER: Duration = Duration::from_secs(1);

/// A wait for something else, in vain, moves the process's own clocks if its first thread waits, [`SHORT`] at least, or
/// another for as long as this.
pub(crate) const WAIT_OF_ANOTHER: Duration = Duration::from_millis(75);

/// A wait takes so many nanoseconds more than was asked for: programs look whether its end has passed.
pub(crate) const PASSED: u64 = 1;

/// Once a process has waited so long without its clocks moving, `CLOCK_MONOTONIC` runs for it as on any machine.
pub(crate) const WAITED: Duration = Duration::from_secs(1);

/// How long before its end a wait is looked at, or half of it. No part of what a step sees.
pub(crate) const LOOK: Duration = Duration::from_millis(50);

/// `CLOCK_REALTIME` in nanoseconds fits a word until then, from 1970 either way.
const MOST_SECONDS: i64 = 1 << 33;

impl Clock {
    /// When it begins, if it is not the machine's.
    pub(crate) fn start(self) -> Option<i64> {
        match self {
            Self::Real => None,
            Self::Fixed { start } => Some(start.clamp(-MOST_SECONDS, MOST_SECONDS)),
        }
    }
}

/// What the count of a process's reads adds to its clocks, in nanoseconds.
pub(crate) fn ahead(reads: u64) -> u64 {
    let q = reads / FROZEN_READS;
    q.saturating_mul(q).saturating_mul(ACCELERATION)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_in_a_loop_ends() {
        assert_eq!([0, FROZEN_READS - 1, FROZEN_READS].map(ahead), [0, 0, ACCELERATION]);
        assert!(ahead(25_000_000) > 30_000_000_000);
    }
}

//! This machine's clocks, for what waits in real time.

use rustix::time::{ClockId, clock_gettime};

/// `CLOCK_MONOTONIC` in nanoseconds.
pub(crate) fn monotonic() -> u64 {
    of(ClockId::Monotonic)
}

/// `CLOCK_REALTIME` in nanoseconds since 1970.
pub(crate) fn realtime() -> u64 {
    of(ClockId::Realtime)
}

fn of(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    (time.tv_sec * 1_000_000_000 + time.tv_nsec).cast_unsigned()
}

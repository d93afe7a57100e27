//! What a step sees of the inodes of its files.

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// What a command sees of inodes: their times, numbers and devices, sizes of directories, links and blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stat {
    /// What the kernel says.
    Real,
    /// What is the same in every run: times of what is written within one second, in the order of writing; numbers
    /// that follow from paths; sizes of directories that are no file system's.
    Fixed {
        /// That second, since 1970.
        file_time: i64,
    },
}

/// The machine's clock, in seconds since 1970 and nanoseconds: no file has a later time by itself.
pub(crate) fn now() -> (i64, u32) {
    let now = clock_gettime(ClockId::Realtime);
    (now.tv_sec, u32::try_from(now.tv_nsec).unwrap_or(0))
}

//! Times of files that are the same in every run and keep the order in which files were written.
//!
//! All that a step writes has the time F to the second. Within that second lie: what earlier steps made at 0 ns and
//! sources at 1 ns (the store laid them out so), then what this step wrote, at the number of the last time that the
//! file was opened for writing, from 2 on. A directory that the step changed has a number that follows from the names
//! in it. Earlier times, which a program has set, stay; later ones read as F.

use std::collections::BTreeMap;
use std::ffi::CStr;

use rustix::fs::{CWD, Mode, OFlags, RawDir, openat};

use super::numbers::word;
use super::{Failed, unresolved};
use crate::clock::BEGINS_AT;
use crate::stat::now;
use crate::sys::RawStatx;

/// The number of the first file that a step writes.
const FIRST: u32 = 2;

/// Numbers are nanoseconds of the second F: less than those at which the step's clock begins, or every file would be from
/// the future.
const LAST: u32 = BEGINS_AT - 1;

/// What the step has written.
pub(super) struct Times {
    /// F, in seconds since 1970.
    file_time: i64,
    /// When the step began, as the kernel's clock for files has it: seconds, nanoseconds.
    start: (i64, u32),
    /// The number that the next file gets.
    next: u32,
    /// What each inode, by its number, was written as.
    written: BTreeMap<u32, u32>,
    /// Directories, by their numbers, as of their last change.
    directories: BTreeMap<u32, ((i64, u32), u32)>,
}

impl Times {
    pub(super) fn new(file_time: i64, start: (i64, u32)) -> Self {
        let (written, directories) = (BTreeMap::new(), BTreeMap::new());
        Self { file_time, start, next: FIRST, written, directories }
    }

    /// Whether a time is one that the kernel has given since the step began.
    fn is_fresh(&self, time: (i64, u32)) -> bool {
        time >= self.start && time.0 != self.file_time && time <= now()
    }

    /// The time of what nobody writes.
    pub(super) fn standing(&self) -> (i64, u32) {
        (self.file_time, 0)
    }

    /// What the time of a file of this inode number reads as. `names` is what a directory's names give.
    pub(super) fn shown(
        &mut self,
        stat: &RawStatx,
        inode: u32,
        names: impl FnOnce() -> Result<u32, Failed>,
    ) -> Result<(i64, u32), Failed> {
        let time = stat.modified();
        if !self.is_fresh(time) {
            return Ok(if time.0 > self.file_time { self.standing() } else { time });
        }
        if !stat.is_directory() {
            // What nobody opened for writing is at least not older than what was written before it was seen.
            let number = *self.written.entry(inode).or_insert(self.next.min(LAST));
            return Ok((self.file_time, number));
        }
        let number = match self.directories.get(&inode) {
            Some((at, number)) if *at == time => *number,
            _ => names()?,
        };
        self.directories.insert(inode, (time, number));
        Ok((self.file_time, number))
    }

    /// The number of a file that is about to be written.
    pub(super) fn number(&mut self) -> u32 {
        self.next = self.next.saturating_add(1).min(LAST);
        self.next - 1
    }

    /// Takes note that an inode was written as a number, if it was not as a later one.
    pub(super) fn wrote(&mut self, inode: u32, number: u32) {
        let written = self.written.entry(inode).or_default();
        *written = number.max(*written);
    }
}

/// A number that follows from the names in a directory, in whatever order the file system has them.
pub(super) fn of_names(path: &CStr) -> Result<u32, Failed> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = openat(CWD, path, flags, Mode::empty()).map_err(unresolved)?;
    let mut buffer = Vec::with_capacity(1 << 15);
    let mut raw = RawDir::new(&directory, buffer.spare_capacity_mut());
    let mut sum = 0_u64;
    while let Some(entry) = raw.next() {
        let entry = entry.map_err(unresolved)?;
        sum = sum.wrapping_add(word(entry.file_name().to_bytes()));
    }
    let room = u64::from(LAST - FIRST);
    Ok(FIRST + u32::try_from(sum % room).unwrap_or(0))
}

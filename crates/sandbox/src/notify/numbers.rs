//! Inode and device numbers that are the same in every run.
//!
//! An inode is numbered when it is first seen, by the path at which it is: neither what else was seen before nor the
//! file system is in its number, and it keeps it whatever its name becomes. A device is numbered by the place of its
//! mount among the sandbox's.
//!
//! What overlayfs calls a file of a lower layer changes when it is copied up, and once more when the kernel forgets
//! it; no directory of a lower layer can be renamed, so its path tells that it is still the same.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use crate::error::{During, Failure};
use crate::sys::RawStatx;

/// Device, number and time of birth (seconds, nanoseconds).
pub(super) type Identity = (u64, u64, (i64, u32));

/// The number of the first mount's device; the others follow.
const FIRST_DEVICE: u32 = 16;

/// Numbers below are not given: some programs know the first few.
const FIRST_INODE: u32 = 256;

/// What has been numbered.
#[derive(Default)]
pub(super) struct Numbers {
    /// When the step began: what is born later lies in the upper.
    start: (i64, u32),
    /// Devices by the kernel's number of the mount.
    devices: BTreeMap<u64, u32>,
    /// Numbers of inodes, and whether the last name of one was removed: another may come under its identity.
    inodes: BTreeMap<Identity, (u32, bool)>,
    given: BTreeSet<u32>,
    /// Numbers of what was first seen in a lower layer, by path.
    lower: BTreeMap<u64, u32>,
}

impl Numbers {
    /// Numbers the mounts that there are; the working directory is the host's /proc.
    pub(super) fn new(start: (i64, u32)) -> Result<Self, Failure> {
        let mounts = fs::read("self/mountinfo").during(|| "list the mounts".into())?;
        let mounts = String::from_utf8_lossy(&mounts);
        let mounts = mounts.lines().filter_map(|line| line.split(' ').next()?.parse().ok());
        // The kernel numbers mounts from the lowest number that is free, so they are taken as they lie there.
        let devices = mounts.zip(FIRST_DEVICE..).collect();
        Ok(Self { start, devices, ..Self::default() })
    }

    /// The number of the device that a mount is of.
    pub(super) fn device(&mut self, mount: u64) -> u32 {
        let next = FIRST_DEVICE + u32::try_from(self.devices.len()).unwrap_or(0);
        *self.devices.entry(mount).or_insert(next)
    }

    /// The number of an inode that has been seen.
    pub(super) fn get(&self, stat: &RawStatx) -> Option<u32> {
        let (number, gone) = self.inodes.get(&stat.inode())?;
        (!gone || stat.links() == 0).then_some(*number)
    }

    /// Numbers what is seen for the first time, at `path`.
    pub(super) fn give(&mut self, stat: &RawStatx, path: &[u8]) -> u32 {
        let inode = stat.inode();
        let key = key(path);
        if let Some(number) = self.lower.get(&key) {
            self.inodes.insert(inode, (*number, false));
            return *number;
        }
        let mut number = of_key(key);
        // Two of one path, one after the other, or two paths of one number.
        while !self.given.insert(number) {
            number = number.checked_add(1).unwrap_or(FIRST_INODE);
        }
        self.inodes.insert(inode, (number, false));
        // A link is broken when it is copied up: then the path is another file's.
        let alone = stat.links() == 1 || stat.is_directory();
        if stat.born() <= self.start && alone {
            self.lower.insert(key, number);
        }
        number
    }

    /// Takes note that an inode has no name any more, and that something else may come at this path. Its number is not
    /// given again.
    pub(super) fn forget(&mut self, inode: &Identity, path: &[u8]) {
        if let Some((_, gone)) = self.inodes.get_mut(inode) {
            *gone = true;
        }
        self.lower.remove(&key(path));
    }
}

/// The number of what lies at a path and has not been seen.
pub(super) fn of_path(path: &[u8]) -> u32 {
    of_key(key(path))
}

/// Stands for a path. What has none is `pipe:[4711]` to the kernel.
fn key(path: &[u8]) -> u64 {
    let name = match path.first() {
        Some(b'/') | None => path,
        Some(_) => path.split(|byte| *byte == b':').next().unwrap_or(path),
    };
    word(name)
}

/// A word that stands for a name.
pub(super) fn word(name: &[u8]) -> u64 {
    blake3::hash(name).as_bytes().first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// 32 bits: some formats have no more.
fn of_key(key: u64) -> u32 {
    let [a, b, c, d, ..] = key.to_le_bytes();
    u32::from_le_bytes([a, b, c, d]).max(FIRST_INODE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stat(inode: u64, born: i64) -> RawStatx {
        RawStatx::of(inode, (born, 0), 1)
    }

    #[test]
    fn numbers_follow_paths_and_are_never_given_twice() {
        let mut numbers = Numbers { start: (100, 0), ..Numbers::default() };
        let first = numbers.give(&stat(1, 200), b"/a");
        assert_eq!((first, numbers.get(&stat(1, 200))), (of_path(b"/a"), Some(first)));
        assert_eq!(numbers.give(&stat(2, 200), b"/a"), first + 1, "another one");
        let pipe = numbers.give(&stat(3, 0), b"pipe:[1]");
        numbers.forget(&stat(3, 0).inode(), b"pipe:[1]");
        assert_eq!(numbers.give(&stat(3, 0), b"pipe:[2]"), pipe + 1, "not again");
        assert_eq!((numbers.device(9), numbers.device(7), numbers.device(9)), (16, 17, 16));
    }

    #[test]
    fn what_is_copied_up_stays_the_same() {
        let mut numbers = Numbers { start: (100, 0), ..Numbers::default() };
        let number = numbers.give(&stat(1, 50), b"/a");
        assert_eq!(numbers.give(&stat(1, 200), b"/a"), number);
        assert_eq!(numbers.give(&stat(7, 200), b"/a"), number);
        numbers.forget(&stat(7, 200).inode(), b"/a");
        assert_ne!(numbers.give(&stat(7, 200), b"/a"), number);
        let linked = numbers.give(&RawStatx::of(2, (50, 0), 2), b"/b");
        assert_ne!(numbers.give(&stat(9, 200), b"/b"), linked);
    }
}

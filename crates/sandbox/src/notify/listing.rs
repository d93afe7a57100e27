//! Directories, listed in the order of their names' bytes.
//!
//! The first call on an open directory reads all of it and keeps the sorted list; the position of the open file
//! description, which threads, children and duplicated descriptors share, says which list and where in it:
//! `number << 24 | index`, in /proc `number << 14 | index`. So `telldir`, `seekdir` and `rewinddir` do what they do elsewhere.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{RawDir, SeekFrom, seek};
use rustix::io::Errno;

use super::changes::look;
use super::{Failed, Feature, Handled, Handler, Notifier, Reply, fell_back, numbers, on, unsigned};
use crate::filter::When;
use crate::sys::{self, Notification};

pub(super) const TABLE: &[Handler] = &[
    on(libc::SYS_getdents64, When::Always, Feature::Machine, getdents64),
    #[cfg(target_arch = "x86_64")]
    on(libc::SYS_getdents, When::Always, Feature::Machine, getdents),
];

/// How a position is made: bits of the index, and bits of the list's number. A directory of more entries voids the step;
/// numbers begin again, long after their lists are gone.
struct Position {
    index: u32,
    number: u32,
}

const POSITION: Position = Position { index: 24, number: 38 };

/// In /proc, where the kernel takes no more than 31 bits.
const POSITION_OF_PROC: Position = Position { index: 14, number: 17 };

/// Lists that are kept at most: a program that jumps back into an older one finds the directory read anew.
const KEPT: usize = 1024;

/// Bytes that a caller gets at most in one call.
const MOST: usize = 1 << 20;

/// One entry of a directory.
struct Entry {
    inode: u64,
    /// `DT_*`.
    kind: u8,
    name: Vec<u8>,
}

/// Sorted lists by number, from 1: position 0 is where every directory begins.
#[derive(Default)]
pub(super) struct Listings {
    /// By whether they are of /proc, and number.
    lists: BTreeMap<(bool, u64), Vec<Entry>>,
    /// The numbers in the order of reading, and the last of each kind.
    order: VecDeque<(bool, u64)>,
    last: [u64; 2],
}

/// How an entry is laid out.
#[derive(Clone, Copy)]
enum Layout {
    /// `struct linux_dirent64`: the kind before the name.
    Wide,
    /// `struct linux_dirent`: the kind in the last byte.
    Old,
}

fn getdents64(notifier: &mut Notifier, call: &Notification) -> Handled {
    list(notifier, call, Layout::Wide)
}

#[cfg(target_arch = "x86_64")]
fn getdents(notifier: &mut Notifier, call: &Notification) -> Handled {
    list(notifier, call, Layout::Old)
}

fn list(notifier: &mut Notifier, call: &Notification, layout: Layout) -> Handled {
    let [fd, address, room, ..] = call.args;
    let room = usize::try_from(unsigned(room)).unwrap_or(MOST).min(MOST);
    let directory = match sys::borrow_fd(call.pid, unsigned(fd)) {
        Ok(directory) => directory,
        // No such descriptor: the kernel says so itself.
        Err(error) if error.raw_os_error() == Some(libc::EBADF) => return Err(Failed::Unresolved),
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => return Err(Failed::Gone),
        Err(error) => return Err(fell_back("the order of a directory", error)),
    };
    notifier.still_there(call)?;
    let Ok(position) = seek(&directory, SeekFrom::Current(0)) else {
        return Err(Failed::Unresolved); // no directory
    };
    let of_proc = rustix::fs::fstatfs(&directory)?.f_type == libc::PROC_SUPER_MAGIC;
    let Position { index: bits, number: most } = if of_proc { POSITION_OF_PROC } else { POSITION };
    let (mut number, mut index) = (position >> bits, position & ((1 << bits) - 1));
    if !notifier.listings.lists.contains_key(&(of_proc, number)) {
        if number == 0 {
            index = 0;
        }
        let Some(mut entries) = read(&directory)? else { return Err(Failed::Unresolved) };
        if entries.len() >= 1 << bits {
            return Err(fell_back("the order of a directory", "it has too many entries"));
        }
        if notifier.times.is_some() {
            notifier.number(&directory, &mut entries)?;
        }
        number = notifier.listings.keep(entries, of_proc, most);
    }
    let entries = &notifier.listings.lists[&(of_proc, number)];
    let mut bytes = Vec::new();
    let first = usize::try_from(index).unwrap_or(usize::MAX);
    for entry in entries.iter().skip(first) {
        let next = number << bits | (index + 1);
        if !entry.put(&mut bytes, next, layout, room) {
            break;
        }
        index += 1;
    }
    if bytes.is_empty() && first < entries.len() {
        return Err(Failed::Errno(libc::EINVAL)); // not even one fits
    }
    seek(&directory, SeekFrom::Start(number << bits | index))
        .map_err(|error| fell_back("the order of a directory", error))?;
    let value = i64::try_from(bytes.len()).unwrap_or(0);
    Ok(Reply::Write { address, bytes, value })
}

impl Notifier {
    /// Gives entries the numbers that stat gives.
    fn number(&mut self, directory: &OwnedFd, entries: &mut [Entry]) -> Result<(), Failed> {
        let flags = libc::AT_SYMLINK_NOFOLLOW | libc::AT_NO_AUTOMOUNT;
        for entry in entries {
            let Ok(name) = CString::new(&*entry.name) else { continue };
            let path = |notifier: &Self| notifier.path_in(directory, &name);
            let number = match look(directory.as_fd(), &name, flags) {
                Ok(stat) => self.numbered(&stat, path)?,
                // It has gone since: the number that it would have been given.
                Err(_) => numbers::of_path(&path(self)?),
            };
            entry.inode = number.into();
        }
        Ok(())
    }
}

impl Listings {
    fn keep(&mut self, entries: Vec<Entry>, of_proc: bool, bits: u32) -> u64 {
        let last = &mut self.last[usize::from(of_proc)];
        *last = (*last % ((1 << bits) - 1)) + 1;
        let key = (of_proc, *last);
        self.lists.insert(key, entries);
        self.order.push_back(key);
        if self.order.len() > KEPT
            && let Some(oldest) = self.order.pop_front()
        {
            self.lists.remove(&oldest);
        }
        key.1
    }
}

/// All entries of a directory, sorted; none if it is no directory.
fn read(directory: &OwnedFd) -> Result<Option<Vec<Entry>>, Failed> {
    seek(directory, SeekFrom::Start(0))?;
    let mut buffer = Vec::with_capacity(1 << 16);
    let mut raw = RawDir::new(directory, buffer.spare_capacity_mut());
    let mut entries = Vec::new();
    while let Some(entry) = raw.next() {
        let entry = match entry {
            Err(Errno::NOTDIR) => return Ok(None),
            other => other?,
        };
        // DT_* are the top bits of S_IF*.
        let kind = u8::try_from(entry.file_type().as_raw_mode() >> 12).unwrap_or(0);
        entries.push(Entry {
            inode: entry.ino(),
            kind,
            name: entry.file_name().to_bytes().to_vec(),
        });
    }
    entries.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(Some(entries))
}

/// Bytes of an entry before its name and its kind: inode, position, length.
const HEAD: usize = 18;

impl Entry {
    /// Appends it, if it fits into `room`.
    fn put(&self, to: &mut Vec<u8>, next: u64, layout: Layout, room: usize) -> bool {
        let begin = to.len();
        // The name, the zero behind it and the kind, wherever that is; a multiple of a word.
        let size = (HEAD + self.name.len() + 2).next_multiple_of(8);
        if begin + size > room {
            return false;
        }
        to.extend(self.inode.to_ne_bytes());
        to.extend(next.to_ne_bytes());
        to.extend(u16::try_from(size).unwrap_or(u16::MAX).to_ne_bytes());
        if let Layout::Wide = layout {
            to.push(self.kind);
        }
        to.extend(&self.name);
        to.resize(begin + size, 0);
        if let Layout::Old = layout {
            to[begin + size - 1] = self.kind;
        }
        true
    }
}

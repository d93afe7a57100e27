//! What a step does to its files, for as much as their times and numbers depend on it.
//!
//! The kernel makes, writes and removes files itself. What came of it is seen at the next call that we answer: before
//! that nobody can have asked.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use libc::{AT_EMPTY_PATH, AT_SYMLINK_NOFOLLOW};
use rustix::fs::{CWD, readlinkat};

use super::create::split;
use super::numbers::Identity;
use super::place::{HERE, Place, open_path};
use super::stat::path_of;
use super::{
    Failed, Feature, Handled, Handler, Notifier, Reply, fell_back, on, unresolved, unsigned,
};
use crate::filter::When;
use crate::sys::{self, Notification, RawStatx};

/// Calls that give a file the present time, another name, or an end.
pub(super) const TABLE: &[Handler] = &[
    #[cfg(target_arch = "x86_64")]
    on(libc::SYS_utime, When::Always, Feature::Stat, touch),
    #[cfg(target_arch = "x86_64")]
    on(libc::SYS_utimes, When::Always, Feature::Stat, touch),
    #[cfg(target_arch = "x86_64")]
    on(libc::SYS_futimesat, When::Always, Feature::Stat, touch_at),
    on(libc::SYS_utimensat, When::Always, Feature::Stat, touch_at),
    on(libc::SYS_truncate, When::Always, Feature::Stat, truncate),
    #[cfg(target_arch = "x86_64")]
    on(libc::SYS_rename, When::Always, Feature::Stat, rename),
    on(libc::SYS_renameat, When::Always, Feature::Stat, rename_at),
    on(libc::SYS_renameat2, When::Always, Feature::Stat, rename_at),
    #[cfg(target_arch = "x86_64")]
    on(libc::SYS_link, When::Always, Feature::Stat, seen),
    on(libc::SYS_linkat, When::Always, Feature::Stat, seen),
    #[cfg(target_arch = "x86_64")]
    on(libc::SYS_unlink, When::Always, Feature::Stat, unlink),
    #[cfg(target_arch = "x86_64")]
    on(libc::SYS_rmdir, When::Always, Feature::Stat, unlink),
    on(libc::SYS_unlinkat, When::Always, Feature::Stat, unlink_at),
];

/// What may wait to be seen; beyond, the oldest never came to be.
const WAITING: usize = 64;

/// What a thread is about to do to a name.
pub(super) struct Expected {
    thread: u32,
    directory: OwnedFd,
    name: CString,
    what: What,
}

/// What becomes of it.
enum What {
    /// Something is there then, written as this number; a last link is followed or, with these flags, not.
    Made(u32, i32),
    /// This is gone then.
    Gone(Identity),
}

impl Notifier {
    /// Takes note that the caller is about to write to what `place` leads to, or to make it.
    pub(super) fn writes(&mut self, call: &Notification, place: &Place) -> Result<(), Failed> {
        let Some(times) = &mut self.times else { return Ok(()) };
        let number = times.number();
        let Ok(stat) = look(CWD, &place.path, 0) else {
            return self.expect(call, &place.path, What::Made(number, 0));
        };
        let inode = self.numbered(&stat, |notifier| path_of(notifier, place, true))?;
        self.wrote(inode, number);
        Ok(())
    }

    /// Takes note that the caller is about to make what is no file, at `place`.
    pub(super) fn makes(&mut self, call: &Notification, place: &Place) -> Result<(), Failed> {
        let Some(times) = &mut self.times else { return Ok(()) };
        let number = times.number();
        self.expect(call, &place.path, What::Made(number, AT_SYMLINK_NOFOLLOW))
    }

    fn wrote(&mut self, inode: u32, number: u32) {
        if let Some(times) = &mut self.times {
            times.wrote(inode, number);
        }
    }

    /// Takes note that the name at `place` is about to go.
    fn loses(&mut self, call: &Notification, place: &Place) -> Result<(), Failed> {
        match look(CWD, &place.path, AT_SYMLINK_NOFOLLOW) {
            Ok(stat) if stat.links() <= 1 || stat.is_directory() => {
                self.expect(call, &place.path, What::Gone(stat.inode()))
            }
            // Nothing is there, or it has other names.
            _ => Ok(()),
        }
    }

    fn expect(&mut self, call: &Notification, path: &CStr, what: What) -> Result<(), Failed> {
        let (directory, name) = split(path);
        // A directory that is not there, or is none: nothing comes of the call.
        let directory = open_path(&directory).map_err(unresolved)?;
        self.expected.push(Expected { thread: call.pid, directory, name, what });
        Ok(())
    }

    /// Looks what has come of what was expected; `thread` is past what it did before.
    pub(super) fn settle(&mut self, thread: u32) -> Result<(), Failed> {
        if self.expected.len() > WAITING {
            self.expected.remove(0);
        }
        for expected in std::mem::take(&mut self.expected) {
            let Expected { directory, name, what, .. } = &expected;
            let happened = match *what {
                What::Made(number, flags) => match look(directory.as_fd(), name, flags) {
                    Ok(stat) => {
                        let path = |notifier: &Self| notifier.path_in(directory, name);
                        let inode = self.numbered(&stat, path)?;
                        self.wrote(inode, number);
                        true
                    }
                    Err(_) => false,
                },
                What::Gone(inode) => {
                    let found = look(directory.as_fd(), name, AT_SYMLINK_NOFOLLOW);
                    let gone = found.map_or(true, |stat| stat.inode() != inode);
                    if gone {
                        let path = self.path_in(directory, name)?;
                        self.numbers.forget(&inode, &path);
                    }
                    gone
                }
            };
            if !happened && expected.thread != thread {
                self.expected.push(expected);
            }
        }
        Ok(())
    }

    /// The number of an inode, which lies at `path` if it is seen for the first time.
    pub(super) fn numbered(
        &mut self,
        stat: &RawStatx,
        path: impl FnOnce(&Self) -> Result<Vec<u8>, Failed>,
    ) -> Result<u32, Failed> {
        if let Some(number) = self.numbers.get(stat) {
            return Ok(number);
        }
        let path = path(self)?;
        Ok(self.numbers.give(stat, &path))
    }

    /// The path of a name in an open directory.
    pub(super) fn path_in(&self, directory: &OwnedFd, name: &CStr) -> Result<Vec<u8>, Failed> {
        let own = format!("self/fd/{}", directory.as_raw_fd());
        let path = readlinkat(&*self.host_proc, own, Vec::new());
        let mut path = path.map_err(|e| fell_back("the number of a file", e))?.into_bytes();
        match name.to_bytes() {
            b"." => {}
            b".." => path.truncate(path.iter().rposition(|byte| *byte == b'/').unwrap_or(0).max(1)),
            name => {
                if !path.ends_with(b"/") {
                    path.push(b'/');
                }
                path.extend_from_slice(name);
            }
        }
        Ok(path)
    }
}

/// What a path names.
pub(super) fn look(
    directory: BorrowedFd<'_>,
    path: &CStr,
    flags: i32,
) -> std::io::Result<RawStatx> {
    let wanted = libc::STATX_BASIC_STATS | libc::STATX_BTIME;
    sys::statx_at(directory, path, flags, wanted)
}

#[cfg(target_arch = "x86_64")]
fn touch(notifier: &mut Notifier, call: &Notification) -> Handled {
    if call.args[1] == 0 {
        let place = notifier.place(call, HERE, call.args[0], 0)?;
        notifier.writes(call, &place)?;
    }
    Ok(Reply::Continue)
}

/// `UTIME_NOW`, in the place of nanoseconds.
const UTIME_NOW: i64 = (1 << 30) - 1;

fn touch_at(notifier: &mut Notifier, call: &Notification) -> Handled {
    let [directory, path, times, ..] = call.args;
    let mut now = times == 0;
    if call.nr == libc::SYS_utimensat && !now {
        // The nanoseconds of the second of two times.
        let mut bytes = [0; 8];
        notifier.read(call, times.wrapping_add(24), &mut bytes)?;
        now = i64::from_ne_bytes(bytes) == UTIME_NOW;
    }
    if now {
        // Without a path it is the descriptor itself.
        let flags = if path == 0 { AT_EMPTY_PATH } else { 0 };
        let place = notifier.place(call, directory, path, flags)?;
        notifier.writes(call, &place)?;
    }
    Ok(Reply::Continue)
}

fn truncate(notifier: &mut Notifier, call: &Notification) -> Handled {
    let place = notifier.place(call, HERE, call.args[0], 0)?;
    notifier.writes(call, &place)?;
    Ok(Reply::Continue)
}

/// What was done before has been looked at before we came here.
#[expect(clippy::unnecessary_wraps, reason = "all handlers of the table have one type")]
pub(super) fn seen(_: &mut Notifier, _: &Notification) -> Handled {
    Ok(Reply::Continue)
}

#[cfg(target_arch = "x86_64")]
fn rename(notifier: &mut Notifier, call: &Notification) -> Handled {
    gone(notifier, call, HERE, call.args[1])
}

fn rename_at(notifier: &mut Notifier, call: &Notification) -> Handled {
    if call.nr == libc::SYS_renameat2 && unsigned(call.args[4]) & libc::RENAME_EXCHANGE != 0 {
        return seen(notifier, call);
    }
    gone(notifier, call, call.args[2], call.args[3])
}

#[cfg(target_arch = "x86_64")]
fn unlink(notifier: &mut Notifier, call: &Notification) -> Handled {
    gone(notifier, call, HERE, call.args[0])
}

fn unlink_at(notifier: &mut Notifier, call: &Notification) -> Handled {
    gone(notifier, call, call.args[0], call.args[1])
}

fn gone(notifier: &mut Notifier, call: &Notification, directory: u64, path: u64) -> Handled {
    let place = notifier.place(call, directory, path, AT_SYMLINK_NOFOLLOW)?;
    notifier.loses(call, &place)?;
    Ok(Reply::Continue)
}

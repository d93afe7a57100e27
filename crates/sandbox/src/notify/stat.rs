//! The stat family: what the kernel says, with the recorded owner and the recorded device, and where it is to be the
//! same in every run with times, numbers and sizes that are.

use std::os::fd::AsRawFd;

use rustix::fs::{CWD, Mode, OFlags, openat, readlinkat};

#[cfg(target_arch = "x86_64")]
use super::place::HERE;
use super::place::{Place, fd_place};
use super::records::Records;
use super::{
    Failed, Feature, Handled, Handler, Notifier, Reply, int, on, times, unresolved, unsigned,
};
use crate::filter::When;
use crate::ids::Ids;
use crate::sys::{self, Notification, RawStatx};

use libc::{AT_NO_AUTOMOUNT, AT_STATX_SYNC_TYPE, AT_SYMLINK_NOFOLLOW};

pub(super) const TABLE: &[Handler] = &[
    #[cfg(target_arch = "x86_64")]
    on(libc::SYS_stat, When::Always, Feature::Ownership, stat),
    #[cfg(target_arch = "x86_64")]
    on(libc::SYS_lstat, When::Always, Feature::Ownership, lstat),
    on(libc::SYS_fstat, When::Always, Feature::Ownership, fstat),
    on(libc::SYS_newfstatat, When::Always, Feature::Ownership, newfstatat),
    on(libc::SYS_statx, When::Always, Feature::Ownership, statx),
    #[cfg(target_arch = "x86_64")]
    on(libc::SYS_stat, When::Always, Feature::Stat, stat),
    #[cfg(target_arch = "x86_64")]
    on(libc::SYS_lstat, When::Always, Feature::Stat, lstat),
    on(libc::SYS_fstat, When::Always, Feature::Stat, fstat),
    on(libc::SYS_newfstatat, When::Always, Feature::Stat, newfstatat),
    on(libc::SYS_statx, When::Always, Feature::Stat, statx),
];

/// Flags that there are.
const FLAGS: i32 = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | libc::AT_EMPTY_PATH;

/// What the kernel is asked for each time.
const WANTED: u32 = libc::STATX_BASIC_STATS | libc::STATX_BTIME | libc::STATX_MNT_ID;

#[cfg(target_arch = "x86_64")]
fn stat(notifier: &mut Notifier, call: &Notification) -> Handled {
    let place = notifier.place(call, HERE, call.args[0], 0)?;
    describe(notifier, &place, 0, call.args[1])
}

#[cfg(target_arch = "x86_64")]
fn lstat(notifier: &mut Notifier, call: &Notification) -> Handled {
    let place = notifier.place(call, HERE, call.args[0], AT_SYMLINK_NOFOLLOW)?;
    describe(notifier, &place, AT_SYMLINK_NOFOLLOW, call.args[1])
}

fn fstat(notifier: &mut Notifier, call: &Notification) -> Handled {
    describe(notifier, &fd_place(call, call.args[0]), 0, call.args[1])
}

fn newfstatat(notifier: &mut Notifier, call: &Notification) -> Handled {
    let flags = int(call.args[3]);
    if flags & !FLAGS != 0 {
        return Ok(Reply::Continue); // EINVAL
    }
    let place = notifier.place(call, call.args[0], call.args[1], flags)?;
    describe(notifier, &place, flags, call.args[2])
}

fn describe(notifier: &mut Notifier, place: &Place, flags: i32, address: u64) -> Handled {
    let Some(stat) = look(notifier, place, flags, WANTED)? else { return Ok(Reply::Continue) };
    Ok(Reply::Write { address, bytes: stat.to_stat().bytes().to_vec(), value: 0 })
}

fn statx(notifier: &mut Notifier, call: &Notification) -> Handled {
    let [dirfd, path, flags, mask, address, _] = call.args;
    let (flags, mask) = (int(flags), unsigned(mask));
    if flags & !(FLAGS | AT_STATX_SYNC_TYPE) != 0 {
        return Ok(Reply::Continue); // EINVAL
    }
    let place = notifier.place(call, dirfd, path, flags)?;
    let Some(stat) = look(notifier, &place, flags, mask)? else { return Ok(Reply::Continue) };
    Ok(Reply::Write { address, bytes: stat.bytes().to_vec(), value: 0 })
}

/// What a step sees of what `place` leads to; none where the kernel's answer is right.
fn look(
    notifier: &mut Notifier,
    place: &Place,
    flags: i32,
    mask: u32,
) -> Result<Option<RawStatx>, Failed> {
    // An empty path names the descriptor itself.
    let follow = flags & AT_SYMLINK_NOFOLLOW == 0 || place.descriptor;
    let nofollow = if follow { 0 } else { AT_SYMLINK_NOFOLLOW };
    let kept = nofollow | (flags & (AT_NO_AUTOMOUNT | AT_STATX_SYNC_TYPE));
    let fixed = notifier.times.is_some();
    let asked = if fixed { mask | WANTED } else { mask };
    let mut stat = sys::statx_at(CWD, &place.path, kept, asked).map_err(unresolved)?;
    let of_proc = place.by_proc && stat.device() == notifier.proc_device;
    if of_proc && !fixed {
        return Ok(None); // a file of /proc itself: the kernel's owner is right
    }
    if notifier.ids == Ids::Notify && !of_proc {
        let (uid, gid) = notifier.records.owner(place.at(), follow, stat.mode(), stat.owner())?;
        stat.set_owner(uid, gid);
    }
    if notifier.ids != Ids::Full
        && stat.mode() & libc::S_IFMT == libc::S_IFREG
        && stat.size() == 0
        && let Some((kind, major, minor)) = Records::device(&place.path)?
    {
        stat.set_device(kind, major, minor);
    }
    if !fixed {
        return Ok(Some(stat));
    }
    let inode = notifier.numbered(&stat, |notifier| path_of(notifier, place, follow))?;
    let device = notifier.numbers.device(stat.mount());
    let of_proc = of_proc || stat.device() == notifier.sandbox_proc;
    let time = match &mut notifier.times {
        Some(times) if of_proc => times.standing(),
        Some(times) => times.shown(&stat, inode, || times::of_names(&place.path))?,
        None => stat.modified(),
    };
    Ok(Some(stat.face(time, inode, device, mask)))
}

/// Where a place is, as the step would say.
pub(super) fn path_of(notifier: &Notifier, place: &Place, follow: bool) -> Result<Vec<u8>, Failed> {
    let text = place.path.to_bytes();
    if place.by_proc {
        let rest =
            text.iter().position(|byte| *byte == b'/').map_or(b"".as_slice(), |at| &text[at..]);
        return Ok([b"/proc/self".as_slice(), rest].concat());
    }
    let named = if place.descriptor {
        readlinkat(CWD, &place.path, Vec::new())
    } else {
        let nofollow = if follow { OFlags::empty() } else { OFlags::NOFOLLOW };
        let flags = OFlags::PATH | OFlags::CLOEXEC | nofollow;
        let fd = openat(CWD, &place.path, flags, Mode::empty()).map_err(unresolved)?;
        let own = format!("self/fd/{}", fd.as_raw_fd());
        readlinkat(&*notifier.host_proc, own, Vec::new())
    };
    Ok([&place.root, named.map_err(unresolved)?.to_bytes()].concat())
}

//! The stat family: what the kernel says, with the recorded owner and the recorded device.

use super::place::{Place, fd_place};
use super::records::Records;
use super::{Feature, Handled, Handler, Notifier, Reply, int, on, unresolved, unsigned};
use crate::filter::When;
use crate::sys::{self, Notification};

use libc::{AT_NO_AUTOMOUNT, AT_STATX_SYNC_TYPE, AT_SYMLINK_NOFOLLOW};

pub(super) const TABLE: &[Handler] = &[
    #[cfg(target_arch = "x86_64")]
    on(libc::SYS_stat, When::Always, Feature::Ownership, stat),
    #[cfg(target_arch = "x86_64")]
    on(libc::SYS_lstat, When::Always, Feature::Ownership, lstat),
    on(libc::SYS_fstat, When::Always, Feature::Ownership, fstat),
    on(libc::SYS_newfstatat, When::Always, Feature::Ownership, newfstatat),
    on(libc::SYS_statx, When::Always, Feature::Ownership, statx),
];

#[cfg(target_arch = "x86_64")]
const CWD: u64 = libc::AT_FDCWD.cast_unsigned() as u64;

#[cfg(target_arch = "x86_64")]
fn stat(notifier: &mut Notifier, call: &Notification) -> Handled {
    let place = notifier.place(call, CWD, call.args[0], 0)?;
    describe(notifier, &place, 0, call.args[1])
}

#[cfg(target_arch = "x86_64")]
fn lstat(notifier: &mut Notifier, call: &Notification) -> Handled {
    let place = notifier.place(call, CWD, call.args[0], 0)?;
    describe(notifier, &place, AT_SYMLINK_NOFOLLOW, call.args[1])
}

fn fstat(notifier: &mut Notifier, call: &Notification) -> Handled {
    describe(notifier, &fd_place(call, call.args[0]), 0, call.args[1])
}

fn newfstatat(notifier: &mut Notifier, call: &Notification) -> Handled {
    let flags = int(call.args[3]);
    let place = notifier.place(call, call.args[0], call.args[1], flags)?;
    describe(notifier, &place, flags, call.args[2])
}

/// Whether the caller's flags keep a last link unfollowed. An empty path names the descriptor itself.
fn follows(place: &Place, flags: i32) -> bool {
    flags & AT_SYMLINK_NOFOLLOW == 0 || place.descriptor
}

fn describe(notifier: &Notifier, place: &Place, flags: i32, address: u64) -> Handled {
    let follow = follows(place, flags);
    let nofollow = if follow { 0 } else { AT_SYMLINK_NOFOLLOW };
    let mut stat =
        sys::stat_at(&place.path, nofollow | (flags & AT_NO_AUTOMOUNT)).map_err(unresolved)?;
    if place.by_proc && stat.device() == notifier.proc_device {
        return Ok(Reply::Continue); // a file of /proc itself: the kernel's owner is right
    }
    let (uid, gid) = notifier.records.owner(place.at(), follow, stat.mode(), stat.owner())?;
    stat.set_owner(uid, gid);
    if stat.mode() & libc::S_IFMT == libc::S_IFREG
        && stat.size() == 0
        && let Some((kind, major, minor)) = Records::device(&place.path)?
    {
        stat.set_device(kind, major, minor);
    }
    Ok(Reply::Write { address, bytes: stat.bytes().to_vec(), value: 0 })
}

fn statx(notifier: &mut Notifier, call: &Notification) -> Handled {
    let [dirfd, path, flags, mask, address, _] = call.args;
    let flags = int(flags);
    let place = notifier.place(call, dirfd, path, flags)?;
    let follow = follows(&place, flags);
    let nofollow = if follow { 0 } else { AT_SYMLINK_NOFOLLOW };
    let kept = flags & (AT_NO_AUTOMOUNT | AT_STATX_SYNC_TYPE);
    let mut stat = sys::statx_at(rustix::fs::CWD, &place.path, nofollow | kept, unsigned(mask))
        .map_err(unresolved)?;
    if place.by_proc && stat.device() == notifier.proc_device {
        return Ok(Reply::Continue);
    }
    let (uid, gid) = notifier.records.owner(place.at(), follow, stat.mode(), stat.owner())?;
    stat.set_owner(uid, gid);
    if stat.mode() & libc::S_IFMT == libc::S_IFREG
        && stat.size() == 0
        && let Some((kind, major, minor)) = Records::device(&place.path)?
    {
        stat.set_device(kind, major, minor);
    }
    Ok(Reply::Write { address, bytes: stat.bytes().to_vec(), value: 0 })
}

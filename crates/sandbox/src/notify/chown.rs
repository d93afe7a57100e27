//! The chown family: the kernel changes what it can, the record holds the rest.

use rustix::fs::{AtFlags, CWD, Gid, Uid, chownat};

#[cfg(target_arch = "x86_64")]
use super::place::HERE;
use super::place::{Place, fd_place};
use super::{Failed, Feature, Handled, Handler, Notifier, Reply, int, on, unresolved, unsigned};
use crate::filter::When;
use crate::sys::{self, Notification};

pub(super) const TABLE: &[Handler] = &[
    #[cfg(target_arch = "x86_64")]
    on(libc::SYS_chown, When::Always, Feature::Ownership, chown),
    #[cfg(target_arch = "x86_64")]
    on(libc::SYS_lchown, When::Always, Feature::Ownership, lchown),
    on(libc::SYS_fchown, When::Always, Feature::Ownership, fchown),
    on(libc::SYS_fchownat, When::Always, Feature::Ownership, fchownat),
];

#[cfg(target_arch = "x86_64")]
fn chown(notifier: &mut Notifier, call: &Notification) -> Handled {
    let place = notifier.place(call, HERE, call.args[0], 0)?;
    change(notifier, call, &place, true, [call.args[1], call.args[2]])
}

#[cfg(target_arch = "x86_64")]
fn lchown(notifier: &mut Notifier, call: &Notification) -> Handled {
    let place = notifier.place(call, HERE, call.args[0], 0)?;
    change(notifier, call, &place, false, [call.args[1], call.args[2]])
}

fn fchown(notifier: &mut Notifier, call: &Notification) -> Handled {
    let place = fd_place(call, call.args[0]);
    change(notifier, call, &place, true, [call.args[1], call.args[2]])
}

fn fchownat(notifier: &mut Notifier, call: &Notification) -> Handled {
    let [dirfd, path, uid, gid, flags, _] = call.args;
    let flags = int(flags);
    if flags & !(libc::AT_SYMLINK_NOFOLLOW | libc::AT_EMPTY_PATH) != 0 {
        return Err(Failed::Errno(libc::EINVAL));
    }
    let place = notifier.place(call, dirfd, path, flags)?;
    let follow = place.descriptor || flags & libc::AT_SYMLINK_NOFOLLOW == 0;
    change(notifier, call, &place, follow, [uid, gid])
}

fn change(
    notifier: &mut Notifier,
    call: &Notification,
    place: &Place,
    follow: bool,
    ids: [u64; 2],
) -> Handled {
    let (path, at) = (place.path.as_c_str(), place.at());
    let nofollow = if follow { 0 } else { libc::AT_SYMLINK_NOFOLLOW };
    let stat = sys::stat_at(path, nofollow).map_err(unresolved)?;
    let old = notifier.records.owner(at, follow, stat.mode(), stat.owner())?;
    let [uid, gid] = ids.map(unsigned);
    let new =
        (if uid == u32::MAX { old.0 } else { uid }, if gid == u32::MAX { old.1 } else { gid });
    let caller = notifier.credentials.of(call.pid)?;
    if !caller.may_chown(old, new) {
        return Err(Failed::Errno(libc::EPERM));
    }
    // The real call on our one id: copies up, changes ctime, clears setuid bits and capabilities.
    let root = ((uid != u32::MAX).then_some(Uid::ROOT), (gid != u32::MAX).then_some(Gid::ROOT));
    let flags = if follow { AtFlags::empty() } else { AtFlags::SYMLINK_NOFOLLOW };
    chownat(CWD, path, root.0, root.1, flags)?;
    if new != old || new != (0, 0) {
        notifier.records.record(at, follow, stat.mode(), new)?;
    }
    Ok(Reply::Value(0))
}

//! Keeps our records out of sight: no program reads, writes, lists or copies them.

use std::ffi::CString;

use rustix::fs::{listxattr, llistxattr};

use super::place::{HERE, Place, fd_place};
use super::records::{Records, carries};
use super::{Failed, Feature, Handled, Handler, Notifier, Reply, on, unresolved};
use crate::filter::When;
use crate::sys::{self, Notification, RawStat};
use crate::xattr::{OURS, grow, names};

pub(super) const TABLE: &[Handler] = &[
    on(libc::SYS_getxattr, When::Always, Feature::Devices, get),
    on(libc::SYS_lgetxattr, When::Always, Feature::Devices, get),
    on(libc::SYS_fgetxattr, When::Always, Feature::Devices, get),
    on(libc::SYS_removexattr, When::Always, Feature::Devices, change),
    on(libc::SYS_lremovexattr, When::Always, Feature::Devices, change),
    on(libc::SYS_fremovexattr, When::Always, Feature::Devices, change),
    on(libc::SYS_setxattr, When::Always, Feature::Devices, change),
    on(libc::SYS_lsetxattr, When::Always, Feature::Devices, change),
    on(libc::SYS_fsetxattr, When::Always, Feature::Devices, change),
    on(libc::SYS_listxattr, When::Always, Feature::Devices, list),
    on(libc::SYS_llistxattr, When::Always, Feature::Devices, list),
    on(libc::SYS_flistxattr, When::Always, Feature::Devices, list),
];

/// The file that the call is about.
fn file(notifier: &Notifier, call: &Notification) -> Result<Place, Failed> {
    match call.nr {
        libc::SYS_fgetxattr
        | libc::SYS_fsetxattr
        | libc::SYS_fremovexattr
        | libc::SYS_flistxattr => Ok(fd_place(call, call.args[0])),
        _ => notifier.place(call, HERE, call.args[0], 0),
    }
}

/// What the kernel says of that file.
fn described(place: &Place, call: &Notification) -> Result<RawStat, Failed> {
    let nofollow = match call.nr {
        libc::SYS_lgetxattr | libc::SYS_lsetxattr | libc::SYS_lremovexattr => {
            libc::AT_SYMLINK_NOFOLLOW
        }
        _ => 0,
    };
    sys::stat_at(&place.path, nofollow).map_err(unresolved)
}

/// The name of the attribute; where it cannot be read the kernel finds the same fault.
fn name(notifier: &Notifier, call: &Notification) -> Result<Vec<u8>, Failed> {
    match notifier.read_string(call, call.args[1]) {
        Err(Failed::Errno(_)) => Err(Failed::Unresolved),
        read => read,
    }
}

fn get(notifier: &mut Notifier, call: &Notification) -> Handled {
    if !name(notifier, call)?.starts_with(OURS) {
        return Ok(Reply::Continue);
    }
    described(&file(notifier, call)?, call)?;
    Err(Failed::Errno(libc::ENODATA))
}

/// Of our records nothing is there to be removed, and what is set is accepted and dropped, as the store drops what a
/// step sets under these names where we do not look. A device has no attributes of this kind, recorded or not.
fn change(notifier: &mut Notifier, call: &Notification) -> Handled {
    let name = name(notifier, call)?;
    if !name.starts_with(b"user.") {
        return Ok(Reply::Continue);
    }
    let place = file(notifier, call)?;
    let stat = described(&place, call)?;
    let regular = stat.mode() & libc::S_IFMT == libc::S_IFREG;
    if regular && stat.size() == 0 && Records::device(&place.path)?.is_some() {
        return Err(Failed::Errno(libc::EPERM));
    }
    if !name.starts_with(OURS) || !carries(stat.mode()) {
        return Ok(Reply::Continue);
    }
    match call.nr {
        libc::SYS_setxattr | libc::SYS_lsetxattr | libc::SYS_fsetxattr => Ok(Reply::Value(0)),
        _ => Err(Failed::Errno(libc::ENODATA)),
    }
}

fn list(notifier: &mut Notifier, call: &Notification) -> Handled {
    let [_, address, size, ..] = call.args;
    let place = file(notifier, call)?;
    let path: &CString = &place.path;
    let all = grow(|buffer| match call.nr {
        libc::SYS_llistxattr => llistxattr(path, buffer),
        _ => listxattr(path, buffer),
    });
    let all = all.map_err(unresolved)?;
    let mut shown = Vec::with_capacity(all.len());
    for name in names(&all).filter(|name| !name.starts_with(OURS)) {
        shown.extend_from_slice(name);
        shown.push(0);
    }
    let value = i64::try_from(shown.len()).unwrap_or(i64::MAX);
    match size {
        0 => Ok(Reply::Value(value)),
        size if size < shown.len() as u64 => Err(Failed::Errno(libc::ERANGE)),
        _ => Ok(Reply::Write { address, bytes: shown, value }),
    }
}

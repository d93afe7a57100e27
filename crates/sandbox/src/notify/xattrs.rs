//! Keeps our records out of sight: no program reads, writes, lists or copies them.

use std::ffi::CString;

use rustix::fs::{listxattr, llistxattr};

use super::place::fd_place;
use super::{Failed, Feature, Handled, Handler, Notifier, Reply, on};
use crate::filter::When;
use crate::sys::Notification;
use crate::xattr::{OURS, grow, names};

pub(super) const TABLE: &[Handler] = &[
    on(libc::SYS_getxattr, When::Always, Feature::Devices, absent),
    on(libc::SYS_lgetxattr, When::Always, Feature::Devices, absent),
    on(libc::SYS_fgetxattr, When::Always, Feature::Devices, absent),
    on(libc::SYS_removexattr, When::Always, Feature::Devices, absent),
    on(libc::SYS_lremovexattr, When::Always, Feature::Devices, absent),
    on(libc::SYS_fremovexattr, When::Always, Feature::Devices, absent),
    on(libc::SYS_setxattr, When::Always, Feature::Devices, ignored),
    on(libc::SYS_lsetxattr, When::Always, Feature::Devices, ignored),
    on(libc::SYS_fsetxattr, When::Always, Feature::Devices, ignored),
    on(libc::SYS_listxattr, When::Always, Feature::Devices, list),
    on(libc::SYS_llistxattr, When::Always, Feature::Devices, list),
    on(libc::SYS_flistxattr, When::Always, Feature::Devices, list),
];

fn is_ours(notifier: &Notifier, call: &Notification) -> Result<bool, Failed> {
    match notifier.read_string(call, call.args[1]) {
        Ok(name) => Ok(name.starts_with(OURS)),
        Err(Failed::Errno(_)) => Ok(false), // the kernel finds the same fault
        Err(other) => Err(other),
    }
}

fn absent(notifier: &mut Notifier, call: &Notification) -> Handled {
    if is_ours(notifier, call)? { Err(Failed::Errno(libc::ENODATA)) } else { Ok(Reply::Continue) }
}

/// Accepted and dropped, as the store drops what a step sets under this name where we do not look.
fn ignored(notifier: &mut Notifier, call: &Notification) -> Handled {
    if is_ours(notifier, call)? { Ok(Reply::Value(0)) } else { Ok(Reply::Continue) }
}

fn list(notifier: &mut Notifier, call: &Notification) -> Handled {
    let [file, address, size, ..] = call.args;
    let here = libc::AT_FDCWD.cast_unsigned().into();
    let place = match call.nr {
        libc::SYS_flistxattr => Ok(fd_place(call, file)),
        _ => notifier.place(call, here, file, 0),
    };
    let place = match place {
        Ok(place) => place,
        Err(Failed::Errno(_)) => return Ok(Reply::Continue),
        Err(other) => return Err(other),
    };
    let path: &CString = &place.path;
    let all = grow(|buffer| match call.nr {
        libc::SYS_llistxattr => llistxattr(path, buffer),
        _ => listxattr(path, buffer),
    });
    let Ok(all) = all else { return Ok(Reply::Continue) };
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

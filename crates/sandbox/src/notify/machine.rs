//! The machine that a step sees, if it sees the baseline's: kernel, processors, memory.

use super::place::{HERE, Place, fd_place};
use super::{Feature, Handled, Handler, Notifier, Reply, on, unresolved};
use crate::filter::When;
use crate::machine;
use crate::sys::Notification;

pub(super) const TABLE: &[Handler] = &[
    on(libc::SYS_uname, When::Always, Feature::Machine, uname),
    on(libc::SYS_sysinfo, When::Always, Feature::Machine, sysinfo),
    on(libc::SYS_sched_getaffinity, When::Always, Feature::Machine, affinity),
    on(libc::SYS_getcpu, When::Always, Feature::Machine, cpu),
    on(libc::SYS_statfs, When::Always, Feature::Machine, statfs),
    on(libc::SYS_fstatfs, When::Always, Feature::Machine, fstatfs),
];

#[expect(clippy::unnecessary_wraps, reason = "all handlers of the table have one type")]
fn uname(notifier: &mut Notifier, call: &Notification) -> Handled {
    Ok(Reply::Write { address: call.args[0], bytes: notifier.utsname.clone(), value: 0 })
}

#[expect(clippy::unnecessary_wraps, reason = "all handlers of the table have one type")]
fn sysinfo(_: &mut Notifier, call: &Notification) -> Handled {
    Ok(Reply::Write { address: call.args[0], bytes: machine::sysinfo(), value: 0 })
}

/// One word, as a kernel made for [`machine::MOST_CPUS`] processors gives.
fn affinity(notifier: &mut Notifier, call: &Notification) -> Handled {
    let [_, length, address, ..] = call.args;
    if length < 8 || length % 8 != 0 {
        return Err(super::Failed::Errno(libc::EINVAL));
    }
    let bytes = machine::affinity(notifier.cpus).to_ne_bytes().to_vec();
    Ok(Reply::Write { address, bytes, value: 8 })
}

/// Processor 0 of node 0.
fn cpu(notifier: &mut Notifier, call: &Notification) -> Handled {
    for address in [call.args[0], call.args[1]] {
        if address != 0 {
            notifier.write(call, address, &[0; 4])?;
        }
    }
    Ok(Reply::Value(0))
}

fn statfs(notifier: &mut Notifier, call: &Notification) -> Handled {
    let place = notifier.place(call, HERE, call.args[0], 0)?;
    file_system(&place, call.args[1])
}

fn fstatfs(_: &mut Notifier, call: &Notification) -> Handled {
    file_system(&fd_place(call, call.args[0]), call.args[1])
}

/// Its kind is the sandbox's; how large and how full it is, and its flags, are the machine's.
fn file_system(place: &Place, address: u64) -> Handled {
    let found = rustix::fs::statfs(&place.path).map_err(unresolved)?;
    let bytes = machine::file_system(found.f_type.cast_unsigned());
    Ok(Reply::Write { address, bytes, value: 0 })
}

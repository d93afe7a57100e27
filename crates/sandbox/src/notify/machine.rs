//! The machine that a step sees, if it sees the baseline's: kernel, processors, memory.

use super::{Feature, Handled, Handler, Notifier, Reply, on};
use crate::filter::When;
use crate::machine;
use crate::sys::Notification;

pub(super) const TABLE: &[Handler] = &[
    on(libc::SYS_uname, When::Always, Feature::Machine, uname),
    on(libc::SYS_sysinfo, When::Always, Feature::Machine, sysinfo),
    on(libc::SYS_sched_getaffinity, When::Always, Feature::Machine, affinity),
    on(libc::SYS_getcpu, When::Always, Feature::Machine, cpu),
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

//! Resource limits that are not what a step sees: the one that holds a process's credentials
//! ([`creds`](super::creds)), and those that the machine gives less of than the baseline says.

use super::{Feature, Handled, Handler, Notifier, Reply, on, unsigned};
use crate::filter::When;
use crate::sys::Notification;

const LOCKS: &[u32] = &[10]; // RLIMIT_LOCKS

/// The calls about limits, here for the one that holds credentials.
pub(super) const TABLE: &[Handler] = &[
    on(libc::SYS_getrlimit, When::Is(0, LOCKS), Feature::Ownership, get),
    on(libc::SYS_setrlimit, When::Is(0, LOCKS), Feature::Ownership, set),
    on(libc::SYS_prlimit64, When::Is(1, LOCKS), Feature::Ownership, get_and_set),
];

/// Soft and hard limit as the kernel writes them.
fn shown(notifier: &Notifier, resource: u64) -> Vec<u8> {
    let resource = unsigned(resource);
    let found = notifier.shown.iter().find(|shown| shown.resource == resource);
    let limit = found.map_or([u64::MAX; 2], |shown| shown.limit);
    limit.iter().flat_map(|number| number.to_ne_bytes()).collect()
}

#[expect(clippy::unnecessary_wraps, reason = "all handlers of the table have one type")]
fn get(notifier: &mut Notifier, call: &Notification) -> Handled {
    let [resource, address, ..] = call.args;
    Ok(Reply::Write { address, bytes: shown(notifier, resource), value: 0 })
}

/// Accepted and forgotten.
#[expect(clippy::unnecessary_wraps, reason = "all handlers of the table have one type")]
fn set(_: &mut Notifier, _: &Notification) -> Handled {
    Ok(Reply::Value(0))
}

#[expect(clippy::unnecessary_wraps, reason = "all handlers of the table have one type")]
fn get_and_set(notifier: &mut Notifier, call: &Notification) -> Handled {
    let [_, resource, _, address, ..] = call.args;
    match address {
        0 => Ok(Reply::Value(0)),
        _ => Ok(Reply::Write { address, bytes: shown(notifier, resource), value: 0 }),
    }
}

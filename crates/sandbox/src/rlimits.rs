//! The resource limits that a step sees: constants of the baseline, whatever the machine's are.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// A limit that a step sees and the machine does not give: the monitor answers for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    /// `RLIMIT_*`.
    pub(crate) resource: u32,
    /// Soft and hard limit.
    pub(crate) limit: [u64; 2],
}

/// `RLIM_INFINITY`.
const INFINITE: u64 = u64::MAX;

/// What a step sees, soft and hard.
const CONSTANTS: [(Resource, u64, u64); 16] = [
    (Resource::Core, 0, 0),
    (Resource::Nofile, 1024, 524_288),
    (Resource::Stack, 8 << 20, INFINITE),
    (Resource::Nproc, 32_768, 32_768),
    (Resource::Memlock, 8 << 20, 8 << 20),
    (Resource::Sigpending, 32_768, 32_768),
    (Resource::Msgqueue, 819_200, 819_200),
    (Resource::Nice, 0, 0),
    (Resource::Rtprio, 0, 0),
    (Resource::Rttime, INFINITE, INFINITE),
    (Resource::As, INFINITE, INFINITE),
    (Resource::Cpu, INFINITE, INFINITE),
    (Resource::Data, INFINITE, INFINITE),
    (Resource::Fsize, INFINITE, INFINITE),
    (Resource::Rss, INFINITE, INFINITE),
    (Resource::Locks, INFINITE, INFINITE),
];

/// Sets the limits of this process and of all that it starts, and returns those that cannot be had: only root of the
/// machine raises a hard limit, and some defaults grow with its memory.
pub(crate) fn set() -> io::Result<Vec<Shown>> {
    let mut short = Vec::new();
    for (resource, soft, hard) in CONSTANTS {
        let finite = |limit| (limit != INFINITE).then_some(limit);
        let wanted = Rlimit { current: finite(soft), maximum: finite(hard) };
        if setrlimit(resource, wanted).is_ok() {
            continue;
        }
        let ours = getrlimit(resource).maximum.unwrap_or(INFINITE);
        let most = |limit: u64| finite(limit.min(ours));
        setrlimit(resource, Rlimit { current: most(soft), maximum: most(hard) })?;
        short.push(Shown { resource: resource as u32, limit: [soft, hard] });
    }
    Ok(short)
}

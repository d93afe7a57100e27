//! What went to and came from a cache, counted.

use std::sync::atomic::{AtomicU64, Ordering};

/// What went to and came from a cache.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Metrics {
    /// Calls, each try counted.
    pub calls: u64,
    /// Records that were found.
    pub hits: u64,
    /// Records that were asked for and not there.
    pub misses: u64,
    /// Bytes that came.
    pub received: u64,
    /// Bytes that went.
    pub sent: u64,
    /// Calls that failed, after all tries.
    pub failed: u64,
}

/// The same while it goes on.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) calls: AtomicU64,
    pub(super) hits: AtomicU64,
    pub(super) misses: AtomicU64,
    pub(super) received: AtomicU64,
    pub(super) sent: AtomicU64,
    pub(super) failed: AtomicU64,
}

impl Counts {
    /// As it is now.
    pub(super) fn get(&self) -> Metrics {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let Self { calls, hits, misses, received, sent, failed } = self;
        Metrics {
            calls: get(calls),
            hits: get(hits),
            misses: get(misses),
            received: get(received),
            sent: get(sent),
            failed: get(failed),
        }
    }
}

/// Counts one, or so many.
pub(super) fn add(count: &AtomicU64, number: u64) {
    count.fetch_add(number, Ordering::Relaxed);
}

//! How long a cache is waited for.

use std::time::Duration;

/// How long a cache is waited for; the same for every backend.
#[derive(Debug, Clone)]
pub struct Patience {
    /// After this long without a word it is asked whether it is there at all.
    pub ask: Duration,
    /// After this long without a word, to that question either, it is off.
    pub dead: Duration,
    /// A call from which nothing is heard for this long is given up, even if the cache is there.
    pub stalled: Duration,
    /// How often a call that may pass is tried again.
    pub retries: u32,
    /// The wait before the first retry; the next ones double, each with up to half as much again at random.
    pub backoff: Duration,
    /// Calls in a row that fail before it is off.
    pub failures: u32,
    /// Calls at the same time.
    pub parallel: usize,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            ask: Duration::from_millis(700),
            dead: Duration::from_millis(1700),
            stalled: Duration::from_secs(20),
            retries: 2,
            backoff: Duration::from_millis(100),
            failures: 3,
            parallel: 16,
        }
    }
}

//! When to try again: later each time, as the server asks, and not in step with other processes.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use ureq::http::{HeaderMap, StatusCode, header};

/// The longest wait that a server may ask for.
const LONGEST_WAIT: Duration = Duration::from_mins(1);

/// Waits between tries.
#[derive(Debug)]
pub struct Waits {
    backoff: Duration,
    state: AtomicU64,
}

impl Waits {
    /// The first wait is `backoff`; `seed` differs from that of other processes.
    pub fn new(backoff: Duration, seed: u64) -> Self {
        Self { backoff, state: AtomicU64::new(seed) }
    }

    /// How long to wait before retry number `attempt`, from 1 on: as long as the server asked, or twice as long each
    /// time, and up to half as much again at random.
    pub fn time(&self, attempt: u32, after: Option<Duration>) -> Duration {
        let seed = self.state.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        let jitter = (seed ^ (seed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 54; // 0..1024
        let base =
            after.unwrap_or_else(|| self.backoff.saturating_mul(1 << (attempt.max(1) - 1).min(6)));
        let spread = base.mul_f64(f64::from(u32::try_from(jitter).unwrap_or(0)) / 2048.0);
        (base + spread).min(LONGEST_WAIT)
    }
}

/// Whether a server that answers so may answer otherwise later.
pub(crate) fn may_pass(status: StatusCode) -> bool {
    status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED
        || matches!(status.as_u16(), 408 | 425 | 429)
}

/// What `Retry-After` asks for: seconds, or a date, which is taken against the server's own clock.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let after = text(header::RETRY_AFTER)?;
    if let Ok(seconds) = after.parse() {
        return Some(Duration::from_secs(seconds).min(LONGEST_WAIT));
    }
    let date = |text| httpdate::parse_http_date(text).ok();
    date(after)?.duration_since(date(text(header::DATE)?)?).ok().map(|wait| wait.min(LONGEST_WAIT))
}

//! The parsers of what people and locks write, one entry point each, for fuzzers.

use reimage_castore::FuzzTarget;

use crate::{Lock, Mode, Platform, Size};

/// All parsers of this crate.
pub const FUZZ_TARGETS: &[FuzzTarget] = &[("lock", lock), ("words", words)];

/// What a lock says is what it would write, and reads back.
fn lock(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(lock) = Lock::parse(text) {
        assert_eq!(Lock::parse(&lock.render()), Ok(lock));
    }
}

/// A mode, a size, a platform.
fn words(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(mode) = text.parse::<Mode>() {
        assert!(mode.apply(0o644, false) <= 0o7777 && mode.apply(0o7777, true) <= 0o7777);
    }
    if let Ok(size) = text.parse::<Size>() {
        assert_eq!(size.to_string().parse(), Ok(size));
    }
    let _ = text.parse::<Platform>();
}

//! The parsers of what roots and memos say, one entry point each, for fuzzers.

use reimage_castore::FuzzTarget;

use crate::{TargetOutput, skeleton::Skeleton, users};

/// All parsers of this crate.
pub const FUZZ_TARGETS: &[FuzzTarget] =
    &[("passwd", passwd), ("memo", memo), ("skeleton", skeleton)];

/// Who is asked for, /etc/passwd and /etc/group, with a NUL between.
fn passwd(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut parts = text.splitn(3, '\0');
    let mut next = || parts.next().unwrap_or_default();
    if let Ok(user) = users::find(next(), next(), next()) {
        assert!(user.home.starts_with('/') && user.groups.is_sorted(), "{user:?}");
    }
}

/// What a lock bundle or a cache says of the layers of a base image.
fn skeleton(bytes: &[u8]) {
    if let Ok(skeleton) = Skeleton::decode(bytes) {
        assert_eq!(skeleton.encode(), bytes, "it has one encoding");
    }
}

/// What a target came to be, as it is remembered.
fn memo(bytes: &[u8]) {
    if let Ok(output) = serde_json::from_slice::<TargetOutput>(bytes) {
        let again = serde_json::to_vec(&output).expect("a record is strings and numbers");
        assert_eq!(serde_json::from_slice::<TargetOutput>(&again).ok(), Some(output));
    }
}

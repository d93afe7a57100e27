//! The parsers of the command line, one entry point each, for fuzzers.

use reimage_castore::FuzzTarget;

use crate::{FieldPath, Name, parse_arg, parse_set};

/// All parsers of this crate; Nickel's own is not among them.
pub const FUZZ_TARGETS: &[FuzzTarget] = &[("name", name), ("set", set)];

/// A path is shown as it can be written.
fn name(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(name) = text.parse::<Name>()
        && let Some(path) = name.path
    {
        assert_eq!(path.to_string().parse::<FieldPath>(), Ok(path));
    }
}

fn set(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let _ = parse_arg(text);
    if let Ok((path, at)) = parse_set(text) {
        assert!(text.is_char_boundary(at) && !path.is_pattern());
    }
}

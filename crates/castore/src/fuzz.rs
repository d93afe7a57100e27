//! The decoders of foreign bytes, one entry point each, for fuzzers.
//!
//! A decoder must end, must not panic, and must refuse every encoding but the one that it would write itself.

use std::fmt::Debug;

use crate::{Action, ActionResult, DecodeError, Diff, Patterns, Tree, TreePath};

/// A decoder by its name.
pub type FuzzTarget = (&'static str, fn(&[u8]));

/// All decoders of this crate; each panics if it takes what is not canonical.
pub const FUZZ_TARGETS: &[FuzzTarget] = &[
    ("tree", tree),
    ("diff", diff),
    ("action", action),
    ("result", result),
    ("patterns", patterns),
];

fn tree(bytes: &[u8]) {
    check(bytes, Tree::decode, Tree::encode);
    if let Ok(tree) = Tree::decode(bytes) {
        let diff = Diff::of_tree(&tree);
        assert_eq!(Diff::decode(&diff.encode()).as_ref(), Ok(&diff), "its diff is a diff");
    }
}

fn diff(bytes: &[u8]) {
    check(bytes, Diff::decode, Diff::encode);
    if let Ok(diff) = Diff::decode(bytes) {
        let mut tree = Tree::default();
        if diff.apply(&mut tree).is_ok() {
            assert_eq!(Tree::decode(&tree.encode()), Ok(tree), "what it makes is a tree");
        }
    }
}

fn action(bytes: &[u8]) {
    check(bytes, Action::decode, Action::encode);
}

fn result(bytes: &[u8]) {
    check(bytes, ActionResult::decode, ActionResult::encode);
}

/// The first line is a pattern, the second a path.
fn patterns(bytes: &[u8]) {
    let Some((pattern, path)) = std::str::from_utf8(bytes).ok().and_then(|t| t.split_once('\n'))
    else {
        return;
    };
    if let (Ok(patterns), Ok(path)) = (Patterns::new([pattern]), TreePath::new(path))
        && patterns.matches(&path)
    {
        for above in path.ancestors() {
            assert!(patterns.may_match_below(&above), "`{pattern}` is to be found below {above}");
        }
    }
}

fn check<T: Debug>(
    bytes: &[u8],
    decode: fn(&[u8]) -> Result<T, DecodeError>,
    encode: fn(&T) -> Vec<u8>,
) {
    if let Ok(value) = decode(bytes) {
        assert_eq!(encode(&value), bytes, "{value:?} has one encoding");
    }
}

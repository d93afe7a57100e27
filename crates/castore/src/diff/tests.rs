//! Diffs: canonical, and the difference of what they are the difference of.

use proptest::prelude::*;

use super::*;
use crate::tree::tests::any_tree;

#[test]
fn nothing_is_nothing() {
    let tree = Tree::default();
    assert!(Diff::between(&tree, &tree).is_empty());
    assert!(Diff::of_tree(&tree).is_empty());
}

#[test]
fn a_removed_directory_is_one_word() {
    let path = |p| TreePath::new(p).expect("a good path");
    let mut lower = Tree::default();
    lower.insert_deep(path("a/b/c"), Entry::file(Digest::EMPTY, 0)).expect("fits");
    let upper = Tree::default();
    let diff = Diff::between(&lower, &upper);
    assert_eq!(diff.iter().collect::<Vec<_>>(), [(&path("a"), &Change::Remove)]);
}

proptest! {
    #[test]
    fn applied_it_makes_the_upper(lower in any_tree(), upper in any_tree()) {
        let diff = Diff::between(&lower, &upper);
        let mut made = lower;
        diff.apply(&mut made)?;
        prop_assert_eq!(&made, &upper);
    }

    #[test]
    fn an_encoding_is_a_value(lower in any_tree(), upper in any_tree()) {
        let diff = Diff::between(&lower, &upper);
        prop_assert_eq!(Diff::decode(&diff.encode())?, diff);
    }

    #[test]
    fn only_the_canonical_encoding_decodes(tree in any_tree(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = Diff::of_tree(&tree).encode();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(decoded) = Diff::decode(&bytes) {
            prop_assert_eq!(decoded.encode(), bytes);
        }
    }
}

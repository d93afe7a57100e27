//! Debian version numbers, ordered as dpkg orders them.
//!
//! `deb-version(7)` in forty lines. The crate `debversion` orders alike, but parses each version with a regular
//! expression into three strings, with chrono and big integers behind it; an index has 60,000 versions.

use std::{cmp::Ordering, fmt};

/// A Debian version, `[epoch:]upstream[-revision]`, kept as it was written and ordered as dpkg orders it.
///
/// Two spellings of one version (`1.0`, `0:1.0-0`) are equal.
#[derive(Clone, Debug)]
pub struct DebVersion(Box<str>);

impl DebVersion {
    /// Takes a version as written. Whatever is written has a place in the order, as with dpkg's lenient comparison.
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// Returns the version as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Splits into epoch, upstream version and revision; an absent epoch or revision counts as `0`.
    fn parts(&self) -> (&str, &str, &str) {
        let (epoch, rest) = self.0.split_once(':').unwrap_or(("0", &self.0));
        let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, "0"));
        (epoch, upstream, revision)
    }
}

impl Ord for DebVersion {
    fn cmp(&self, other: &Self) -> Ordering {
        if self.0 == other.0 {
            return Ordering::Equal;
        }
        let ((epoch, upstream, revision), (epoch2, upstream2, revision2)) =
            (self.parts(), other.parts());
        compare(epoch.as_bytes(), epoch2.as_bytes())
            .then_with(|| compare(upstream.as_bytes(), upstream2.as_bytes()))
            .then_with(|| compare(revision.as_bytes(), revision2.as_bytes()))
    }
}

impl PartialOrd for DebVersion {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for DebVersion {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for DebVersion {}

impl fmt::Display for DebVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Compares one part: runs of other characters by their weight and runs of digits by their value, in turn.
fn compare(mut a: &[u8], mut b: &[u8]) -> Ordering {
    loop {
        loop {
            let (x, y) = (a.first().map_or(0, |&c| weight(c)), b.first().map_or(0, |&c| weight(c)));
            if x != y {
                return x.cmp(&y);
            }
            if x == 0 {
                break; // a digit or the end on both sides
            }
            (a, b) = (&a[1..], &b[1..]);
        }
        let (x, y) = (digits(&mut a), digits(&mut b));
        let order = x.len().cmp(&y.len()).then_with(|| x.cmp(y));
        if order.is_ne() || (a.is_empty() && b.is_empty()) {
            return order;
        }
    }
}

/// Returns the weight of a character outside numbers: `~` before the end, letters before all else.
fn weight(c: u8) -> i32 {
    match c {
        b'0'..=b'9' => 0,
        b'~' => -1,
        c if c.is_ascii_alphabetic() => i32::from(c),
        c => i32::from(c) + 256,
    }
}

/// Takes the run of digits in front, without leading zeros.
fn digits<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    let end = rest.iter().position(|c| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (run, tail) = rest.split_at(end);
    *rest = tail;
    let zeros = run.iter().take_while(|&&c| c == b'0').count();
    &run[zeros..]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn orders_as_the_manual_says() {
        let ascending = [
            "~~", "~~a", "~", "0", "0.a", "1.0~rc1", "1.0", "1.0-0.1", "1.0-1", "1.0-1+b1",
            "1.0-1.1", "1.0a", "1.0+", "1.0.1", "1.9", "1.10", "1:0.1", "10:0",
        ];
        for pair in ascending.windows(2) {
            assert!(DebVersion::new(pair[0]) < DebVersion::new(pair[1]), "{pair:?}");
        }
        for (a, b) in
            [("1.0", "0:1.0"), ("1.0", "1.0-0"), ("1.01", "1.1"), ("1.0-", "1.0"), ("000:1", "1")]
        {
            assert_eq!(DebVersion::new(a), DebVersion::new(b));
        }
    }

    #[test]
    fn numbers_have_no_bound() {
        assert!(
            DebVersion::new("1.99999999999999999999999999")
                < DebVersion::new("1.100000000000000000000000000")
        );
    }

    proptest! {
        #[test]
        fn is_a_total_order(texts in proptest::collection::vec("([0-9]:)?[0-9a-b~+.]{1,4}(-[0-9a~]{1,2})?", 3)) {
            let [a, b, c] = [0, 1, 2].map(|i| DebVersion::new(&texts[i]));
            prop_assert_eq!(a.cmp(&b), b.cmp(&a).reverse());
            if a <= b && b <= c {
                prop_assert!(a <= c);
            }
        }
    }
}

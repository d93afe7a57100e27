//! Sizes as people write them.

use std::{fmt, str::FromStr};

/// A number of bytes; `512m` and `2g` as docker counts them, in powers of 1024.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

/// Text that is no size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a size such as `512m` or `2g`")]
pub struct NotASize;

const UNITS: [(&str, u32); 5] = [("t", 40), ("g", 30), ("m", 20), ("k", 10), ("b", 0)];

impl FromStr for Size {
    type Err = NotASize;

    fn from_str(text: &str) -> Result<Self, NotASize> {
        let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (digits, unit) = text.split_at(end);
        let unit = if unit.is_empty() { "b" } else { unit };
        let shift = UNITS.iter().find(|(name, _)| *name == unit).ok_or(NotASize)?.1;
        let number: u64 = digits.parse().map_err(|_| NotASize)?;
        number.checked_mul(1 << shift).map(Self).ok_or(NotASize)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = |shift: u32| self.0 != 0 && self.0.trailing_zeros() >= shift;
        let (unit, shift) = UNITS.into_iter().find(|(_, s)| fits(*s)).unwrap_or(("b", 0));
        write!(f, "{}{unit}", self.0 >> shift)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_written() {
        for (text, bytes, written) in [
            ("0", 0, "0b"),
            ("7", 7, "7b"),
            ("2048b", 2048, "2k"),
            ("512m", 512 << 20, "512m"),
            ("3t", 3 << 40, "3t"),
        ] {
            let size: Size = text.parse().expect(text);
            assert_eq!((size, size.to_string().as_str()), (Size(bytes), written));
        }
        for bad in ["", "m", "-1k", "1x", "1 g", "18446744073709551615k", "1é"] {
            assert_eq!(bad.parse::<Size>(), Err(NotASize), "{bad}");
        }
    }
}

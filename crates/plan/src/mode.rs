//! File modes as chmod writes them: `0755` or `u=rwX,go=rX`.

use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use thiserror::Error;

/// A string that is no mode.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[error("Expected a mode such as `0755` or `u=rwX,go=rX`, got `{0}`")]
pub struct ModeError(String);

/// What `chmod` does to a mode; a mode of 12 bits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mode {
    text: String,
    change: Change,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Change {
    Absolute(u16),
    Symbolic(Vec<Clause>),
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Clause {
    /// Bits that `u`, `g`, `o` stand for, setuid, setgid and sticky among them.
    who: u16,
    operator: u8,
    permissions: Vec<u8>,
}

impl Mode {
    /// The mode of a node that had `mode` before.
    pub fn apply(&self, mode: u16, directory: bool) -> u16 {
        match &self.change {
            Change::Absolute(mode) => *mode,
            Change::Symbolic(clauses) => clauses.iter().fold(mode, |mode, clause| {
                let bits = clause.bits(mode, directory);
                match clause.operator {
                    b'+' => mode | bits,
                    b'-' => mode & !bits,
                    _ => (mode & !clause.who) | bits,
                }
            }),
        }
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl Clause {
    fn bits(&self, mode: u16, directory: bool) -> u16 {
        let each = |permission: &u8| match permission {
            b'r' => 0o444,
            b'w' => 0o222,
            b'x' => 0o111,
            b'X' if directory || mode & 0o111 != 0 => 0o111,
            b's' => 0o6000,
            b't' => 0o1000,
            _ => 0,
        };
        self.permissions.iter().map(each).fold(0, |all, bits| all | bits) & self.who
    }
}

impl Serialize for Mode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Mode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl FromStr for Mode {
    type Err = ModeError;

    fn from_str(text: &str) -> Result<Self, ModeError> {
        let error = || ModeError(text.to_owned());
        let octal =
            (3..=4).contains(&text.len()) && text.bytes().all(|b| (b'0'..=b'7').contains(&b));
        let change = if octal {
            Change::Absolute(u16::from_str_radix(text, 8).map_err(|_| error())?)
        } else {
            Change::Symbolic(
                text.split(',')
                    .map(|clause| Clause::parse(clause).ok_or_else(error))
                    .collect::<Result<_, _>>()?,
            )
        };
        Ok(Self { text: text.to_owned(), change })
    }
}

impl Clause {
    fn parse(text: &str) -> Option<Self> {
        let at = text.find(['+', '-', '='])?;
        let (who, rest) = text.split_at(at);
        let who = if who.is_empty() { "a" } else { who };
        let who = who.bytes().try_fold(0, |all, who| {
            Some(
                all | match who {
                    b'u' => 0o4700,
                    b'g' => 0o2070,
                    b'o' => 0o1007,
                    b'a' => 0o7777,
                    _ => return None,
                },
            )
        })?;
        let permissions = rest.as_bytes()[1..].to_vec();
        let known = permissions.iter().all(|p| b"rwxXst".contains(p));
        known.then_some(Self { who, operator: rest.as_bytes()[0], permissions })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_chmod_does() {
        let cases = [
            ("0755", 0o600, false, 0o755),
            ("u=rwX,go=rX", 0o600, false, 0o644),
            ("u=rwX,go=rX", 0o700, false, 0o755),
            ("u=rwX,go=rX", 0o600, true, 0o755),
            ("a+x", 0o644, false, 0o755),
            ("+x", 0o644, false, 0o755),
            ("go-w", 0o666, false, 0o644),
            ("u+s", 0o755, false, 0o4755),
            ("g+s", 0o755, true, 0o2755),
            ("+t", 0o777, true, 0o1777),
            ("o=", 0o777, false, 0o770),
        ];
        for (mode, before, directory, after) in cases {
            let mode: Mode = mode.parse().expect("a mode");
            assert_eq!(mode.apply(before, directory), after, "{}", mode.as_str());
        }
    }

    #[test]
    fn refuses_what_is_no_mode() {
        for bad in ["", "75", "0888", "00755", "u", "u=z", "q+x", "u+x,"] {
            assert!(bad.parse::<Mode>().is_err(), "{bad}");
        }
    }
}

//! One paragraph of an index or a status file, and what is wrong with it.

use crate::debian::relation::{self, Malformed, Relation};
use deb822_fast::borrowed::BorrowedParagraph;
use reimage_castore::Sha256;

/// Why a package index or dpkg status was refused.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// It is not in the deb822 format.
    #[error("{index} is not a list of packages, after {packages} of them")]
    Format {
        /// What the caller calls the index.
        index: String,
        /// How many paragraphs were read before.
        packages: usize,
        /// What the parser found.
        source: deb822_fast::Error,
    },
    /// A paragraph lacks a field that every package has.
    #[error("Package `{package}` in {index} has no field `{field}`")]
    Missing {
        /// What the caller calls the index.
        index: String,
        /// The package, or the paragraph's number.
        package: String,
        /// The field.
        field: &'static str,
    },
    /// A field's value is not what the field holds.
    #[error("Package `{package}` in {index} has a malformed `{field}`: {value}")]
    Malformed {
        /// What the caller calls the index.
        index: String,
        /// The package.
        package: String,
        /// The field.
        field: &'static str,
        /// The part that was not understood.
        value: String,
    },
    /// The index has more packages than any archive.
    #[error("{index} lists more than {limit} packages")]
    TooMany {
        /// What the caller calls the index.
        index: String,
        /// The bound.
        limit: usize,
    },
}

/// A paragraph and where it stands.
pub(super) struct Reader<'a> {
    pub(super) label: &'a str,
    pub(super) number: usize,
    pub(super) paragraph: &'a BorrowedParagraph<'a>,
}

impl Reader<'_> {
    pub(super) fn get(&self, field: &str) -> Option<&str> {
        self.paragraph.get_single(field).map(str::trim)
    }

    pub(super) fn package(&self) -> String {
        self.get("Package").map_or_else(|| format!("#{}", self.number + 1), str::to_owned)
    }

    pub(super) fn require(&self, field: &'static str) -> Result<&str, IndexError> {
        self.get(field).filter(|value| !value.is_empty()).ok_or_else(|| IndexError::Missing {
            index: self.label.to_owned(),
            package: self.package(),
            field,
        })
    }

    pub(super) fn malformed(&self, field: &'static str, value: &str) -> IndexError {
        IndexError::Malformed {
            index: self.label.to_owned(),
            package: self.package(),
            field,
            value: value.to_owned(),
        }
    }

    /// Parses a relationship field, which a status file may fold over several lines.
    pub(super) fn groups(
        &self,
        field: &'static str,
    ) -> impl Iterator<Item = Result<Vec<Relation<'_>>, IndexError>> {
        let lines = self.paragraph.get(field).unwrap_or_default();
        lines.iter().flat_map(move |line| {
            relation::groups(line)
                .map(move |group| group.map_err(|Malformed(text)| self.malformed(field, &text)))
        })
    }
}

/// Reads a SHA-256 as archives write it: 64 hexadecimal digits.
pub(in crate::debian) fn sha256(digits: &str) -> Option<Sha256> {
    format!("sha256:{digits}").parse().ok()
}

pub(super) fn priority(word: Option<&str>) -> u8 {
    match word {
        Some("required") => 1,
        Some("important") => 2,
        Some("standard") => 3,
        Some("optional") => 4,
        _ => 5,
    }
}

/// Returns source name and version in one string, for telling siblings.
pub(super) fn source(field: Option<&str>, name: &str, version: &str) -> Box<str> {
    let field = field.unwrap_or(name);
    match field.split_once(' ') {
        Some((source, bound)) => {
            format!("{source} {}", bound.trim().trim_start_matches('(').trim_end_matches(')'))
        }
        None => format!("{field} {version}"),
    }
    .into()
}

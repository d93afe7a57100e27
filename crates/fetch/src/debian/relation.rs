//! Relationship fields: `Depends: a (>= 1) | b:any, c [amd64]`.

use super::version::DebVersion;
use std::cmp::Ordering;

/// One alternative of a dependency, or one provided name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Relation<'a> {
    /// The package's name, without architecture qualifier.
    pub(super) name: &'a str,
    /// The architecture qualifier: `any`, `native` or an architecture's name.
    pub(super) qualifier: Option<&'a str>,
    /// The version it must have.
    pub(super) version: Option<(Operator, &'a str)>,
}

/// How a version is bounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    /// `<<`
    Earlier,
    /// `<=`, and the old `<`
    EarlierOrEqual,
    /// `=`
    Equal,
    /// `>=`, and the old `>`
    LaterOrEqual,
    /// `>>`
    Later,
}

impl Operator {
    /// Returns whether `version` fits the bound.
    pub(super) fn admits(self, version: &DebVersion, bound: &DebVersion) -> bool {
        match (self, version.cmp(bound)) {
            (Self::Earlier, Ordering::Less) | (Self::Later, Ordering::Greater) => true,
            (Self::EarlierOrEqual, order) => order.is_le(),
            (Self::LaterOrEqual, order) => order.is_ge(),
            (Self::Equal, order) => order.is_eq(),
            _ => false,
        }
    }

    /// Returns the operator as it is written.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Earlier => "<<",
            Self::EarlierOrEqual => "<=",
            Self::Equal => "=",
            Self::LaterOrEqual => ">=",
            Self::Later => ">>",
        }
    }
}

/// A field that is no list of relations: the text of the part that is not one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Malformed(pub(super) String);

/// Parses a field into groups of alternatives; architecture lists and build profiles belong to source packages and
/// are an error.
pub(super) fn groups(field: &str) -> impl Iterator<Item = Result<Vec<Relation<'_>>, Malformed>> {
    field
        .split(',')
        .filter(|part| !part.trim().is_empty())
        .map(|group| group.split('|').map(|one| relation(one.trim())).collect())
}

fn relation(text: &str) -> Result<Relation<'_>, Malformed> {
    let malformed = || Malformed(text.to_owned());
    let (head, bound) = match text.split_once('(') {
        Some((head, rest)) => {
            (head.trim_end(), Some(rest.strip_suffix(')').ok_or_else(malformed)?.trim()))
        }
        None => (text, None),
    };
    if head.is_empty() || head.contains(|c: char| c.is_whitespace() || "()[]<>".contains(c)) {
        return Err(malformed());
    }
    let (name, qualifier) =
        head.split_once(':').map_or((head, None), |(name, qualifier)| (name, Some(qualifier)));
    let version = bound.map(|bound| {
        let end = bound.find(|c| !"<>=".contains(c)).ok_or_else(malformed)?;
        let operator = match &bound[..end] {
            "<<" => Operator::Earlier,
            "<=" | "<" => Operator::EarlierOrEqual,
            "=" => Operator::Equal,
            ">=" | ">" => Operator::LaterOrEqual,
            ">>" => Operator::Later,
            _ => return Err(malformed()),
        };
        Ok((operator, bound[end..].trim()))
    });
    Ok(Relation { name, qualifier, version: version.transpose()? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn parses_groups() {
        let parsed: Vec<_> = groups("libc6 (>= 2.36), python3:any | perl (<< 6),a(=1)")
            .map(Result::unwrap)
            .collect();
        let relation = |name, qualifier, version| Relation { name, qualifier, version };
        assert_eq!(
            parsed,
            [
                vec![relation("libc6", None, Some((Operator::LaterOrEqual, "2.36")))],
                vec![
                    relation("python3", Some("any"), None),
                    relation("perl", None, Some((Operator::Earlier, "6")))
                ],
                vec![relation("a", None, Some((Operator::Equal, "1")))],
            ]
        );
    }

    #[test]
    fn names_what_is_malformed() {
        for bad in ["a (>= 1", "a (~ 1)", "(>= 1)", "a b", "a (>=)", "a [amd64]", "|"] {
            let first = groups(bad).find_map(Result::err);
            assert!(first.is_some_and(|Malformed(text)| bad.contains(&text)), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in "\\PC{0,40}") {
            for group in groups(&text) {
                let _ = group;
            }
        }
    }
}

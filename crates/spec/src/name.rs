//! `[FILE#]PATH`: what to build, and the paths that `--arg` and `--set` speak (spec-language §7).

use std::{fmt, path::Path, str::FromStr};

use serde::Serialize;
use thiserror::Error;

/// A string that names no field.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum NameError {
    /// A name between two dots is empty.
    #[error("Empty name in the path `{path}`")]
    Empty {
        /// The whole path.
        path: String,
    },
    /// A quote that does not end, or with something other than a dot behind it.
    #[error("The path `{path}` has a quote that does not end")]
    Quote {
        /// The whole path.
        path: String,
    },
    /// A file where a field is expected.
    #[error(
        "`{name}` looks like a file: to build all of its targets write `{name}#`, for one of them `{name}#images.web`"
    )]
    File {
        /// The whole name.
        name: String,
    },
    /// No `=` in `--arg` or `--set`.
    #[error("Expected `{expected}`, got `{got}`")]
    Assignment {
        /// What is expected.
        expected: &'static str,
        /// The whole string.
        got: String,
    },
    /// A path with `*` where one field is meant.
    #[error("The path `{path}` holds a `*`; it is to name one field")]
    Pattern {
        /// The whole path.
        path: String,
    },
}

/// A field, or a pattern of fields, of a spec: what `build` takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// The file of the spec or its directory; none: `spec.ncl` here.
    pub file: Option<String>,
    /// The field; none: all images, exports and checks.
    pub path: Option<FieldPath>,
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(name: &str) -> Result<Self, NameError> {
        let mut quoted = false;
        let hash = name.bytes().position(|byte| {
            quoted ^= byte == b'"';
            byte == b'#' && !quoted
        });
        let (file, path) = match hash {
            Some(at) => (Some(&name[..at]).filter(|file| !file.is_empty()), &name[at + 1..]),
            None if looks_like_a_file(name) => {
                return Err(NameError::File { name: name.to_owned() });
            }
            None => (None, name),
        };
        let path = if path.is_empty() { None } else { Some(path.parse()?) };
        Ok(Self { file: file.map(str::to_owned), path })
    }
}

fn looks_like_a_file(name: &str) -> bool {
    let nickel = Path::new(name).extension().is_some_and(|extension| extension == "ncl");
    !name.contains('"') && (name.contains('/') || nickel)
}

/// The path of a field, `images.web`; in a pattern `*` stands for any part of a name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct FieldPath(Vec<Segment>);

/// One name: literal parts, with a `*` between each two.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Segment(Vec<String>);

impl FromStr for FieldPath {
    type Err = NameError;

    fn from_str(path: &str) -> Result<Self, NameError> {
        let mut segments = Vec::new();
        let mut rest = path;
        loop {
            let (segment, after) = Segment::read(rest, path)?;
            segments.push(segment);
            match after.strip_prefix('.') {
                Some(after) => rest = after,
                None if after.is_empty() => return Ok(Self(segments)),
                None => return Err(NameError::Quote { path: path.to_owned() }),
            }
        }
    }
}

impl FieldPath {
    /// Whether it holds a `*`.
    pub fn is_pattern(&self) -> bool {
        self.0.iter().any(|segment| segment.0.len() > 1)
    }

    /// How many names it has.
    pub(crate) fn depth(&self) -> usize {
        self.0.len()
    }

    /// Whether the name at this depth fits.
    pub(crate) fn matches(&self, depth: usize, name: &str) -> bool {
        self.0.get(depth).is_some_and(|segment| segment.matches(name))
    }

    /// The names of a path that is no pattern.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|segment| &*segment.0[0])
    }
}

impl Segment {
    /// Reads one name, and gives what comes after it.
    fn read<'t>(text: &'t str, path: &str) -> Result<(Self, &'t str), NameError> {
        let Some(quoted) = text.strip_prefix('"') else {
            let end = text.find(['.', '"']).unwrap_or(text.len());
            if end == 0 {
                return Err(NameError::Empty { path: path.to_owned() });
            }
            let parts = text[..end].split('*').map(str::to_owned).collect();
            return Ok((Self(parts), &text[end..]));
        };
        let mut name = String::new();
        let mut letters = quoted.char_indices();
        while let Some((at, letter)) = letters.next() {
            match letter {
                '"' => return Ok((Self(vec![name]), &quoted[at + 1..])),
                '\\' => name.extend(letters.next().map(|(_, escaped)| escaped)),
                letter => name.push(letter),
            }
        }
        Err(NameError::Quote { path: path.to_owned() })
    }

    fn matches(&self, name: &str) -> bool {
        let [first, middle @ .., last] = &self.0[..] else {
            return self.0[0] == name;
        };
        let inner = name.strip_prefix(&**first).and_then(|rest| rest.strip_suffix(&**last));
        // Each part as early as possible leaves most for the next.
        let rest = middle.iter().try_fold(inner, |rest, part| {
            let rest = rest?;
            Some(rest.find(&**part).map(|at| &rest[at + part.len()..]))
        });
        rest.flatten().is_some()
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, segment) in self.0.iter().enumerate() {
            let dot = if number == 0 { "" } else { "." };
            let name = segment.0.join("*");
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '\'' | '*');
            if segment.0.len() > 1
                || (!name.is_empty() && name.chars().all(plain) && !name.contains('*'))
            {
                write!(f, "{dot}{name}")?;
            } else {
                let name = name.replace('\\', "\\\\").replace('"', "\\\"");
                write!(f, "{dot}\"{name}\"")?;
            }
        }
        Ok(())
    }
}

/// Reads `NAME=VALUE` of `--arg`.
pub fn parse_arg(text: &str) -> Result<(String, String), NameError> {
    let expected = "NAME=VALUE";
    let parts = text.split_once('=').filter(|(name, _)| !name.is_empty());
    let (name, value) =
        parts.ok_or_else(|| NameError::Assignment { expected, got: text.to_owned() })?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Reads `PATH=NICKEL` of `--set`: the path, and where the value begins.
pub fn parse_set(text: &str) -> Result<(FieldPath, usize), NameError> {
    let expected = "PATH=VALUE";
    let mut quoted = false;
    let equals = text.bytes().position(|byte| {
        quoted ^= byte == b'"';
        byte == b'=' && !quoted
    });
    let equals = equals.ok_or_else(|| NameError::Assignment { expected, got: text.to_owned() })?;
    let path: FieldPath = text[..equals].trim().parse()?;
    if path.is_pattern() {
        return Err(NameError::Pattern { path: text[..equals].to_owned() });
    }
    Ok((path, equals + 1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn path(text: &str) -> FieldPath {
        text.parse().expect("a path")
    }

    #[test]
    fn names_of_specs_and_fields() {
        let read = |text: &str| {
            let name: Name = text.parse().expect("a name");
            (name.file, name.path.map(|path| path.to_string()))
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(read("images.web"), (None, some("images.web")));
        assert_eq!(read("services/web#images.web"), (some("services/web"), some("images.web")));
        assert_eq!(read("spec.ncl#"), (some("spec.ncl"), None));
        assert_eq!(read("#steps.a"), (None, some("steps.a")));
        assert_eq!(read(""), (None, None));
        assert_eq!(read(r#"images."a#b""#), (None, some(r#"images."a#b""#)));
        assert_eq!(read("images.search-*"), (None, some("images.search-*")));
    }

    #[test]
    fn what_is_no_name() {
        let error = |text: &str| text.parse::<Name>().expect_err("an error").to_string();
        assert_eq!(
            error("services/web"),
            "`services/web` looks like a file: to build all of its targets write `services/web#`, \
             for one of them `services/web#images.web`"
        );
        assert!(error("spec.ncl").contains("looks like a file"));
        assert_eq!(error("images..web"), "Empty name in the path `images..web`");
        assert_eq!(error("images."), "Empty name in the path `images.`");
        assert_eq!(error("images.\"web"), "The path `images.\"web` has a quote that does not end");
        assert_eq!(error("a\"b\""), "The path `a\"b\"` has a quote that does not end");
    }

    #[test]
    fn stars_stand_for_any_part_of_a_name() {
        let fits = |pattern: &str, name: &str| path(pattern).matches(0, name);
        assert!(fits("*", "") && fits("*", "a.b") && fits("a*", "a") && fits("a*b*c", "a-b-b-c"));
        assert!(!fits("a*", "b") && !fits("a*a", "a") && !fits("a*b*c", "a-c") && !fits("a", "ab"));
        assert!(fits("*.b", "a") && path("*.b").matches(1, "b") && !path("*.b").matches(1, "c"));
        assert!(fits(r#""*""#, "*") && !fits(r#""*""#, "a"), "in quotes a star is a star");
    }

    #[test]
    fn assignments() {
        let two = |a: &str, b: &str| Ok((a.to_owned(), b.to_owned()));
        assert_eq!(parse_arg("a=b=c"), two("a", "b=c"));
        assert_eq!(parse_arg("a="), two("a", ""));
        assert!(parse_arg("a").is_err() && parse_arg("=b").is_err());
        assert_eq!(parse_set("a.\"=\".b = 1"), Ok((path("a.\"=\".b"), 9)));
        assert!(
            parse_set("a.b").is_err() && parse_set("=1").is_err() && parse_set("a*=1").is_err()
        );
    }

    proptest! {
        #[test]
        fn nothing_typed_panics(text in ".{0,40}") {
            let _ = text.parse::<Name>();
            let _ = parse_arg(&text);
            if let Ok((path, at)) = parse_set(&text) {
                prop_assert!(text.is_char_boundary(at) && !path.is_pattern());
            }
        }

        #[test]
        fn what_is_shown_reads_back(names in prop::collection::vec("[^\0]{1,8}", 1..4)) {
            let quoted = |n: &String| format!("\"{}\"", n.replace('\\', "\\\\").replace('"', "\\\""));
            let text = names.iter().map(quoted).collect::<Vec<_>>().join(".");
            let read = path(&text);
            prop_assert_eq!(&path(&read.to_string()), &read);
            prop_assert_eq!(read.names().collect::<Vec<_>>(), names);
        }

        #[test]
        fn patterns_match_as_regular_expressions_do(pattern in "[ab*]{1,6}", name in "[ab]{0,6}") {
            fn slow(pattern: &[u8], name: &[u8]) -> bool {
                match (pattern, name) {
                    ([], []) => true,
                    ([b'*', rest @ ..], _) => {
                        (0..=name.len()).any(|at| slow(rest, &name[at..]))
                    }
                    ([p, pattern @ ..], [n, name @ ..]) => p == n && slow(pattern, name),
                    _ => false,
                }
            }
            let fast = path(&pattern).matches(0, &name);
            prop_assert_eq!(fast, slow(pattern.as_bytes(), name.as_bytes()));
        }
    }
}

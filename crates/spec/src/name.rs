//! `[FILE#]PATH`: what to build, and the paths that `--arg` and `--set` speak (spec-language §7).

use std::{fmt, str::FromStr};

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
            None if !name.contains('"') && (name.contains('/') || name.ends_with(".ncl")) => {
                return Err(NameError::File { name: name.to_owned() });
            }
            None => (None, name),
        };
        let path = if path.is_empty() { None } else { Some(path.parse()?) };
        Ok(Self { file: file.map(str::to_owned), path })
    }
}

/// The path of a field, `images.web`; in a pattern `*` stands for any part of a name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FieldPath(Vec<Segment>);

/// One name: literal parts, with a `*` between each two.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
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

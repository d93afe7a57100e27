//! Names and paths in a tree: bytes, checked once, ordered by component.
//!
//! A [`TreePath`] is relative to the root of its tree and has no `.`, `..`, empty or over-long component, so
//! whoever holds one can join it to a directory without a further look.

use std::{
    cmp::Ordering,
    ffi::OsStr,
    fmt,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use thiserror::Error;

/// A string that is no name or path of a tree.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum PathError {
    /// A component is empty.
    #[error("Empty name in the path `{path}`")]
    Empty {
        /// The whole path.
        path: String,
    },
    /// A component is `.` or `..`.
    #[error("The path `{path}` contains `.` or `..`")]
    Dot {
        /// The whole path.
        path: String,
    },
    /// A component holds a NUL byte or, as a name, a `/`.
    #[error("The path `{path}` contains a NUL byte or a `/` within a name")]
    Byte {
        /// The whole path.
        path: String,
    },
    /// A component is longer than 255 bytes, or a path longer than 4095.
    #[error("The path `{path}` is too long: names have at most 255 bytes, paths 4095")]
    Long {
        /// The whole path, shortened.
        path: String,
    },
}

/// One name within a directory: 1 to 255 bytes, without `/` and NUL, neither `.` nor `..`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PathComponent(Box<[u8]>);

impl PathComponent {
    /// Checks `name`.
    pub fn new(name: &[u8]) -> Result<Self, PathError> {
        check(name, name)?;
        Ok(Self(name.into()))
    }

    /// The bytes of the name.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// A path from the root of a tree, at most 4095 bytes; the root itself is the empty path.
///
/// Paths are ordered by component, so a directory comes right before all that lies below it.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct TreePath(Box<[u8]>);

impl TreePath {
    /// The root of a tree.
    pub fn root() -> Self {
        Self::default()
    }

    /// Reads `a/b` or `/a/b`; `/` and the empty string are the root.
    pub fn new(path: impl AsRef<[u8]>) -> Result<Self, PathError> {
        let path = path.as_ref();
        let relative = path.strip_prefix(b"/").unwrap_or(path);
        if relative.is_empty() {
            return Ok(Self::root());
        }
        if relative.len() > 4095 {
            return Err(PathError::Long { path: shown(&path[..100]) });
        }
        for name in relative.split(|b| *b == b'/') {
            check(name, path)?;
        }
        Ok(Self(relative.into()))
    }

    /// Whether this is the root.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The bytes, without a leading `/`.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The same as a relative path of the host.
    pub fn as_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.0))
    }

    /// Where this lies on the host if its tree lies at `root`.
    pub fn on(&self, root: &Path) -> PathBuf {
        // Joining an empty path would append a slash, and a file with a slash is no file.
        if self.is_root() { root.to_owned() } else { root.join(self.as_path()) }
    }

    /// The names from the root down; none for the root.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.0.split(|b| *b == b'/').filter(|name| !name.is_empty())
    }

    /// The last name; none for the root.
    pub fn name(&self) -> Option<&[u8]> {
        self.components().next_back()
    }

    /// The directory this lies in; none for the root.
    pub fn parent(&self) -> Option<Self> {
        if self.is_root() {
            return None;
        }
        let end = self.0.iter().rposition(|b| *b == b'/').unwrap_or(0);
        Some(Self(self.0[..end].into()))
    }

    /// Whether this lies directly in `directory`.
    pub(crate) fn is_in(&self, directory: &Self) -> bool {
        let len = directory.0.len();
        let name = if len == 0 { &self.0[..] } else { self.0.get(len + 1..).unwrap_or_default() };
        self.starts_with(directory) && !name.is_empty() && !name.contains(&b'/')
    }

    /// All directories above, the root first, without the path itself.
    pub fn ancestors(&self) -> impl Iterator<Item = Self> + '_ {
        let ends = self.0.iter().enumerate().filter(|(_, b)| **b == b'/').map(|(i, _)| i);
        let root = (!self.is_root()).then_some(0);
        root.into_iter().chain(ends).map(|end| Self(self.0[..end].into()))
    }

    /// This path and one name more.
    pub fn child(&self, name: &PathComponent) -> Result<Self, PathError> {
        self.join(&Self(name.0.clone()))
    }

    /// `other` seen from here.
    pub fn join(&self, other: &Self) -> Result<Self, PathError> {
        if self.is_root() || other.is_root() {
            return Ok(if self.is_root() { other.clone() } else { self.clone() });
        }
        let path = [&self.0, &b"/"[..], &other.0].concat();
        if path.len() > 4095 {
            return Err(PathError::Long { path: shown(&path[..100]) });
        }
        Ok(Self(path.into()))
    }

    /// What remains of this path below `base`: the root if they are equal, none if it does not lie below.
    pub fn below(&self, base: &Self) -> Option<Self> {
        if base.is_root() {
            return Some(self.clone());
        }
        let rest = self.0.strip_prefix(&*base.0)?;
        match rest {
            [] => Some(Self::root()),
            [b'/', rest @ ..] => Some(Self(rest.into())),
            _ => None,
        }
    }

    /// Whether this is `base` or lies below it.
    pub fn starts_with(&self, base: &Self) -> bool {
        base.is_root()
            || self.0.strip_prefix(&*base.0).is_some_and(|rest| matches!(rest, [] | [b'/', ..]))
    }
}

impl Ord for TreePath {
    fn cmp(&self, other: &Self) -> Ordering {
        // `/` sorts before every other byte, which is the order by component.
        let rank = |b: &u8| if *b == b'/' { 0 } else { u16::from(*b) + 1 };
        let common = self.0.iter().zip(&other.0).position(|(a, b)| a != b);
        match common {
            Some(at) => rank(&self.0[at]).cmp(&rank(&other.0[at])),
            None => self.0.len().cmp(&other.0.len()),
        }
    }
}

impl PartialOrd for TreePath {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

fn check(name: &[u8], path: &[u8]) -> Result<(), PathError> {
    let path = || shown(path);
    match name {
        [] => Err(PathError::Empty { path: path() }),
        b"." | b".." => Err(PathError::Dot { path: path() }),
        _ if name.len() > 255 => Err(PathError::Long { path: path() }),
        _ if name.iter().any(|b| matches!(b, 0 | b'/')) => Err(PathError::Byte { path: path() }),
        _ => Ok(()),
    }
}

fn shown(path: &[u8]) -> String {
    let end = path.len().min(300);
    String::from_utf8_lossy(&path[..end]).into_owned()
}

impl fmt::Display for TreePath {
    /// As an absolute path; bytes that are not UTF-8 are replaced.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}", String::from_utf8_lossy(&self.0))
    }
}

impl Serialize for TreePath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for TreePath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(&Vec::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

impl fmt::Debug for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_string())
    }
}

impl fmt::Debug for PathComponent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn path(text: &str) -> TreePath {
        TreePath::new(text).expect("a good path")
    }

    #[test]
    fn refuses_what_is_no_path() {
        for bad in [
            "a//b",
            "a/",
            "//",
            "a/../b",
            "./a",
            "..",
            "a\0b",
            &"x".repeat(256),
            &"x/".repeat(2100),
        ] {
            assert!(TreePath::new(bad).is_err(), "{bad}");
        }
        assert_eq!(path("/"), TreePath::root());
        assert_eq!(path("/a/b"), path("a/b"));
        assert!(PathComponent::new(b"a/b").is_err());
    }

    #[test]
    fn relations() {
        let p = path("/usr/lib/x");
        assert_eq!(p.parent(), Some(path("usr/lib")));
        assert_eq!(path("usr").parent(), Some(TreePath::root()));
        assert_eq!(p.ancestors().collect::<Vec<_>>(), [path("/"), path("usr"), path("usr/lib")]);
        assert_eq!(TreePath::root().ancestors().count(), 0);
        assert_eq!(p.below(&path("usr")), Some(path("lib/x")));
        assert_eq!(path("usr-merge").below(&path("usr")), None);
        assert!(!path("usr-merge").starts_with(&path("usr")));
        assert_eq!(p.name(), Some(&b"x"[..]));
        assert!(p.is_in(&path("usr/lib")) && path("usr").is_in(&TreePath::root()));
        for not in ["usr", "", "usr/lib/x", "usr/li"] {
            assert!(!p.is_in(&path(not)), "{not}");
        }
    }

    proptest! {
        #[test]
        fn ordered_by_component(a in "[a.-]{1,3}(/[a-b!-]{1,3}){0,3}", b in "[a.-]{1,3}(/[a-b!-]{1,3}){0,3}") {
            if let (Ok(a), Ok(b)) = (TreePath::new(&a), TreePath::new(&b)) {
                let by_component = a.components().cmp(b.components());
                prop_assert_eq!(a.cmp(&b), by_component);
            }
        }

        #[test]
        fn reads_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(p) = TreePath::new(&bytes) {
                prop_assert_eq!(TreePath::new(p.as_bytes()).ok(), Some(p));
            }
        }
    }
}

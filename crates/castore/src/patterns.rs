//! The patterns of `include` and `exclude`: .dockerignore's (spec-language §8).
//!
//! They are anchored at the top, `*` and `?` stay within a name, `**` crosses directories, a directory takes
//! all below it, a leading `/` changes nothing, and there is no `!`.

use std::borrow::Cow;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use thiserror::Error;

use crate::TreePath;

/// A pattern that means nothing.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[error("The pattern `{pattern}` {why}")]
pub struct PatternError {
    /// As it was written.
    pub pattern: String,
    /// What is wrong with it.
    pub why: String,
}

/// A set of patterns, ready to match.
#[derive(Debug, Clone, Default)]
pub struct Patterns {
    set: GlobSet,
    /// Without wildcards and all below taken in: the directory that each pattern stays in.
    stems: Vec<TreePath>,
    /// Those that name files ending in `.ncl`: the set of them, without what lies below.
    modules: GlobSet,
    written: Vec<String>,
}

impl Patterns {
    /// Reads patterns; none match nothing.
    pub fn new<P: AsRef<str>>(patterns: impl IntoIterator<Item = P>) -> Result<Self, PatternError> {
        let mut set = GlobSetBuilder::new();
        let mut modules = GlobSetBuilder::new();
        let mut stems = Vec::new();
        let mut written = Vec::new();
        for pattern in patterns {
            let pattern = pattern.as_ref();
            let error = |why: String| PatternError { pattern: pattern.to_owned(), why };
            let names = names(pattern).map_err(|why| error(why.to_owned()))?;
            let glob = escape_braces(&names.join("/")).into_owned();
            let build = |glob: &str| {
                let mut builder = GlobBuilder::new(glob);
                builder.literal_separator(true).backslash_escape(true).empty_alternates(true);
                builder.build().map_err(|e| error(format!("cannot be read: {}", e.kind())))
            };
            let itself = build(&glob)?;
            if glob.as_bytes().ends_with(b".ncl") {
                modules.add(itself.clone());
            }
            set.add(itself);
            set.add(build(&if glob.is_empty() { "**".to_owned() } else { format!("{glob}/**") })?);
            let stem: Vec<_> = names.iter().take_while(|name| is_plain(name)).copied().collect();
            written.push(pattern.to_owned());
            stems
                .push(TreePath::new(stem.join("/")).map_err(|e| error(format!("cannot be: {e}")))?);
        }
        let build = |set: GlobSetBuilder| {
            set.build().map_err(|e| PatternError {
                pattern: e.glob().unwrap_or_default().to_owned(),
                why: format!("cannot be read: {}", e.kind()),
            })
        };
        Ok(Self { set: build(set)?, modules: build(modules)?, stems, written })
    }

    /// The patterns as they were written.
    pub fn written(&self) -> &[String] {
        &self.written
    }

    /// Whether there are no patterns at all.
    pub fn is_empty(&self) -> bool {
        self.written.is_empty()
    }

    /// Whether a pattern matches this path or a directory above it.
    pub fn matches(&self, path: &TreePath) -> bool {
        !self.is_empty() && self.set.is_match(path.as_path())
    }

    /// Whether something below this directory may match; if not, there is no need to look.
    pub fn may_match_below(&self, directory: &TreePath) -> bool {
        self.stems.iter().any(|stem| stem.starts_with(directory) || directory.starts_with(stem))
    }

    /// Whether a pattern that itself ends in `.ncl` matches this path.
    pub fn names_module(&self, path: &TreePath) -> bool {
        self.modules.is_match(path.as_path())
    }
}

/// Splits a pattern into names.
fn names(pattern: &str) -> Result<Vec<&str>, &'static str> {
    if pattern.is_empty() {
        return Err("is empty; `**` matches everything");
    }
    if pattern.starts_with('!') {
        return Err(
            "begins with `!`, and there are no exceptions: write what to leave out, or `include`",
        );
    }
    let names: Vec<_> = pattern.split('/').filter(|name| !matches!(*name, "" | ".")).collect();
    if names.contains(&"..") {
        return Err("contains `..`: patterns stay within their tree");
    }
    if names.iter().any(|name| name.contains("**") && *name != "**") {
        return Err("has `**` beside other characters: `**` is a whole name, as in `**/*.pyc`");
    }
    Ok(names)
}

fn is_plain(name: &str) -> bool {
    !name.contains(['*', '?', '[', '\\'])
}

/// Braces mean themselves in .dockerignore.
fn escape_braces(glob: &str) -> Cow<'_, str> {
    if !glob.contains(['{', '}']) {
        return glob.into();
    }
    let mut escaped = String::new();
    let (mut in_class, mut literal) = (false, false);
    for c in glob.chars() {
        match c {
            _ if literal => literal = false,
            '\\' => literal = true,
            '[' => in_class = true,
            ']' => in_class = false,
            '{' | '}' if !in_class => escaped.push('\\'),
            _ => {}
        }
        escaped.push(c);
    }
    escaped.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> TreePath {
        TreePath::new(text).expect("a good path")
    }

    #[test]
    fn like_dockerignore() {
        for (pattern, yes, no) in [
            ("src", &["src", "src/a", "src/a/b"][..], &["a/src", "srcs", "sr"][..]),
            ("/src/", &["src", "src/a"], &["a/src"]),
            ("./src/./a", &["src/a", "src/a/b"], &["src", "src/b"]),
            ("*.py", &["a.py", "a.py/below"], &["a/b.py", "py"]),
            ("*/b", &["a/b", "a/b/c"], &["b", "a/c/b"]),
            ("**/*.py", &["a.py", "a/b.py", "a/b/c.py"], &["a.pyc"]),
            ("**/x", &["x", "a/x", "a/x/y"], &["xx"]),
            ("a/**", &["a/b", "a/b/c"], &["b", "ab"]),
            ("a/**/b", &["a/b", "a/x/b", "a/x/y/b/z"], &["a", "b"]),
            ("**", &["a", "a/b"], &[]),
            ("/", &["a", "a/b"], &[]),
            ("temp?", &["tempa", "temp1/x"], &["temp", "tempab", "temp/"]),
            ("[a-c].txt", &["a.txt"], &["d.txt"]),
            ("[^a].txt", &["b.txt"], &["a.txt"]),
            ("{a,b}", &["{a,b}"], &["a", "b"]),
            ("[{]x\\{", &["{x{"], &["x"]),
            ("\\*", &["*"], &["a"]),
        ] {
            let patterns = Patterns::new([pattern]).expect("a good pattern");
            for yes in yes {
                assert!(patterns.matches(&path(yes)), "{pattern} {yes}");
            }
            for no in no.iter().filter(|no| !no.ends_with('/')) {
                assert!(!patterns.matches(&path(no)), "{pattern} {no}");
            }
        }
    }

    #[test]
    fn refuses_what_means_nothing() {
        for (bad, why) in [
            ("", "is empty"),
            ("!a", "no exceptions"),
            ("a/../b", "`..`"),
            ("a**", "whole name"),
            ("[a", "cannot be read"),
        ] {
            let error = Patterns::new([bad]).expect_err(bad).to_string();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn knows_where_to_look() {
        let patterns = Patterns::new(["src/lib/*.rs", "docs"]).expect("good");
        for (directory, may) in
            [("", true), ("src", true), ("src/lib", true), ("docs/a", true), ("src/bin", false)]
        {
            assert_eq!(patterns.may_match_below(&path(directory)), may, "{directory}");
        }
        assert!(Patterns::new(["**/a"]).expect("good").may_match_below(&path("x/y")));
        assert!(!Patterns::default().may_match_below(&path("x")));
    }

    #[test]
    fn a_module_is_named_by_its_ending() {
        let patterns = Patterns::new(["lib", "**/a*.ncl"]).expect("good");
        assert!(patterns.names_module(&path("x/ab.ncl")));
        assert!(!patterns.names_module(&path("lib/b.ncl")));
    }
}

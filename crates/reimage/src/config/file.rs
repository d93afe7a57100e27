//! One `config.toml`: its keys, and errors that point at the line.

use std::{
    collections::BTreeMap,
    io,
    num::NonZeroU16,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use super::{Ids, Memory};
use crate::error::{CommandError, Kind, did_you_mean};

/// What one file says; an absent key says nothing.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct File {
    /// `[store]`
    pub(crate) store: Store,
    /// `[build]`
    pub(crate) build: Build,
    /// `[http]`
    pub(crate) http: Http,
    /// `[registry]`
    pub(crate) registry: Registry,
    /// `[debian]`
    pub(crate) debian: Debian,
    /// `[sandbox]`
    pub(crate) sandbox: Sandbox,
    /// `[cache]`
    pub(crate) cache: super::cache::File,
}

/// `[store]`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Store {
    /// Where results are kept; relative to the file.
    pub(crate) path: Option<PathBuf>,
}

/// `[build]`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Build {
    /// Most steps at the same time.
    pub(crate) jobs: Option<NonZeroU16>,
}

/// `[http]`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Http {
    /// URLs that stand in the place of a prefix.
    pub(crate) mirrors: BTreeMap<Prefix, Vec<String>>,
}

/// `[registry]`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Registry {
    /// Where images of a registry are looked for before it is asked, by its name.
    pub(crate) mirrors: BTreeMap<String, Vec<String>>,
    /// Registries that are spoken to without encryption.
    pub(crate) insecure: Option<Vec<String>>,
}

/// What URLs begin with: a scheme, a host, directories.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Prefix(pub(crate) String);

impl TryFrom<String> for Prefix {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        // Without the slash a host would be the beginning of another one's name.
        let scheme = text.starts_with("http://") || text.starts_with("https://");
        if scheme && text.ends_with('/') {
            return Ok(Self(text));
        }
        Err(format!(
            "`{text}` is not the beginning of URLs: `https://HOST/` or `https://HOST/PATH/`"
        ))
    }
}

/// `[debian]`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Debian {
    /// URLs of mirrors.
    pub(crate) mirrors: Option<Vec<String>>,
    /// URLs of mirrors of the security archive.
    pub(crate) security_mirrors: Option<Vec<String>>,
    /// Key rings; relative to the file.
    pub(crate) keyrings: Option<Vec<PathBuf>>,
}

/// `[sandbox]`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Sandbox {
    /// `auto`, `notify` or `newuidmap`.
    pub(crate) ids: Option<Ids>,
    /// Memory for what steps write: `"2g"`.
    pub(crate) memory: Option<Memory>,
}

/// Every key, for suggestions.
const KEYS: [&str; 20] = [
    "store",
    "path",
    "build",
    "jobs",
    "http",
    "registry",
    "insecure",
    "debian",
    "mirrors",
    "security_mirrors",
    "keyrings",
    "sandbox",
    "ids",
    "memory",
    "cache",
    "urls",
    "write",
    "trust",
    "key",
    "wait",
];

impl File {
    /// Reads `path`; a file that is not there says nothing.
    pub(crate) fn read(path: &Path) -> Result<Option<Self>, CommandError> {
        match fs_err::read_to_string(path) {
            Ok(text) => Self::parse(&text, path).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                Err(CommandError::usage(format!("`{}` is not UTF-8 text", path.display())))
            }
            Err(error) => Err(CommandError::wrap(Kind::Environment, error)),
        }
    }

    /// Parses the text of `path`.
    pub(crate) fn parse(text: &str, path: &Path) -> Result<Self, CommandError> {
        toml::from_str(text).map_err(|error| {
            let at = error.span().unwrap_or(0..0);
            let (line, column) = position(text, at.start);
            let message = error.message().lines().next().unwrap_or("It is no TOML");
            let mut command =
                CommandError::usage(format!("{}:{line}:{column}: {message}", path.display()));
            let word = text.get(at).unwrap_or_default();
            if message.starts_with("unknown field")
                && let Some(near) = did_you_mean(word, KEYS)
            {
                command = command.hint(format!("did you mean `{near}`?"));
            }
            command.hint("`reimage config` prints every key and its value")
        })
    }
}

/// Line and column in characters, from 1, of the byte `offset`.
fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
    (line, column)
}

//! apt's own configuration of this machine: where it fetches from, under which keys, and two of its settings.

use super::keyring::{Keyring, KeyringError};
use deb822_fast::borrowed::{BorrowedParagraph, BorrowedParagraphIter};
use reimage_castore::read_dir_sorted;
use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

#[cfg(test)]
mod tests;

/// Why apt's configuration could not be read.
#[derive(Debug, thiserror::Error)]
pub enum SourcesError {
    /// A file could not be read.
    #[error("`{}` cannot be read", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A line of a list is not one.
    #[error("`{}` line {line} is not a source of apt: `{text}`", .path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line's number.
        line: usize,
        /// The line.
        text: String,
    },
    /// A file of paragraphs is not one.
    #[error("`{}` is not a list of sources of apt", .path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What the parser found.
        source: deb822_fast::Error,
    },
    /// A keyring has no keys.
    #[error(transparent)]
    Keyring(#[from] KeyringError),
}

/// One enabled source of binary packages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AptSource {
    /// Its URLs, without slash at the end.
    pub urls: Vec<String>,
    /// Its suites; a suite that ends with `/` is a directory with a flat index.
    pub suites: Vec<String>,
    /// Its components.
    pub components: Vec<String>,
    /// Its own keys, or none: all keys that apt trusts.
    pub signed_by: Option<SignedBy>,
    /// Whether `Valid-Until` counts, if the source says so.
    pub check_valid_until: Option<bool>,
}

/// The keys of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignedBy {
    /// Keyring files.
    Files(Vec<PathBuf>),
    /// An armored key, written in the source itself.
    Key(String),
}

/// What apt is configured to on a machine.
#[derive(Clone, Debug, Default)]
pub struct AptConfig {
    root: PathBuf,
    /// The sources in apt's order.
    pub sources: Vec<AptSource>,
    settings: BTreeMap<String, String>,
}

impl AptConfig {
    /// Reads `etc/apt` below `root`; what is not there is not configured.
    pub fn read(root: &Path) -> Result<Self, SourcesError> {
        let apt = root.join("etc/apt");
        let mut config = Self { root: root.to_owned(), ..Self::default() };
        if let Some(text) = read(&apt.join("sources.list"))? {
            config.sources.extend(parse_list(&apt.join("sources.list"), &text)?);
        }
        for path in files(&apt.join("sources.list.d"))? {
            let Some(text) = read(&path)? else { continue };
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("list") => config.sources.extend(parse_list(&path, &text)?),
                Some("sources") => config.sources.extend(parse_sources(&path, &text)?),
                _ => {}
            }
        }
        let parts = files(&apt.join("apt.conf.d"))?;
        let parts = parts
            .into_iter()
            .filter(|path| path.extension().is_none_or(|extension| extension == "conf"));
        for path in parts.chain([apt.join("apt.conf")]) {
            if let Some(text) = read(&path)? {
                settings(&text, &mut config.settings);
            }
        }
        Ok(config)
    }

    /// Returns a setting, such as `Acquire::Check-Valid-Until`; names ignore case, the last value counts.
    pub fn setting(&self, name: &str) -> Option<&str> {
        self.settings.get(&name.to_lowercase()).map(String::as_str)
    }

    /// Returns whether `Valid-Until` of a source counts.
    pub fn checks_valid_until(&self, source: &AptSource) -> bool {
        let setting = || self.setting("Acquire::Check-Valid-Until").is_none_or(truth);
        source.check_valid_until.unwrap_or_else(setting)
    }

    /// Reads the keys that a source is signed by: its own, or all that apt trusts.
    pub fn keyring(&self, source: &AptSource) -> Result<Keyring, SourcesError> {
        let mut keyring = Keyring::default();
        match &source.signed_by {
            Some(SignedBy::Key(key)) => {
                keyring.add("the key of its `Signed-By`", key.as_bytes())?;
            }
            Some(SignedBy::Files(paths)) => {
                for path in paths {
                    add_keyring(&mut keyring, &self.beneath(path))?;
                }
            }
            None => {
                let trusted = self.root.join("etc/apt/trusted.gpg");
                let parts =
                    files(&self.root.join("etc/apt/trusted.gpg.d"))?.into_iter().filter(|path| {
                        path.extension()
                            .is_some_and(|extension| extension == "gpg" || extension == "asc")
                    });
                for path in parts
                    .chain([trusted])
                    .filter(|path| path.metadata().is_ok_and(|data| data.len() > 0))
                {
                    add_keyring(&mut keyring, &path)?;
                }
            }
        }
        Ok(keyring)
    }

    fn beneath(&self, path: &Path) -> PathBuf {
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }
}

/// Adds a keyring file to a keyring.
pub(super) fn add_keyring(keyring: &mut Keyring, path: &Path) -> Result<(), SourcesError> {
    let bytes =
        fs::read(path).map_err(|source| SourcesError::Read { path: path.to_owned(), source })?;
    Ok(keyring.add(&path.display().to_string(), &bytes)?)
}

fn read(path: &Path) -> Result<Option<String>, SourcesError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(SourcesError::Read { path: path.to_owned(), source }),
    }
}

/// Returns the files of a directory that apt would read: sorted, without hidden ones; none if there is none.
fn files(directory: &Path) -> Result<Vec<PathBuf>, SourcesError> {
    let entries = match read_dir_sorted(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(SourcesError::Read { path: directory.to_owned(), source }),
    };
    let plain = |path: &PathBuf| {
        path.file_name().is_some_and(|name| !name.to_string_lossy().starts_with('.'))
    };
    Ok(entries
        .into_iter()
        .map(|entry| entry.path())
        .filter(plain)
        .filter(|path| path.is_file())
        .collect())
}

/// Parses one-line sources: `deb [option=value …] URL SUITE COMPONENT…`.
pub(super) fn parse_list(path: &Path, text: &str) -> Result<Vec<AptSource>, SourcesError> {
    let mut sources = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let content = line.split('#').next().unwrap_or_default().trim();
        let Some(rest) = content.strip_prefix("deb").filter(|rest| rest.starts_with([' ', '\t']))
        else {
            if content.is_empty() || content.starts_with("deb-src") {
                continue;
            }
            return Err(line_error(path, number, line));
        };
        let rest = rest.trim_start();
        let (options, rest) = match rest.strip_prefix('[') {
            Some(inner) => inner.split_once(']').ok_or_else(|| line_error(path, number, line))?,
            None => ("", rest),
        };
        let mut words = rest.split_whitespace();
        let (Some(url), Some(suite)) = (words.next(), words.next()) else {
            return Err(line_error(path, number, line));
        };
        let mut source = AptSource {
            urls: vec![url.trim_end_matches('/').to_owned()],
            suites: vec![suite.to_owned()],
            components: words.map(str::to_owned).collect(),
            ..AptSource::default()
        };
        for (key, value) in options.split_whitespace().filter_map(|option| option.split_once('=')) {
            match key.to_lowercase().as_str() {
                "signed-by" => source.signed_by = signed_by(value.split(',')),
                "check-valid-until" => source.check_valid_until = Some(truth(value)),
                _ => {}
            }
        }
        sources.push(source);
    }
    Ok(sources)
}

fn line_error(path: &Path, number: usize, line: &str) -> SourcesError {
    SourcesError::Line { path: path.to_owned(), line: number + 1, text: line.trim().to_owned() }
}

/// Parses sources in the deb822 format.
pub(super) fn parse_sources(path: &Path, text: &str) -> Result<Vec<AptSource>, SourcesError> {
    let mut sources = Vec::new();
    for paragraph in BorrowedParagraphIter::new(text) {
        let paragraph =
            paragraph.map_err(|source| SourcesError::Format { path: path.to_owned(), source })?;
        let enabled = words(&paragraph, "Enabled").first().is_none_or(|word| truth(word));
        if !enabled || !words(&paragraph, "Types").iter().any(|word| word == "deb") {
            continue;
        }
        let signed_by = match paragraph.get("Signed-By") {
            // An armored key is folded under the field; its empty lines are written as dots.
            Some(lines) if lines.iter().any(|line| line.contains("BEGIN PGP")) => {
                let lines =
                    lines.iter().map(|line| if line.trim() == "." { "" } else { line.trim() });
                Some(SignedBy::Key(
                    lines.collect::<Vec<_>>().join("\n").trim_start().to_owned() + "\n",
                ))
            }
            _ => signed_by(words(&paragraph, "Signed-By").iter().map(String::as_str)),
        };
        sources.push(AptSource {
            urls: words(&paragraph, "URIs")
                .iter()
                .map(|url| url.trim_end_matches('/').to_owned())
                .collect(),
            suites: words(&paragraph, "Suites"),
            components: words(&paragraph, "Components"),
            signed_by,
            check_valid_until: words(&paragraph, "Check-Valid-Until")
                .first()
                .map(|word| truth(word)),
        });
    }
    Ok(sources)
}

fn words(paragraph: &BorrowedParagraph<'_>, field: &str) -> Vec<String> {
    let lines = paragraph.get(field).unwrap_or_default();
    let words = lines
        .iter()
        .filter(|line| !line.trim_start().starts_with('#'))
        .flat_map(|line| line.split_whitespace());
    words.map(str::to_owned).collect()
}

/// Takes the paths among the values of `Signed-By`; bare fingerprints leave all trusted keys.
fn signed_by<'a>(values: impl Iterator<Item = &'a str>) -> Option<SignedBy> {
    let paths: Vec<PathBuf> =
        values.filter(|value| value.starts_with('/')).map(PathBuf::from).collect();
    (!paths.is_empty()).then_some(SignedBy::Files(paths))
}

fn truth(word: &str) -> bool {
    !matches!(word.to_lowercase().as_str(), "no" | "false" | "without" | "off" | "disable" | "0")
}

/// Reads the settings of a configuration file: `A::B "c";` and `A { B "c"; };`.
pub(super) fn settings(text: &str, into: &mut BTreeMap<String, String>) {
    let (mut scopes, mut words): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
    for token in tokens(text) {
        match token {
            Token::Word(word) => words.push(word),
            Token::Open => scopes.push(words.drain(..).next().unwrap_or_default()),
            Token::Close => {
                scopes.pop();
                words.clear();
            }
            Token::End => {
                if let [name, value] = &words[..] {
                    let path: Vec<&str> = scopes
                        .iter()
                        .chain([name])
                        .map(String::as_str)
                        .filter(|part| !part.is_empty())
                        .collect();
                    into.insert(path.join("::").to_lowercase(), value.clone());
                }
                words.clear();
            }
        }
    }
}

enum Token {
    Word(String),
    Open,
    Close,
    End,
}

fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start();
        let Some(first) = rest.chars().next() else { return tokens };
        if rest.starts_with("//") || first == '#' {
            rest = rest.split_once('\n').map_or("", |(_, rest)| rest);
        } else if let Some(comment) = rest.strip_prefix("/*") {
            rest = comment.split_once("*/").map_or("", |(_, rest)| rest);
        } else if let Some(quoted) = rest.strip_prefix('"') {
            let (word, tail) = quoted.split_once('"').unwrap_or((quoted, ""));
            tokens.push(Token::Word(word.to_owned()));
            rest = tail;
        } else if let "{" | "}" | ";" = &rest[..first.len_utf8()] {
            tokens.push(match first {
                '{' => Token::Open,
                '}' => Token::Close,
                _ => Token::End,
            });
            rest = &rest[1..];
        } else {
            let end =
                rest.find(|c: char| c.is_whitespace() || "{};\"".contains(c)).unwrap_or(rest.len());
            tokens.push(Token::Word(rest[..end].to_owned()));
            rest = &rest[end..];
        }
    }
}

//! `reimage.lock`: each remote source by digest, sorted, one pin an entry, made for reading diffs.
//!
//! A pin is found by its request, what the spec asks for; it never names the host it came from.

use std::{collections::BTreeMap, fmt::Write as _};

use reimage_castore::{Digest, Sha256};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{Oci, Platform};

/// Version of the format, at the head of the file.
const VERSION: u32 = 1;

const HEAD: &str = "\
# Made by `reimage lock`: what each remote source is, by digest. Commit it, and read its diffs.
version = 1
";

/// A lock that cannot be read.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum LockError {
    /// A merge left its marks.
    #[error("Line {line} is the mark of an unresolved merge")]
    Conflict {
        /// Line, from 1.
        line: usize,
    },
    /// Not the format.
    #[error("{message}")]
    Syntax {
        /// What is wrong and where.
        message: String,
    },
    /// A newer format.
    #[error("It has version {version}, and this reimage reads version {VERSION}")]
    Version {
        /// The version it has.
        version: u32,
    },
    /// A line of a Debian pin that is none.
    #[error(
        "`{line}` is no pin of a package: expected `SUITE NAME VERSION ARCHITECTURE PATH SIZE sha256:DIGEST`"
    )]
    Package {
        /// The line.
        line: String,
    },
    /// A line of an image's pin that is none.
    #[error("`{line}` is no blob of an image: expected `SIZE sha256:DIGEST`")]
    Blob {
        /// The line.
        line: String,
    },
    /// A skeleton of an image that is none.
    #[error("`{line}` is no skeleton of an image: expected `UNPACKER SIZE sha256:DIGEST`")]
    Skeleton {
        /// The line.
        line: String,
    },
    /// The same request twice.
    #[error("The request `{request}` is pinned twice")]
    Twice {
        /// The request.
        request: String,
    },
}

/// All pins of a project.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lock {
    /// Of `re.Http`, by URL.
    pub http: BTreeMap<String, HttpPin>,
    /// Of `re.Oci`, by request.
    pub oci: BTreeMap<OciRequest, OciPin>,
    /// Of `re.Debian`, by request.
    pub debian: BTreeMap<DebianRequest, DebianPin>,
}

/// What a `re.Oci` asks a registry for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct OciRequest {
    /// The image's name, as written.
    pub image: String,
    /// The platform.
    pub platform: String,
}

/// What a name of an image means.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OciPin {
    /// Digest of the manifest of this platform.
    pub digest: Sha256,
    /// Its size in bytes.
    pub size: u64,
    /// Digest and size of each blob that it names: the configuration, then the layers, lowest first.
    pub blobs: Vec<(Sha256, u64)>,
    /// What its layers change, without their contents.
    pub skeleton: Option<SkeletonPin>,
}

/// The skeleton of an image (docs/images.md): from it follows what stands on the image, without its layers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SkeletonPin {
    /// The name and version of what unpacked the layers: another may find something else in them.
    pub unpacker: String,
    /// Digest of the file.
    pub sha256: Sha256,
    /// Its size in bytes.
    pub size: u64,
}

impl OciRequest {
    /// For people: `debian:12-slim`.
    pub fn describe(&self) -> String {
        format!("{}{}", self.image, elsewhere(&self.platform))
    }

    /// What `oci` asks for.
    pub fn new(oci: &Oci) -> Self {
        Self { image: oci.image.clone(), platform: oci.platform.to_string() }
    }
}

/// What a URL gave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HttpPin {
    /// Digest of the file.
    pub sha256: Sha256,
    /// Its size in bytes.
    pub size: u64,
}

/// What a `re.Debian` asks the archive for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct DebianRequest {
    /// The suite.
    pub suite: String,
    /// Names of packages, sorted.
    pub packages: Vec<String>,
    /// Components, as written.
    pub components: Vec<String>,
    /// Essential packages, too.
    pub essential: bool,
    /// Recommended packages, too.
    pub recommends: bool,
    /// More repositories: URL, suite, components, digest of the key.
    pub repositories: Vec<String>,
    /// The platform.
    pub platform: String,
    /// What `from` has installed: the digest of its package list; none without `from`.
    pub installed: Option<Digest>,
}

/// The packages that a request means.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct DebianPin {
    /// Sorted by name and architecture.
    pub packages: Vec<PackagePin>,
}

/// One package of a Debian archive.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct PackagePin {
    /// Name.
    pub name: String,
    /// Architecture: `amd64`, `all`.
    pub architecture: String,
    /// Version.
    pub version: String,
    /// The suite whose index names it: `bookworm-security`.
    pub suite: String,
    /// Path below the archive's root: `pool/main/...`.
    pub path: String,
    /// Size in bytes.
    pub size: u64,
    /// Digest of the .deb.
    pub sha256: Sha256,
}

#[derive(Deserialize)]
struct Head {
    version: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[expect(dead_code, reason = "it is read as `Head`, before the rest may be refused")]
    version: u32,
    #[serde(default)]
    http: Vec<HttpEntry>,
    #[serde(default)]
    oci: Vec<OciEntry>,
    #[serde(default)]
    debian: Vec<DebianEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HttpEntry {
    url: String,
    sha256: Sha256,
    size: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OciEntry {
    image: String,
    platform: String,
    digest: Sha256,
    size: u64,
    blobs: Vec<String>,
    skeleton: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DebianEntry {
    suite: String,
    packages: Vec<String>,
    #[serde(default = "main")]
    components: Vec<String>,
    essential: bool,
    #[serde(default)]
    recommends: bool,
    #[serde(default)]
    repositories: Vec<String>,
    platform: String,
    installed: Option<Digest>,
    pins: Vec<String>,
}

fn main() -> Vec<String> {
    vec!["main".to_owned()]
}

impl Lock {
    /// Reads a lock file; an empty one has no pins, and says where the lock of several specs goes.
    pub fn parse(text: &str) -> Result<Self, LockError> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let mark = |line: &str| {
            ["<<<<<<<", ">>>>>>>", "|||||||"].iter().any(|m| line.starts_with(m))
                || line == "======="
        };
        if let Some(line) = text.lines().position(mark) {
            return Err(LockError::Conflict { line: line + 1 });
        }
        let syntax = |error: toml::de::Error| LockError::Syntax {
            message: error.to_string().trim_end().to_owned(),
        };
        // The version first: a newer format may have fields that this one refuses.
        let Head { version } = toml::from_str(text).map_err(syntax)?;
        if version != VERSION {
            return Err(LockError::Version { version });
        }
        let file: File = toml::from_str(text).map_err(syntax)?;
        let mut lock = Self::default();
        for HttpEntry { url, sha256, size } in file.http {
            if lock.http.insert(url.clone(), HttpPin { sha256, size }).is_some() {
                return Err(LockError::Twice { request: url });
            }
        }
        for OciEntry { image, platform, digest, size, blobs, skeleton } in file.oci {
            let blobs = blobs.iter().map(|line| blob(line)).collect::<Result<_, _>>()?;
            let skeleton = skeleton.as_deref().map(SkeletonPin::parse).transpose()?;
            let request = OciRequest { image: image.clone(), platform };
            if lock.oci.insert(request, OciPin { digest, size, blobs, skeleton }).is_some() {
                return Err(LockError::Twice { request: image });
            }
        }
        for entry in file.debian {
            let (request, pin) = entry.read()?;
            let shown = request.describe();
            if lock.debian.insert(request, pin).is_some() {
                return Err(LockError::Twice { request: shown });
            }
        }
        Ok(lock)
    }

    /// Takes over all pins of another lock.
    pub fn add(&mut self, other: Self) {
        self.http.extend(other.http);
        self.oci.extend(other.oci);
        self.debian.extend(other.debian);
    }

    /// Does here what was done to `old` to make it `new`; all else stays as it is.
    pub fn apply(&mut self, old: &Self, new: &Self) {
        apply(&mut self.http, &old.http, &new.http);
        apply(&mut self.oci, &old.oci, &new.oci);
        apply(&mut self.debian, &old.debian, &new.debian);
    }

    /// The file, byte for byte the same for equal locks.
    pub fn render(&self) -> String {
        let mut text = HEAD.to_owned();
        for (url, HttpPin { sha256, size }) in &self.http {
            let url = quoted(url);
            write!(text, "\n[[http]]\nurl = {url}\nsha256 = \"{sha256}\"\nsize = {size}\n")
                .expect(IN_MEMORY);
        }
        for (OciRequest { image, platform }, pin) in &self.oci {
            let OciPin { digest, size, blobs, skeleton } = pin;
            let (image, platform) = (quoted(image), quoted(platform));
            let blobs = blobs.iter().map(|(digest, size)| format!("  \"{size} {digest}\",\n"));
            let blobs: String = blobs.collect();
            write!(
                text,
                "\n[[oci]]\nimage = {image}\nplatform = {platform}\ndigest = \"{digest}\"\nsize = {size}\nblobs = [\n{blobs}]\n"
            )
            .expect(IN_MEMORY);
            if let Some(skeleton) = skeleton {
                writeln!(text, "skeleton = {}", quoted(&skeleton.line())).expect(IN_MEMORY);
            }
        }
        for (request, pin) in &self.debian {
            request.render(pin, &mut text);
        }
        text
    }
}

impl SkeletonPin {
    fn line(&self) -> String {
        let Self { unpacker, sha256, size } = self;
        format!("{unpacker} {size} {sha256}")
    }

    fn parse(line: &str) -> Result<Self, LockError> {
        let error = || LockError::Skeleton { line: line.chars().take(300).collect() };
        let (unpacker, file) = line.split_once(' ').ok_or_else(error)?;
        let (sha256, size) = blob(file).map_err(|_| error())?;
        Ok(Self { unpacker: unpacker.to_owned(), sha256, size })
    }
}

/// `SIZE sha256:DIGEST`
fn blob(line: &str) -> Result<(Sha256, u64), LockError> {
    let error = || LockError::Blob { line: line.chars().take(300).collect() };
    let (size, digest) = line.split_once(' ').ok_or_else(error)?;
    Ok((digest.parse().map_err(|_| error())?, size.parse().map_err(|_| error())?))
}

fn apply<K: Ord + Clone, V: PartialEq + Clone>(
    to: &mut BTreeMap<K, V>,
    old: &BTreeMap<K, V>,
    new: &BTreeMap<K, V>,
) {
    to.retain(|request, _| new.contains_key(request) || !old.contains_key(request));
    let changed = new.iter().filter(|(request, pin)| old.get(request) != Some(pin));
    to.extend(changed.map(|(request, pin)| (request.clone(), pin.clone())));
}

/// Why writing into a string cannot fail.
const IN_MEMORY: &str = "a string takes all that is written";

/// For people: what is not for the default platform.
fn elsewhere(platform: &str) -> String {
    let default = platform == Platform::default().to_string();
    if default { String::new() } else { format!(" for {platform}") }
}

/// TOML's basic string.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn quoted_list(texts: &[String]) -> String {
    let texts: Vec<_> = texts.iter().map(|t| quoted(t)).collect();
    format!("[{}]", texts.join(", "))
}

impl DebianRequest {
    /// For people: `bookworm: gunicorn, python3-flask`.
    pub fn describe(&self) -> String {
        let packages = if self.packages.is_empty() {
            "the essential packages".to_owned()
        } else {
            self.packages.join(", ")
        };
        format!("{}{}: {packages}", self.suite, elsewhere(&self.platform))
    }

    /// Whether both ask for the same but for what is installed below.
    pub fn same_but_installed(&self, other: &Self) -> bool {
        Self { installed: None, ..self.clone() } == Self { installed: None, ..other.clone() }
    }

    fn render(&self, pin: &DebianPin, text: &mut String) {
        let Self {
            suite,
            packages,
            components,
            essential,
            recommends,
            repositories,
            platform,
            installed,
        } = self;
        let mut line =
            |key: &str, value: String| writeln!(text, "{key} = {value}").expect(IN_MEMORY);
        line("\n[[debian]]\nsuite", quoted(suite));
        line("packages", quoted_list(packages));
        if *components != main() {
            line("components", quoted_list(components));
        }
        line("essential", essential.to_string());
        if *recommends {
            line("recommends", "true".to_owned());
        }
        if !repositories.is_empty() {
            line("repositories", quoted_list(repositories));
        }
        line("platform", quoted(platform));
        if let Some(installed) = installed {
            line("installed", format!("\"{installed}\""));
        }
        let pins: Vec<_> =
            pin.packages.iter().map(|p| format!("  {},", quoted(&p.line()))).collect();
        line(
            "pins",
            if pins.is_empty() { "[]".to_owned() } else { format!("[\n{}\n]", pins.join("\n")) },
        );
    }
}

impl DebianEntry {
    fn read(self) -> Result<(DebianRequest, DebianPin), LockError> {
        let packages =
            self.pins.iter().map(|line| PackagePin::parse(line)).collect::<Result<Vec<_>, _>>()?;
        let request = DebianRequest {
            suite: self.suite,
            packages: self.packages,
            components: self.components,
            essential: self.essential,
            recommends: self.recommends,
            repositories: self.repositories,
            platform: self.platform,
            installed: self.installed,
        };
        Ok((request, DebianPin { packages }))
    }
}

impl PackagePin {
    fn line(&self) -> String {
        let Self { name, architecture, version, suite, path, size, sha256 } = self;
        format!("{suite} {name} {version} {architecture} {path} {size} {sha256}")
    }

    fn parse(line: &str) -> Result<Self, LockError> {
        let error = || LockError::Package { line: line.chars().take(300).collect() };
        let words: Vec<_> = line.split(' ').collect();
        let [suite, name, version, architecture, path, size, sha256] = words[..] else {
            return Err(error());
        };
        // What ends up in a URL or a file name must not lead anywhere else.
        let plain = |text: &str| {
            !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic() && b != b'\\')
        };
        let name_ok = |text: &str| plain(text) && !text.contains('/') && !text.starts_with('.');
        let path_ok = plain(path)
            && !path.starts_with('/')
            && path.split('/').all(|p| !matches!(p, "" | "." | ".."));
        if ![name, version, architecture].into_iter().all(name_ok) || !plain(suite) || !path_ok {
            return Err(error());
        }
        Ok(Self {
            suite: suite.to_owned(),
            name: name.to_owned(),
            version: version.to_owned(),
            architecture: architecture.to_owned(),
            path: path.to_owned(),
            size: size.parse().map_err(|_| error())?,
            sha256: sha256.parse().map_err(|_| error())?,
        })
    }
}

#[cfg(test)]
mod tests;

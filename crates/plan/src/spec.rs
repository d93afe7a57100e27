//! What a spec says, after evaluation: steps by value, each once, and the targets asked for.
//!
//! Absent fields are absent here, too; what that means is decided where the value is used. Names, places and
//! host paths are for people and for reading sources: no digest sees them.

use std::{collections::BTreeMap, fmt, path::PathBuf, str::FromStr, time::Duration};

use reimage_castore::TreePath;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

use crate::Mode;

/// An evaluated spec: the steps that the targets need.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Spec {
    /// Version of the sandbox's constants and of the encoders; none: the newest that is stable.
    pub baseline: Option<u32>,
    /// Each step once, after every step it refers to.
    pub steps: Vec<Step>,
    /// What was asked for, in the order of the spec's sections and names.
    pub targets: Vec<Target>,
}

impl Spec {
    /// The step of this number. Panics if it is of another spec.
    pub fn step(&self, id: StepId) -> &Step {
        &self.steps[id.0]
    }
}

/// The number of a step within its [`Spec`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StepId(pub usize);

impl Serialize for StepId {
    /// As nothing: a definition names what it refers to by definition, never by number.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_unit()
    }
}

impl<'de> Deserialize<'de> for StepId {
    /// As the first step: whoever keeps a definition keeps what it refers to beside it
    /// ([`StepKind::map_references`]).
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <()>::deserialize(deserializer).map(|()| Self(0))
    }
}

/// A field of the spec that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The section it lies in.
    pub section: Section,
    /// Its name there.
    pub name: String,
    /// What it is.
    pub step: StepId,
}

impl Target {
    /// The path of the field: `images.web`, `images."py3.13"`.
    pub fn path(&self) -> String {
        if plain(&self.name) {
            format!("{}.{}", self.section, self.name)
        } else {
            let name = self.name.replace('\\', "\\\\").replace('"', "\\\"");
            format!("{}.\"{name}\"", self.section)
        }
    }
}

/// Whether a field of this name is written without quotes.
fn plain(name: &str) -> bool {
    let mut letters = name.trim_start_matches('_').chars();
    let rest = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '\'');
    letters.next().is_some_and(|first| first.is_ascii_alphabetic()) && letters.all(rest)
}

/// A section of a spec that holds steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Section {
    /// `steps`
    Steps,
    /// `images`
    Images,
    /// `exports`
    Exports,
    /// `checks`
    Checks,
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Steps => "steps",
            Self::Images => "images",
            Self::Exports => "exports",
            Self::Checks => "checks",
        })
    }
}

/// One step: what it is, and what people call it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The field that names it, such as `steps.app`, or its place: `spec.ncl:12 copy`.
    pub name: String,
    /// Where it was written.
    pub place: Place,
    /// What it is.
    pub kind: StepKind,
}

/// A place in a file of the spec.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct Place {
    /// The file, relative to the project, or as whoever shows it sees it.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// The constructors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Hash)]
pub enum StepKind {
    /// Files of the project.
    Local(Local),
    /// Files written in the spec.
    Files(Files),
    /// One file by its URL.
    Http(Http),
    /// Debian packages.
    Debian(Debian),
    /// A command.
    Run(Run),
    /// A pure tree operation.
    Copy(Copy),
    /// An image.
    Image(Box<Image>),
    /// An image for several platforms.
    Index(Index),
    /// An image of a registry.
    Oci(Oci),
}

impl StepKind {
    /// The name of the constructor, in lower case.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Local(_) => "local",
            Self::Files(_) => "files",
            Self::Http(_) => "http",
            Self::Debian(_) => "debian",
            Self::Run(_) => "run",
            Self::Copy(_) => "copy",
            Self::Image(_) => "image",
            Self::Index(_) => "index",
            Self::Oci(_) => "oci",
        }
    }

    /// Whether it comes from elsewhere, so that the lock says what it is.
    pub fn is_pinned(&self) -> bool {
        matches!(self, Self::Http(_) | Self::Debian(_) | Self::Oci(_))
    }

    /// The steps it refers to, in the order of its fields; one may come twice.
    pub fn references(&self) -> Vec<StepId> {
        match self {
            Self::Local(_) | Self::Files(_) | Self::Http(_) | Self::Oci(_) => Vec::new(),
            Self::Debian(debian) => debian.from.clone(),
            Self::Run(run) => run.from.iter().chain(run.inputs.values()).copied().collect(),
            Self::Copy(copy) => copy.from.clone(),
            Self::Image(image) => image.layers.iter().chain(&image.requires).copied().collect(),
            Self::Index(index) => index.images.clone(),
        }
    }

    /// Replaces each reference, in the order of [`StepKind::references`].
    pub fn map_references(&mut self, mut map: impl FnMut(StepId) -> StepId) {
        let mut each = |id: &mut StepId| *id = map(*id);
        match self {
            Self::Local(_) | Self::Files(_) | Self::Http(_) | Self::Oci(_) => {}
            Self::Debian(debian) => debian.from.iter_mut().for_each(each),
            Self::Run(run) => {
                run.from.iter_mut().for_each(&mut each);
                run.inputs.values_mut().for_each(each);
            }
            Self::Copy(copy) => copy.from.iter_mut().for_each(each),
            Self::Image(image) => {
                image.layers.iter_mut().for_each(&mut each);
                image.requires.iter_mut().for_each(each);
            }
            Self::Index(index) => index.images.iter_mut().for_each(each),
        }
    }
}

/// `re.Local`: a file or directory of the project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Hash)]
pub struct Local {
    /// Where it lies on this machine; in no digest.
    #[serde(skip)]
    pub path: PathBuf,
    /// The project's root on this machine, up to which `.gitignore` files count; in no digest.
    #[serde(skip)]
    pub project: PathBuf,
    /// Only what one of these patterns matches.
    pub include: Option<Vec<String>>,
    /// Not what one of these patterns matches.
    pub exclude: Vec<String>,
    /// Leave out what the project's `.gitignore` files name.
    pub gitignore: bool,
    /// The contents of the archive that it is.
    pub unpack: Option<Unpack>,
}

/// Unpacking an archive.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Hash)]
pub struct Unpack {
    /// Leading path components to drop.
    pub strip: u32,
}

/// `re.Files`: files, links and directories written in the spec.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Hash)]
pub struct Files {
    /// By path.
    pub files: BTreeMap<TreePath, FileEntry>,
}

/// One entry of `re.Files`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Hash)]
pub struct FileEntry {
    /// What it is.
    pub content: FileContent,
    /// Its mode; none: 0644, of a directory 0755.
    pub chmod: Option<Mode>,
    /// Its owner; none: 0:0.
    pub chown: Option<Owner>,
}

/// What an entry of `re.Files` is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Hash)]
pub enum FileContent {
    /// A file with this text.
    Text(String),
    /// A symbolic link to this target.
    Symlink(String),
    /// An empty directory.
    Directory,
}

/// A numeric owner: `UID:GID`; the group of a bare `UID` is the same number, as for docker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Hash)]
pub struct Owner {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// `re.Http`: one file, or what an archive holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Hash)]
pub struct Http {
    /// Its URL.
    pub url: String,
    /// The contents of the archive that it is.
    pub unpack: Option<Unpack>,
}

/// `re.Oci`: an image of a registry, layers and configuration.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Hash)]
pub struct Oci {
    /// Its name, as docker writes it.
    pub image: String,
    /// Whose manifest of it.
    pub platform: Platform,
}

/// `re.Debian`: packages from signed indexes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Hash)]
pub struct Debian {
    /// The root they are installed upon, lowest first.
    pub from: Vec<StepId>,
    /// The suite: `bookworm`.
    pub suite: String,
    /// Names of packages, as written.
    pub packages: Vec<String>,
    /// Run the packages' scripts or only unpack.
    pub scripts: Scripts,
    /// Essential packages, too; none: if `from` is empty and the scripts run.
    pub essential: Option<bool>,
    /// Recommended packages, too.
    pub recommends: bool,
    /// Files not to unpack.
    pub exclude: Vec<String>,
    /// Components; none: main.
    pub components: Option<Vec<String>>,
    /// More repositories.
    pub repositories: Vec<Repository>,
    /// Whose packages, and where their scripts run.
    pub platform: Platform,
}

/// What becomes of the packages' own scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Hash)]
pub enum Scripts {
    /// `'run`
    Run,
    /// `'skip`
    Skip,
}

/// One more apt repository.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Hash)]
pub struct Repository {
    /// Its URL.
    pub url: String,
    /// Its suite.
    pub suite: String,
    /// Its components; none: main.
    pub components: Option<Vec<String>>,
    /// The armored public key that signs it.
    pub signed_by: String,
}

/// `re.Run`: one command in the sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Hash)]
pub struct Run {
    /// The root file system, lowest first.
    pub from: Vec<StepId>,
    /// What is laid where for this step only.
    pub inputs: BTreeMap<TreePath, StepId>,
    /// What is run.
    pub command: Command,
    /// Environment over the base image's; none takes one away.
    pub env: BTreeMap<String, Option<String>>,
    /// `NAME`, `UID` or `UID:GID`.
    pub user: Option<String>,
    /// Working directory.
    pub workdir: Option<TreePath>,
    /// The only paths to keep.
    pub outputs: Option<Vec<TreePath>>,
    /// Written files not to keep.
    pub exclude: Vec<String>,
    /// Time.
    pub clock: Option<Clock>,
    /// Random numbers.
    pub entropy: Option<Entropy>,
    /// Inode numbers, file times, directory sizes.
    pub stat: Option<Entropy>,
    /// Processors the step sees.
    pub cpus: Option<u32>,
    /// Where it runs.
    pub platform: Platform,
    /// What it may use; in no digest.
    #[serde(skip)]
    pub limits: Limits,
}

/// What a `Run` runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Hash)]
pub enum Command {
    /// Lines for a shell; none: `/bin/sh -e -c`.
    Script {
        /// The lines.
        script: String,
        /// The shell and its arguments.
        shell: Option<Vec<String>>,
    },
    /// One program and its arguments.
    Exec(Vec<String>),
}

/// What time a step sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Hash)]
pub enum Clock {
    /// `'fixed`: the baseline's date.
    Fixed,
    /// `'real`: the machine's.
    Real,
    /// Seconds since 1970.
    At(i64),
}

/// Whether something of the machine is made up or real.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Hash)]
pub enum Entropy {
    /// `'fixed`
    Fixed,
    /// `'real`
    Real,
}

/// Limits of a step; beyond them it fails. None: the default of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, Hash)]
pub struct Limits {
    /// Wall time; default one hour.
    pub timeout: Option<Duration>,
    /// Bytes; default the machine's memory.
    pub memory: Option<u64>,
    /// Bytes written; default what is free.
    pub disk: Option<u64>,
    /// Processes; default 4096.
    pub processes: Option<u64>,
}

/// `re.Copy`: merge, take, filter, own, place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Hash)]
pub struct Copy {
    /// What is merged, lowest first.
    pub from: Vec<StepId>,
    /// The node to take; none: the root.
    pub path: Option<TreePath>,
    /// Where it goes; none: where it was.
    pub to: Option<TreePath>,
    /// Only what one of these patterns matches, seen from `path`.
    pub include: Option<Vec<String>>,
    /// Not what one of these patterns matches.
    pub exclude: Vec<String>,
    /// Owner of all of it.
    pub chown: Option<Owner>,
    /// Mode of all of it.
    pub chmod: Option<Mode>,
    /// Time of all of it, in seconds since 1970.
    pub mtime: Option<i64>,
}

/// `re.Image`: layers and configuration.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, Hash)]
pub struct Image {
    /// Steps, lowest first.
    pub layers: Vec<StepId>,
    /// What goes over the inherited configuration.
    pub config: Config,
    /// On the manifest.
    pub annotations: BTreeMap<String, String>,
    /// What it is for.
    pub platform: Platform,
    /// The encoder.
    pub compression: Compression,
    /// When the configuration says it was made, in seconds since 1970; none: F.
    pub created: Option<i64>,
    /// Names for `save`, `load`, `push`.
    pub tags: Vec<String>,
    /// Steps that must pass before the image exists.
    pub requires: Vec<StepId>,
}

/// An image for several platforms: one image for each.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, Hash)]
pub struct Index {
    /// The images, in the order in which the spec names their platforms.
    pub images: Vec<StepId>,
    /// On the index.
    pub annotations: BTreeMap<String, String>,
    /// Names for `save`, `load`, `push`.
    pub tags: Vec<String>,
}

/// Configuration of an image: docker's words; an absent field is inherited.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, Hash)]
pub struct Config {
    /// ENTRYPOINT
    pub entrypoint: Option<Vec<String>>,
    /// CMD
    pub cmd: Option<Vec<String>>,
    /// ENV; none takes an inherited one away.
    pub env: BTreeMap<String, Option<String>>,
    /// LABEL; none takes an inherited one away.
    pub labels: BTreeMap<String, Option<String>>,
    /// WORKDIR
    pub workdir: Option<String>,
    /// USER
    pub user: Option<String>,
    /// EXPOSE: `8000/tcp`, `53/udp`
    pub expose: Vec<String>,
    /// VOLUME
    pub volumes: Vec<String>,
    /// STOPSIGNAL
    pub stop_signal: Option<String>,
    /// SHELL
    pub shell: Option<Vec<String>>,
    /// MAINTAINER
    pub author: Option<String>,
    /// HEALTHCHECK
    pub healthcheck: Option<Healthcheck>,
}

/// HEALTHCHECK of an image.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, Hash)]
pub struct Healthcheck {
    /// Exits 0 when healthy.
    pub cmd: Option<Vec<String>>,
    /// Between two checks.
    pub interval: Option<Duration>,
    /// Of one check.
    pub timeout: Option<Duration>,
    /// In which failures do not count.
    pub start_period: Option<Duration>,
    /// Between two checks during `start_period`.
    pub start_interval: Option<Duration>,
    /// Failures until unhealthy.
    pub retries: Option<u32>,
    /// Drop the inherited one.
    pub disable: bool,
}

/// An encoder, as frozen by the baseline.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize, Hash,
)]
pub enum Compression {
    /// `'gzip`
    #[default]
    Gzip,
    /// `'zstd`
    Zstd,
    /// `'none`
    None,
}

/// A platform as docker writes it: `linux/amd64`, `linux/arm/v7`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Hash)]
pub struct Platform {
    /// TARGETARCH: `amd64`
    pub architecture: String,
    /// TARGETVARIANT: `v7`
    pub variant: Option<String>,
}

/// A string that is no platform.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[error("Expected a platform such as `linux/amd64` or `linux/arm/v7`, got `{0}`")]
pub struct PlatformError(String);

impl Default for Platform {
    fn default() -> Self {
        Self { architecture: "amd64".to_owned(), variant: None }
    }
}

impl Platform {
    /// What Debian calls this architecture; none: it has no packages for it.
    pub fn debian(&self) -> Option<&'static str> {
        Some(match (&*self.architecture, self.variant.as_deref()) {
            ("amd64", None | Some("v1")) => "amd64",
            ("arm64", None | Some("v8")) => "arm64",
            ("arm", None | Some("v7")) => "armhf",
            ("arm", Some("v5" | "v6")) => "armel",
            ("386", None) => "i386",
            ("ppc64le", None) => "ppc64el",
            ("mips64le", None) => "mips64el",
            ("loong64", None) => "loong64",
            ("riscv64", None) => "riscv64",
            ("s390x", None) => "s390x",
            _ => return None,
        })
    }
}

impl FromStr for Platform {
    type Err = PlatformError;

    fn from_str(text: &str) -> Result<Self, PlatformError> {
        let error = || PlatformError(text.to_owned());
        let word = |w: &str| {
            !w.is_empty() && w.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        };
        let mut words = text.strip_prefix("linux/").ok_or_else(error)?.split('/');
        let architecture = words.next().filter(|w| word(w)).ok_or_else(error)?.to_owned();
        let variant = words
            .next()
            .map(|w| if word(w) { Ok(w.to_owned()) } else { Err(error()) })
            .transpose()?;
        if words.next().is_some() { Err(error()) } else { Ok(Self { architecture, variant }) }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "linux/{}", self.architecture)?;
        self.variant.iter().try_for_each(|variant| write!(f, "/{variant}"))
    }
}

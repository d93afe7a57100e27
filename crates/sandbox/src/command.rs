//! What a sandbox is asked to run: all of it owned data, all of it numeric, nothing looked up later.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Clock;
use crate::entropy::Entropy;
use crate::machine::Machine;
use crate::stat::Stat;
use crate::wire::{path, path_map, paths};

/// One command and everything that it can see.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Command {
    /// Directories whose union is the root file system, lowest first; at most [`MAX_LOWERS`].
    /// Empty: an empty root. A file input is one more of them.
    #[serde(with = "paths")]
    pub lowers: Vec<PathBuf>,
    /// An existing empty directory, absolute, on the store's file system, that belongs to this run alone:
    /// mount points, and with [`UpperOn::Disk`] what the command writes. Remove it with
    /// [`remove_tree`](crate::remove_tree) once the outcome has been read.
    #[serde(with = "path")]
    pub scratch: PathBuf,
    /// Where the command's writes to the root go.
    pub upper: UpperOn,
    /// Directories laid over the root for this command only.
    pub inputs: Vec<Input>,
    /// Host directories and files made visible as they are (the `run` verb's volumes).
    pub binds: Vec<Bind>,
    /// Files bound into the root: path in the root, content. Their changes are not captured.
    #[serde(with = "path_map")]
    pub files: BTreeMap<PathBuf, Vec<u8>>,
    /// Program and arguments; a program without `/` is looked up along `PATH` of `env`, in the root.
    pub argv: Vec<OsString>,
    /// The whole environment.
    pub env: BTreeMap<OsString, OsString>,
    /// Working directory in the root; made (0755, root) if missing.
    #[serde(with = "path")]
    pub workdir: PathBuf,
    /// Who runs it.
    pub user: User,
    /// Host name that it sees.
    pub hostname: String,
    /// What network it sees.
    pub network: Network,
    /// What machine it sees.
    pub machine: Machine,
    /// Confines it to a single processor, whatever it is told that there are.
    pub one_processor: bool,
    /// Keeps ids as for a plain user who has one, whoever we are; where
    /// [`Zygote::has_single_id`](crate::Zygote::has_single_id).
    pub single_id: bool,
    /// Where its random numbers come from.
    pub entropy: Entropy,
    /// What time it is.
    pub clock: Clock,
    /// What it sees of inodes.
    pub stat: Stat,
    /// Bounds; passing one ends the command and voids its result.
    pub limits: Limits,
    /// Gives the command a terminal of its own as its three standard streams
    /// (see [`Zygote::spawn_on_terminal`](crate::Zygote::spawn_on_terminal)).
    pub terminal: Option<TerminalSize>,
    /// Recorded owners of symbolic links and fifos of `lowers` that are not 0:0, as an earlier
    /// [`Outcome::owners`](crate::Outcome::owners) gave them. Only read under [`Ids::Notify`](crate::Ids).
    pub owners: Vec<Owner>,
}

/// Most directories that overlayfs stacks (its own limit is 500, one of which is ours).
pub const MAX_LOWERS: usize = 490;

/// Where the writes of a command go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum UpperOn {
    /// A tmpfs, gone with the last handle on the outcome: fastest, nothing to remove. Where tmpfs has no user
    /// xattrs (before Linux 6.6) it means [`Disk`](Self::Disk).
    Memory {
        /// Bytes beyond which the command is ended with [`Void::Spilled`](crate::Void::Spilled), to be run again on
        /// disk. tmpfs itself holds more, so that the command never meets the bound.
        spill: u64,
    },
    /// `scratch`, so that files can be renamed or linked into the store.
    Disk,
}

/// A directory laid over the root; writable, its writes kept apart from the root's.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Input {
    /// Where, in the root; made if missing.
    #[serde(with = "path")]
    pub target: PathBuf,
    /// Directories whose union it is, lowest first.
    #[serde(with = "paths")]
    pub lowers: Vec<PathBuf>,
}

/// A host file or directory made visible in the root.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Bind {
    /// What, on the host.
    #[serde(with = "path")]
    pub source: PathBuf,
    /// Where, in the root; made if missing.
    #[serde(with = "path")]
    pub target: PathBuf,
    /// Whether writing is refused.
    pub read_only: bool,
}

/// Numeric identity of the command.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Supplementary group ids.
    pub groups: Vec<u32>,
}

/// Size of a terminal, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TerminalSize {
    /// Lines.
    pub rows: u16,
    /// Characters of a line.
    pub columns: u16,
}

/// What network a command sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Network {
    /// A loopback device and nothing else.
    None,
    /// The host's, for the `run` verb, which makes no result.
    Host,
}

/// Bounds of a command. `None` is unbounded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Wall clock time.
    pub timeout: Option<Duration>,
    /// Bytes of memory of all processes together, files in memory included.
    pub memory: Option<u64>,
    /// Bytes written to the root.
    pub disk: Option<u64>,
    /// Processes at the same time.
    pub processes: Option<u64>,
}

/// Who owns a symbolic link or special file, which cannot carry the record itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Owner {
    /// Path in the root, absolute.
    #[serde(with = "path")]
    pub path: PathBuf,
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

impl Command {
    /// A command as root in an empty root, with no network, no environment and no limit.
    pub fn new(scratch: impl Into<PathBuf>, argv: impl IntoIterator<Item = OsString>) -> Self {
        let hostname = "reimage".to_owned();
        let hosts = format!("127.0.0.1 localhost {hostname}\n::1 localhost\n").into_bytes();
        Self {
            lowers: Vec::new(),
            scratch: scratch.into(),
            upper: UpperOn::Memory { spill: u64::MAX },
            inputs: Vec::new(),
            binds: Vec::new(),
            files: BTreeMap::from([
                (PathBuf::from("/etc/hosts"), hosts),
                (PathBuf::from("/etc/resolv.conf"), Vec::new()),
                (PathBuf::from("/etc/hostname"), format!("{hostname}\n").into_bytes()),
            ]),
            argv: argv.into_iter().collect(),
            env: BTreeMap::new(),
            workdir: PathBuf::from("/"),
            user: User::default(),
            hostname,
            network: Network::None,
            machine: Machine::Real,
            one_processor: false,
            single_id: false,
            entropy: Entropy::Real,
            clock: Clock::Real,
            stat: Stat::Real,
            limits: Limits::default(),
            terminal: None,
            owners: Vec::new(),
        }
    }
}

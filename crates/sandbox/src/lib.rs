//! One command of reimage in Linux namespaces: hermetic, rootless or as root, leaving nothing behind.
//!
//! ```text
//! reimage ── start() ──> zygote            one thread, forked before any other; forks, does nothing else
//!                          └─ monitor      one a command: builds the root, answers for the kernel, watches limits
//!                               └─ init    process 1 of the command's pid namespace
//!                                    └─ the step and all that it starts
//! ```
//!
//! Each dies with the one above it. The monitor shares the step's mount namespace and root, not its pid
//! namespace: it resolves the step's paths as the step does, and the step can neither see nor signal it.

mod capture;
mod clock;
mod command;
mod entropy;
mod error;
mod filter;
mod groups;
mod ids;
mod init;
mod machine;
mod monitor;
mod mounts;
mod notify;
mod outcome;
mod probe;
mod remove;
mod rlimits;
mod serve;
mod start;
mod stat;
mod sys;
mod sysctl;
mod terminal;
mod wire;
mod xattr;
mod zygote;

pub use capture::{CaptureError, Entries, Entry, EntryKind};
pub use clock::Clock;
pub use command::{
    Bind, Command, Input, Limits, MAX_LOWERS, Network, Owner, TerminalSize, UpperOn, User,
};
pub use entropy::{DEVICE_SIZE, Entropy, write_device};
pub use error::{Error, Unavailable};
pub use groups::available_memory;
pub use ids::{Ids, IdsSetting};
pub use machine::{Machine, UPTIME};
pub use outcome::{Outcome, Status, Void};
pub use probe::{Fixed, Needed, Probe};
pub use remove::{RemoveError, remove_tree};
pub use start::start;
pub use stat::Stat;
pub use terminal::relay;
pub use xattr::{DEVICE as DEVICE_XATTR, OWNER as OWNER_XATTR};
pub use zygote::{Control, Running, Streams, Zygote};

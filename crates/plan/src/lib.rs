//! Specs, pins, locks and plans as pure data.
//!
//! A [`Spec`] is what a user wrote, extracted from Nickel; a [`Lock`] pins what it names; a [`Plan`] is the
//! two together: what is to be built, in order. **Invariant:** this crate opens no file.

mod fuzz;
mod lock;
mod mode;
mod plan;
mod size;
mod spec;

pub use fuzz::FUZZ_TARGETS;
pub use lock::{
    DebianPin, DebianRequest, HttpPin, Lock, LockError, OciPin, OciRequest, PackagePin, SkeletonPin,
};
pub use mode::{Mode, ModeError};
pub use plan::{Pin, Plan, PlanError};
pub use size::{NotASize, Size};
pub use spec::{
    Clock, Command, Compression, Config, Copy, Debian, Entropy, FileContent, FileEntry, Files,
    Healthcheck, Http, Image, Index, Limits, Local, Oci, Owner, Place, Platform, PlatformError,
    Repository, Run, Scripts, Section, Spec, Step, StepId, StepKind, Target, Unpack,
};

//! Runs a plan: key, look up, execute, keep, and say why.
//!
//! [`build`] makes every step of a [`Plan`](reimage_plan::Plan) once, from the store if its result is there;
//! one file for each way to make a step. [`lock`] pins the sources of a spec.

mod away;
mod base;
mod baseline;
mod build;
mod cached;
mod capture;
mod conditions;
mod config;
mod copy;
mod debian;
mod engine;
mod enter;
mod error;
mod event;
mod execute;
mod explain;
mod files;
mod fuzz;
mod history;
mod image;
mod lock;
mod queue;
mod roots;
mod run;
mod secrets;
mod skeleton;
mod sources;
mod stack;
mod twice;
mod users;
mod vendor;

pub use away::bring;
pub use baseline::{FILE_TIME, VERSION as BASELINE};
pub use build::{
    BuildRecord, Context, ImageRecord, Purpose, StepRecord, TargetOutput, TargetRecord, build,
};
pub use conditions::{Real, as_a_step};
pub use enter::{Entered, Instead, enter, enter_stored, log};
pub use error::{BuildError, StepError};
pub use event::Event;
pub use explain::{Miss, Verdict, Would, explain};
pub use fuzz::FUZZ_TARGETS;
pub use image::{DEGRADED, platform};
pub use lock::{LockChange, Locked, Update, lock};
pub use stack::StackError;
pub use vendor::{Vendor, Vendored, pinned_files, skeletons, vendor};

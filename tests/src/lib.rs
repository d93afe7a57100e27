//! What end-to-end tests of reimage stand on: a machine of their own for the built binary.
//!
//! A [`TestEnv`] is a directory with a home, XDG directories and a project in it; the binary sees nothing else of the
//! tester's environment. What it prints is put into one text, made equal on every machine, for inline snapshots.

pub mod archive;
mod crane_registry;
mod deb;
mod docker_registry;
mod engines;
mod env;
mod files;
pub mod loopback;
mod mirror;
mod ran;
pub mod registry;
mod server;
mod signer;
mod system;
mod tool;
mod user;

pub use crane_registry::CraneRegistry;
pub use deb::Deb;
pub use docker_registry::{Closed, DockerRegistry};
pub use engines::Daemon;
pub use env::{TestEnv, binary};
pub use files::{assert_same_files, files};
pub use mirror::Mirror;
pub use ran::Ran;
pub use server::{answer, free_port};
pub use signer::Signer;
pub use system::programs;
pub use tool::tool;
pub use user::is_root;

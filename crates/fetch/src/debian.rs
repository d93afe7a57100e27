//! Debian repositories: which packages a list of names means, where their files are, and how they are installed.

pub mod deb;
pub mod install;

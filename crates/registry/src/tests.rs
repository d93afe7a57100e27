//! The client against a registry in memory that fails in every way.

mod credentials;
mod faults;
mod images;
mod machine;
mod pulls;
mod pushes;
mod referrers;

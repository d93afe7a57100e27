//! Images of everything, without a network: one digest whoever builds them, and what independent programs read in
//! them.

mod bases;
mod builders;
mod config;
mod depth;
mod everything;
mod golden;
mod lazy;
mod platforms;
mod readers;
mod registries;

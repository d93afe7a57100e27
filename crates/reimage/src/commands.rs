//! The verbs, one file each.

mod completions;
mod config;
mod doctor;
mod graph;
mod init;

use std::process::ExitCode;

use clap::Subcommand;

use crate::{app::App, error::CommandError, ui::Format};

/// The verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    #[command(name = "init")]
    Init(init::InitArgs),
    #[command(name = "graph")]
    Graph(graph::GraphArgs),
    #[command(name = "config")]
    Config(config::ConfigArgs),
    #[command(name = "doctor")]
    Doctor(doctor::DoctorArgs),
    #[command(name = "completions")]
    Completions(completions::CompletionsArgs),
}

impl Verb {
    /// What its results look like.
    pub(crate) fn format(&self) -> Format {
        match self {
            Self::Init(args) => args.output.format,
            Self::Graph(args) => args.format(),
            Self::Config(args) => args.output.format,
            Self::Doctor(args) => args.output.format,
            Self::Completions(_) => Format::Text,
        }
    }

    /// Runs it; what it returns is what the process returns.
    pub(crate) fn run(&self, app: &App) -> Result<ExitCode, CommandError> {
        match self {
            Self::Init(args) => init::run(args, app),
            Self::Graph(args) => graph::run(args, app),
            Self::Config(args) => config::run(args, app),
            Self::Doctor(args) => doctor::run(args, app),
            Self::Completions(args) => completions::run(args, app),
        }
    }
}

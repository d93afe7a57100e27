//! The verbs, one file each.

mod build;
mod cache;
mod check;
mod completions;
mod config;
mod doctor;
mod graph;
mod history;
mod images;
mod init;
mod inspect;
mod lock;
mod prune;
mod remove;
mod tag;

use std::process::ExitCode;

use clap::Subcommand;

pub(crate) use lock::lock_of;

use crate::{app::App, error::CommandError, ui::Format};

/// The verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    Init(init::InitArgs),
    Build(build::BuildArgs),
    Check(check::CheckArgs),
    Graph(graph::GraphArgs),
    Images(images::ImagesArgs),
    Inspect(inspect::InspectArgs),
    History(history::HistoryArgs),
    Tag(tag::TagArgs),
    Remove(remove::RemoveArgs),
    Prune(prune::PruneArgs),
    Cache(cache::CacheArgs),
    Config(config::ConfigArgs),
    Doctor(doctor::DoctorArgs),
    Completions(completions::CompletionsArgs),
}

impl Verb {
    /// What its results look like.
    pub(crate) fn format(&self) -> Format {
        match self {
            Self::Init(args) => args.output.format,
            Self::Build(args) => args.format.format,
            Self::Check(args) => args.format.format,
            Self::Graph(args) => args.format(),
            Self::Images(args) => args.output.format,
            Self::Inspect(_) => Format::Json,
            Self::History(args) => args.output.format,
            Self::Tag(_) => Format::Text,
            Self::Remove(args) => args.output.format,
            Self::Prune(args) => args.output.format,
            Self::Cache(args) => args.format(),
            Self::Config(args) => args.output.format,
            Self::Doctor(args) => args.output.format,
            Self::Completions(_) => Format::Text,
        }
    }

    /// Runs it; what it returns is what the process returns.
    pub(crate) fn run(&self, app: &App) -> Result<ExitCode, CommandError> {
        match self {
            Self::Init(args) => init::run(args, app),
            Self::Build(args) => build::run(args, app),
            Self::Check(args) => check::run(args, app),
            Self::Graph(args) => graph::run(args, app),
            Self::Images(args) => images::run(args, app),
            Self::Inspect(args) => inspect::run(args, app),
            Self::History(args) => history::run(args, app),
            Self::Tag(args) => tag::run(args, app),
            Self::Remove(args) => remove::run(args, app),
            Self::Prune(args) => prune::run(args, app),
            Self::Cache(args) => cache::run(args, app),
            Self::Config(args) => config::run(args, app),
            Self::Doctor(args) => doctor::run(args, app),
            Self::Completions(args) => completions::run(args, app),
        }
    }
}

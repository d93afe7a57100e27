//! The verbs, one file each.

mod build;
mod cache;
mod check;
mod completions;
mod config;
mod copy;
mod doctor;
mod graph;
mod history;
mod images;
mod import;
mod init;
mod inspect;
mod load;
mod lock;
mod log;
mod login;
mod plan;
mod prune;
mod pull;
mod push;
mod remove;
mod run;
mod save;
mod shell;
mod tag;
mod verify;

use std::process::ExitCode;

use clap::Subcommand;

pub(crate) use lock::lock_of;

use crate::{app::App, error::CommandError, ui::Format};

/// The verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    Init(init::InitArgs),
    Build(build::BuildArgs),
    Lock(lock::LockArgs),
    Check(check::CheckArgs),
    Graph(graph::GraphArgs),
    Plan(plan::PlanArgs),
    Log(log::LogArgs),
    Shell(shell::ShellArgs),
    Run(run::RunArgs),
    Images(images::ImagesArgs),
    Inspect(inspect::InspectArgs),
    History(history::HistoryArgs),
    Save(save::SaveArgs),
    Load(load::LoadArgs),
    Import(import::ImportArgs),
    Tag(tag::TagArgs),
    Push(push::PushArgs),
    Pull(pull::PullArgs),
    Copy(copy::CopyArgs),
    Login(login::LoginArgs),
    Logout(login::LogoutArgs),
    Verify(verify::VerifyArgs),
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
            Self::Lock(args) => args.format.format,
            Self::Check(args) => args.format.format,
            Self::Graph(args) => args.format(),
            Self::Plan(args) => args.output.format,
            Self::Images(args) => args.output.format,
            Self::History(args) => args.output.format,
            Self::Load(args) => args.output.format,
            Self::Import(args) => args.output.format,
            Self::Push(args) => args.output.format,
            Self::Pull(args) => args.output.format,
            Self::Copy(args) => args.output.format,
            Self::Verify(args) => args.format.format,
            Self::Remove(args) => args.output.format,
            Self::Prune(args) => args.output.format,
            Self::Cache(args) => args.format(),
            Self::Config(args) => args.output.format,
            Self::Doctor(args) => args.output.format,
            Self::Log(_)
            | Self::Shell(_)
            | Self::Run(_)
            | Self::Save(_)
            | Self::Tag(_)
            | Self::Login(_)
            | Self::Logout(_)
            | Self::Completions(_) => Format::Text,
            Self::Inspect(_) => Format::Json,
        }
    }

    /// Runs it; what it returns is what the process returns.
    pub(crate) fn run(&self, app: &App) -> Result<ExitCode, CommandError> {
        match self {
            Self::Init(args) => init::run(args, app),
            Self::Build(args) => build::run(args, app),
            Self::Lock(args) => lock::run(args, app),
            Self::Check(args) => check::run(args, app),
            Self::Graph(args) => graph::run(args, app),
            Self::Plan(args) => plan::run(args, app),
            Self::Log(args) => log::run(args, app),
            Self::Shell(args) => shell::run(args, app),
            Self::Run(args) => run::run(args, app),
            Self::Images(args) => images::run(args, app),
            Self::Inspect(args) => inspect::run(args, app),
            Self::History(args) => history::run(args, app),
            Self::Save(args) => save::run(args, app),
            Self::Load(args) => load::run(args, app),
            Self::Import(args) => import::run(args, app),
            Self::Tag(args) => tag::run(args, app),
            Self::Push(args) => push::run(args, app),
            Self::Pull(args) => pull::run(args, app),
            Self::Copy(args) => copy::run(args, app),
            Self::Login(args) => login::login(args, app),
            Self::Logout(args) => login::logout(args, app),
            Self::Verify(args) => verify::run(args, app),
            Self::Remove(args) => remove::run(args, app),
            Self::Prune(args) => prune::run(args, app),
            Self::Cache(args) => cache::run(args, app),
            Self::Config(args) => config::run(args, app),
            Self::Doctor(args) => doctor::run(args, app),
            Self::Completions(args) => completions::run(args, app),
        }
    }
}

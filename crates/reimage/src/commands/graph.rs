//! `reimage graph`: the steps of a spec and what they stand on.

mod render;

use std::process::ExitCode;

use clap::{Args, ValueEnum};

use crate::{
    app::App,
    error::CommandError,
    spec_args::{ALL, SpecArgs},
    ui::Format,
};

/// Show the steps of a spec and what each stands on
///
/// Evaluates the spec and builds nothing. A step that several others need is drawn once, and named after that.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  reimage graph                                   a tree below each target
  reimage graph images.web --format dot | dot -Tsvg > graph.svg
  reimage graph --format json                     one JSON value: targets, steps, references")]
pub(crate) struct GraphArgs {
    #[command(flatten)]
    spec: SpecArgs,
    /// Print a tree (`text`), a graph for Graphviz (`dot`) or one JSON value (`json`)
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t, hide_possible_values = true)]
    format: GraphFormat,
}

/// What a graph looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum GraphFormat {
    /// A tree below each target
    #[default]
    Text,
    /// For Graphviz
    Dot,
    /// For programs
    Json,
}

impl GraphArgs {
    /// What errors look like.
    pub(super) fn format(&self) -> Format {
        if self.format == GraphFormat::Json { Format::Json } else { Format::Text }
    }
}

/// Runs it.
pub(crate) fn run(args: &GraphArgs, app: &App) -> Result<ExitCode, CommandError> {
    for loaded in args.spec.load(app, ALL, false, None)? {
        let spec = &loaded.evaluated.spec;
        match args.format {
            GraphFormat::Text => app.ui.lines(render::text(spec))?,
            GraphFormat::Dot => app.ui.lines(render::dot(spec))?,
            GraphFormat::Json => app.ui.value(&render::value(spec))?,
        }
    }
    Ok(ExitCode::SUCCESS)
}

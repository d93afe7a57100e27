//! `reimage tag`: another name for an image.

use std::process::ExitCode;

use clap::Args;
use reimage_oci::Reference;

use crate::{app::App, error::CommandError, image_name::ImageArgs};

/// Give an image another name
///
/// A name that another image had is taken from it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  reimage tag web:1.0 web:latest
  reimage tag images.web registry.example/team/web:1.0")]
pub(crate) struct TagArgs {
    #[command(flatten)]
    image: ImageArgs,
    /// Its new names
    #[arg(value_name = "NEW", required = true)]
    new: Vec<String>,
}

/// Runs it.
pub(crate) fn run(args: &TagArgs, app: &App) -> Result<ExitCode, CommandError> {
    let references = args.new.iter().map(|name| name.parse::<Reference>());
    let references = references.collect::<Result<Vec<_>, _>>()?;
    let references: Vec<_> = references.into_iter().map(Reference::or_latest).collect();
    let here = args.image.find(app)?;
    here.layout.session()?.name(&here.image.descriptor, &references)?;
    for reference in references {
        app.ui.line(reference.familiar())?;
    }
    Ok(ExitCode::SUCCESS)
}

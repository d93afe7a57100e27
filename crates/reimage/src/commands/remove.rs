//! `reimage remove`: takes names, and with the last name an image, out of the image store.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use crate::{app::App, cli::FormatArgs, error::CommandError, image_name};

/// Remove images by name or digest
///
/// A tag goes alone; with an image's last tag, or by its digest, the image goes. Blobs stay until `reimage prune`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  reimage remove web:1.0
  reimage remove 3f5a2c9d1b7e")]
pub(crate) struct RemoveArgs {
    /// Tags or digests
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
    #[command(flatten)]
    pub(super) output: FormatArgs,
}

/// Runs it.
pub(crate) fn run(args: &RemoveArgs, app: &App) -> Result<ExitCode, CommandError> {
    let layout = app.layout()?;
    for name in &args.names {
        let image = image_name::find(&layout, name)?;
        let gone = layout.remove(name)?;
        let digest = image.descriptor.digest.to_string();
        let whole = gone.len() == image.names.len();
        if app.ui.json() {
            app.ui.value(&json!({ "names": gone, "digest": digest, "removed": whole }))?;
            continue;
        }
        for name in gone {
            app.ui.line(format!("Removed {name}"))?;
        }
        if whole {
            app.ui.line(format!("Removed {digest}"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

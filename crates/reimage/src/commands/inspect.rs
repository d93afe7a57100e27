//! `reimage inspect`: an image's manifest and configuration.

use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};

use crate::{
    app::App,
    error::CommandError,
    image_name::{self, ImageArgs},
};

/// Show an image's manifest and configuration, as JSON
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  reimage inspect web:1.0
  reimage inspect images.web | jq .config.config.Env")]
pub(crate) struct InspectArgs {
    #[command(flatten)]
    image: ImageArgs,
}

/// Runs it.
pub(crate) fn run(args: &InspectArgs, app: &App) -> Result<ExitCode, CommandError> {
    let here = args.image.find(app)?;
    let descriptor = image_name::manifest(&here.layout, &here.image)?;
    let (manifest, bytes) = here.layout.manifest(&descriptor)?;
    let config = here.layout.read_document(&manifest.config)?;
    let document = |bytes: &[u8]| -> Result<Value, CommandError> {
        serde_json::from_slice(bytes)
            .map_err(|e| CommandError::wrap(crate::error::Kind::Environment, e))
    };
    let value = json!({
        "names": here.image.names,
        "digest": here.image.descriptor.digest.to_string(),
        "config_digest": manifest.config.digest.to_string(),
        "manifest": document(&bytes)?,
        "config": document(&config)?,
    });
    let text = serde_json::to_string_pretty(&value).expect("a value is JSON");
    app.ui.line(text)?;
    Ok(ExitCode::SUCCESS)
}

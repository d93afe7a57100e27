//! `reimage history`: an image's layers and what made them.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use crate::{
    app::App,
    cli::FormatArgs,
    error::CommandError,
    image_name::{self, ImageArgs},
    ui::{Table, bytes, plain, short},
};

/// List an image's layers, the highest first, and what made each
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  reimage history web:1.0
  reimage history images.web --format json     lowest first, in full")]
pub(crate) struct HistoryArgs {
    #[command(flatten)]
    image: ImageArgs,
    #[command(flatten)]
    pub(super) output: FormatArgs,
}

/// Runs it.
pub(crate) fn run(args: &HistoryArgs, app: &App) -> Result<ExitCode, CommandError> {
    let here = args.image.find(app)?;
    let descriptor = image_name::manifest(&here.layout, &here.image)?;
    let (manifest, _) = here.layout.manifest(&descriptor)?;
    let config = here.layout.image_config(&manifest)?;
    let mut layers = manifest.layers.iter().zip(&config.rootfs.diff_ids);
    let mut rows = Vec::new();
    for entry in config.history.iter().flatten() {
        let layer = if entry.empty_layer { None } else { layers.next() };
        let made_by = entry.created_by.clone().unwrap_or_default();
        rows.push((made_by, layer));
    }
    // Histories of other tools may be shorter than their layers.
    rows.extend(layers.map(|layer| (String::new(), Some(layer))));
    if app.ui.json() {
        for (made_by, layer) in rows {
            app.ui.value(&json!({
                "created_by": made_by,
                "digest": layer.map(|(layer, _)| layer.digest.to_string()),
                "diff_id": layer.map(|(_, diff_id)| diff_id.to_string()),
                "size": layer.map(|(layer, _)| layer.size),
            }))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new(["LAYER", "SIZE", "MADE BY"]);
    for (made_by, layer) in rows.iter().rev() {
        let (digest, size) = layer.map_or((String::from("-"), String::new()), |(layer, _)| {
            (short(&layer.digest.to_string()).to_owned(), bytes(layer.size))
        });
        let made_by = plain(made_by.lines().next().unwrap_or_default());
        table.row([digest, size, made_by]);
    }
    app.ui.lines(table.lines())?;
    Ok(ExitCode::SUCCESS)
}

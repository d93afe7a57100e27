//! `reimage images`: what is in the image store.

use std::process::ExitCode;

use clap::Args;
use reimage_oci::{Layout, StoredImage};
use serde_json::json;

use crate::{
    app::App,
    cli::FormatArgs,
    error::CommandError,
    image_name,
    ui::{Table, bytes, short},
};

/// List the images that are here
///
/// They lie, with their blobs, in an OCI layout in `$XDG_DATA_HOME/reimage/images`, which any tool can read.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  reimage images
  reimage images --format json     full digests, one value an image")]
pub(crate) struct ImagesArgs {
    #[command(flatten)]
    pub(super) output: FormatArgs,
}

/// Runs it.
pub(crate) fn run(_: &ImagesArgs, app: &App) -> Result<ExitCode, CommandError> {
    let layout = app.layout()?;
    let mut table = Table::new(["NAME", "DIGEST", "PLATFORM", "SIZE"]);
    for image in layout.images()? {
        let digest = image.descriptor.digest.to_string();
        let unnamed = [String::from("-")];
        let names = if image.names.is_empty() { &unnamed[..] } else { &image.names[..] };
        // One that is damaged must not hide the others.
        let (platform, size) = match read(&layout, &image) {
            Ok(read) => read,
            Err(error) => {
                app.ui.warning(format!("{}: {error}", names.join(", ")));
                continue;
            }
        };
        if app.ui.json() {
            app.ui.value(&json!({
                "names": image.names, "digest": digest, "platform": platform, "size": size,
            }))?;
            continue;
        }
        for name in names {
            table.row([name.clone(), short(&digest).to_owned(), platform.clone(), bytes(size)]);
        }
    }
    if !app.ui.json() {
        app.ui.lines(table.lines())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Its platform, and the size of its layers in bytes.
fn read(layout: &Layout, image: &StoredImage) -> Result<(String, u64), CommandError> {
    let (manifest, _) = layout.manifest(&image_name::manifest(layout, image)?)?;
    let config = layout.image_config(&manifest)?;
    let platform = format!("{}/{}", config.platform.os, config.platform.architecture);
    Ok((platform, manifest.layers.iter().map(|layer| layer.size).sum()))
}

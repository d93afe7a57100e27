//! `reimage import`: images of an archive or a layout into the image store.

use std::{io, path::PathBuf, process::ExitCode};

use clap::Args;
use reimage_oci::{ImportError, Layout, Limits, Reference, import_archive, import_layout};
use serde_json::json;

use crate::{
    app::App,
    cli::FormatArgs,
    error::{CommandError, Kind},
};

/// Take images out of an archive or an OCI layout
///
/// OCI's or docker's archive, plain or compressed, or the directory of a layout. Every digest is checked. The images
/// keep the names they bring.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  docker save web:1.0 | reimage import -
  reimage import image.tar.gz --tag web:imported
  reimage import ./layout")]
pub(crate) struct ImportArgs {
    /// An archive, the directory of an OCI layout, or `-` for stdin
    #[arg(value_name = "PATH")]
    path: PathBuf,
    /// Give it this name, too, if it is a single image (can be repeated)
    #[arg(short, long = "tag", value_name = "NAME")]
    tags: Vec<String>,
    #[command(flatten)]
    pub(super) output: FormatArgs,
}

/// Runs it.
pub(crate) fn run(args: &ImportArgs, app: &App) -> Result<ExitCode, CommandError> {
    let tags = args.tags.iter().map(|name| name.parse::<Reference>());
    let tags = tags.map(|tag| tag.map(Reference::or_latest)).collect::<Result<Vec<_>, _>>()?;
    let layout = app.layout()?;
    let session = layout.session()?;
    let path = app.machine.absolute(&args.path);
    let imported = if args.path.as_os_str() == "-" {
        import_archive(&session, io::stdin().lock(), Limits::default())?
    } else if path.is_dir() {
        import_layout(&session, &Layout::open(&path)?, Limits::default())?
    } else {
        import_archive(&session, fs_err::File::open(&path)?, Limits::default())?
    };
    if !tags.is_empty() {
        let [image] = &imported[..] else {
            let message =
                format!("It holds {} images, so `--tag` does not say which", imported.len());
            return Err(CommandError::usage(message).hint("they are imported: use `reimage tag`"));
        };
        session.name(&image.descriptor, &tags)?;
    }
    for image in &imported {
        let mut names: Vec<_> = image.names.iter().chain(&tags).map(Reference::familiar).collect();
        names.sort();
        names.dedup();
        let digest = image.descriptor.digest.to_string();
        if app.ui.json() {
            app.ui.value(&json!({ "names": names, "digest": digest }))?;
        } else {
            app.ui.line(format!("{} {digest}", names.join(" ")).trim_start())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

impl From<ImportError> for CommandError {
    fn from(error: ImportError) -> Self {
        match error {
            ImportError::Layout(error) => error.into(),
            ImportError::Read(_) => Self::wrap(Kind::Environment, error),
            _ => Self::wrap(Kind::Usage, error),
        }
    }
}

//! `reimage save`: an image as an archive or a directory.

use std::{
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, ValueEnum};
use reimage_oci::{
    Archive, ExportError, export_archive, export_oci_dir, export_rootfs_dir, export_rootfs_tar,
};

use crate::{
    app::App,
    error::{CommandError, Kind},
    image_name::{Here, ImageArgs},
    transfer,
};

/// Write an image as an archive or a directory
///
/// A docker archive on stdout if nothing else is said. Building the image first, if its NAME is a target, shows its
/// progress on stderr. The image's digest is the same in every format.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  reimage save images.web | docker load
  reimage save web:1.0 --format oci -o web.tar          for skopeo, crane, containerd
  reimage save web:1.0 --format rootfs-dir -o rootfs    its file system, as plain files")]
pub(crate) struct SaveArgs {
    #[command(flatten)]
    image: ImageArgs,
    /// Where to; `-` is stdout
    #[arg(short, long, value_name = "PATH", default_value = "-")]
    output: PathBuf,
    /// What to write
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    format: SaveFormat,
}

/// What an image is written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum SaveFormat {
    /// An archive for `docker load` and `podman load`; readers of OCI archives take it, too
    #[default]
    Docker,
    /// An OCI archive
    Oci,
    /// An OCI layout
    OciDir,
    /// The merged file system as a tar archive
    Rootfs,
    /// The merged file system as a directory
    RootfsDir,
}

/// Runs it.
pub(crate) fn run(args: &SaveArgs, app: &App) -> Result<ExitCode, CommandError> {
    let directory = matches!(args.format, SaveFormat::OciDir | SaveFormat::RootfsDir);
    let stdout = args.output == Path::new("-");
    if directory && stdout {
        return Err(CommandError::usage("A directory needs a place: `--output DIR`"));
    }
    if stdout && app.machine.stdout_terminal {
        return Err(CommandError::usage("An archive is nothing for a terminal")
            .hint("redirect it (`| docker load`, `> image.tar`), or say `--output FILE`"));
    }
    let here = args.image.find(app)?;
    transfer::bring(app, &here.layout, &here.image.descriptor, &args.image.build)?;
    let output = app.machine.absolute(&args.output);
    match args.format {
        SaveFormat::OciDir => export_oci_dir(&here.layout, &here.image, &output)?,
        SaveFormat::RootfsDir => {
            let not_kept = export_rootfs_dir(&here.layout, &here.image, &output)?;
            if not_kept.owners > 0 || !not_kept.devices.is_empty() || not_kept.xattrs > 0 {
                app.ui.warning(format!(
                    "only root can keep all of it: {} paths are yours, {} devices and the attributes of {} paths \
                     are left out",
                    not_kept.owners,
                    not_kept.devices.len(),
                    not_kept.xattrs,
                ));
            }
        }
        _ if stdout => args.archive(&here, &mut io::stdout().lock())?,
        _ => whole_file(&output, |out| args.archive(&here, out))?,
    }
    Ok(ExitCode::SUCCESS)
}

impl SaveArgs {
    fn archive(&self, here: &Here, out: &mut dyn Write) -> Result<(), ExportError> {
        let Here { layout, image } = here;
        match self.format {
            SaveFormat::Rootfs => export_rootfs_tar(layout, image, out),
            SaveFormat::Oci => export_archive(layout, image, Archive::Oci, out),
            _ => export_archive(layout, image, Archive::Docker, out),
        }
    }
}

/// Writes a file aside and puts it in place as a whole; what is no file, such as a pipe, as it comes.
pub(super) fn whole_file(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> Result<(), ExportError>,
) -> Result<(), CommandError> {
    if path.exists() && !path.is_file() {
        let mut out = fs_err::OpenOptions::new().write(true).open(path)?;
        return Ok(write(&mut out)?);
    }
    let mut aside = path.as_os_str().to_owned();
    aside.push(format!(".{}.new", std::process::id()));
    let mut file: File = fs_err::File::create(&aside)?.into();
    let written = write(&mut file).map_err(CommandError::from);
    let written = written.and_then(|()| {
        file.sync_all()?;
        Ok(fs_err::rename(&aside, path)?)
    });
    if written.is_err() {
        // The error that is on its way says all that matters.
        let _ = fs_err::remove_file(&aside);
    }
    written
}

impl From<ExportError> for CommandError {
    fn from(error: ExportError) -> Self {
        match error {
            ExportError::Layout(error) => error.into(),
            ExportError::Write(error) => {
                let kind = match error.kind() {
                    io::ErrorKind::BrokenPipe => Kind::BrokenPipe,
                    _ => Kind::Environment,
                };
                Self::wrap(kind, ExportError::Write(error))
            }
            ExportError::NotEmpty { .. } | ExportError::Platforms { .. } => {
                Self::wrap(Kind::Usage, error)
            }
            _ => Self::wrap(Kind::Environment, error),
        }
    }
}

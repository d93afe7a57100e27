//! `reimage copy`: an image from anywhere to anywhere.

use std::{path::PathBuf, process::ExitCode, str::FromStr};

use clap::Args;
use reimage_oci::{
    Archive, Descriptor, Layout, Limits, Reference, StoredImage, export_archive, export_oci_dir,
    import_archive,
};
use reimage_registry::{Found, Platforms, Registry, Source, pull};
use tempfile::TempDir;

use super::save;
use crate::{
    app::App,
    cli::FormatArgs,
    error::CommandError,
    image_name, network,
    session::BuildFlags,
    transfer::{self, PlatformArgs},
};

/// Copy an image between registries, layouts, archives and the images that are here
///
/// All its platforms, with its digest, unless some are named. Between two repositories of one registry nothing is
/// moved through this machine.
#[derive(Debug, Args)]
#[command(after_help = "\
Where an image is:
  NAME                     here
  docker://NAME            in a registry
  oci:DIR[:NAME]           in an OCI layout
  oci-archive:FILE[:NAME]  in an OCI archive
  docker-archive:FILE[:NAME]
                           in an archive of `docker save`

Examples:
  reimage copy docker://registry.example/web:1.0 docker://registry.example/shop/web:1.0
  reimage copy docker://registry.example/web:1.0 oci-archive:web.tar --platform linux/arm64
  reimage copy oci:layout:web:1.0 web:1.0")]
pub(crate) struct CopyArgs {
    /// Where it is
    #[arg(value_name = "FROM")]
    from: Place,
    /// Where it goes
    #[arg(value_name = "TO")]
    to: Place,
    #[command(flatten)]
    platforms: PlatformArgs,
    #[command(flatten)]
    pub(super) output: FormatArgs,
}

/// A place for an image, as skopeo writes it.
#[derive(Debug, Clone)]
enum Place {
    Here(String),
    Registry(Reference),
    Files(Form, PathBuf, Option<String>),
}

/// What files hold an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Layout,
    Archive(Archive),
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(name) = text.strip_prefix("docker://") {
            let name = name.parse::<Reference>().map_err(|error| error.to_string())?;
            return Ok(Self::Registry(name.or_latest()));
        }
        let forms = [
            ("oci:", Form::Layout),
            ("oci-archive:", Form::Archive(Archive::Oci)),
            ("docker-archive:", Form::Archive(Archive::Docker)),
        ];
        for (prefix, form) in forms {
            let Some(rest) = text.strip_prefix(prefix) else { continue };
            let (path, name) = match rest.split_once(':') {
                Some((path, name)) => (path, Some(name.to_owned())),
                None => (rest, None),
            };
            if path.is_empty() {
                return Err(format!("`{text}` names no file"));
            }
            return Ok(Self::Files(form, path.into(), name));
        }
        Ok(Self::Here(text.to_owned()))
    }
}

/// A layout with the image in it that is copied, for as long as that takes.
struct Held {
    layout: Layout,
    image: StoredImage,
    _directory: Option<TempDir>,
}

/// Runs it.
pub(crate) fn run(args: &CopyArgs, app: &App) -> Result<ExitCode, CommandError> {
    let registry = network::registry(app, &app.config()?)?;
    let platforms = args.platforms.platforms(Platforms::All);
    match &args.from {
        Place::Registry(name) => {
            let from = registry.repository(name.registry(), name.path());
            let found = from.find(name.tag(), name.digest())?;
            let known = [name.clone()];
            bring(app, args, &registry, Source::Repository(&from), found, &platforms, &known)
        }
        place => {
            let Held { layout, image, _directory } = hold(app, place)?;
            transfer::may_leave(&layout, &image.descriptor)?;
            if let (Place::Here(_), Place::Files(..)) = (place, &args.to) {
                transfer::bring(app, &layout, &image.descriptor, &BuildFlags::default())?;
            }
            let bytes = layout.read_document(&image.descriptor)?;
            let found = Found { descriptor: image.descriptor, bytes };
            let known: Vec<_> = image.names.iter().filter_map(|name| name.parse().ok()).collect();
            bring(app, args, &registry, Source::Layout(&layout), found, &platforms, &known)
        }
    }?;
    Ok(ExitCode::SUCCESS)
}

/// Finds an image that is on this machine.
fn hold(app: &App, place: &Place) -> Result<Held, CommandError> {
    let (layout, name, directory) = match place {
        Place::Here(name) => (app.layout()?, Some(name), None),
        Place::Files(Form::Layout, path, name) => {
            (Layout::open(app.machine.absolute(path))?, name.as_ref(), None)
        }
        Place::Files(Form::Archive(_), path, name) => {
            let file = fs_err::File::open(app.machine.absolute(path))?;
            let (layout, directory) = aside(app)?;
            import_archive(&layout.session()?, file, Limits::default())?;
            (layout, name.as_ref(), Some(directory))
        }
        Place::Registry(_) => unreachable!("a registry is not on this machine"),
    };
    if let Some(name) = name {
        let image = image_name::find(&layout, name)?;
        return Ok(Held { layout, image, _directory: directory });
    }
    let mut images = layout.images()?;
    if images.len() != 1 {
        let names: Vec<_> = images.iter().flat_map(|image| image.names.clone()).collect();
        let message = format!("It holds {} images, and one is copied", images.len());
        return Err(CommandError::usage(message)
            .hint(format!("name one behind a colon: {}", names.join(", "))));
    }
    let image = images.remove(0);
    Ok(Held { layout, image, _directory: directory })
}

/// An empty layout, on the disk that has the images.
fn aside(app: &App) -> Result<(Layout, TempDir), CommandError> {
    let images = app.layout()?;
    let parent = images.dir().parent().unwrap_or(images.dir());
    let directory = tempfile::Builder::new().prefix(".reimage-copy-").tempdir_in(parent)?;
    Ok((Layout::open_or_create(directory.path().join("oci"))?, directory))
}

/// Takes an image to where it goes.
fn bring(
    app: &App,
    args: &CopyArgs,
    registry: &Registry,
    source: Source<'_>,
    found: Found,
    platforms: &Platforms,
    known: &[Reference],
) -> Result<(), CommandError> {
    match &args.to {
        Place::Registry(name) => {
            let image = &found.descriptor;
            let names = [name.clone()];
            let flags = &BuildFlags::default();
            let pushing = transfer::Pushing { source, image, platforms, known, flags };
            let pushed = pushing.to(app, registry, &names)?;
            transfer::print(app, &pushed)
        }
        Place::Here(name) => {
            let name = name.parse::<Reference>()?.or_latest();
            let session = app.layout()?.session()?;
            let pulled = transfer::showing(app, true, |progress| {
                pull(source, found, platforms, &session, progress)
            })?;
            session.name(&pulled.descriptor, std::slice::from_ref(&name))?;
            transfer::print(app, &[(name, pulled.descriptor.digest)])
        }
        Place::Files(form, path, name) => {
            let (layout, _directory) = aside(app)?;
            let pulled = transfer::showing(app, true, |progress| {
                pull(source, found, platforms, &layout.session()?, progress)
                    .map_err(CommandError::from)
            })?;
            let names = match name {
                Some(name) => vec![name.parse::<Reference>()?.or_latest()],
                None => known.iter().filter(|name| name.tag().is_some()).cloned().collect(),
            };
            let descriptor: Descriptor = pulled.descriptor;
            let digest = descriptor.digest;
            let shown = names.iter().map(Reference::familiar).collect();
            let image = StoredImage { descriptor, names: shown };
            let to = app.machine.absolute(path);
            match form {
                Form::Layout => export_oci_dir(&layout, &image, &to)?,
                Form::Archive(archive) => {
                    save::whole_file(&to, |out| export_archive(&layout, &image, *archive, out))?;
                }
            }
            if app.ui.json() {
                let path = to.to_string_lossy();
                app.ui.value(&serde_json::json!({ "path": path, "digest": digest.to_string() }))?;
            } else {
                app.ui.line(format!("{} {digest}", app.ui.out.bold(&path.to_string_lossy())))?;
            }
            Ok(())
        }
    }
}

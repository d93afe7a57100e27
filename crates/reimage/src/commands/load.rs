//! `reimage load`: hands images to an engine of this machine.

mod containerd;
mod docker;
mod engine;
mod podman;

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use reimage_castore::{Amount, Sha256};
use reimage_oci::{Layout, LayoutError, StoredImage};
use serde_json::json;

use crate::{
    app::App,
    cli::FormatArgs,
    error::CommandError,
    image_name::{self, Here},
    session::BuildFlags,
    spec_args::Overrides,
    transfer,
    ui::{bytes, count},
};

/// Hand images to docker, podman or containerd on this machine
///
/// Only the layers that the engine does not have are moved. By its own program, which must be there: `docker`, `podman`
/// or `ctr`, with who may use it and where it is as that has it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  reimage load --to docker images.web
  reimage load --to podman web:1.0 tools:1.0
  reimage load --to containerd --namespace k8s.io web:1.0

Prints one line a name: the name, the image's digest and, of docker and podman, the digest of its configuration, which
they call the image's ID. docker shows no other unless it keeps images in containerd.")]
pub(crate) struct LoadArgs {
    /// The images: targets such as `images.web`, which are built if need be, or tags or digests of images that are here
    #[arg(value_name = "IMAGE", required = true)]
    names: Vec<String>,
    /// The engine
    #[arg(long, value_enum, value_name = "ENGINE")]
    to: Engine,
    /// Of containerd: where in it; `$CONTAINERD_NAMESPACE`, else `default`, if not given
    #[arg(long, value_name = "NAMESPACE")]
    namespace: Option<String>,
    #[command(flatten)]
    overrides: Overrides,
    #[command(flatten)]
    build: BuildFlags,
    #[command(flatten)]
    pub(super) output: FormatArgs,
}

/// Who keeps images and runs containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Engine {
    /// `docker load`
    Docker,
    /// The images of podman, of this user
    Podman,
    /// `ctr images import`
    Containerd,
}

/// An image that an engine has now.
struct Loaded {
    /// What was moved, as far as that is known.
    sent: Option<Amount>,
    /// What the engine calls the image, if that is not its digest.
    id: Option<Sha256>,
}

/// Runs it.
pub(crate) fn run(args: &LoadArgs, app: &App) -> Result<ExitCode, CommandError> {
    if args.namespace.is_some() && args.to != Engine::Containerd {
        return Err(CommandError::usage("Only containerd has namespaces"));
    }
    for name in &args.names {
        let Here { layout, image } =
            image_name::find_or_build(app, name, &args.overrides, &args.build)?;
        let image = under(name, image);
        // Meanwhile nobody prunes what it consists of.
        let _session = layout.session()?;
        let wanted = match args.to {
            Engine::Docker | Engine::Podman => one_platform(&layout, &image)?.descriptor,
            Engine::Containerd => image.descriptor.clone(),
        };
        let loaded = match args.load(&layout, &image) {
            // The engine does not have a layer that is not here either.
            Err(error) if matches!(error.source.downcast_ref(), Some(LayoutError::Away { .. })) => {
                transfer::bring(app, &layout, &wanted, &args.build)?;
                args.load(&layout, &image)?
            }
            loaded => loaded?,
        };
        args.tell(app, &image, &loaded)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The image under the name that was said; by another word for it, under all of its names.
fn under(name: &str, image: StoredImage) -> StoredImage {
    let one = image.names.iter().find(|held| *held == name).cloned();
    StoredImage { names: one.map_or(image.names, |one| vec![one]), ..image }
}

impl LoadArgs {
    fn load(&self, layout: &Layout, image: &StoredImage) -> Result<Loaded, CommandError> {
        match self.to {
            Engine::Docker => docker::load(layout, &one_platform(layout, image)?),
            Engine::Podman => podman::load(layout, &one_platform(layout, image)?),
            Engine::Containerd => containerd::load(layout, image, self.namespace.as_deref()),
        }
    }

    fn tell(&self, app: &App, image: &StoredImage, loaded: &Loaded) -> Result<(), CommandError> {
        if let Some(sent) = loaded.sent {
            let engine = self.to.to_possible_value().expect("none is hidden");
            let (blobs, size) = (count(sent.count, "blob"), bytes(sent.bytes));
            app.ui.note(format!("{:>8} into {}: {blobs}, {size}", "loaded", engine.get_name()));
        }
        let digest = image.descriptor.digest.to_string();
        let id = loaded.id.map(|id| id.to_string());
        if app.ui.json() {
            return Ok(app
                .ui
                .value(&json!({ "names": image.names, "digest": digest, "id": id }))?);
        }
        let id = id.map(|id| format!(" {id}")).unwrap_or_default();
        if image.names.is_empty() {
            app.ui.line(format!("{digest}{id}"))?;
        }
        for name in &image.names {
            app.ui.line(format!("{} {digest}{id}", app.ui.out.bold(name)))?;
        }
        Ok(())
    }
}

/// Of an image for several platforms the one that runs here.
fn one_platform(layout: &Layout, image: &StoredImage) -> Result<StoredImage, CommandError> {
    let descriptor = image_name::manifest(layout, image)?;
    Ok(StoredImage { descriptor, names: image.names.clone() })
}

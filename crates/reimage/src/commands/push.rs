//! `reimage push`: an image to registries.

use std::process::ExitCode;

use clap::Args;
use reimage_build::BuildError;
use reimage_oci::Reference;
use reimage_registry::{Platforms, Source};

use crate::{
    app::App,
    cli::FormatArgs,
    error::CommandError,
    image_name::{self, ImageArgs},
    network,
    session::BuildFlags,
    transfer,
};

/// Send an image to a registry
///
/// Under the names that are given, else under NAME itself, or under all tags of a target. Only what the registry does
/// not have is sent, the tags last: until then nobody sees any of it. A push that was interrupted goes on with the
/// blob at which it stopped.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  reimage push images.web registry.example/team/web:1.0 registry.example/team/web:latest
  reimage push registry.example/team/web:1.0    what has this name here
  reimage push images.web                       under all its `tags`

Prints one line a name: the name and the image's digest. Who we are is what `reimage login`, `docker login` or
`podman login` has said.")]
pub(crate) struct PushArgs {
    #[command(flatten)]
    image: ImageArgs,
    /// What to call it there
    #[arg(value_name = "TO")]
    to: Vec<String>,
    #[command(flatten)]
    pub(super) output: FormatArgs,
}

/// Runs it.
pub(crate) fn run(args: &PushArgs, app: &App) -> Result<ExitCode, CommandError> {
    let to = args.to.iter().map(|name| name.parse::<Reference>());
    let mut to = to.map(|name| name.map(Reference::or_latest)).collect::<Result<Vec<_>, _>>()?;
    let BuildFlags { sources, caches, .. } = &args.image.build;
    let config = app.config_with(None, sources, caches)?;
    let registry = network::registry(app, &config)?;
    let here = args.image.find_to_send(app)?;
    transfer::may_leave(&here.layout, &here.image.descriptor)?;
    // A cache has the layers of what was built with it.
    let names = here.image.names.iter().filter_map(|name| name.parse().ok());
    let known: Vec<Reference> =
        crate::caches::repositories(&config).into_iter().chain(names).collect();
    if to.is_empty() {
        to = match args.image.name.parse::<Reference>() {
            Ok(name) if !image_name::is_target(&args.image.name) => vec![name.or_latest()],
            _ => args.image.tags(&here)?,
        };
    }
    let source = Source::Layout(&here.layout);
    let image = &here.image.descriptor;
    let (platforms, flags) = (&Platforms::All, &args.image.build);
    let pushing = transfer::Pushing { source, image, platforms, known: &known, flags };
    let pushed = match pushing.to(app, &registry, &to) {
        // A cache has lost what it was believed to have: now all of it is made here.
        Err(error) if image_name::is_target(&args.image.name) && is_away(&error) => {
            args.image.find(app)?;
            pushing.to(app, &registry, &to)?
        }
        pushed => pushed?,
    };
    transfer::print(app, &pushed)?;
    Ok(ExitCode::SUCCESS)
}

fn is_away(error: &CommandError) -> bool {
    matches!(error.source.downcast_ref(), Some(BuildError::Away { image: None, .. }))
}

//! `reimage pull`: images from registries.

use std::process::ExitCode;

use clap::Args;
use reimage_oci::Reference;
use reimage_registry::{Platforms, pull};

use crate::{
    app::App,
    cli::FormatArgs,
    error::CommandError,
    network,
    transfer::{self, PlatformArgs},
};

/// Take images from a registry
///
/// Each is here under the same name then, whole and verified. Of an image for several platforms the one comes that
/// steps run on here, unless others are named.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  reimage pull registry.example/team/web:1.0
  reimage pull registry.example/team/web@sha256:8a5b… --platform linux/arm64
  reimage pull registry.example/team/web:1.0 --all-platforms

Prints one line a name: the name and the digest of what is here.")]
pub(crate) struct PullArgs {
    /// The images
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
    #[command(flatten)]
    platforms: PlatformArgs,
    /// All platforms of an image
    #[arg(long, conflicts_with = "platforms")]
    all_platforms: bool,
    #[command(flatten)]
    pub(super) output: FormatArgs,
}

/// Runs it.
pub(crate) fn run(args: &PullArgs, app: &App) -> Result<ExitCode, CommandError> {
    let names = args.names.iter().map(|name| name.parse::<Reference>());
    let names = names.map(|name| name.map(Reference::or_latest)).collect::<Result<Vec<_>, _>>()?;
    let registry = network::registry(app, &app.config()?)?;
    let platforms = if args.all_platforms {
        Platforms::All
    } else {
        args.platforms.platforms(Platforms::One(transfer::native()))
    };
    let session = app.layout()?.session()?;
    for name in names {
        let from = registry.repository(name.registry(), name.path());
        let found = from.find(name.tag(), name.digest())?;
        let pulled = transfer::showing(app, true, |progress| {
            pull(reimage_registry::Source::Repository(&from), found, &platforms, &session, progress)
        })?;
        session.name(&pulled.descriptor, std::slice::from_ref(&name))?;
        transfer::print(app, &[(name, pulled.descriptor.digest)])?;
    }
    Ok(ExitCode::SUCCESS)
}

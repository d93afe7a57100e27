//! `reimage run`: a container of an image, rootless, in the sandbox that steps run in.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, ValueEnum};
use reimage_build::{Entered, Instead, enter, enter_stored};
use reimage_castore::TreePath;
use reimage_plan::{Platform, StepKind};
use reimage_sandbox::{Bind, Network};

use crate::{
    app::App,
    error::CommandError,
    image_name,
    interact::interact,
    session::{BuildFlags, Session},
    spec_args::{Overrides, SpecArgs},
};

/// Run an image, without docker and without root
///
/// Builds the image if it is a target and not here, and runs it in a sandbox: its own environment, user and working
/// directory, no network unless asked for, everything it writes gone at the end. Returns what its program returns.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  reimage run images.web --network host          a server, on this machine's ports
  reimage run web:1.0                            an image that is here, built or imported
  reimage run images.web -- python3 --version    another command
  reimage run images.tool --tty -- /bin/sh       look around
  reimage run images.tool --volume ./data:/data")]
pub(crate) struct RunArgs {
    /// The image: a target such as `images.web` or `dir#images.web`, or a tag or digest of an image that is here
    #[arg(value_name = "NAME")]
    name: String,
    /// Instead of the image's `cmd`: arguments of its `entrypoint`, or a program and its arguments
    #[arg(value_name = "ARG", last = true)]
    args: Vec<String>,
    /// The network it sees: none but a loopback, or this machine's
    #[arg(long, value_enum, default_value_t, value_name = "NETWORK")]
    network: RunNetwork,
    /// Set an environment variable (can be repeated)
    #[arg(short, long, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// Show a file or directory of this machine in it; `:ro`: it cannot be written (can be repeated)
    #[arg(long = "volume", value_name = "FROM:TO[:ro]")]
    volumes: Vec<String>,
    /// Run as `NAME`, `UID` or `UID:GID`
    #[arg(short, long, value_name = "USER")]
    user: Option<String>,
    /// Working directory
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
    /// Give it a terminal
    #[arg(short, long)]
    tty: bool,
    #[command(flatten)]
    overrides: Overrides,
    #[command(flatten)]
    build: BuildFlags,
}

/// What network a container sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum RunNetwork {
    /// A loopback of its own
    #[default]
    None,
    /// This machine's
    Host,
}

/// Runs it.
pub(crate) fn run(args: &RunArgs, app: &App) -> Result<ExitCode, CommandError> {
    let instead = args.instead()?;
    let volumes = args.volumes.iter().map(|text| volume(app, text));
    let volumes = volumes.collect::<Result<Vec<_>, _>>()?;
    let session = Session::open(app, &args.build)?;
    let (mut entered, expose) = if image_name::is_target(&args.name) {
        args.target(&session, &instead)?
    } else {
        args.stored(&session, &instead)?
    };
    let command = &mut entered.command;
    command.binds = volumes;
    if args.network == RunNetwork::Host {
        command.network = Network::Host;
        for file in ["/etc/resolv.conf", "/etc/hosts"] {
            if let Ok(text) = fs_err::read(file) {
                command.files.insert(PathBuf::from(file), text);
            }
        }
    } else if !expose.is_empty() {
        let ports = expose.join(" ");
        app.ui.note(format!(
            "It has no network, and exposes {ports}: `--network host` makes it reachable"
        ));
    }
    interact(app, &entered.command, args.tty)
}

impl RunArgs {
    /// The container of a target, and the ports that it exposes.
    fn target(
        &self,
        session: &Session<'_>,
        instead: &Instead,
    ) -> Result<(Entered, Vec<String>), CommandError> {
        let plan = session.plan_of_one(&SpecArgs::one(
            &self.name,
            &self.overrides.built_for(Platform::default()),
        ))?;
        let target = &plan.spec().targets[0];
        let StepKind::Image(image) = &plan.step(target.step).kind else {
            let error = CommandError::usage(format!("`{}` is no image", target.path()));
            return Err(error.hint(format!("`reimage shell {}` stands in a step", target.path())));
        };
        let entered = session.during(|context| enter(&plan, target.step, instead, context))?;
        Ok((entered, image.config.expose.clone()))
    }

    /// The container of an image that is here, and the ports that it exposes.
    fn stored(
        &self,
        session: &Session<'_>,
        instead: &Instead,
    ) -> Result<(Entered, Vec<String>), CommandError> {
        self.overrides.of_no_spec(&self.name)?;
        let layout = &session.layout;
        let image = image_name::find_or_target(layout, &self.name)?;
        let manifest = image_name::manifest(layout, &image)?;
        let config =
            layout.image_config(&layout.manifest(&manifest)?.0)?.config.unwrap_or_default();
        let entered = session
            .during(|context| enter_stored(&self.name, &manifest, &config, instead, context))?;
        Ok((entered, config.expose.into_iter().collect()))
    }

    fn instead(&self) -> Result<Instead, CommandError> {
        let mut env = BTreeMap::new();
        for text in &self.env {
            let (name, value) =
                text.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or_else(|| {
                    CommandError::usage(format!("Bad `--env`: expected `NAME=VALUE`, got `{text}`"))
                })?;
            env.insert(name.to_owned(), value.to_owned());
        }
        let workdir = self.workdir.as_deref().map(|path| inside(path, "--workdir")).transpose()?;
        Ok(Instead { argv: None, args: self.args.clone(), env, user: self.user.clone(), workdir })
    }
}

/// An absolute path in the container.
fn inside(path: &str, flag: &str) -> Result<TreePath, CommandError> {
    let error = |why: String| CommandError::usage(format!("Bad `{flag}`: {why}"));
    if !path.starts_with('/') {
        return Err(error(format!("expected an absolute path in the image, got `{path}`")));
    }
    TreePath::new(path).map_err(|e| error(e.to_string()))
}

/// Reads `FROM:TO[:ro]`.
fn volume(app: &App, text: &str) -> Result<Bind, CommandError> {
    let bad = || {
        CommandError::usage(format!(
            "Bad `--volume`: expected `FROM:TO` or `FROM:TO:ro`, got `{text}`"
        ))
    };
    let mut parts = text.split(':');
    let (source, target) =
        (parts.next().filter(|s| !s.is_empty()).ok_or_else(bad)?, parts.next().ok_or_else(bad)?);
    let read_only = match (parts.next(), parts.next()) {
        (None | Some("rw"), None) => false,
        (Some("ro"), None) => true,
        _ => return Err(bad()),
    };
    let source = app.machine.absolute(Path::new(source));
    if !source.exists() {
        return Err(CommandError::usage(format!(
            "There is no `{}` to show in it",
            source.display()
        )));
    }
    let source = fs_err::canonicalize(source)?;
    let target = Path::new("/").join(inside(target, "--volume")?.as_path());
    Ok(Bind { source, target, read_only })
}

//! `reimage run`: a container of an image, rootless, in the sandbox that steps run in.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{ArgAction, Args, ValueEnum};
use reimage_build::{Entered, Instead, enter, enter_stored};
use reimage_castore::TreePath;
use reimage_plan::{Platform, StepKind};
use reimage_sandbox::{Bind, Network};
use signal_hook::consts::SIGTERM;

use crate::{
    app::App,
    error::CommandError,
    image_name,
    interact::interact,
    session::{BuildFlags, Session},
    signals,
    spec_args::{Overrides, SpecArgs},
};

/// Run an image, without docker and without root
///
/// Builds the image if it is a target and not here, and runs it in a sandbox: its own environment, user and working
/// directory, no network unless asked for, everything it writes gone at the end. Returns what its program returns.
/// Signals go to the program; for SIGTERM it gets the image's `stop_signal`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  reimage run --network host images.web          a server, on this machine's ports
  reimage run web:1.0                            an image that is here: built, pulled or imported
  reimage run images.web python3 --version       another command
  reimage run -it images.tool /bin/sh            look around
  reimage run -v ./data:/data images.tool        with a directory of this machine")]
pub(crate) struct RunArgs {
    /// The image: a target such as `images.web` or `dir#images.web`, or a tag or digest of an image that is here
    #[arg(value_name = "IMAGE")]
    name: String,
    /// Instead of the image's `cmd`: arguments of its `entrypoint`, or a program and its arguments; after `--` if the
    /// first begins with a dash
    #[arg(value_name = "COMMAND", trailing_var_arg = true)]
    args: Vec<String>,
    /// Run this program instead of the image's `entrypoint` and `cmd`; an empty one: neither
    #[arg(long, value_name = "PROGRAM")]
    entrypoint: Option<String>,
    /// Set an environment variable; without a value to what it is here, if it is (can be repeated)
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// Run as `NAME`, `NAME:GROUP`, `UID` or `UID:GID`; names are the image's
    #[arg(short, long, value_name = "USER")]
    user: Option<String>,
    /// Working directory; made if it is not there
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
    /// Show a file or directory of this machine in it; `:ro`: it cannot be written (can be repeated)
    #[arg(short, long = "volume", value_name = "HOST:CONTAINER[:ro]")]
    volumes: Vec<String>,
    /// The network it sees: none but a loopback, or this machine's
    #[arg(long, value_enum, default_value_t, value_name = "NETWORK")]
    network: RunNetwork,
    /// Give it a terminal
    #[arg(short, long)]
    tty: bool,
    /// As docker's; stdin is always the program's
    #[arg(short = 'i', long = "interactive")]
    _interactive: bool,
    /// As docker's; nothing that it writes ever stays, but in volumes
    #[arg(long = "rm")]
    _rm: bool,
    /// Show what steps print, too; twice: everything
    // The same as everywhere, but for its letter, which is docker's for volumes.
    #[arg(id = "verbose", long = "verbose", action = ArgAction::Count, help_heading = "Everywhere")]
    _verbose: u8,
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
    let instead = args.instead(app)?;
    let volumes = args.volumes.iter().map(|text| volume(app, text));
    let volumes = volumes.collect::<Result<Vec<_>, _>>()?;
    let session = Session::open(app, &args.build)?;
    let mut entered = if image_name::is_target(&args.name) {
        args.target(&session, &instead)?
    } else {
        args.stored(&session, &instead)?
    };
    let command = &mut entered.command;
    command.binds = volumes;
    let config = &entered.config;
    if args.network == RunNetwork::Host {
        command.network = Network::Host;
        for file in ["/etc/resolv.conf", "/etc/hosts"] {
            if let Ok(text) = fs_err::read(file) {
                command.files.insert(PathBuf::from(file), text);
            }
        }
    } else if !config.expose.is_empty() {
        let ports = config.expose.iter().map(String::as_str).collect::<Vec<_>>().join(" ");
        app.ui.note(format!(
            "It has no network, and exposes {ports}: `--network host` makes it reachable"
        ));
    }
    let stop = config.stop_signal.as_deref().map_or(Some(SIGTERM), signals::number);
    if stop.is_none() {
        let signal = config.stop_signal.as_deref().unwrap_or_default();
        app.ui.warning(format!("the image's stop signal `{signal}` is none: it gets SIGTERM"));
    }
    interact(app, &entered.command, args.tty, stop.unwrap_or(SIGTERM))
}

impl RunArgs {
    /// The container of a target.
    fn target(&self, session: &Session<'_>, instead: &Instead) -> Result<Entered, CommandError> {
        let overrides = self.overrides.built_for(Platform::default());
        let plan = session.plan_of_one(&SpecArgs::one(&self.name, &overrides))?;
        let target = &plan.spec().targets[0];
        if !matches!(plan.step(target.step).kind, StepKind::Image(_)) {
            let error = CommandError::usage(format!("`{}` is no image", target.path()));
            return Err(error.hint(format!("`reimage shell {}` stands in a step", target.path())));
        }
        Ok(session.during(|context| enter(&plan, target.step, instead, context))?)
    }

    /// The container of an image that is here.
    fn stored(&self, session: &Session<'_>, instead: &Instead) -> Result<Entered, CommandError> {
        self.overrides.of_no_spec(&self.name)?;
        let image = image_name::find_or_target(&session.layout, &self.name)?;
        let manifest = image_name::manifest(&session.layout, &image)?;
        Ok(session.during(|context| enter_stored(&self.name, &manifest, instead, context))?)
    }

    fn instead(&self, app: &App) -> Result<Instead, CommandError> {
        let mut env = BTreeMap::new();
        if let (true, Some(kind)) = (self.tty, app.machine.variable("TERM")) {
            env.insert("TERM".to_owned(), kind.to_string_lossy().into_owned());
        }
        for text in &self.env {
            let (name, value) = match text.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (text.as_str(), here(app, text)?),
            };
            if name.is_empty() {
                let message = format!("Bad `--env`: expected `NAME=VALUE` or `NAME`, got `{text}`");
                return Err(CommandError::usage(message));
            }
            env.extend(value.map(|value| (name.to_owned(), value)));
        }
        let workdir = self.workdir.as_deref().map(|path| inside(path, "--workdir")).transpose()?;
        let words = |program: &String| {
            if program.is_empty() { Vec::new() } else { vec![program.clone()] }
        };
        Ok(Instead {
            argv: None,
            entrypoint: self.entrypoint.as_ref().map(words),
            args: self.args.clone(),
            env,
            user: self.user.clone(),
            workdir,
        })
    }
}

/// What an environment variable is here.
fn here(app: &App, name: &str) -> Result<Option<String>, CommandError> {
    let value = app.machine.variable(name).map(|value| value.to_str().map(str::to_owned));
    match value {
        Some(None) => {
            Err(CommandError::usage(format!("Bad `--env`: `{name}` is not UTF-8 text here")))
        }
        value => Ok(value.flatten()),
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

/// Reads `HOST:CONTAINER[:ro]`.
fn volume(app: &App, text: &str) -> Result<Bind, CommandError> {
    let bad = || {
        CommandError::usage(format!(
            "Bad `--volume`: expected `HOST:CONTAINER` or `HOST:CONTAINER:ro`, got `{text}`"
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

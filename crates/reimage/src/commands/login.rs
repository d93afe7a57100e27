//! `reimage login` and `reimage logout`: who we are to a registry.

use std::{
    io::{self, BufRead, Read, Write},
    process::ExitCode,
};

use clap::Args;
use reimage_registry::{Login, Secret};
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

use crate::{
    app::App,
    error::{CommandError, Kind},
    network, signals,
};

/// Docker's registry.
const HUB: &str = "docker.io";
/// Bytes that a password may have.
const MAX_PASSWORD: u64 = 1 << 16;

/// Say who we are to a registry
///
/// The registry is asked first; what it takes is kept where `docker login` keeps it: with the credential helper that
/// docker's config.json names, else in that file, which others cannot read. With `REGISTRY_AUTH_FILE`, in that one.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  reimage login registry.example
  reimage login registry.example -u ci --password-stdin < token")]
pub(crate) struct LoginArgs {
    /// The registry; docker.io if none is named
    #[arg(value_name = "REGISTRY", default_value = HUB)]
    registry: String,
    /// The name
    #[arg(short, long, value_name = "NAME")]
    username: Option<String>,
    /// Read the password from stdin
    #[arg(long)]
    password_stdin: bool,
}

/// Forget who we are to a registry
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  reimage logout registry.example")]
pub(crate) struct LogoutArgs {
    /// The registry; docker.io if none is named
    #[arg(value_name = "REGISTRY", default_value = HUB)]
    registry: String,
}

/// Runs `login`.
pub(crate) fn login(args: &LoginArgs, app: &App) -> Result<ExitCode, CommandError> {
    let name = name(&args.registry)?;
    if !args.password_stdin && !app.machine.stdin_terminal {
        return Err(CommandError::usage("There is no terminal to ask for a password at")
            .hint("give it with `--username NAME --password-stdin`"));
    }
    let username = match &args.username {
        Some(username) => username.clone(),
        None if args.password_stdin => {
            return Err(CommandError::usage("`--password-stdin` needs `--username NAME`"));
        }
        None => ask("Username: ", false)?,
    };
    let password = if args.password_stdin {
        let mut text = String::new();
        io::stdin().lock().take(MAX_PASSWORD).read_to_string(&mut text)?;
        text.trim_end_matches(['\r', '\n']).to_owned()
    } else {
        ask("Password: ", true)?
    };
    if password.is_empty() {
        return Err(CommandError::usage("The password is empty"));
    }
    let password = Secret::new(password);
    network::registry(app, &app.config()?)?.check(name, &username, &password)?;
    match network::credentials(&app.machine).store(name, &username, &password)? {
        Login::Helper(helper) => {
            app.ui.note(format!("Kept by `docker-credential-{helper}`"));
        }
        Login::File(path) => app.ui.note(format!("Kept in {}", path.display())),
    }
    app.ui.line(format!("Logged in to {name}"))?;
    Ok(ExitCode::SUCCESS)
}

/// Runs `logout`.
pub(crate) fn logout(args: &LogoutArgs, app: &App) -> Result<ExitCode, CommandError> {
    let name = name(&args.registry)?;
    if network::credentials(&app.machine).erase(name)? {
        app.ui.line(format!("Logged out of {name}"))?;
    } else {
        app.ui.line(format!("Not logged in to {name}"))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A registry as names of images call it, from what people write.
fn name(text: &str) -> Result<&str, CommandError> {
    let host = text.split_once("://").map_or(text, |(_, rest)| rest);
    let host = host.trim_end_matches('/').trim_end_matches("/v1").trim_end_matches("/v2");
    let host = if host == "index.docker.io" { HUB } else { host };
    if host.is_empty() || host.contains(['/', '@', ' ']) {
        let message = format!("`{text}` is no registry");
        return Err(CommandError::usage(message).hint("name its host, as `registry.example:5000`"));
    }
    Ok(host)
}

/// Asks at the terminal.
fn ask(question: &str, hidden: bool) -> Result<String, CommandError> {
    let mut err = io::stderr().lock();
    err.write_all(question.as_bytes()).and_then(|()| err.flush())?;
    let stdin = io::stdin();
    let before = tcgetattr(&stdin).map_err(io::Error::from)?;
    if hidden {
        signals::restores(before.clone());
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(&stdin, OptionalActions::Flush, &silent).map_err(io::Error::from)?;
    }
    let mut answer = String::new();
    let read = stdin.lock().take(MAX_PASSWORD).read_line(&mut answer);
    if hidden {
        tcsetattr(&stdin, OptionalActions::Flush, &before).map_err(io::Error::from)?;
        err.write_all(b"\n")?;
    }
    if read? == 0 {
        return Err(CommandError::new(Kind::Usage, "Nothing was answered"));
    }
    Ok(answer.trim_end_matches(['\r', '\n']).to_owned())
}

//! The command line of reimage: arguments in, a verb run, errors to exit codes.

mod app;
mod caches;
mod cli;
mod commands;
mod config;
mod error;
mod image_name;
mod interact;
mod machine;
mod network;
mod panics;
mod session;
mod signals;
mod spec_args;
mod transfer;
mod ui;

use std::{ffi::OsString, process::ExitCode};

use app::App;
use error::Kind;
use machine::Machine;
use ui::Ui;

fn main() -> ExitCode {
    let machine = match Machine::read() {
        Ok(machine) => machine,
        Err(error) => {
            Ui::plain().error(&error);
            return error.kind.into();
        }
    };
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let cli = match cli::parse(&arguments) {
        Ok(cli) => cli,
        Err(error) => return cli::answer(&error),
    };
    // Before any thread: it moves this process into a user namespace and forks the sandboxes' zygote.
    let zygote = reimage_sandbox::start(config::ids(&machine));
    panics::record();
    signals::watch();
    let ui = Ui::new(&machine, cli.verb.format(), cli.global.color, cli.global.verbosity());
    let app = App { machine, ui, global: cli.global, zygote };
    let result = panics::catch(|| cli.verb.run(&app)).and_then(|done| done);
    result.unwrap_or_else(|error| {
        if error.kind != Kind::BrokenPipe {
            app.ui.error(&error);
        }
        error.kind.into()
    })
}

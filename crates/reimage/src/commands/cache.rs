//! `reimage cache`: the store itself.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;

use crate::{
    app::App,
    cli::FormatArgs,
    error::{CommandError, Kind},
    ui::bytes,
};

/// Look after the store
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  reimage cache verify     read every blob and compare it with its digest")]
pub(crate) struct CacheArgs {
    #[command(subcommand)]
    verb: CacheVerb,
}

#[derive(Debug, Subcommand)]
enum CacheVerb {
    /// Read every blob and every result, and set aside what is damaged
    ///
    /// What is set aside is built again when it is needed. Returns 0 if all is well, else 3.
    #[command(after_help = "Example:\n  reimage cache verify --format json")]
    Verify {
        #[command(flatten)]
        output: FormatArgs,
    },
}

impl CacheArgs {
    /// What its results look like.
    pub(super) fn format(&self) -> crate::ui::Format {
        let CacheVerb::Verify { output } = &self.verb;
        output.format
    }
}

/// Runs it.
pub(crate) fn run(args: &CacheArgs, app: &App) -> Result<ExitCode, CommandError> {
    let CacheVerb::Verify { .. } = &args.verb;
    let config = app.config()?;
    let store = App::store(&config)?;
    let found = store.verify(true)?;
    let corrupt: Vec<_> = found.corrupt.iter().map(ToString::to_string).collect();
    let bad: Vec<_> = found.bad_results.iter().map(ToString::to_string).collect();
    if app.ui.json() {
        app.ui.value(&json!({
            "good": found.is_good(),
            "blobs": found.blobs,
            "bytes": found.bytes,
            "results": found.results,
            "corrupt": corrupt,
            "bad_results": bad,
            "incomplete": found.incomplete.len(),
            "foreign": found.foreign,
        }))?;
    } else {
        for digest in &corrupt {
            app.ui.line(format!("Damaged blob {digest}: set aside"))?;
        }
        for digest in &bad {
            app.ui.line(format!("Damaged result {digest}: set aside"))?;
        }
        for path in &found.foreign {
            app.ui.line(format!("Not of reimage: {}", path.display()))?;
        }
        let incomplete = match found.incomplete.len() {
            0 => String::new(),
            count => format!("; {count} results lack a blob and will be made again"),
        };
        app.ui.line(format!(
            "{} blobs ({}) and {} results checked: {}{incomplete}",
            found.blobs,
            bytes(found.bytes),
            found.results,
            if found.is_good() {
                "all good".to_owned()
            } else {
                format!("{} damaged", corrupt.len() + bad.len())
            },
        ))?;
    }
    Ok(if found.is_good() { ExitCode::SUCCESS } else { Kind::Environment.into() })
}

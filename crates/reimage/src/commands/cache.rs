//! `reimage cache`: the store itself.

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Subcommand};
use reimage_castore::Verified;
use reimage_oci::Checked;
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
    /// Read every blob, result, root and image, and set aside what is damaged
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
    let images = app.layout()?.check()?;
    let good = found.is_good() && images.damaged.is_empty() && images.incomplete.is_empty();
    if app.ui.json() {
        app.ui.value(&json!({
            "good": good,
            "blobs": found.blobs,
            "bytes": found.bytes,
            "results": found.results,
            "roots": found.roots,
            "corrupt": texts(&found.corrupt),
            "bad_results": texts(&found.bad_results),
            "bad_records": found.bad_records,
            "bad_roots": found.bad_roots,
            "incomplete": found.incomplete.len(),
            "foreign": found.foreign,
            "images": {
                "blobs": images.blobs,
                "bytes": images.bytes,
                "damaged": texts(&images.damaged),
                "incomplete": images.incomplete,
            },
        }))?;
    } else {
        print(app, &found, &images)?;
    }
    Ok(if good { ExitCode::SUCCESS } else { Kind::Environment.into() })
}

fn texts(values: &[impl ToString]) -> Vec<String> {
    values.iter().map(ToString::to_string).collect()
}

fn print(app: &App, found: &Verified, images: &Checked) -> Result<(), CommandError> {
    let paths = |paths: &[PathBuf]| paths.iter().map(|path| path.display().to_string()).collect();
    let lists: [(&str, Vec<String>, &str); 6] = [
        ("Damaged blob", texts(&found.corrupt), ": set aside"),
        ("Damaged result", texts(&found.bad_results), ": set aside"),
        ("Damaged record", paths(&found.bad_records), ": set aside"),
        ("Damaged root", paths(&found.bad_roots), ": removed"),
        ("Damaged image blob", texts(&images.damaged), ": set aside"),
        ("Image", images.incomplete.clone(), " lacks a blob: build or import it again"),
    ];
    let damaged: usize = lists.iter().map(|(_, list, _)| list.len()).sum();
    for (what, list, then) in lists {
        for one in list {
            app.ui.line(format!("{what} {one}{then}"))?;
        }
    }
    for path in &found.foreign {
        app.ui.line(format!("Not of reimage: {}", path.display()))?;
    }
    let incomplete = match found.incomplete.len() {
        0 => String::new(),
        count => format!("; {count} results lack a blob and will be made again"),
    };
    app.ui.line(format!(
        "{} blobs ({}), {} results, {} roots and {} image blobs ({}) checked: {}{incomplete}",
        found.blobs,
        bytes(found.bytes),
        found.results,
        found.roots,
        images.blobs,
        bytes(images.bytes),
        if damaged == 0 { "all good".to_owned() } else { format!("{damaged} damaged") },
    ))?;
    Ok(())
}

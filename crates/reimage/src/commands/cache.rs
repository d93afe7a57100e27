//! `reimage cache`: the store itself, and the keys of the caches that a team shares.

use std::{
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, Subcommand};
use reimage_castore::Verified;
use reimage_oci::Checked;
use reimage_remote::PrivateKey;
use serde_json::json;

use crate::{
    app::App,
    cli::FormatArgs,
    error::{CommandError, Kind},
    ui::bytes,
};

/// Look after the store, and make keys for the caches of a team
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  reimage cache verify        read every blob and compare it with its digest
  reimage cache keygen ci     write ci, which signs, and ci.pub, which others trust")]
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
    /// Make a key that signs what is sent to caches: FILE, which is secret, and FILE.pub
    ///
    /// Whoever has FILE can say what any step makes to everybody who trusts FILE.pub. A file that is there stays.
    #[command(after_help = "Example:\n  reimage cache keygen ~/.config/reimage/ci.key")]
    Keygen {
        /// Where to write it
        #[arg(value_name = "FILE")]
        file: PathBuf,
        #[command(flatten)]
        output: FormatArgs,
    },
}

impl CacheArgs {
    /// What its results look like.
    pub(super) fn format(&self) -> crate::ui::Format {
        match &self.verb {
            CacheVerb::Verify { output } | CacheVerb::Keygen { output, .. } => output.format,
        }
    }
}

/// Runs it.
pub(crate) fn run(args: &CacheArgs, app: &App) -> Result<ExitCode, CommandError> {
    match &args.verb {
        CacheVerb::Verify { .. } => verify(app),
        CacheVerb::Keygen { file, .. } => keygen(&app.machine.absolute(file), app),
    }
}

fn keygen(file: &Path, app: &App) -> Result<ExitCode, CommandError> {
    let mut public = file.as_os_str().to_owned();
    public.push(".pub");
    let public = PathBuf::from(public);
    let key = PrivateKey::generate();
    // The public one first: a private key without it is of no use to anybody.
    write_new(&public, &key.public().to_pem(), 0o644)?;
    if let Err(error) = write_new(file, &key.to_pem(), 0o600) {
        fs_err::remove_file(&public)?;
        return Err(error);
    }
    let id = key.public().id();
    if app.ui.json() {
        let (private, public) = (file.display().to_string(), public.display().to_string());
        app.ui.value(&json!({ "private": private, "public": public, "id": id }))?;
    } else {
        app.ui.line(format!("{} {id}", public.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes a file that must not be there.
fn write_new(path: &Path, text: &str, mode: u32) -> Result<(), CommandError> {
    let mut options = std::fs::OpenOptions::new();
    let file = options.write(true).create_new(true).mode(mode).open(path);
    let written = file.and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    written.map_err(|error| {
        let message = format!("`{}` cannot be written", path.display());
        CommandError::new(Kind::Environment, message).caused_by(error)
    })
}

fn verify(app: &App) -> Result<ExitCode, CommandError> {
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

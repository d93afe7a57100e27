//! `reimage init`: a first spec for what lies in a directory.
//!
//! It looks, decides once, and writes a spec that builds as it is; what it could not know is said in comments there
//! and in what it prints. It overwrites nothing.

mod compiled;
mod draft;
mod editor;
mod interpreted;

use std::{
    collections::BTreeSet,
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;
use serde_json::json;

use crate::{
    app::App,
    cli::FormatArgs,
    error::{CommandError, Kind},
};
use draft::Draft;

/// Write a first spec.ncl for what lies in a directory
///
/// Looks for Python, Node, Go, Rust, a Makefile or a web site and writes a spec that builds it upon Debian; never
/// overwrites one. With `--editor`, sets up completion and checking of specs in an editor instead.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  reimage init             write ./spec.ncl
  reimage init services/a  write services/a/spec.ncl
  reimage init --editor    let the Nickel language server find `reimage.ncl`")]
pub(crate) struct InitArgs {
    /// Where to look and write
    #[arg(value_name = "DIR", default_value = ".")]
    directory: PathBuf,
    /// Write the library where the Nickel language server (nls) finds it, and print what editors need
    #[arg(long, conflicts_with = "directory")]
    editor: bool,
    #[command(flatten)]
    pub(super) output: FormatArgs,
}

/// Runs it.
pub(crate) fn run(args: &InitArgs, app: &App) -> Result<ExitCode, CommandError> {
    if args.editor {
        return editor::run(app);
    }
    let directory: PathBuf = app.machine.absolute(&args.directory).components().collect();
    let draft = draft(&Project::read(&directory)?)?;
    let file = directory.join("spec.ncl");
    let shown = args.directory.join("spec.ncl");
    let shown = shown.strip_prefix(".").unwrap_or(&shown).display().to_string();
    write_new(&file, &draft.spec(), &shown)?;
    if app.ui.json() {
        app.ui.value(&json!({
            "file": file, "found": draft.found, "target": draft.target(), "notes": draft.notes,
        }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let style = app.ui.out;
    app.ui.line(format!("Wrote {}: {}", style.bold(&shown), draft.found))?;
    for note in &draft.notes {
        app.ui.line(format!("{} {note}", style.warning("note:")))?;
    }
    let prefix = match args.directory.to_str() {
        Some(".") | None => String::new(),
        Some(directory) => format!("{directory}#"),
    };
    let target = draft.target();
    let build = format!("reimage build {prefix}").trim_end().to_owned();
    let commands = [
        (build, "build it; the first time this writes reimage.lock"),
        (format!("reimage run {prefix}{target}{}", draft.run_flags()), "run it, without docker"),
        (format!("reimage load --to docker {prefix}{target}"), "or podman, or containerd"),
    ];
    let width = commands.iter().map(|(command, _)| command.len()).max().unwrap_or(0);
    app.ui.line("Next:")?;
    for (command, what) in commands {
        let command = format!("{command:width$}");
        app.ui.line(format!("  {}   {}", style.bold(&command), style.dim(what)))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What lies in a directory.
#[derive(Debug)]
struct Project {
    directory: PathBuf,
    /// A word for the image, made of the directory's name.
    name: String,
    files: BTreeSet<String>,
}

impl Project {
    #[expect(clippy::disallowed_methods, reason = "the names go into a sorted set")]
    fn read(directory: &Path) -> Result<Self, CommandError> {
        let entries = fs_err::read_dir(directory).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
                CommandError::usage(format!("There is no directory `{}`", directory.display()))
            }
            _ => error.into(),
        })?;
        let mut files = BTreeSet::new();
        for entry in entries {
            files.extend(entry?.file_name().into_string().ok());
        }
        let own = fs_err::canonicalize(directory)?;
        let own = own.file_name().map(|name| name.to_string_lossy().into_owned());
        let name = draft::word(&own.unwrap_or_default());
        Ok(Self { directory: directory.to_owned(), name, files })
    }

    fn has(&self, name: &str) -> bool {
        self.files.contains(name)
    }

    /// The first of `names` that is there.
    fn first<'a>(&self, names: &[&'a str]) -> Option<&'a str> {
        names.iter().copied().find(|name| self.has(name))
    }

    /// The text of a file; nothing if it is not there or no text.
    fn text(&self, name: &str) -> String {
        fs_err::read_to_string(self.directory.join(name)).unwrap_or_default()
    }
}

/// Looks from the most particular to the most general: a Go service may well have an index.html and a Makefile.
fn draft(project: &Project) -> Result<Draft, CommandError> {
    Ok(if project.has("go.mod") {
        compiled::go(project)
    } else if project.has("Cargo.toml") {
        compiled::rust(project)
    } else if project.has("package.json") {
        interpreted::node(project)?
    } else if project.first(&["requirements.txt", "pyproject.toml"]).is_some()
        || project.files.iter().any(|name| is_python(name))
    {
        interpreted::python(project)
    } else if project.first(&["Makefile", "makefile", "GNUmakefile"]).is_some() {
        compiled::make(project)
    } else if project.has("index.html") {
        interpreted::site(project)
    } else {
        interpreted::nothing(project)
    })
}

/// Whether this is the name of a Python file.
fn is_python(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|extension| extension == "py")
}

/// Writes a file that must not exist yet.
fn write_new(path: &Path, text: &str, shown: &str) -> Result<(), CommandError> {
    let opened = fs_err::OpenOptions::new().write(true).create_new(true).open(path);
    let mut file = opened.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => CommandError::usage(format!(
            "`{shown}` is there already, and `init` overwrites nothing"
        ))
        .hint("`reimage check` evaluates it; move it away to begin anew"),
        _ => CommandError::wrap(Kind::Environment, error),
    })?;
    Ok(file.write_all(text.as_bytes())?)
}

#[cfg(test)]
mod tests;

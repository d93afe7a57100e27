//! Engines by their own programs: asked, or given an archive.

use std::{
    io::{self, ErrorKind, Write},
    path::Path,
    process::{Command, Output, Stdio},
    thread,
};

use reimage_oci::ExportError;

use crate::{
    error::{CommandError, Kind},
    ui::last_lines,
};

/// An engine.
#[derive(Clone, Copy)]
pub(super) struct Engine {
    /// Its program.
    pub(super) program: &'static str,
    /// What to do when it fails.
    pub(super) hint: &'static str,
}

impl Engine {
    /// Runs its program in `directory` and returns what it printed.
    pub(super) fn ask(
        self,
        arguments: &[&str],
        directory: Option<&Path>,
    ) -> Result<String, CommandError> {
        let mut command = Command::new(self.program);
        command.args(arguments).stdin(Stdio::null());
        if let Some(directory) = directory {
            command.current_dir(directory);
        }
        let output = command.output().map_err(|e| self.not_run(e))?;
        self.said(arguments, &output)
    }

    /// Runs its program and gives it what `write` writes.
    pub(super) fn feed<T>(
        self,
        arguments: &[&str],
        write: impl FnOnce(&mut dyn Write) -> Result<T, ExportError>,
    ) -> Result<T, CommandError> {
        let mut command = Command::new(self.program);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|e| self.not_run(e))?;
        let mut input = child.stdin.take().expect("it is piped");
        // What it says is read meanwhile, or it would wait for that.
        let ended = thread::spawn(move || child.wait_with_output());
        let written = write(&mut input);
        drop(input);
        let output = ended.join().map_err(|_| io::Error::other("a thread panicked"))??;
        match written {
            // Why it stopped reading it says itself.
            Err(ExportError::Write(e)) if e.kind() == ErrorKind::BrokenPipe => {
                self.said(arguments, &output)?;
                Err(e.into())
            }
            // It must not take half of it for all.
            Err(error) => Err(error.into()),
            Ok(written) => self.said(arguments, &output).map(|_| written),
        }
    }

    fn said(self, arguments: &[&str], output: &Output) -> Result<String, CommandError> {
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = last_lines(&output.stderr, 3).join("; ");
        let message = format!("`{} {}` failed: {said}", self.program, arguments.join(" "));
        Err(CommandError::new(Kind::Environment, message).hint(self.hint))
    }

    fn not_run(self, error: io::Error) -> CommandError {
        let message = match error.kind() {
            ErrorKind::NotFound => format!("There is no program `{}` here", self.program),
            _ => format!("The program `{}` cannot be run", self.program),
        };
        CommandError::new(Kind::Environment, message)
            .caused_by(error)
            .hint("install it, or write an archive for another machine: `reimage save`")
    }
}

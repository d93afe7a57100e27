//! The one place that writes to the terminal: results to stdout, all else to stderr.
//!
//! While something is in progress, the display's thread alone writes to stderr ([`Progress`]). All output can be
//! read without colour.

mod progress;
mod style;
mod text;

use std::io::{self, Write};

use clap::ValueEnum;
use reimage_spec::Diagnostics;
use serde::Serialize;
use serde_json::json;

use crate::{
    error::{CommandError, Detail},
    machine::Machine,
};

pub(crate) use progress::Progress;
pub(crate) use style::Style;
pub(crate) use text::{Table, bytes, count, duration, last_lines, plain, short, visible};

/// What results look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Format {
    /// For people
    #[default]
    Text,
    /// For programs: results on stdout, events and errors on stderr, one JSON value a line
    Json,
}

/// When to use colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, unless `NO_COLOR` is set; `CLICOLOR_FORCE` forces it
    #[default]
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// The terminal, as the flags and the machine want it.
#[derive(Debug, Clone)]
pub(crate) struct Ui {
    /// What results look like.
    pub(crate) format: Format,
    /// -1: errors only; 0: what people want; 1: steps' output, too; 2: everything.
    pub(crate) verbosity: i8,
    /// Whether a live display can be drawn on stderr.
    pub(crate) live: bool,
    /// Colours of stdout.
    pub(crate) out: Style,
    /// Colours of stderr.
    pub(crate) err: Style,
}

#[expect(clippy::unused_self, reason = "only whoever was given the terminal may write to it")]
impl Ui {
    /// The terminal of `machine`.
    pub(crate) fn new(machine: &Machine, format: Format, color: Color, verbosity: i8) -> Self {
        let dumb = machine.variable("TERM").is_some_and(|term| term == "dumb");
        let is = |name: &str, value: &str| machine.variable(name).is_some_and(|v| v == value);
        let forced = machine.variable("CLICOLOR_FORCE").is_some_and(|value| value != "0");
        let style = |terminal: bool| {
            Style::new(match color {
                Color::Always => true,
                Color::Never => false,
                Color::Auto if machine.variable("NO_COLOR").is_some() => false,
                Color::Auto if forced => true,
                Color::Auto => terminal && !dumb && !is("CLICOLOR", "0"),
            })
        };
        Self {
            format,
            verbosity,
            live: machine.stderr_terminal && !dumb && format == Format::Text && verbosity >= 0,
            out: style(machine.stdout_terminal),
            err: style(machine.stderr_terminal),
        }
    }

    /// A terminal of which nothing is known yet.
    pub(crate) fn plain() -> Self {
        let style = Style::new(false);
        Self { format: Format::Text, verbosity: 0, live: false, out: style, err: style }
    }

    /// Whether results are for programs.
    pub(crate) fn json(&self) -> bool {
        self.format == Format::Json
    }

    /// One line of a result.
    pub(crate) fn line(&self, text: impl AsRef<str>) -> io::Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(text.as_ref().as_bytes())?;
        out.write_all(b"\n")?;
        out.flush()
    }

    /// Lines of a result.
    pub(crate) fn lines(&self, lines: impl IntoIterator<Item = String>) -> io::Result<()> {
        let mut out = io::BufWriter::new(io::stdout().lock());
        for line in lines {
            out.write_all(line.as_bytes())?;
            out.write_all(b"\n")?;
        }
        out.flush()
    }

    /// A result as it is, without an end of line.
    pub(crate) fn raw(&self, bytes: &[u8]) -> io::Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(bytes)?;
        out.flush()
    }

    /// One JSON value of a result, on one line.
    pub(crate) fn value(&self, value: &impl Serialize) -> io::Result<()> {
        self.line(serde_json::to_string(value)?)
    }

    /// Something to know, on stderr; not with `-q`, and an event with `--format json`.
    pub(crate) fn note(&self, text: impl AsRef<str>) {
        if self.json() {
            self.event(&json!({ "event": "note", "message": text.as_ref() }));
        } else if self.verbosity >= 0 {
            self.to_stderr(text.as_ref());
        }
    }

    /// Something that may be wrong.
    pub(crate) fn warning(&self, text: impl AsRef<str>) {
        if self.json() {
            self.event(&json!({ "event": "warning", "message": text.as_ref() }));
        } else {
            let text = visible(text.as_ref());
            self.to_stderr(&format!("{} {text}", self.err.warning("warning:")));
        }
    }

    /// Warnings about a spec, with its lines.
    pub(crate) fn diagnostics(&self, diagnostics: &Diagnostics) {
        if self.json() {
            let diagnostics = diagnostics.to_json();
            self.event(&json!({ "event": "diagnostics", "diagnostics": diagnostics }));
        } else {
            self.to_stderr(diagnostics.render(self.err.enabled()).trim_end());
        }
    }

    /// One event for programs, on stderr.
    pub(crate) fn event(&self, event: &serde_json::Value) {
        self.to_stderr(&event.to_string());
    }

    /// Why the command failed, its causes and what to do about it.
    pub(crate) fn error(&self, error: &CommandError) {
        if self.json() {
            self.event(&error_event(error));
            return;
        }
        let style = &self.err;
        let diagnostics = error.diagnostics();
        let mut lines = match &error.detail {
            _ if diagnostics.is_some() => Vec::new(),
            Detail::Output(output) => {
                output.iter().map(|line| format!("{} {line}", style.dim("│"))).collect()
            }
            Detail::None => Vec::new(),
        };
        lines.push(match diagnostics {
            Some(diagnostics) => diagnostics.render(style.enabled()).trim_end().to_owned(),
            None => format!("{} {}", style.error("error:"), visible(&error.to_string())),
        });
        let causes = error.causes();
        let cause = |c: &String| format!("  {} {}", style.bold("Caused by:"), visible(c));
        lines.extend(causes.iter().map(cause));
        let hint = |hint: &String| format!("{} {}", style.hint("hint:"), visible(hint));
        lines.extend(error.hints.iter().map(hint));
        self.to_stderr(&lines.join("\n"));
    }

    /// There is nobody to tell that stderr cannot be written.
    fn to_stderr(&self, text: &str) {
        let mut err = io::stderr().lock();
        let _ = err.write_all(text.as_bytes()).and_then(|()| err.write_all(b"\n"));
    }
}

fn error_event(error: &CommandError) -> serde_json::Value {
    let mut event = json!({
        "event": "error",
        "kind": error.kind,
        "exit": error.kind.exit_code(),
        "message": error.to_string(),
        "causes": error.causes(),
        "hints": error.hints,
    });
    if let Some(diagnostics) = error.diagnostics() {
        event["diagnostics"] = diagnostics.to_json();
    }
    match &error.detail {
        Detail::None => {}
        Detail::Output(lines) => event["output"] = json!(lines),
    }
    event
}

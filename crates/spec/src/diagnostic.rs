//! Errors and warnings about a spec: what is wrong, where it was written, what to do.

use std::{borrow::Cow, collections::BTreeMap, fmt, ops::Range, sync::Arc};

use codespan_reporting::{
    diagnostic as codespan,
    files::SimpleFiles,
    term::{
        self,
        termcolor::{Ansi, NoColor, WriteColor},
    },
};
use serde::Serialize;
use thiserror::Error;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Nothing can be built.
    Error,
    /// It can.
    Warning,
}

/// A piece of a file of the spec, with what is to be said about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Label {
    /// The file, relative to the project until it is renamed; or `--set`, `--arg`: what was written there.
    pub file: String,
    /// Line it begins in, from 1.
    pub line: usize,
    /// Column it begins at in characters, from 1.
    pub column: usize,
    /// Line it ends in.
    pub end_line: usize,
    /// Column after its last character.
    pub end_column: usize,
    /// What is said there; may be empty.
    pub text: String,
    /// Whether this is the place of the error, or one that helps to understand it.
    pub primary: bool,
    /// The same in bytes of the file.
    #[serde(skip)]
    pub span: Range<usize>,
}

/// One error or warning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong, in a line.
    pub message: String,
    /// Where.
    pub labels: Vec<Label>,
    /// What to do.
    pub notes: Vec<String>,
}

impl Diagnostic {
    /// An error without a place yet.
    pub(crate) fn error(message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            message: message.into(),
            labels: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// The same with a place, if there is one.
    pub(crate) fn label(mut self, label: Option<Label>) -> Self {
        self.labels.extend(label);
        self
    }

    /// The same with a piece of advice.
    pub(crate) fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }
}

/// Diagnostics with the text they point into.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Diagnostics {
    list: Vec<Diagnostic>,
    sources: BTreeMap<String, Arc<str>>,
}

impl Diagnostics {
    pub(crate) fn new(list: Vec<Diagnostic>, sources: BTreeMap<String, Arc<str>>) -> Self {
        Self { list, sources }
    }

    /// Calls each file by what `shown` makes of its name.
    pub fn rename(&mut self, shown: impl Fn(&str) -> String) {
        for label in self.list.iter_mut().flat_map(|diagnostic| &mut diagnostic.labels) {
            label.file = shown(&label.file);
        }
        let sources = std::mem::take(&mut self.sources);
        self.sources = sources.into_iter().map(|(name, text)| (shown(&name), text)).collect();
    }

    /// Each, by its place.
    pub fn iter(&self) -> impl Iterator<Item = &Diagnostic> {
        self.list.iter()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// As text, with the lines they point at; `colour`: with ANSI sequences.
    pub fn render(&self, colour: bool) -> String {
        let mut files = SimpleFiles::new();
        let ids: BTreeMap<&str, usize> = self
            .sources
            .iter()
            .map(|(name, text)| (&**name, files.add(name, quiet(text))))
            .collect();
        let mut text = Vec::new();
        let (mut ansi, mut plain);
        let writer: &mut dyn WriteColor = if colour {
            ansi = Ansi::new(&mut text);
            &mut ansi
        } else {
            plain = NoColor::new(&mut text);
            &mut plain
        };
        for diagnostic in &self.list {
            term::emit_to_write_style(
                writer,
                &term::Config::default(),
                &files,
                &diagnostic.codespan(&ids),
            )
            .expect("labels lie inside their files and a vector takes all");
        }
        String::from_utf8(text).expect("sources and messages are UTF-8")
    }

    /// As JSON: a list of `{severity, message, labels, notes}`.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::to_value(&self.list).expect("plain data")
    }
}

/// Text in which each control character, which could steer a terminal, is another of the same length: places in it
/// stay what they are.
fn quiet(text: &str) -> Cow<'_, str> {
    let steers = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    if !text.contains(steers) {
        return text.into();
    }
    let quiet = |c: char| match c {
        '\r' => ' ',
        c if steers(c) && c.len_utf8() == 1 => '?',
        c if steers(c) => '¿',
        c => c,
    };
    text.chars().map(quiet).collect()
}

impl Diagnostic {
    fn codespan(&self, ids: &BTreeMap<&str, usize>) -> codespan::Diagnostic<usize> {
        let severity = match self.severity {
            Severity::Error => codespan::Severity::Error,
            Severity::Warning => codespan::Severity::Warning,
        };
        let label = |label: &Label| {
            let style = if label.primary {
                codespan::LabelStyle::Primary
            } else {
                codespan::LabelStyle::Secondary
            };
            let id = *ids.get(&*label.file)?;
            Some(
                codespan::Label::new(style, id, label.span.clone())
                    .with_message(quiet(&label.text)),
            )
        };
        codespan::Diagnostic::new(severity)
            .with_message(quiet(&self.message))
            .with_labels(self.labels.iter().filter_map(label).collect())
            .with_notes(self.notes.iter().map(|note| quiet(note).into_owned()).collect())
    }
}

/// A spec that cannot be evaluated: why, in full. `Display` renders it without colour.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub struct SpecError {
    /// What is wrong with it; at least one.
    pub diagnostics: Diagnostics,
}

impl fmt::Display for SpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.diagnostics.render(false).trim_end())
    }
}

//! `--arg` and `--set`: values from the command line, merged over the spec with force.
//!
//! Each becomes a file that Nickel imports, in which the value stands at the column it has in the flag; so
//! errors in it point into what was typed.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use nickel_lang_core::{
    ast::InputFormat, cache::SourcePath, eval::value::NickelValue, files::FileId, position::RawSpan,
};

use crate::{
    diagnostic::Diagnostic,
    loader::Loader,
    machine::{Fault, Machine, field, fields},
    name::{FieldPath, parse_set},
    sources::Source,
    suggest::did_you_mean,
};

/// One value of the command line.
pub(crate) struct Override {
    pub(crate) path: FieldPath,
    /// The file that Nickel imports for it.
    file: PathBuf,
    /// Where the path was written.
    span: RawSpan,
    argument: bool,
}

/// Text as a string of Nickel.
pub(crate) fn quoted(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"").replace("%{", "\\%{");
    format!("\"{escaped}\"")
}

impl Loader<'_> {
    /// Takes `--arg NAME=VALUE`: the value is a string, whatever it looks like.
    pub(crate) fn arg(&mut self, number: usize, name: &str, value: &str) -> Override {
        let typed = format!("{name}={value}");
        // The opening quote stands where the `=` does.
        let text = format!("{}{}", " ".repeat(name.len()), quoted(value));
        let (file, id) = self.flag("--arg", number, &typed, text);
        let path = format!("args.\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""));
        let path = path.parse().expect("a quoted name is a path");
        Override { path, file, span: RawSpan::from_range(id, 0..name.len()), argument: true }
    }

    /// Takes `--set PATH=NICKEL`; what is wrong with it goes to `faults`.
    pub(crate) fn set(&mut self, number: usize, typed: &str) -> Option<Override> {
        let parsed = parse_set(typed);
        let at = parsed.as_ref().map_or(0, |(_, at)| *at);
        let text = format!("{}{}", " ".repeat(at), &typed[at..]);
        let (file, id) = self.flag("--set", number, typed, text);
        let label = |range| self.sources.at(RawSpan::from_range(id, range), "");
        let path = match parsed {
            Ok((path, _)) => path,
            Err(error) => {
                let fault = Diagnostic::error(format!("bad `--set`: {error}"));
                self.faults.push(fault.label(label(0..typed.len())).note(SET));
                return None;
            }
        };
        if typed[at..].trim_start().starts_with('@') {
            let fault = Diagnostic::error("a value of `--set` is Nickel, it cannot start with `@`");
            let note = "a spec reads no environment; let the shell put the value here";
            self.faults.push(fault.label(label(at..typed.len())).note(note));
            return None;
        }
        if typed[at..].trim().is_empty() {
            let fault = Diagnostic::error("`--set` without a value");
            self.faults.push(fault.label(label(0..typed.len())).note(SET));
            return None;
        }
        let before = self.faults.len();
        let directory = self.directory().to_owned();
        self.expression(id, &directory);
        for fault in &mut self.faults[before..] {
            fault.notes.push(SET.to_owned());
        }
        (self.faults.len() == before).then(|| Override {
            path,
            file,
            span: RawSpan::from_range(id, 0..at.saturating_sub(1)),
            argument: false,
        })
    }

    /// Registers a flag's text as a file beside the spec.
    fn flag(&mut self, flag: &str, number: usize, typed: &str, text: String) -> (PathBuf, FileId) {
        let directory = self.directory().to_owned();
        let file = directory.join(format!("@{flag} {number}"));
        let id =
            self.hub.sources.add_string(SourcePath::Path(file.clone(), InputFormat::Nickel), text);
        let shown = if number == 0 { flag.to_owned() } else { format!("{flag} ({})", number + 1) };
        self.sources.insert(id, Source::new(shown, directory, typed));
        (file, id)
    }

    fn directory(&self) -> &Path {
        self.project.file.parent().unwrap_or(&self.project.root)
    }
}

const SET: &str = "such as `--set args.workers=4`, `--set 'steps.base.suite=\"trixie\"'`";

/// Records whose keys are the user's: a `--set` may add one.
const OPEN: [&str; 5] = ["env", "labels", "annotations", "inputs", "files"];

/// Later values replace earlier ones for the same field, `--set` those of `--arg`.
pub(crate) fn last(overrides: Vec<Override>) -> Vec<Override> {
    let mut seen = BTreeSet::new();
    let mut last: Vec<Override> =
        overrides.into_iter().rev().filter(|o| seen.insert(o.path.clone())).collect();
    last.reverse();
    last
}

/// The expression that merges the overrides over a spec.
pub(crate) fn merged(spec: &str, overrides: &[Override]) -> Option<String> {
    overrides.iter().try_fold(spec.to_owned(), |spec, over| {
        let path: Vec<String> = over.path.names().map(quoted).collect();
        let file = quoted(over.file.to_str()?);
        Some(format!("{spec} & {{ {} | force = import {file} as 'Nickel }}", path.join(".")))
    })
}

/// Checks that each meets a field of the spec as it is without them.
pub(crate) fn check(machine: &mut Machine, root: &NickelValue, overrides: &[Override]) -> Fault {
    overrides.iter().filter_map(|over| missing(machine, root, over)).collect()
}

fn missing(machine: &mut Machine, root: &NickelValue, over: &Override) -> Option<Diagnostic> {
    let names: Vec<&str> = over.path.names().collect();
    let shown = &over.path;
    let label = |machine: &Machine, text: &str| machine.at(Some(over.span), text);
    if names[0] == "target" {
        let fault = Diagnostic::error("`target` is what is being built for; `--set` cannot say it");
        return Some(fault.label(label(machine, "")).note("use `--platform`"));
    }
    let mut record = root.clone();
    for (depth, name) in names.iter().enumerate() {
        let Some(found) = field(&record, name).cloned() else {
            let open = depth >= 3 && OPEN.contains(&names[depth - 1]);
            if open || record.as_record().is_none() && depth > 1 {
                return None;
            }
            let mut known: Vec<&str> =
                fields(&record).into_iter().flatten().map(|(key, _)| key.label()).collect();
            known.sort_unstable();
            if over.argument {
                let note = arguments(&record);
                let fault = Diagnostic::error(format!("no argument `{name}`"));
                let text = did_you_mean(name, known.into_iter());
                return Some(fault.label(label(machine, &text)).note(note));
            }
            let text = did_you_mean(name, known.into_iter());
            let fault = Diagnostic::error(format!("`--set {shown}`: no field `{name}`"));
            return Some(fault.label(label(machine, &text)));
        };
        let last = depth + 1 == names.len();
        let value = found.value_with_pending_contracts().filter(|_| !last);
        let open = depth >= 2 && OPEN.contains(name);
        match value.map(|value| machine.eval(value)) {
            Some(Ok(value)) => record = value,
            // What is wrong there shows when it is evaluated with the values.
            Some(Err(_)) => return None,
            None if last || open => return None,
            None => record = NickelValue::empty_record(),
        }
    }
    None
}

/// The arguments that there are, with their docs.
fn arguments(args: &NickelValue) -> String {
    let mut known: Vec<String> = fields(args)
        .into_iter()
        .flatten()
        .map(|(key, field)| match field.metadata.doc() {
            Some(doc) => format!("{} ({})", key.label(), doc.trim().trim_end_matches('.')),
            None => key.label().to_owned(),
        })
        .collect();
    known.sort();
    match &known[..] {
        [] => "the spec has no `args`".to_owned(),
        known => format!("`args`: {}", known.join(", ")),
    }
}

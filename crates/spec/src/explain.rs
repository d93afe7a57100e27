//! Nickel's errors in the words of a spec, pointing at what the user wrote.

use nickel_lang_core::{
    error::{Error, IntoDiagnostics, ParseErrors},
    files::{FileId, Files},
    position::RawSpan,
};

use crate::{
    diagnostic::{Diagnostic, Label, Severity},
    machine::Fault,
    sources::Sources,
};

/// An error of Nickel's machine or type checker.
pub(crate) fn explain(error: Error, files: &Files, sources: &Sources) -> Fault {
    generic(error, files, sources)
}

/// Errors of Nickel's parser.
pub(crate) fn parse(errors: ParseErrors, files: &Files, sources: &Sources) -> Fault {
    generic(Error::ParseErrors(errors), files, sources)
}

/// Nickel's own words, without what points into the library or at something that is nowhere written.
fn generic(error: Error, files: &Files, sources: &Sources) -> Fault {
    let mut files = files.clone();
    let mut faults = Fault::new();
    for found in error.into_diagnostics(&mut files) {
        use codespan_reporting::diagnostic::Severity as Theirs;
        if !matches!(found.severity, Theirs::Bug | Theirs::Error | Theirs::Warning) {
            continue;
        }
        let labels: Vec<Label> = found
            .labels
            .iter()
            .filter_map(|label| sources.at(span(label.file_id, &label.range), &label.message))
            .collect();
        let severity =
            if found.severity == Theirs::Warning { Severity::Warning } else { Severity::Error };
        faults.push(Diagnostic { severity, message: found.message, labels, notes: found.notes });
    }
    faults
}

fn span(file: FileId, range: &std::ops::Range<usize>) -> RawSpan {
    RawSpan::from_range(file, range.clone())
}

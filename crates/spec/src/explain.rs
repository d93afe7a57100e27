//! Nickel's errors in the words of a spec, pointing at what the user wrote.

use nickel_lang_core::{
    error::{Error, EvalErrorKind, IntoDiagnostics, ParseErrors, TypecheckErrorKind, Warning},
    eval::callstack::StackElem,
    files::{FileId, Files},
    identifier::LocIdent,
    position::{PosIdx, PosTable, RawSpan},
};

use crate::{
    blame::blame,
    diagnostic::{Diagnostic, Label, Severity},
    library::{LIBRARY_FILE, SECTIONS},
    machine::{Fault, shown},
    outline::definitions,
    sources::Sources,
    suggest::did_you_mean,
};

/// An error of Nickel's machine or type checker.
pub(crate) fn explain(error: Error, files: &Files, sources: &Sources) -> Fault {
    let explained = match &error {
        Error::EvalError(data) => {
            let cx = Cx { files, sources, table: &data.ctxt.pos_table };
            cx.eval(&data.error)
        }
        Error::TypecheckError(data) => match data.borrow_error() {
            TypecheckErrorKind::UnboundIdentifier(name) => Some(vec![unbound(*name, sources)]),
            _ => None,
        },
        _ => None,
    };
    explained.unwrap_or_else(|| generic(error, files, sources))
}

/// Errors of Nickel's parser.
pub(crate) fn parse(errors: ParseErrors, files: &Files, sources: &Sources) -> Fault {
    generic(Error::ParseErrors(errors), files, sources)
}

/// What is needed to speak about positions.
pub(crate) struct Cx<'e> {
    pub(crate) files: &'e Files,
    pub(crate) sources: &'e Sources,
    pub(crate) table: &'e PosTable,
}

impl Cx<'_> {
    /// Where this is, if the user wrote it.
    pub(crate) fn own(&self, index: PosIdx) -> Option<RawSpan> {
        self.sources.own(self.table.get(index).into_opt()?)
    }

    /// The text there, whoever wrote it.
    pub(crate) fn text(&self, index: PosIdx) -> Option<&str> {
        let span = self.table.get(index).into_opt()?;
        self.files.source(span.src_id).get(span.to_range::<usize>())
    }

    fn eval(&self, error: &EvalErrorKind) -> Option<Fault> {
        let fault = match error {
            EvalErrorKind::BlameError { evaluated_arg, label } => {
                return blame(self, label, evaluated_arg.as_ref());
            }
            EvalErrorKind::UnboundIdentifier(name, _) => unbound(*name, self.sources),
            EvalErrorKind::MissingFieldDef { id, pos_record, pos_access, .. } => {
                self.missing(*id, *pos_record, *pos_access)?
            }
            EvalErrorKind::FieldMissing { id, field_names, pos_op, pos_record, .. } => {
                self.no_field(*id, field_names, *pos_op, *pos_record)?
            }
            EvalErrorKind::InfiniteRecursion(stack, at) => {
                let stack = stack.0.iter().rev().find_map(|element| match element {
                    StackElem::Var { pos, .. } | StackElem::Fun(pos) | StackElem::App(pos) => {
                        self.own(*pos)
                    }
                    StackElem::Field { pos_access, .. } => self.own(*pos_access),
                });
                self.recursion(self.own(*at).or(stack)?)
            }
            EvalErrorKind::MergeIncompatibleArgs { left_arg, right_arg, .. } => {
                let second = self.own(right_arg.pos_idx());
                let first = self.own(left_arg.pos_idx());
                let (at, other) = match (second, first) {
                    (Some(second), first) => (second, first),
                    (None, first) => (first?, None),
                };
                let name = self.field_of(at)?;
                let aside = other.and_then(|span| self.sources.aside(span, "and here"));
                Diagnostic::error(format!("`{name}` has two values"))
                    .label(self.sources.at(at, ""))
                    .label(aside)
                    .note(format!(
                        "{} and {}: mark the first `| default`, or the second `| force`",
                        shown(left_arg),
                        shown(right_arg)
                    ))
            }
            _ => return None,
        };
        Some(vec![fault])
    }

    /// The name of the field whose value stands there: what is left of the `=` before it.
    pub(crate) fn field_of(&self, value: RawSpan) -> Option<String> {
        let whole = RawSpan { start: 0.into(), end: value.start, ..value };
        let before = self.sources.text(whole)?.trim_end().strip_suffix('=')?.trim_end();
        // Annotations may stand between the name and the `=`.
        let line = before.rsplit(['\n', '{', ',']).next()?;
        let path = line.split('|').next()?.trim();
        let name = path.rsplit('.').next()?.trim_matches('"');
        (!name.is_empty()).then(|| name.to_owned())
    }

    fn recursion(&self, at: RawSpan) -> Diagnostic {
        let text = self.sources.text(at).unwrap_or_default();
        let field = self.field_of(at);
        if field.as_deref() == Some(text) {
            let why = format!(
                "inside a record, `{text}` is this record's own field: rename the outer one"
            );
            return Diagnostic::error(format!("`{text}` refers to itself"))
                .label(self.sources.at(at, why));
        }
        Diagnostic::error("infinite recursion")
            .label(self.sources.at(at, "this needs its own value"))
            .note("inside a record, a name means the record's own field of that name")
    }

    fn missing(&self, id: LocIdent, record: PosIdx, access: PosIdx) -> Option<Diagnostic> {
        let all = definitions(self.sources);
        let mut empty = all
            .iter()
            .filter(|d| d.value.is_none() && d.path.last().is_some_and(|name| name == id.label()));
        let declared = empty.next().filter(|_| empty.next().is_none()).map(|d| d.key);
        let written = id.pos.into_opt().and_then(|span| self.sources.own(span));
        let access = self.own(access).or(written);
        let at = declared.or(access).or_else(|| self.own(record))?;
        let argument = all.iter().any(
            |d| matches!(&d.path[..], [section, name] if section == "args" && name == id.label()),
        );
        let aside = access.filter(|access| *access != at);
        let fault = Diagnostic::error(format!("missing definition for `{id}`"))
            .label(self.sources.at(at, "it has no value"))
            .label(aside.and_then(|span| self.sources.aside(span, "which is needed here")));
        Some(if argument {
            fault.note(format!("say it with `--arg {id}=..`, or give it a `| default`"))
        } else {
            fault
        })
    }

    fn no_field(
        &self,
        id: LocIdent,
        names: &[LocIdent],
        operation: PosIdx,
        record: PosIdx,
    ) -> Option<Diagnostic> {
        let name = id.pos.into_opt().and_then(|span| self.sources.own(span));
        let operation = self.own(operation);
        let at = name.or(operation).or_else(|| self.own(record))?;
        let whole = operation.and_then(|span| self.sources.text(span)).unwrap_or_default();
        let of = whole.strip_suffix(&format!(".{id}")).filter(|of| !of.contains('\n'));
        let message = match of {
            Some(of) => format!("`{of}` has no field `{id}`"),
            None => format!("no field `{id}`"),
        };
        let names: Vec<&str> = names.iter().map(LocIdent::label).collect();
        let hint = did_you_mean(id.label(), names.iter().copied());
        let fault = Diagnostic::error(message);
        Some(if hint.is_empty() && !names.is_empty() && names.len() <= 20 {
            fault.label(self.sources.at(at, "")).note(format!("known: {}", names.join(", ")))
        } else {
            fault.label(self.sources.at(at, hint))
        })
    }
}

/// A name that nothing binds: often a step's, which is a field of its section.
fn unbound(name: LocIdent, sources: &Sources) -> Diagnostic {
    let label = name.pos.into_opt().and_then(|span| sources.at(span, "nothing has this name here"));
    let fault = Diagnostic::error(format!("unbound identifier `{name}`")).label(label);
    let word = name.label();
    let file = name.pos.into_opt().and_then(|span| sources.get(span.src_id));
    if file.is_some_and(|file| file.name.starts_with("--set")) {
        return fault.note(format!(
            "a string needs quotes, and the shell's around them: `--set 'PATH=\"{word}\"'`"
        ));
    }
    if word == "target" {
        return fault.note("declare `target | re.Platform,` at the top of the spec");
    }
    if word == "re" {
        return fault.note(format!("begin the file with `let re = import \"{LIBRARY_FILE}\" in`"));
    }
    let all = definitions(sources);
    let section = all.iter().find_map(|definition| match &definition.path[..] {
        [section, field] if field == word && SECTIONS.contains(&&**section) => Some(&**section),
        _ => None,
    });
    let what = match section {
        Some("steps") => "a step",
        Some("images") => "an image",
        Some("exports") => "an export",
        Some("checks") => "a check",
        Some("args") => "an argument",
        _ if all.iter().any(|d| d.path.len() == 1 && d.path[0] == word) => {
            return fault.note(format!("`{word}` is a field of another record"));
        }
        _ => {
            let steps = all.iter().filter(|d| d.path.len() == 2).map(|d| &*d.path[1]);
            let hint = did_you_mean(word, steps);
            return if hint.is_empty() { fault } else { fault.note(hint) };
        }
    };
    let section = section.unwrap_or_default();
    fault.note(format!("`{word}` is {what}: write `{section}.{word}`"))
}

/// Nickel's own words, without what points into the library or at something that is nowhere written.
pub(crate) fn generic(error: Error, files: &Files, sources: &Sources) -> Fault {
    let called = match &error {
        Error::EvalError(data) => {
            let cx = Cx { files, sources, table: &data.ctxt.pos_table };
            data.ctxt.call_stack.0.iter().rev().find_map(|element| match element {
                StackElem::Var { pos, .. } | StackElem::Fun(pos) | StackElem::App(pos) => {
                    cx.own(*pos)
                }
                StackElem::Field { pos_access, .. } => cx.own(*pos_access),
            })
        }
        _ => None,
    };
    let mut files = files.clone();
    converted(error.into_diagnostics(&mut files), sources, called)
}

/// A warning of Nickel's.
pub(crate) fn odd(warning: Warning, files: &Files, sources: &Sources) -> Fault {
    let mut files = files.clone();
    converted(warning.into_diagnostics(&mut files), sources, None)
}

fn converted(
    theirs: Vec<codespan_reporting::diagnostic::Diagnostic<FileId>>,
    sources: &Sources,
    called: Option<RawSpan>,
) -> Fault {
    let mut faults = Fault::new();
    for found in theirs {
        use codespan_reporting::diagnostic::{LabelStyle, Severity as Theirs};
        if !matches!(found.severity, Theirs::Bug | Theirs::Error | Theirs::Warning) {
            continue;
        }
        let own = found.labels.iter().filter_map(|label| {
            let span = span(label.file_id, &label.range);
            match label.style {
                LabelStyle::Primary => sources.at(span, &label.message),
                LabelStyle::Secondary => sources.aside(span, &label.message),
            }
        });
        let mut labels: Vec<Label> = own.collect();
        if labels.is_empty() {
            labels.extend(called.and_then(|span| sources.at(span, "on the way from here")));
        }
        if let Some(first) = labels.first_mut().filter(|first| !first.primary) {
            first.primary = true;
        }
        let severity = match found.severity {
            Theirs::Warning => Severity::Warning,
            _ => Severity::Error,
        };
        // The parser names the file by its path on this machine; the label says where.
        let message = found.message.split(" when parsing ").next().unwrap_or_default().to_owned();
        let mut notes = found.notes;
        if labels.iter().any(|label| label.file.starts_with("--set")) && notes.is_empty() {
            notes.push(
                "a string needs quotes, and the shell's around them: `--set 'PATH=\"..\"'`"
                    .to_owned(),
            );
        }
        faults.push(Diagnostic { severity, message, labels, notes });
    }
    faults
}

fn span(file: FileId, range: &std::ops::Range<usize>) -> RawSpan {
    RawSpan::from_range(file, range.clone())
}

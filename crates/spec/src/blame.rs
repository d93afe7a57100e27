//! Broken contracts: which field, which value, what was expected, and what is close to what was written.

use nickel_lang_core::{
    eval::value::NickelValue,
    label::{Label, ty_path::Elem},
    position::RawSpan,
};

use crate::{
    catalogue::{self, Shape},
    diagnostic::Diagnostic,
    explain::Cx,
    library::{KINDS, SECTIONS},
    machine::{Fault, fields, shown},
    outline::definitions,
    suggest::did_you_mean,
};

/// A contract that a value broke; none if the contract is not about a value of the spec's.
pub(crate) fn blame(cx: &Cx, label: &Label, value: Option<&NickelValue>) -> Option<Fault> {
    if label.path.iter().any(|element| matches!(element, Elem::Domain | Elem::Codomain))
        && !in_library(cx, label)
    {
        return None;
    }
    let said = label.diagnostics.iter().rev().find(|d| d.message.is_some() || !d.notes.is_empty());
    let message = said.and_then(|said| said.message.as_deref()).unwrap_or_default();
    let notes = said.map(|said| said.notes.clone()).unwrap_or_default();
    if message.starts_with("extra field") {
        return extra(cx, label, value?, message);
    }
    let at = cx.own(label.arg_pos);
    let evaluated = value.and_then(|value| cx.own(value.pos_idx()));
    let place = at.or(evaluated)?;
    if message.starts_with("array length mismatch") || message.starts_with("array element") {
        return Some(vec![two_lists(cx, place)]);
    }
    let field = label.field_name.map(|name| name.label().to_owned()).or_else(|| cx.field_of(place));
    let subject = field.as_ref().map_or("the value".to_owned(), |field| format!("`{field}`"));
    let aside = evaluated.filter(|evaluated| *evaluated != place);
    let aside = aside.and_then(|span| cx.sources.aside(span, "it is this"));
    if message.starts_with("tag not in the enum") {
        return Some(vec![tag(cx, label, value?, place, &subject).label(aside)]);
    }
    if notes.iter().any(|note| note.contains("std.fail_with")) {
        return Some(vec![Diagnostic::error(message).label(cx.sources.at(place, ""))]);
    }
    // What Nickel's own contracts say knows no value.
    let fault = if matches!(message, "" | "not a record" | "expected an array") {
        let expected = expected(label);
        let got = value.map_or("something else".to_owned(), shown);
        let contract = cx.own(label.span).filter(|span| *span != place);
        Diagnostic::error(format!("{subject}: expected {expected}, got {got}"))
            .label(cx.sources.at(place, ""))
            .label(contract.and_then(|span| cx.sources.aside(span, "its contract")))
    } else {
        let message = crate::machine::short(message.trim_end_matches('.'));
        Diagnostic::error(format!("{subject}: {message}")).label(cx.sources.at(place, ""))
    };
    let mut fault = fault.label(aside);
    fault.notes = notes;
    let typed = cx.sources.get(place.src_id).map(|source| &*source.name);
    if typed.is_some_and(|name| name.starts_with("--arg")) {
        let field = field.unwrap_or("NAME".to_owned());
        fault.notes.push(format!("`--arg` says a string; anything else: `--set args.{field}=..`"));
    }
    Some(vec![fault])
}

fn in_library(cx: &Cx, label: &Label) -> bool {
    cx.own(label.span).is_none()
}

/// Fields that a record contract does not know.
fn extra(cx: &Cx, label: &Label, value: &NickelValue, message: &str) -> Option<Fault> {
    let owner = owner(cx, label, value);
    let fault = |name: &str| {
        let key = fields(value)?.find(|(key, _)| key.label() == name)?.0.pos.into_opt()?;
        let key = cx.sources.own(key).or_else(|| cx.own(value.pos_idx()))?;
        Some(extra_field(cx, &owner, name, key))
    };
    let names = message.split('`').skip(1).step_by(2);
    let faults: Fault = names.filter_map(fault).collect();
    (!faults.is_empty()).then_some(faults)
}

/// What a record contract is called.
enum Owner {
    Spec,
    Shape(&'static Shape),
    Unknown,
}

fn owner(cx: &Cx, label: &Label, value: &NickelValue) -> Owner {
    let text = cx.text(label.span).unwrap_or_default();
    if label.typ.to_string().ends_with("Spec") || text.trim().ends_with("Spec") {
        return Owner::Spec;
    }
    // `re.Debian`; in the library, at a function: `Debian -> Dyn`.
    let mut words = text.split(|c: char| !c.is_ascii_alphanumeric());
    let constructor =
        words.find(|word| KINDS.iter().any(|(kind, _)| kind == word) || *word == "Platform");
    if let Some(shape) = constructor.and_then(|name| catalogue::shape(&format!("re.{name}"))) {
        return Owner::Shape(shape);
    }
    if cx.own(label.span).is_some() {
        return Owner::Unknown;
    }
    // A record within one of a constructor's fields: the one that knows most of what is written.
    let known = |shape: &&Shape| {
        let names: Vec<&str> = shape.names().collect();
        fields(value).into_iter().flatten().filter(|(key, _)| names.contains(&key.label())).count()
    };
    let named = |shape: &&Shape| match label.field_name {
        Some(field) => shape.path.ends_with(&format!(".{}", field.label())),
        None => false,
    };
    let inner = catalogue::shapes().iter().filter(|shape| shape.path.matches('.').count() == 2);
    let found = inner.max_by_key(|shape| (named(shape), known(shape)));
    found.map_or(Owner::Unknown, Owner::Shape)
}

fn extra_field(cx: &Cx, owner: &Owner, name: &str, key: RawSpan) -> Diagnostic {
    match owner {
        Owner::Spec => {
            let hint = did_you_mean(name, SECTIONS.into_iter());
            Diagnostic::error(format!("the spec has no section `{name}`"))
                .label(cx.sources.at(key, hint))
                .note(format!("known: {}", SECTIONS.join(", ")))
        }
        Owner::Shape(shape) if shape.path == "re.Image" && name == "from" => {
            Diagnostic::error("an image has no field `from`").label(
                cx.sources
                    .at(key, "put the base image first in `layers`; its configuration comes along"),
            )
        }
        Owner::Shape(shape) => {
            let hint = did_you_mean(name, shape.names());
            let owner = match shape.path.as_str() {
                "re.Files.files" => "an entry of `re.Files`".to_owned(),
                path => format!("`{path}`"),
            };
            let fault = Diagnostic::error(format!("{owner} has no field `{name}`"));
            if hint.is_empty() {
                let known: Vec<&str> = shape.names().collect();
                fault.label(cx.sources.at(key, "")).note(format!("known: {}", known.join(", ")))
            } else {
                fault.label(cx.sources.at(key, hint))
            }
        }
        Owner::Unknown => Diagnostic::error(format!("the record's contract has no field `{name}`"))
            .label(cx.sources.at(key, "")),
    }
}

/// A tag that is not among those of an enum.
fn tag(cx: &Cx, label: &Label, value: &NickelValue, place: RawSpan, subject: &str) -> Diagnostic {
    let written = value.as_enum_tag().map_or("something else".to_owned(), |t| t.label().to_owned());
    let known = label.typ.to_string();
    let known = known.trim_start_matches("[|").trim_end_matches("|]");
    let tags: Vec<&str> = known.split(',').map(str::trim).collect();
    let hint = did_you_mean(&format!("'{written}"), tags.iter().copied());
    let fault = Diagnostic::error(format!("{subject} cannot be `'{written}`"))
        .label(cx.sources.at(place, hint))
        .note(format!("known: {}", tags.join(", ")));
    if subject == "`network`" {
        return fault
            .note("a step has no network of its own; 'recorded replays what `reimage lock` saw");
    }
    fault
}

/// Two lists for one field, which do not merge.
fn two_lists(cx: &Cx, place: RawSpan) -> Diagnostic {
    let name = cx.field_of(place).unwrap_or("the field".to_owned());
    let all = definitions(cx.sources);
    let same = all.iter().filter(|d| d.path.last() == Some(&name));
    let mut others = same.filter_map(|d| d.value).filter(|value| *value != place);
    let other = others.next().filter(|_| others.next().is_none());
    Diagnostic::error(format!("`{name}` has two values"))
        .label(cx.sources.at(place, ""))
        .label(other.and_then(|span| cx.sources.aside(span, "and here")))
        .note("lists do not merge: mark the first `| default`, or the second `| force`")
}

/// What a built-in contract wants, in words.
fn expected(label: &Label) -> String {
    let whole = label.typ.to_string();
    let mut typ = whole.as_str();
    for element in &label.path {
        let inner = match element {
            Elem::Array => typ.strip_prefix("Array "),
            Elem::Dict => typ.strip_prefix("{ _ :").or_else(|| typ.strip_prefix("{ _ |")),
            _ => None,
        };
        typ = inner.map_or(typ, |inner| inner.trim_end_matches('}').trim());
    }
    match typ {
        "Number" => "a number".to_owned(),
        "Bool" => "`true` or `false`".to_owned(),
        // Of a list of the library: the list is one, so it is an element.
        "String" | "Strings" | "Argv" | "Paths" | "Globs" => "a string".to_owned(),
        typ if typ.starts_with("Array ") => "a list".to_owned(),
        typ if typ.starts_with('{') => "a record".to_owned(),
        typ => format!("what `{typ}` accepts"),
    }
}

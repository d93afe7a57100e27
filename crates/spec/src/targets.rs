//! The fields of a spec that can be built: which there are, and which of them a request means.

use nickel_lang_core::{eval::value::NickelValue, position::RawSpan, term::record::Field};
use reimage_plan::{Platform, Section, StepId, Target};

use crate::{
    assemble::Root,
    diagnostic::Diagnostic,
    evaluate::Request,
    fields::Value,
    kinds::{Content, platforms_of},
    library::SECTIONS,
    machine::{self, Machine, fields, shown},
    suggest::{closest, did_you_mean},
    walk::Walker,
};

/// The sections that hold steps, in the order of a spec.
pub(crate) const HOLDING: [Section; 4] =
    [Section::Steps, Section::Images, Section::Exports, Section::Checks];

/// The path of a field, as `build` takes it.
pub(crate) fn target_path(section: Section, name: &str) -> String {
    Target { section, name: name.to_owned(), step: StepId(0) }.path()
}

/// A field that is wanted, or only to be evaluated.
pub(crate) struct Wanted {
    section: Section,
    name: String,
    field: Field,
    key: Option<RawSpan>,
    target: bool,
}

/// `baseline`; only the one that there is.
pub(crate) fn baseline(
    machine: &mut Machine,
    root: &NickelValue,
    faults: &mut Vec<Diagnostic>,
) -> Option<u32> {
    let value = match machine.get(root, "baseline") {
        Ok(value) => value?,
        Err(fault) => {
            faults.extend(fault);
            return None;
        }
    };
    if value.as_number().is_some_and(|number| number.to_string() == "1") {
        return Some(1);
    }
    let label = machine.at(machine.span(&[&value]), "");
    let message =
        format!("`baseline`: this version has the baseline 1 only, got {}", shown(&value));
    faults.push(Diagnostic::error(message).label(label));
    None
}

/// The fields of a section, by name; none if it is not there.
pub(crate) fn section(
    machine: &mut Machine,
    root: &NickelValue,
    section: Section,
    faults: &mut Vec<Diagnostic>,
) -> Vec<(String, Option<RawSpan>, Field)> {
    let block = match machine.get(root, &section.to_string()) {
        Ok(Some(block)) => block,
        Ok(None) => return Vec::new(),
        Err(fault) => {
            faults.extend(fault);
            return Vec::new();
        }
    };
    let Some(entries) = fields(&block) else { return Vec::new() };
    let mut entries: Vec<_> = entries
        .filter(|(_, field)| !field.is_empty_optional())
        .map(|(key, field)| {
            let span = key.pos.into_opt().and_then(|span| machine.sources.own(span));
            (key.label().to_owned(), span, field.clone())
        })
        .collect();
    entries.sort_by(|a, b| a.0.cmp(&b.0));
    entries
}

/// What a request means.
pub(crate) fn select(
    machine: &mut Machine,
    root: &NickelValue,
    request: &Request,
    faults: &mut Vec<Diagnostic>,
) -> Vec<Wanted> {
    unknown_sections(machine, root, faults);
    let mut used = vec![false; request.names.len()];
    let mut wanted = Vec::new();
    let mut known = Vec::new();
    for holding in HOLDING {
        for (name, key, field) in section(machine, root, holding, faults) {
            let mut target = request.names.is_empty() && request.sections.contains(&holding);
            for (path, used) in request.names.iter().zip(&mut used) {
                let whole = path.depth() == 1 && path.matches(0, &holding.to_string());
                let one = path.depth() == 2
                    && path.matches(0, &holding.to_string())
                    && path.matches(1, &name);
                *used |= whole || one;
                target |= whole || one;
            }
            known.push(target_path(holding, &name));
            if target || request.every_step {
                wanted.push(Wanted { section: holding, name, field, key, target });
            }
        }
    }
    for (path, used) in request.names.iter().zip(used) {
        if !used {
            faults.push(no_target(path, &known));
        }
    }
    wanted
}

fn no_target(path: &crate::name::FieldPath, known: &[String]) -> Diagnostic {
    let shown = path.to_string();
    let message = if path.is_pattern() {
        format!("no target fits `{shown}`")
    } else {
        format!("no target `{shown}`")
    };
    // `images.py3.13` lacks quotes.
    let bare = |target: &&String| target.replace('"', "") == shown;
    let close = known.iter().find(bare).map(String::as_str);
    let close = close.or_else(|| closest(&shown, known.iter().map(String::as_str)));
    let list = match known {
        [] => "the spec has no targets".to_owned(),
        known if known.len() <= 20 => format!("known: {}", known.join(", ")),
        known => format!("known: {}, .. ({} in all)", known[..20].join(", "), known.len()),
    };
    let fault = Diagnostic::error(message);
    match close {
        Some(close) => fault.note(format!("did you mean `{close}`?")),
        None => fault.note(list),
    }
}

/// Sections that a merge smuggled past the contract.
fn unknown_sections(machine: &Machine, root: &NickelValue, faults: &mut Vec<Diagnostic>) {
    for (key, field) in fields(root).into_iter().flatten() {
        let name = key.label();
        if !SECTIONS.contains(&name) && !field.is_empty_optional() {
            let span = key.pos.into_opt().and_then(|span| machine.sources.own(span));
            let text = did_you_mean(name, SECTIONS.into_iter());
            faults.push(
                Diagnostic::error(format!("the spec has no section `{name}`"))
                    .label(machine.at(span, text))
                    .note(format!("known: {}", SECTIONS.join(", "))),
            );
        }
    }
}

/// For what each of these is to be built: of an image `flags`, else what it says itself, else the default.
pub(crate) fn platforms(
    machine: &mut Machine,
    wanted: &[Wanted],
    flags: &[Platform],
    faults: &mut Vec<Diagnostic>,
) -> Vec<Vec<Platform>> {
    let mut all = Vec::with_capacity(wanted.len());
    for Wanted { section, name, field, key, .. } in wanted {
        all.push(match (section, flags) {
            (Section::Images, []) => {
                // What is wrong with it is said when it is walked.
                let value = field.value_with_pending_contracts();
                let value = value.and_then(|value| machine.eval(value).ok());
                let own = value.and_then(|value| platforms_of(machine, &value));
                own.unwrap_or_else(|| vec![Platform::default()])
            }
            (Section::Images, _) => flags.to_vec(),
            (_, [] | [_]) => vec![flags.first().cloned().unwrap_or_default()],
            (_, [first, ..]) => {
                let message = format!(
                    "`{}` is built for one platform: only an image can be for several",
                    target_path(*section, name)
                );
                let fault = Diagnostic::error(message).label(machine.at(*key, ""));
                faults.push(fault.note("name the images, or one `--platform`"));
                vec![first.clone()]
            }
        });
    }
    all
}

/// Walks what is wanted, each for the platforms that are `asked` of it; gives the targets that have a node.
pub(crate) fn walk(
    walker: &mut Walker,
    wanted: Vec<Wanted>,
    asked: &[Vec<Platform>],
    faults: &mut Vec<Diagnostic>,
) -> Vec<Root> {
    let mut roots = Vec::new();
    for (wanted, platforms) in wanted.into_iter().zip(asked) {
        let nodes: Option<Vec<usize>> =
            platforms.iter().map(|platform| walk_for(walker, &wanted, platform, faults)).collect();
        let Wanted { section, name, target, .. } = wanted;
        if let Some(nodes) = nodes.filter(|_| target) {
            roots.push(Root { section, name, nodes });
        }
    }
    roots
}

/// Walks what is wanted as it is for one platform.
fn walk_for(
    walker: &mut Walker,
    wanted: &Wanted,
    platform: &Platform,
    faults: &mut Vec<Diagnostic>,
) -> Option<usize> {
    let Wanted { section, name, key, .. } = wanted;
    let path = target_path(*section, name);
    let root = walker.roots[platform].clone();
    // Its fields may depend on the platform, and even whether it is there.
    let block = match walker.machine.get(&root, &section.to_string()) {
        Ok(block) => block,
        Err(fault) => {
            faults.extend(fault);
            return None;
        }
    };
    let Some(field) = block.as_ref().and_then(|block| machine::field(block, name)).cloned() else {
        let label = walker.machine.at(*key, "");
        let message = format!("`{path}` is not there for `{platform}`");
        faults.push(Diagnostic::error(message).label(label));
        return None;
    };
    let Some(value) = field.value_with_pending_contracts() else {
        let label = walker.machine.at(*key, "it has no value");
        faults.push(Diagnostic::error(format!("missing definition for `{path}`")).label(label));
        return None;
    };
    let value = match walker.machine.eval(value) {
        Ok(value) => value,
        Err(fault) => {
            faults.extend(fault);
            return None;
        }
    };
    let raw: Vec<&NickelValue> = [&value].into_iter().chain(&field.value).collect();
    let span = walker.machine.span(&raw).or(*key);
    let node = match walker.walk(Value { value, span, name: path.clone() }, platform) {
        Ok(node) => node,
        Err(fault) => {
            faults.extend(fault);
            return None;
        }
    };
    walker.known.push((node, *section, name.clone()));
    if *section == Section::Images && walker.nodes[node].kind != "image" {
        let kind = walker.nodes[node].kind;
        let label = walker.machine.at(span, format!("this is a `{kind}`"));
        let fault = Diagnostic::error(format!("`{path}` is no image")).label(label);
        faults.push(fault.note("an image is a record under `re.Image`: `{ layers = [..] }`"));
    }
    Some(node)
}

/// Refuses what the language has and this version has not.
pub(crate) fn later(walker: &Walker, faults: &mut Vec<Diagnostic>) {
    for node in &walker.nodes {
        if let Some(Content::Later(what)) = node.content {
            let message = format!("`{what}` is not in this version of reimage yet");
            faults.push(Diagnostic::error(message).label(walker.machine.at(node.span, "")));
        }
    }
}

//! What a spec offers: its targets and its arguments, without evaluating any of them.

use reimage_plan::{Platform, Section};

use crate::{
    budget::EvalLimits,
    diagnostic::SpecError,
    evaluate::{on_large_stack, prepare},
    machine::{Machine, fields},
    project::Project,
    targets::{HOLDING, section, target_path},
};

/// What a spec offers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Listing {
    /// What can be built, by section and name.
    pub targets: Vec<Listed>,
    /// What `--arg` can say, by name.
    pub args: Vec<Argument>,
}

/// A field that can be built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its section.
    pub section: Section,
    /// Its path, as `build` takes it: `images.web`.
    pub path: String,
    /// What the spec says of it.
    pub doc: Option<String>,
}

/// A field of `args`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Argument {
    /// Its name.
    pub name: String,
    /// What the spec says of it.
    pub doc: Option<String>,
    /// What it is when nobody says it, if it has a value that can be shown.
    pub default: Option<String>,
}

/// Lists what a spec offers: evaluates its sections, but nothing in them besides the values of `args`.
pub fn list(project: &Project, limits: EvalLimits) -> Result<Listing, SpecError> {
    on_large_stack(limits, |context, sources, _| {
        let prepared = prepare(context, sources, project, &[], &[])?;
        let built_for = prepared.built_for(context, sources, &Platform::default())?;
        let mut machine = Machine::new(context, sources, project);
        let root = prepared.root(&mut machine, &built_for)?;
        let mut listing = Listing::default();
        let mut faults = Vec::new();
        for holding in HOLDING {
            for (name, _, field) in section(&mut machine, &root, holding, &mut faults) {
                let path = target_path(holding, &name);
                let doc = field.metadata.doc().map(|doc| doc.trim().to_owned());
                listing.targets.push(Listed { section: holding, path, doc });
            }
        }
        if let Some(args) = machine.get(&root, "args")? {
            let args: Vec<_> = fields(&args)
                .into_iter()
                .flatten()
                .map(|(key, field)| (key.label().to_owned(), field.clone()))
                .collect();
            for (name, field) in args {
                let value = field.value_with_pending_contracts();
                let value = value.and_then(|value| machine.eval(value).ok());
                let default = value.and_then(|value| match value.as_string() {
                    Some(text) => Some(text.to_string()),
                    None => value.to_nickel_string().map(|text| text.to_string()),
                });
                let doc = field.metadata.doc().map(|doc| doc.trim().to_owned());
                listing.args.push(Argument { name, doc, default });
            }
        }
        listing.args.sort_by(|a, b| a.name.cmp(&b.name));
        if faults.is_empty() { Ok(listing) } else { Err(faults) }
    })
}

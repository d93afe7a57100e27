//! Puts a [`Spec`] together from the steps that were walked: those that targets need, equal ones as one.

use reimage_plan::{Place, Section, Spec, Step, StepId, StepKind, Target};

use crate::{
    diagnostic::Diagnostic, kinds::Content, machine::Fault, targets::target_path, walk::Walker,
};

/// A target that was walked.
pub(crate) struct Root {
    pub(crate) section: Section,
    pub(crate) name: String,
    pub(crate) node: usize,
}

#[expect(clippy::disallowed_types, reason = "steps are only looked up, never listed")]
type Known = std::collections::HashMap<StepKind, StepId>;

/// The spec of these targets, or what is wrong with their steps.
pub(crate) fn assemble(
    walker: &Walker,
    roots: &[Root],
    names: &[Vec<(Section, String)>],
) -> Result<Spec, Fault> {
    let mut spec = Spec::default();
    let mut known = Known::new();
    let mut done: Vec<Option<StepId>> = vec![None; walker.nodes.len()];
    let mut best: Vec<Vec<(Section, usize, String)>> = Vec::new();
    let mut entered = vec![false; walker.nodes.len()];
    let mut faults = Vec::new();
    for root in roots {
        let mut frames = vec![(root.node, false)];
        while let Some((node, leave)) = frames.pop() {
            if !leave {
                if !entered[node] {
                    entered[node] = true;
                    frames.push((node, true));
                    let children = walker.nodes[node].children.iter().rev();
                    frames.extend(children.filter_map(|child| Some((child.node?, false))));
                }
                continue;
            }
            let found = &walker.nodes[node];
            let place =
                found.span.and_then(|s| walker.machine.sources.place(s)).unwrap_or_default();
            let kind = match &found.content {
                Some(Content::Step(kind)) => kind,
                Some(Content::Blank) => {
                    faults.push(blank(walker, node, names));
                    continue;
                }
                Some(Content::Later(_)) | None => continue,
            };
            let ids: Option<Vec<StepId>> =
                found.children.iter().map(|child| done[child.node?]).collect();
            // Whose child is wrong has been reported there.
            let Some(ids) = ids else { continue };
            let mut kind = (**kind).clone();
            kind.map_references(|reference| ids[reference.0]);
            let id = *known.entry(kind.clone()).or_insert_with(|| {
                let id = StepId(spec.steps.len());
                spec.steps.push(Step { name: String::new(), place: place.clone(), kind });
                best.push(Vec::new());
                id
            });
            done[node] = Some(id);
            let step = &mut spec.steps[id.0];
            if better(&place, &step.place) {
                step.place = place;
            }
            best[id.0].extend(names[node].iter().map(|(s, n)| (*s, n.len(), n.clone())));
        }
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    for (step, names) in spec.steps.iter_mut().zip(best) {
        step.name = match names.into_iter().min() {
            Some((section, _, name)) => target_path(section, &name),
            None if step.place == Place::default() => step.kind.name().to_owned(),
            None => format!("{}:{} {}", step.place.file, step.place.line, step.kind.name()),
        };
    }
    if let Some(root) = roots.iter().find(|root| done[root.node].is_none()) {
        let path = target_path(root.section, &root.name);
        let message = format!("`{path}` cannot be evaluated, without a reason: please report this");
        return Err(vec![Diagnostic::error(message)]);
    }
    spec.targets = roots
        .iter()
        .filter_map(|root| {
            let step = done[root.node]?;
            Some(Target { section: root.section, name: root.name.clone(), step })
        })
        .collect();
    Ok(spec)
}

/// Whether a place says more, or comes first.
fn better(new: &Place, old: &Place) -> bool {
    new != &Place::default() && (old == &Place::default() || new < old)
}

fn blank(walker: &Walker, node: usize, names: &[Vec<(Section, String)>]) -> Diagnostic {
    let name = walker.short_name(node, names);
    Diagnostic::error(format!("step `{name}` has neither `script` nor `command`"))
        .label(walker.machine.at(walker.nodes[node].span, "it is only to merge into"))
}

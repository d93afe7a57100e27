//! Puts a [`Spec`] together from the steps that were walked: those that targets need, equal ones as one.

use std::collections::BTreeMap;

use reimage_plan::{Index, Place, Platform, Section, Spec, Step, StepId, StepKind, Target};

use crate::{
    diagnostic::Diagnostic, kinds::Content, machine::Fault, targets::target_path, walk::Walker,
};

/// A target that was walked.
pub(crate) struct Root {
    pub(crate) section: Section,
    pub(crate) name: String,
    /// What it is for each platform that it is asked for.
    pub(crate) nodes: Vec<usize>,
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
        let mut frames: Vec<_> = root.nodes.iter().rev().map(|node| (*node, false)).collect();
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
    tell_apart(&mut spec, walker, &done);
    for Root { section, name, nodes } in roots {
        let path = target_path(*section, name);
        let steps: Option<Vec<StepId>> = nodes.iter().map(|node| done[*node]).collect();
        let step = match steps.as_deref() {
            None => {
                let message =
                    format!("`{path}` cannot be evaluated, without a reason: please report this");
                return Err(vec![Diagnostic::error(message)]);
            }
            Some([step]) => *step,
            Some(images) => index(&mut spec, path, images, walker, nodes[0])?,
        };
        spec.targets.push(Target { section: *section, name: name.clone(), step });
    }
    Ok(spec)
}

/// The index of several images: their names, and the annotations that all of them have.
fn index(
    spec: &mut Spec,
    path: String,
    images: &[StepId],
    walker: &Walker,
    node: usize,
) -> Result<StepId, Fault> {
    let image = |id: &StepId| match &spec.step(*id).kind {
        StepKind::Image(image) => (&image.annotations, &image.tags),
        _ => unreachable!("only images are asked for several platforms"),
    };
    let (annotations, tags) = image(&images[0]);
    if images.iter().any(|other| image(other).1 != tags) {
        let message = format!("the `tags` of `{path}` depend on the platform");
        let fault =
            Diagnostic::error(message).label(walker.machine.at(walker.nodes[node].span, ""));
        return Err(vec![fault.note("they name the index, which is one for all platforms")]);
    }
    let all_have = |key: &String, value: &String| {
        images.iter().all(|other| image(other).0.get(key) == Some(value))
    };
    let annotations = annotations.iter().filter(|(key, value)| all_have(key, value));
    let annotations = annotations.map(|(key, value)| (key.clone(), value.clone())).collect();
    let kind = StepKind::Index(Index { images: images.to_vec(), annotations, tags: tags.clone() });
    let place = spec.step(images[0]).place.clone();
    spec.steps.push(Step { name: path, place, kind });
    Ok(StepId(spec.steps.len() - 1))
}

/// A step that is built for several platforms is several steps: each is called by its platform, too.
fn tell_apart(spec: &mut Spec, walker: &Walker, done: &[Option<StepId>]) {
    let mut platforms: BTreeMap<StepId, &Platform> = BTreeMap::new();
    for (node, id) in done.iter().enumerate() {
        if let Some(id) = id {
            platforms.entry(*id).or_insert(&walker.nodes[node].platform);
        }
    }
    let mut count: BTreeMap<String, usize> = BTreeMap::new();
    for step in &spec.steps {
        *count.entry(step.name.clone()).or_default() += 1;
    }
    for (id, platform) in platforms {
        let step = &mut spec.steps[id.0];
        if walker.roots.len() > 1 && count[&step.name] > 1 {
            step.name = format!("{} ({platform})", step.name);
        }
    }
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

//! What can be seen of stacks without building anything: files where directories are layered, and two root
//! file systems in one image (spec-language §3).

use std::collections::BTreeSet;

use reimage_plan::{Section, StepId, StepKind};

use crate::{
    diagnostic::{Diagnostic, Severity},
    kinds::Content,
    walk::Walker,
};

type Names = [Vec<(Section, String)>];

/// The kind of a node that is a step.
fn kind<'w>(walker: &'w Walker, node: usize) -> Option<&'w StepKind> {
    match &walker.nodes[node].content {
        Some(Content::Step(kind)) => Some(&**kind),
        _ => None,
    }
}

/// The steps that this one's stack is put together from.
fn below(kind: &StepKind) -> &[StepId] {
    match kind {
        StepKind::Run(run) if run.outputs.is_none() => &run.from,
        StepKind::Debian(debian) => &debian.from,
        StepKind::Image(image) => &image.layers,
        _ => &[],
    }
}

fn child(walker: &Walker, node: usize, reference: StepId) -> Option<usize> {
    walker.nodes[node].children.get(reference.0)?.node
}

/// Refuses files where layers are wanted.
pub(crate) fn files(walker: &Walker, names: &Names) -> Vec<Diagnostic> {
    let mut faults = Vec::new();
    for node in 0..walker.nodes.len() {
        let (stack, what) = match kind(walker, node) {
            Some(StepKind::Image(image)) => (&image.layers, "a layer is a directory"),
            Some(StepKind::Run(run)) => (&run.from, "a step stands on directories"),
            Some(StepKind::Debian(debian)) => (&debian.from, "packages go into a directory"),
            Some(StepKind::Copy(copy)) if copy.from.len() > 1 => {
                (&copy.from, "directories are merged")
            }
            _ => continue,
        };
        for reference in stack {
            let Some(below) = child(walker, node, *reference) else { continue };
            let Some(base) = file(walker, below) else { continue };
            let name = walker.short_name(below, names);
            let subject = if name.contains(' ') { "the step" } else { &*name };
            let to = if base.contains('.') { "/etc/" } else { "/usr/bin/" };
            let span = walker.nodes[node].children[reference.0].span;
            faults.push(
                Diagnostic::error(format!("`{name}` is a file, and {what}"))
                    .label(walker.machine.at(span.or(walker.nodes[node].span), ""))
                    .note(if subject == "the step" {
                        format!("say where it goes: `re.copy {{ from = .., to = \"{to}{base}\" }}`")
                    } else {
                        format!(
                            "say where it goes: `re.copy {{ from = {name}, to = \"{to}{base}\" }}`"
                        )
                    }),
            );
        }
    }
    faults
}

/// The name of the file that a step surely is.
fn file(walker: &Walker, mut node: usize) -> Option<String> {
    loop {
        match kind(walker, node)? {
            StepKind::Http(http) if http.unpack.is_none() => {
                let path = http.url.split(['?', '#']).next().unwrap_or_default();
                return Some(path.rsplit('/').next().unwrap_or_default().to_owned());
            }
            StepKind::Local(local) if local.unpack.is_none() && local.path.is_file() => {
                let name = local.path.file_name().unwrap_or_default();
                return Some(name.to_string_lossy().into_owned());
            }
            StepKind::Copy(copy) => {
                let root = |path: &Option<reimage_castore::TreePath>| {
                    path.as_ref().is_none_or(reimage_castore::TreePath::is_root)
                };
                match &copy.from[..] {
                    [from] if root(&copy.path) && root(&copy.to) => {
                        node = child(walker, node, *from)?;
                    }
                    _ => return None,
                }
            }
            _ => return None,
        }
    }
}

/// Warns of images that hold two root file systems.
pub(crate) fn two_roots(walker: &Walker, names: &Names) -> Vec<Diagnostic> {
    let roots = roots(walker);
    let mut warnings = Vec::new();
    for node in 0..walker.nodes.len() {
        let Some(StepKind::Image(image)) = kind(walker, node) else { continue };
        let mut first: Option<usize> = None;
        for reference in &image.layers {
            let Some(layer) = child(walker, node, *reference) else { continue };
            for &root in &roots[layer] {
                let Some(base) = first.filter(|first| *first != root) else {
                    first = Some(root);
                    continue;
                };
                let (layer_name, root_name) =
                    (walker.short_name(layer, names), walker.short_name(root, names));
                let base = walker.short_name(base, names);
                let (why, note) = if layer == root {
                    (
                        format!("`{base}` and `{root_name}`"),
                        format!("install one upon the other: `from = {base}`"),
                    )
                } else {
                    (
                        format!(
                            "`{layer_name}` stands on `{root_name}`, which is not below it here"
                        ),
                        format!("name its `outputs`, or put it on `{base}`"),
                    )
                };
                let message = format!("two root file systems in one image: {why}");
                let span = walker.nodes[node].children[reference.0].span;
                let label = walker.machine.at(span.or(walker.nodes[node].span), "");
                let warning = Diagnostic::error(message).label(label).note(note);
                warnings.push(Diagnostic { severity: Severity::Warning, ..warning });
                break;
            }
        }
    }
    warnings
}

/// The root file systems in the stack of each node: the `Debian`s that stand on nothing.
fn roots(walker: &Walker) -> Vec<BTreeSet<usize>> {
    let mut roots = vec![BTreeSet::new(); walker.nodes.len()];
    let mut done = vec![false; walker.nodes.len()];
    for start in 0..walker.nodes.len() {
        let mut frames = vec![(start, false)];
        while let Some((node, leave)) = frames.pop() {
            if done[node] && !leave {
                continue;
            }
            let Some(kind) = kind(walker, node) else {
                done[node] = true;
                continue;
            };
            let below = below(kind).iter().filter_map(|id| child(walker, node, *id));
            if leave {
                let mut all: BTreeSet<usize> =
                    below.flat_map(|below| roots[below].iter().copied()).collect();
                let root = match kind {
                    StepKind::Debian(debian) => debian.from.is_empty(),
                    StepKind::Oci(_) => true,
                    _ => false,
                };
                if root {
                    all.insert(node);
                }
                roots[node] = all;
            } else {
                done[node] = true;
                frames.push((node, true));
                frames.extend(below.map(|below| (below, false)));
            }
        }
    }
    roots
}

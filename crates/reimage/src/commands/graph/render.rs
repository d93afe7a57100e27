//! A spec's steps and what they refer to, as a tree, as DOT and as JSON.

use std::collections::BTreeSet;

use reimage_plan::{FileContent, Spec, StepId, StepKind};
use serde_json::{Value, json};

/// Levels of a tree that are drawn; deeper ones only say how deep they are, or a long chain would be a square.
const LEVELS: usize = 40;

/// Why a step refers to another.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Edge {
    /// The field; an input has its path, too.
    role: String,
    to: StepId,
}

/// What a step refers to, in the order of its fields.
fn edges(kind: &StepKind) -> Vec<Edge> {
    let all = |role: &str, steps: &[StepId]| {
        steps.iter().map(|to| Edge { role: role.to_owned(), to: *to }).collect::<Vec<_>>()
    };
    match kind {
        StepKind::Local(_) | StepKind::Files(_) | StepKind::Http(_) | StepKind::Oci(_) => {
            Vec::new()
        }
        StepKind::Debian(debian) => all("from", &debian.from),
        StepKind::Copy(copy) => all("from", &copy.from),
        StepKind::Image(image) => {
            [all("layer", &image.layers), all("requires", &image.requires)].concat()
        }
        StepKind::Index(index) => all("image", &index.images),
        StepKind::Run(run) => {
            let inputs = run.inputs.iter();
            let inputs = inputs.map(|(path, to)| Edge { role: format!("input {path}"), to: *to });
            all("from", &run.from).into_iter().chain(inputs).collect()
        }
    }
}

/// What a step is, in a few words.
fn summary(kind: &StepKind) -> String {
    match kind {
        StepKind::Local(local) => {
            let path = local.path.strip_prefix(&local.project).unwrap_or(&local.path);
            if path.as_os_str().is_empty() { ".".to_owned() } else { path.display().to_string() }
        }
        StepKind::Files(files) => match files.files.iter().next() {
            Some((path, entry)) if files.files.len() == 1 => match &entry.content {
                FileContent::Symlink(target) => format!("{path} -> {target}"),
                FileContent::Text(_) | FileContent::Directory => path.to_string(),
            },
            _ => format!("{} files", files.files.len()),
        },
        StepKind::Http(http) => http.url.clone(),
        StepKind::Oci(oci) => oci.image.clone(),
        StepKind::Debian(debian) => {
            format!("{} {}", debian.suite, debian.packages.join(" ")).trim_end().to_owned()
        }
        StepKind::Run(run) => match &run.command {
            reimage_plan::Command::Exec(command) => first_line(&command.join(" ")),
            reimage_plan::Command::Script { script, .. } => first_line(script),
        },
        StepKind::Copy(copy) => {
            let path = |path: &Option<_>| {
                path.as_ref().map_or_else(|| "/".to_owned(), reimage_castore::TreePath::to_string)
            };
            let from = path(&copy.path);
            copy.to.as_ref().map_or(from.clone(), |to| format!("{from} -> {to}"))
        }
        StepKind::Image(image) => image.tags.join(" "),
        StepKind::Index(index) => index.tags.join(" "),
    }
}

fn first_line(text: &str) -> String {
    const MOST: usize = 60;
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let first = lines.next().unwrap_or_default();
    let short: String = first.chars().take(MOST).collect();
    let more = short.len() < first.len() || lines.next().is_some();
    if more { format!("{short} …") } else { short }
}

/// Lines of a tree below each target; a step that comes again is only named.
pub(super) fn text(spec: &Spec) -> Vec<String> {
    let mut lines = Vec::new();
    let mut seen = BTreeSet::new();
    for target in &spec.targets {
        tree(spec, target.step, &target.path(), &mut seen, &mut lines);
    }
    lines
}

/// One line to come: the step, why it is here, and whether each level above it has more to come.
struct Pending {
    step: StepId,
    role: String,
    more: Vec<bool>,
}

/// With a list of its own instead of recursion: a chain may have ten thousand steps.
fn tree(
    spec: &Spec,
    top: StepId,
    name: &str,
    seen: &mut BTreeSet<StepId>,
    lines: &mut Vec<String>,
) {
    let mut pending = vec![Pending { step: top, role: String::new(), more: Vec::new() }];
    while let Some(Pending { step: id, role, more }) = pending.pop() {
        let step = spec.step(id);
        let shown = if more.is_empty() { name } else { &step.name };
        let again = !seen.insert(id);
        let what = [step.kind.name(), &summary(&step.kind)].join(" ");
        let what = if again { "see above".to_owned() } else { what.trim_end().to_owned() };
        let role = match role.as_str() {
            "" | "from" | "layer" => String::new(),
            role => format!("{role}: "),
        };
        lines.push(format!("{}{role}{shown} ({what})", indent(&more)));
        if again {
            continue;
        }
        let below = edges(&step.kind);
        let last = below.len().wrapping_sub(1);
        for (number, edge) in below.into_iter().enumerate().rev() {
            let mut more = more.clone();
            // Only the drawn levels are remembered one by one.
            if more.len() > LEVELS {
                more.remove(0);
            }
            more.push(number != last);
            pending.push(Pending { step: edge.to, role: edge.role, more });
        }
    }
}

fn indent(more: &[bool]) -> String {
    let Some((last, above)) = more.split_last() else { return String::new() };
    let start = if more.len() > LEVELS { "⋯ " } else { "" };
    let above: String = above.iter().map(|more| if *more { "│  " } else { "   " }).collect();
    format!("{start}{above}{}", if *last { "├─ " } else { "└─ " })
}

/// A graph for Graphviz; arrows point at what a step needs.
pub(super) fn dot(spec: &Spec) -> Vec<String> {
    let quote = |text: &str| {
        format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
    };
    let mut lines = vec![
        "digraph reimage {".to_owned(),
        "  rankdir = BT;".to_owned(),
        "  node [shape = box, fontname = \"sans-serif\"];".to_owned(),
    ];
    for (number, step) in spec.steps.iter().enumerate() {
        let label = format!("{}\n{} {}", step.name, step.kind.name(), summary(&step.kind));
        let shape = if matches!(step.kind, StepKind::Image(_) | StepKind::Index(_)) {
            ", style = bold"
        } else {
            ""
        };
        lines.push(format!("  {number} [label = {}{shape}];", quote(label.trim_end())));
    }
    for (number, step) in spec.steps.iter().enumerate() {
        for edge in edges(&step.kind) {
            let style = match edge.role.as_str() {
                "from" | "layer" => String::new(),
                role => format!(" [label = {}, style = dashed]", quote(role)),
            };
            lines.push(format!("  {number} -> {}{style};", edge.to.0));
        }
    }
    lines.push("}".to_owned());
    lines
}

/// The same for programs: targets, and steps with their references by number.
pub(super) fn value(spec: &Spec) -> Value {
    let targets = spec.targets.iter().map(|t| json!({ "name": t.path(), "step": t.step.0 }));
    let steps = spec.steps.iter().enumerate().map(|(number, step)| {
        let edges = edges(&step.kind);
        let references = edges.iter().map(|e| json!({ "role": e.role, "step": e.to.0 }));
        json!({
            "step": number,
            "name": step.name,
            "place": step.place.to_string(),
            "kind": step.kind.name(),
            "summary": summary(&step.kind),
            "references": references.collect::<Vec<_>>(),
        })
    });
    json!({ "targets": targets.collect::<Vec<_>>(), "steps": steps.collect::<Vec<_>>() })
}

#[cfg(test)]
mod tests {
    use reimage_plan::{Copy, Http, Image, Place, Platform, Section, Step, Target};

    use super::*;

    fn http(name: &str) -> Step {
        let kind = StepKind::Http(Http { url: format!("http://x/{name}"), unpack: None });
        Step { name: format!("steps.{name}"), place: Place::default(), kind }
    }

    fn copy(name: &str, from: &[usize]) -> Step {
        let from = from.iter().map(|n| StepId(*n)).collect();
        let kind = StepKind::Copy(Copy {
            from,
            path: None,
            to: None,
            include: None,
            exclude: Vec::new(),
            chown: None,
            chmod: None,
            mtime: None,
        });
        Step { name: format!("steps.{name}"), place: Place::default(), kind }
    }

    fn spec(steps: Vec<Step>) -> Spec {
        let step = StepId(steps.len() - 1);
        let targets = vec![Target { section: Section::Images, name: "web".into(), step }];
        Spec { baseline: None, steps, targets }
    }

    #[test]
    fn a_diamond_is_drawn_once() {
        let spec = spec(vec![http("a"), copy("b", &[0]), copy("c", &[0]), copy("d", &[1, 2])]);
        assert_eq!(
            text(&spec),
            [
                "images.web (copy /)",
                "├─ steps.b (copy /)",
                "│  └─ steps.a (http http://x/a)",
                "└─ steps.c (copy /)",
                "   └─ steps.a (see above)",
            ]
        );
        assert_eq!(
            dot(&spec).iter().filter(|line| line.contains("->") && !line.contains("label")).count(),
            4
        );
        assert_eq!(value(&spec)["steps"][3]["references"][1]["step"], 2);
    }

    #[test]
    fn a_long_chain_is_linear() {
        let mut steps = vec![http("a")];
        steps.extend((0..5000).map(|n| copy(&format!("s{n}"), &[n])));
        let lines = text(&spec(steps));
        assert_eq!(lines.len(), 5001);
        assert!(lines.iter().all(|line| line.chars().count() < 3 * LEVELS + 60));
    }

    #[test]
    fn names_are_quoted() {
        let mut spec = spec(vec![http("a\"b\\c")]);
        spec.steps[0].kind = StepKind::Image(Box::new(Image {
            layers: Vec::new(),
            config: reimage_plan::Config::default(),
            annotations: std::collections::BTreeMap::new(),
            platform: Platform::default(),
            compression: reimage_plan::Compression::Gzip,
            created: None,
            tags: Vec::new(),
            requires: Vec::new(),
        }));
        assert!(
            dot(&spec)[3].starts_with("  0 [label = \"steps.a\\\"b\\\\c\\nimage\""),
            "{:?}",
            dot(&spec)
        );
    }
}

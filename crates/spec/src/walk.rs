//! Walks the steps that targets stand on, each once, however many paths lead to it.
//!
//! Steps refer to each other by value: what is shared in Nickel is one record here, known again by its address;
//! where a contract made a new record around the same fields, by its *fingerprint*, the addresses of what the
//! fields hold. Copies with equal content become one step when the plan is put together ([`crate::assemble`]).
//! A step is built for whoever asks, so one record is a step for each platform that asks for it. The walk keeps its own
//! stack, so depth is bounded by memory only.

use std::{collections::BTreeMap, fmt::Write as _};

use nickel_lang_core::{
    eval::{cache::lazy::ThunkState, value::NickelValue},
    position::RawSpan,
    term::record::Field,
};
use reimage_plan::{Platform, Section, StepKind};

use crate::{
    diagnostic::Diagnostic,
    fields::{Fields, Value},
    kinds::{Content, content},
    library::KINDS,
    machine::{Fault, Machine, field, fields},
};

/// A step found.
pub(crate) struct Node {
    /// What it is; none if something is wrong with it.
    pub(crate) content: Option<Content>,
    /// Its references, by their numbers.
    pub(crate) children: Vec<Child>,
    /// Where it was written.
    pub(crate) span: Option<RawSpan>,
    /// What is wrong with it or where it is used.
    pub(crate) faults: Vec<Diagnostic>,
    /// Its constructor, in lower case.
    pub(crate) kind: &'static str,
    /// What it is built for.
    pub(crate) platform: Platform,
    open: bool,
}

/// A reference from one step to another.
pub(crate) struct Child {
    /// The node it stands for; none if that is wrong.
    pub(crate) node: Option<usize>,
    /// Where it was written.
    pub(crate) span: Option<RawSpan>,
}

#[expect(clippy::disallowed_types, reason = "addresses are only looked up, never listed")]
type Memo = std::collections::HashMap<(Platform, String), usize>;

/// The steps of one evaluation.
pub(crate) struct Walker<'a> {
    pub(crate) machine: Machine<'a>,
    /// The spec as it is for each platform.
    pub(crate) roots: BTreeMap<Platform, NickelValue>,
    pub(crate) nodes: Vec<Node>,
    /// How many references were followed.
    pub(crate) visits: usize,
    /// Fields that were walked by their names.
    pub(crate) known: Vec<(usize, Section, String)>,
    memo: Memo,
    /// Keeps each record alive, lest its address be used again.
    keep: Vec<NickelValue>,
    /// The nodes that are being walked, each referring to the next.
    path: Vec<usize>,
}

enum Frame {
    Enter { value: Value, platform: Platform, parent: Option<(usize, usize)> },
    Leave(usize),
}

impl<'a> Walker<'a> {
    pub(crate) fn new(machine: Machine<'a>) -> Self {
        let (nodes, keep, path) = (Vec::new(), Vec::new(), Vec::new());
        let (known, memo, roots) = (Vec::new(), Memo::new(), BTreeMap::new());
        Self { machine, roots, nodes, visits: 0, known, memo, keep, path }
    }

    /// The node of a step that is built for `platform`, and all below it; none if it is no step.
    pub(crate) fn walk(&mut self, value: Value, platform: &Platform) -> Result<usize, Fault> {
        let mut frames = vec![Frame::Enter { value, platform: platform.clone(), parent: None }];
        let mut result = Err(Vec::new());
        while let Some(frame) = frames.pop() {
            let (value, platform, parent) = match frame {
                Frame::Enter { value, platform, parent } => (value, platform, parent),
                Frame::Leave(node) => {
                    self.nodes[node].open = false;
                    self.path.pop();
                    continue;
                }
            };
            let node = self.enter(value, platform, &mut frames);
            match (parent, node) {
                (None, node) => result = node,
                (Some((parent, number)), Ok(node)) => {
                    self.nodes[parent].children[number].node = Some(node);
                }
                (Some((parent, _)), Err(fault)) => self.nodes[parent].faults.extend(fault),
            }
        }
        result
    }

    fn enter(
        &mut self,
        value: Value,
        platform: Platform,
        frames: &mut Vec<Frame>,
    ) -> Result<usize, Fault> {
        self.visits += 1;
        let address = (platform.clone(), address(&value.value));
        if let Some(&node) = self.memo.get(&address) {
            return self.again(node, &value);
        }
        let print = (platform.clone(), fingerprint(&value.value));
        if let Some(&node) = self.memo.get(&print) {
            return self.again(node, &value);
        }
        let tag = self.machine.get(&value.value, "step")?;
        let tag = tag.as_ref().and_then(NickelValue::as_enum_tag);
        let kind = tag.and_then(|tag| KINDS.into_iter().find(|(_, kind)| *kind == tag.label()));
        let Some((constructor, kind)) = kind else {
            let message = format!("`{}`: expected a step", value.name);
            return Err(vec![Diagnostic::error(message).label(self.machine.at(value.span, ""))]);
        };
        let span = self.place(&value);
        let mut reading = Fields::of_step(&mut self.machine, &value.value, span, constructor);
        let content = content(kind, &mut reading, &platform);
        let references = std::mem::take(&mut reading.references);
        let faults = reading.finish();
        let content = content.filter(|_| faults.is_empty());
        let node = self.nodes.len();
        let child = |value: &Value| Child { node: None, span: value.span };
        let children = references.iter().map(child).collect();
        let asks = asked(content.as_ref(), &platform, references.len());
        self.nodes.push(Node { content, children, span, faults, kind, platform, open: true });
        self.memo.insert(address, node);
        self.memo.insert(print, node);
        self.keep.push(value.value);
        self.path.push(node);
        frames.push(Frame::Leave(node));
        let enter = |(number, (value, platform))| {
            let parent = Some((node, number));
            Frame::Enter { value, platform, parent }
        };
        frames.extend(references.into_iter().zip(asks).enumerate().rev().map(enter));
        Ok(node)
    }

    /// A step that was seen before: fine, unless it is being walked.
    fn again(&mut self, node: usize, value: &Value) -> Result<usize, Fault> {
        if !self.nodes[node].open {
            return Ok(node);
        }
        let names = self.names();
        let start = self.path.iter().position(|open| *open == node).unwrap_or_default();
        let circle = self.path[start..].iter().chain([&node]);
        let circle: Vec<String> = circle.map(|node| self.short_name(*node, &names)).collect();
        let message = format!("steps depend on each other: {}", circle.join(" -> "));
        let label = self.machine.at(value.span.or(self.nodes[node].span), "");
        Err(vec![Diagnostic::error(message).label(label)])
    }

    /// Where a step was written: its record, or the first of its fields, or what refers to it.
    fn place(&self, value: &Value) -> Option<RawSpan> {
        let record = self.machine.span(&[&value.value]);
        let values =
            || fields(&value.value).into_iter().flatten().filter_map(|(_, f)| f.value.as_ref());
        let first =
            || values().filter_map(|v| self.machine.span(&[v])).min_by_key(|s| (s.src_id, s.start));
        record.or(value.span).or_else(first)
    }

    /// For each node the fields of the spec that are it, the best name first.
    ///
    /// Looks only at fields that were evaluated anyway: what no target needs stays untouched.
    pub(crate) fn names(&mut self) -> Vec<Vec<(Section, String)>> {
        let mut names: Vec<Vec<(Section, String)>> = vec![Vec::new(); self.nodes.len()];
        for (node, section, name) in &self.known {
            names[*node].push((*section, name.clone()));
        }
        for (platform, root) in self.roots.clone() {
            self.names_for(&platform, &root, &mut names);
        }
        for names in &mut names {
            names.sort_by(|a, b| (a.0, a.1.len(), &a.1).cmp(&(b.0, b.1.len(), &b.1)));
            names.dedup();
        }
        names
    }

    fn names_for(
        &mut self,
        platform: &Platform,
        root: &NickelValue,
        names: &mut [Vec<(Section, String)>],
    ) {
        for section in [Section::Steps, Section::Images, Section::Exports, Section::Checks] {
            let block = field(root, &section.to_string()).filter(|f| evaluated(f.value.as_ref()));
            let Some(block) = block.and_then(Field::value_with_pending_contracts) else {
                continue;
            };
            let Ok(block) = self.machine.eval(block) else { continue };
            let mut steps: Vec<(String, NickelValue)> = fields(&block)
                .into_iter()
                .flatten()
                .filter(|(_, field)| evaluated(field.value.as_ref()))
                .filter_map(|(k, f)| {
                    Some((k.label().to_owned(), f.value_with_pending_contracts()?))
                })
                .collect();
            steps.sort_by(|a, b| (a.0.len(), &a.0).cmp(&(b.0.len(), &b.0)));
            for (name, value) in steps {
                let Ok(value) = self.machine.eval(value) else { continue };
                let known = self.memo.get(&(platform.clone(), address(&value)));
                let known =
                    known.or_else(|| self.memo.get(&(platform.clone(), fingerprint(&value))));
                if let Some(&node) = known {
                    names[node].push((section, name));
                }
            }
        }
    }

    /// The name of a step within its section, or its place.
    pub(crate) fn short_name(&self, node: usize, names: &[Vec<(Section, String)>]) -> String {
        match names.get(node).and_then(|names| names.first()) {
            Some((_, name)) => name.clone(),
            None => self.place_name(node),
        }
    }

    /// What a step is called that no field names: `spec.ncl:12 copy`.
    pub(crate) fn place_name(&self, node: usize) -> String {
        let node = &self.nodes[node];
        match node.span.and_then(|span| self.machine.sources.place(span)) {
            Some(place) => format!("{}:{} {}", place.file, place.line, node.kind),
            None => node.kind.to_owned(),
        }
    }
}

/// The platform that each reference of a step is built for: that of the step, but what a `Run` stands on is where it runs.
fn asked(content: Option<&Content>, platform: &Platform, references: usize) -> Vec<Platform> {
    let mut asks = vec![platform.clone(); references];
    if let Some(Content::Step(step)) = content
        && let StepKind::Run(run) = &**step
    {
        for from in &run.from {
            asks[from.0] = run.platform.clone();
        }
    }
    asks
}

/// Whether the value of a field is there already.
fn evaluated(value: Option<&NickelValue>) -> bool {
    value.is_some_and(|value| match value.as_thunk() {
        Some(thunk) => thunk.state() == ThunkState::Evaluated,
        None => true,
    })
}

/// The address of a value; of the value itself, not of the reference to it.
fn address(value: &NickelValue) -> String {
    format!("{:p}", *value)
}

/// What the fields of a record hold, by address: two records with one fingerprint are the same step.
fn fingerprint(record: &NickelValue) -> String {
    let mut parts: Vec<String> = fields(record)
        .into_iter()
        .flatten()
        .map(|(key, field)| {
            let mut part = format!("{:?}=", key.label());
            match &field.value {
                None => part.push('-'),
                Some(value) if value.is_inline() => write!(part, "{value}").expect("a string"),
                Some(value) => write!(part, "{:p}", *value).expect("a string"),
            }
            for contract in &field.pending_contracts {
                write!(part, " {:p}", contract.contract).expect("a string");
            }
            part
        })
        .collect();
    parts.sort_unstable();
    parts.join("\n")
}

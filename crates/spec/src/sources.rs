//! The files of an evaluation, and the places of values in them.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use nickel_lang_core::{
    eval::value::NickelValue,
    files::{FileId, Files},
    position::{PosIdx, PosTable, RawSpan, TermPos},
};
use reimage_plan::Place;

use crate::diagnostic::{Diagnostic, Diagnostics, Label};

/// A file that the user wrote.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    /// How it is shown.
    pub(crate) name: String,
    /// Where its relative paths start.
    pub(crate) directory: PathBuf,
    /// What is shown: for `--set` the whole assignment, where Nickel sees blanks before the value.
    text: Arc<str>,
    /// Where each line begins.
    lines: Vec<usize>,
}

impl Source {
    pub(crate) fn new(name: String, directory: PathBuf, text: &str) -> Self {
        let lines =
            std::iter::once(0).chain(text.match_indices('\n').map(|(i, _)| i + 1)).collect();
        Self { name, directory, text: text.into(), lines }
    }

    /// Line and column in characters, both from 1.
    fn position(&self, at: usize) -> (usize, usize) {
        let line = self.lines.partition_point(|start| *start <= at);
        let start = self.lines[line - 1];
        let before = &self.text.as_bytes()[start..at.min(self.text.len())];
        (line, String::from_utf8_lossy(before).chars().count() + 1)
    }
}

/// The user's files; whatever else has an id is the library's, Nickel's or made up.
#[derive(Debug, Default, Clone)]
pub(crate) struct Sources {
    known: BTreeMap<FileId, Source>,
}

impl Sources {
    pub(crate) fn insert(&mut self, id: FileId, source: Source) {
        self.known.insert(id, source);
    }

    pub(crate) fn get(&self, id: FileId) -> Option<&Source> {
        self.known.get(&id)
    }

    /// The span, if it lies in a file of the user's.
    pub(crate) fn own(&self, span: RawSpan) -> Option<RawSpan> {
        self.known.contains_key(&span.src_id).then_some(span)
    }

    /// What was written there.
    pub(crate) fn text(&self, span: RawSpan) -> Option<&str> {
        self.get(span.src_id)?.text.get(span.to_range::<usize>())
    }

    /// Every file with its text.
    pub(crate) fn texts(&self) -> impl Iterator<Item = (FileId, &str)> {
        self.known.iter().map(|(id, source)| (*id, &*source.text))
    }

    /// A primary label there.
    pub(crate) fn at(&self, span: RawSpan, text: impl Into<String>) -> Option<Label> {
        let source = self.get(span.src_id)?;
        let mut range = span.to_range::<usize>();
        range.end = range.end.min(source.text.len());
        range.start = range.start.min(range.end);
        let (line, column) = source.position(range.start);
        let (end_line, end_column) = source.position(range.end);
        Some(Label {
            file: source.name.clone(),
            line,
            column,
            end_line,
            end_column,
            text: text.into(),
            primary: true,
            span: range,
        })
    }

    /// A label there that helps to understand another.
    pub(crate) fn aside(&self, span: RawSpan, text: impl Into<String>) -> Option<Label> {
        Some(Label { primary: false, ..self.at(span, text)? })
    }

    /// The place, for people.
    pub(crate) fn place(&self, span: RawSpan) -> Option<Place> {
        let source = self.get(span.src_id)?;
        let (line, column) = source.position(span.to_range::<usize>().start);
        Some(Place { file: source.name.clone(), line, column })
    }

    /// Diagnostics, each once and by their places, with the files they point into.
    pub(crate) fn diagnostics(&self, all: Vec<Diagnostic>) -> Diagnostics {
        let mut list: Vec<Diagnostic> = Vec::with_capacity(all.len());
        for diagnostic in all {
            if !list.contains(&diagnostic) {
                list.push(diagnostic);
            }
        }
        // In the order of the files; what has no place comes first.
        let place = |d: &Diagnostic| {
            let label = d.labels.iter().find(|label| label.primary).or(d.labels.first());
            label.map(|label| (label.file.clone(), label.span.start))
        };
        list.sort_by_cached_key(place);
        let named = |s: &&Source| list.iter().flat_map(|d| &d.labels).any(|l| l.file == s.name);
        let sources = self.known.values().filter(named);
        let sources = sources.map(|s| (s.name.clone(), Arc::clone(&s.text))).collect();
        Diagnostics::new(list, sources)
    }
}

/// The positions that values had when the files were parsed.
///
/// The machine owns the table while it runs; what it adds then are places of operations, never of values.
pub(crate) struct Positions {
    table: PosTable,
    end: usize,
}

impl Positions {
    pub(crate) fn new(table: &PosTable, files: &Files) -> Self {
        let mut table = table.clone();
        // The next index, which the table does not say otherwise.
        let first = files.stdlib_modules().next();
        let end =
            first.map_or(0, |id| table.push(TermPos::Original(files.source_span(id))).to_usize());
        Self { table, end }
    }

    /// The span of an index; none if it has none.
    pub(crate) fn span(&self, index: PosIdx) -> Option<RawSpan> {
        let known =
            index != PosIdx::NONE && (index.to_usize() & (u32::MAX >> 1) as usize) < self.end;
        if known { self.table.get(index).into_opt() } else { None }
    }

    /// The span of a value, if it lies in one of the user's files.
    pub(crate) fn own(&self, sources: &Sources, value: &NickelValue) -> Option<RawSpan> {
        sources.own(self.span(value.pos_idx())?)
    }
}

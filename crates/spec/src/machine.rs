//! Nickel's machine with what is needed to speak about its values: their places, and the user's files.

use std::{collections::BTreeMap, path::PathBuf};

use nickel_lang_core::{
    cache::CacheHub,
    error::Error,
    eval::{
        VirtualMachine, VmContext,
        value::{Container, NickelValue},
    },
    identifier::LocIdent,
    position::RawSpan,
    term::record::{Field, RecordData},
};

use crate::{
    budget::Budget,
    diagnostic::{Diagnostic, Label},
    explain::explain,
    project::Project,
    sources::{Positions, Sources},
};

/// Why something could not be evaluated.
pub(crate) type Fault = Vec<Diagnostic>;

pub(crate) type Context = VmContext<CacheHub, Budget>;

/// One machine for a whole evaluation: each new one would evaluate Nickel's standard library again.
pub(crate) struct Machine<'a> {
    pub(crate) vm: VirtualMachine<'a, CacheHub, Budget>,
    pub(crate) positions: Positions,
    pub(crate) sources: &'a Sources,
    pub(crate) project: &'a Project,
    /// The paths of all `Local`s so far: as written, and without symbolic links.
    pub(crate) locals: BTreeMap<PathBuf, PathBuf>,
}

impl<'a> Machine<'a> {
    pub(crate) fn new(
        context: &'a mut Context,
        sources: &'a Sources,
        project: &'a Project,
    ) -> Self {
        let positions = Positions::new(&context.pos_table, context.import_resolver.sources.files());
        Self {
            vm: VirtualMachine::new(context),
            positions,
            sources,
            project,
            locals: BTreeMap::new(),
        }
    }

    /// Evaluates to weak head normal form: what a record's fields are, not what they hold.
    pub(crate) fn eval(&mut self, value: NickelValue) -> Result<NickelValue, Fault> {
        self.vm.eval(value).map_err(|error| {
            self.vm.reset();
            let files = self.vm.import_resolver().sources.files();
            explain(Error::EvalError(error), files, self.sources)
        })
    }

    /// The first of these values that was written by the user: where.
    pub(crate) fn span(&self, values: &[&NickelValue]) -> Option<RawSpan> {
        values.iter().find_map(|value| self.positions.own(self.sources, value))
    }

    /// A primary label on a span.
    pub(crate) fn at(&self, span: Option<RawSpan>, text: impl Into<String>) -> Option<Label> {
        self.sources.at(span?, text)
    }

    /// The field of a record, evaluated; none if it is not there or has no value.
    pub(crate) fn get(
        &mut self,
        record: &NickelValue,
        name: &str,
    ) -> Result<Option<NickelValue>, Fault> {
        let field = field(record, name).and_then(Field::value_with_pending_contracts);
        field.map(|value| self.eval(value)).transpose()
    }
}

/// The fields of a record, if it is one.
pub(crate) fn fields(record: &NickelValue) -> Option<impl Iterator<Item = (&LocIdent, &Field)>> {
    let data: Option<&RecordData> = match record.as_record()? {
        Container::Empty => None,
        Container::Alloc(data) => Some(data),
    };
    Some(data.into_iter().flat_map(|data| data.fields.iter()))
}

/// A field of a record.
pub(crate) fn field<'r>(record: &'r NickelValue, name: &str) -> Option<&'r Field> {
    record.as_record()?.into_opt()?.fields.get(&LocIdent::from(name))
}

/// The beginning of a text that may be long.
pub(crate) fn short(text: &str) -> String {
    match text.char_indices().nth(200) {
        Some((end, _)) => format!("{}..", &text[..end]),
        None => text.to_owned(),
    }
}

/// What a value is, for people.
pub(crate) fn shown(value: &NickelValue) -> String {
    if let Some(text) = value.as_string() {
        return format!("the string `{}`", short(text));
    }
    if let Some(number) = value.as_number() {
        let number = number.to_string();
        let plain = number.len() <= 20 && !number.contains('/');
        return if plain { format!("the number {number}") } else { "this number".to_owned() };
    }
    match value.type_of() {
        Some("Array") => "a list".to_owned(),
        Some("Record") => "a record".to_owned(),
        Some("Function") => "a function".to_owned(),
        _ if value.is_null() => "`null`".to_owned(),
        Some(other) => format!("a value of type {other}"),
        None => "something else".to_owned(),
    }
}

//! Reads the fields of a record one by one, and knows in the end which it was not asked for.

use nickel_lang_core::{eval::value::NickelValue, position::RawSpan, term::record::Field};

use crate::{
    catalogue,
    diagnostic::Diagnostic,
    machine::{Fault, Machine, fields, shown},
    suggest::did_you_mean,
};

/// An evaluated value with its name and place.
#[derive(Clone)]
#[expect(clippy::struct_field_names, reason = "a value of Nickel is what it is about")]
pub(crate) struct Value {
    pub(crate) value: NickelValue,
    /// Where the user wrote it.
    pub(crate) span: Option<RawSpan>,
    /// The field it is of, as a message names it: `env.PORT`.
    pub(crate) name: String,
}

/// A key of the user's, with its place.
pub(crate) struct Key {
    pub(crate) name: String,
    pub(crate) span: Option<RawSpan>,
}

/// A record that is being read.
pub(crate) struct Fields<'m, 'a> {
    pub(crate) machine: &'m mut Machine<'a>,
    pub(crate) faults: Vec<Diagnostic>,
    /// Steps that fields refer to, each with a number of its own.
    pub(crate) references: Vec<Value>,
    /// Where the record was written.
    pub(crate) span: Option<RawSpan>,
    /// The constructor, `re.Debian`, or the field that the record is the value of.
    owner: String,
    prefix: String,
    left: Vec<(String, Field, Option<RawSpan>)>,
    known: Vec<&'static str>,
}

impl<'m, 'a> Fields<'m, 'a> {
    /// The fields of a constructor's record.
    pub(crate) fn of_step(
        machine: &'m mut Machine<'a>,
        record: &NickelValue,
        span: Option<RawSpan>,
        constructor: &str,
    ) -> Self {
        Self::new(machine, record, span, format!("re.{constructor}"), String::new())
    }

    fn new(
        machine: &'m mut Machine<'a>,
        record: &NickelValue,
        span: Option<RawSpan>,
        owner: String,
        prefix: String,
    ) -> Self {
        let present = |field: &Field| !field.is_empty_optional() && !field.metadata.not_exported();
        let left = fields(record)
            .into_iter()
            .flatten()
            .filter(|(_, field)| present(field))
            .map(|(key, field)| {
                let span = key.pos.into_opt().and_then(|span| machine.sources.own(span));
                (key.label().to_owned(), field.clone(), span)
            })
            .collect();
        let (faults, references, known) = (Vec::new(), Vec::new(), Vec::new());
        Self { machine, faults, references, span, owner, prefix, left, known }
    }

    /// What a field says, if it is there and fits.
    pub(crate) fn get<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&mut Self, &Value) -> Result<T, Fault>,
    ) -> Option<T> {
        self.known.push(name);
        let at = self.left.iter().position(|(field, ..)| field == name)?;
        let (_, field, _) = self.left.remove(at);
        // Without a value: only a contract mentions it.
        field.value.as_ref()?;
        let value = match self.evaluated(format!("{}{name}", self.prefix), &field) {
            Ok(value) => value,
            Err(fault) => {
                self.faults.extend(fault);
                return None;
            }
        };
        match read(self, &value) {
            Ok(value) => Some(value),
            Err(fault) => {
                self.faults.extend(fault);
                None
            }
        }
    }

    /// The same of a field that has to be there.
    pub(crate) fn need<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&mut Self, &Value) -> Result<T, Fault>,
    ) -> Option<T> {
        let absent =
            !self.left.iter().any(|(field, value, _)| field == name && value.value.is_some());
        if absent {
            let doc = catalogue::doc(&self.owner, name).unwrap_or_default();
            let doc = doc.split(". ").next().unwrap_or_default();
            let text = format!("`{}` needs it: {doc}", self.owner);
            let text = text.trim_end_matches(['.', ' ', ':']).to_owned();
            let message = format!("missing definition for `{}{name}`", self.prefix);
            self.faults.push(Diagnostic::error(message).label(self.machine.at(self.span, text)));
        }
        self.get(name, read)
    }

    /// Reads a record that is the value of a field.
    pub(crate) fn record<T>(
        &mut self,
        value: &Value,
        read: impl FnOnce(&mut Fields<'_, 'a>) -> T,
    ) -> Result<T, Fault> {
        if value.value.as_record().is_none() {
            return Err(self.expected(value, "a record"));
        }
        let owner = format!("{}.{}", self.owner, value.name);
        let prefix = format!("{}.", value.name);
        let mut inner = Fields::new(self.machine, &value.value, value.span, owner, prefix);
        let read = read(&mut inner);
        let faults = inner.finish();
        if faults.is_empty() { Ok(read) } else { Err(faults) }
    }

    /// The entries of a record whose keys are the user's, sorted.
    pub(crate) fn entries<T>(
        &mut self,
        value: &Value,
        read: impl Fn(&mut Self, &Key, &Value) -> Result<T, Fault>,
    ) -> Result<Vec<(Key, T)>, Fault> {
        let Some(entries) = fields(&value.value) else {
            return Err(self.expected(value, "a record"));
        };
        let entries: Vec<_> = entries
            .filter(|(_, field)| !field.is_empty_optional())
            .map(|(key, field)| (*key, field.clone()))
            .collect();
        let mut all = Vec::with_capacity(entries.len());
        let mut faults = Vec::new();
        for (key, field) in entries {
            let span = key.pos.into_opt().and_then(|span| self.machine.sources.own(span));
            let key = Key { name: key.label().to_owned(), span: span.or(value.span) };
            if field.value.is_none() {
                let message = format!("missing definition for `{}.{}`", value.name, key.name);
                faults.push(Diagnostic::error(message).label(self.machine.at(key.span, "")));
                continue;
            }
            let entry = self.evaluated(format!("{}.{}", value.name, key.name), &field);
            match entry.and_then(|entry| read(self, &key, &entry)) {
                Ok(entry) => all.push((key, entry)),
                Err(fault) => faults.extend(fault),
            }
        }
        all.sort_by(|a, b| a.0.name.cmp(&b.0.name));
        if faults.is_empty() { Ok(all) } else { Err(faults) }
    }

    /// The elements of a list, evaluated.
    pub(crate) fn elements(&mut self, value: &Value) -> Result<Vec<Value>, Fault> {
        let Some(array) = value.value.as_array() else {
            return Err(self.expected(value, "a list"));
        };
        let elements: Vec<NickelValue> =
            array.iter_with_pending_contracts(value.value.pos_idx()).collect();
        let raw: Vec<NickelValue> = array.iter().cloned().collect();
        let mut read = Vec::with_capacity(elements.len());
        let mut faults = Vec::new();
        for (element, raw) in elements.into_iter().zip(raw) {
            match self.machine.eval(element) {
                Ok(whnf) => {
                    let span = self.machine.span(&[&raw, &whnf]).or(value.span);
                    read.push(Value { value: whnf, span, name: value.name.clone() });
                }
                Err(fault) => faults.extend(fault),
            }
        }
        if faults.is_empty() { Ok(read) } else { Err(faults) }
    }

    fn evaluated(&mut self, name: String, field: &Field) -> Result<Value, Fault> {
        let raw = field.value.clone();
        let value = field.value_with_pending_contracts().expect("it has a value");
        let value = self.machine.eval(value)?;
        let span = match &raw {
            Some(raw) => self.machine.span(&[&value, raw]),
            None => self.machine.span(&[&value]),
        };
        Ok(Value { value, span, name })
    }

    /// The error that a value is not what its field takes.
    pub(crate) fn expected(&self, value: &Value, what: &str) -> Fault {
        let message = format!("`{}`: expected {what}, got {}", value.name, shown(&value.value));
        self.fault(value, message)
    }

    /// An error at a value.
    pub(crate) fn fault(&self, value: &Value, message: impl Into<String>) -> Fault {
        vec![Diagnostic::error(message).label(self.machine.at(value.span.or(self.span), ""))]
    }

    /// What was wrong, and the fields that nobody asked for.
    pub(crate) fn finish(mut self) -> Vec<Diagnostic> {
        for (name, _, span) in std::mem::take(&mut self.left) {
            let known: Vec<&str> = self.known.clone();
            let text = did_you_mean(&name, known.iter().copied());
            let message = match self.owner.as_str() {
                "re.Image" if name == "from" => "an image has no field `from`".to_owned(),
                owner => format!("`{owner}` has no field `{name}`"),
            };
            self.faults
                .push(Diagnostic::error(message).label(self.machine.at(span.or(self.span), text)));
        }
        self.faults
    }
}

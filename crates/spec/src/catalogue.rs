//! What the library says of itself: its constructors, their fields and the `doc` of each, read off its text.

use std::{fmt::Write as _, sync::OnceLock};

use nickel_lang_core::{
    ast::{Ast, InputFormat, Node, record::FieldDef},
    cache::{CacheHub, SourcePath},
    traverse::{TraverseAlloc, TraverseControl},
};

use crate::library::{LIBRARY, LIBRARY_FILE};

/// A record contract of the library.
#[derive(Debug)]
pub(crate) struct Shape {
    /// How a user gets to it: `re.Debian`, `re.Run.limits`.
    pub(crate) path: String,
    /// Its fields in order.
    pub(crate) fields: Vec<Described>,
}

/// One field of a [`Shape`].
#[derive(Debug)]
pub(crate) struct Described {
    pub(crate) name: String,
    pub(crate) doc: Option<String>,
    /// Whether a user may leave it out.
    pub(crate) optional: bool,
    /// Whether a user may write it at all.
    pub(crate) hidden: bool,
}

/// The path of what an entry of `re.Files` takes: no field of the library leads to it.
const ENTRY: &str = "re.Files.files";

/// All record contracts of the library; the first, with the path `re`, is the library itself.
pub(crate) fn shapes() -> &'static [Shape] {
    static SHAPES: OnceLock<Vec<Shape>> = OnceLock::new();
    SHAPES.get_or_init(read)
}

/// The contract of this path.
pub(crate) fn shape(path: &str) -> Option<&'static Shape> {
    shapes().iter().find(|shape| shape.path == path)
}

/// The `doc` of a field of a contract.
pub(crate) fn doc(path: &str, field: &str) -> Option<&'static str> {
    let fields = &shape(path)?.fields;
    fields.iter().find(|described| described.name == field)?.doc.as_deref()
}

impl Shape {
    /// The fields that a user may write.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().filter(|field| !field.hidden).map(|field| &*field.name)
    }
}

/// The constructors with their fields and docs, as Markdown tables: the reference of the language.
pub fn reference() -> String {
    let mut text = String::new();
    for shape in shapes().iter().filter(|shape| shape.path != "re") {
        let doc = match shape.path.strip_prefix("re.").filter(|name| !name.contains('.')) {
            Some(name) => doc("re", name),
            None => shape.path.rsplit_once('.').and_then(|(owner, field)| doc(owner, field)),
        };
        let title = shape.path.replace(ENTRY, "entries of `re.Files`");
        let title = if title.contains('`') { title } else { format!("`{title}`") };
        write!(text, "### {title}\n\n{}\n\n", doc.unwrap_or_default()).expect("a string");
        text += "| field | | meaning |\n|---|---|---|\n";
        for field in shape.fields.iter().filter(|field| !field.hidden) {
            let need = if field.optional { "" } else { "required" };
            let doc = field.doc.as_deref().unwrap_or_default().replace('|', "\\|");
            writeln!(text, "| `{}` | {need} | {doc} |", field.name).expect("a string");
        }
        text.push('\n');
    }
    text
}

fn read() -> Vec<Shape> {
    let mut hub = CacheHub::new();
    let name = SourcePath::Path(LIBRARY_FILE.into(), InputFormat::Nickel);
    let id = hub.sources.add_string(name, LIBRARY.to_owned());
    let mut shapes = Vec::new();
    if hub.parse_to_ast(id).is_ok()
        && let Some(ast) = hub.asts.get(id)
    {
        lets(ast, &mut shapes);
        // What an entry of `re.Files` takes comes after it.
        let files = shapes.iter().position(|shape| shape.path == "re.Files");
        if let (Some(files), Some(entry)) = (files, shapes.iter().position(|s| s.path == ENTRY)) {
            let entry = shapes.remove(entry);
            shapes.insert(files + 1, entry);
        }
    }
    shapes
}

/// The library's record below its `let`s; what an entry of `re.Files` takes is in one of them.
fn lets<'ast>(ast: &'ast Ast<'ast>, shapes: &mut Vec<Shape>) {
    match &ast.node {
        Node::Let { bindings, body, .. } => {
            lets(body, shapes);
            for binding in *bindings {
                if let Some(record) = named(&binding.value, "Fields") {
                    shape_of(ENTRY, record, shapes);
                }
            }
        }
        Node::Record(record) => shape_of("re", record.field_defs, shapes),
        _ => {}
    }
}

/// The record that a `let` of this name binds, at once or below.
fn named<'ast>(ast: &'ast Ast<'ast>, name: &str) -> Option<&'ast [FieldDef<'ast>]> {
    let Node::Let { bindings, .. } = &ast.node else { return None };
    bindings.iter().find_map(|binding| match (&binding.pattern.data, &binding.value.node) {
        (nickel_lang_core::ast::pattern::PatternData::Any(id), Node::Record(record))
            if id.label() == name =>
        {
            Some(record.field_defs)
        }
        _ => None,
    })
}

fn shape_of<'ast>(path: &str, defs: &'ast [FieldDef<'ast>], shapes: &mut Vec<Shape>) {
    let at = shapes.len();
    shapes.push(Shape { path: path.to_owned(), fields: Vec::new() });
    let mut fields = Vec::new();
    for def in defs {
        let Some(name) = def.name_as_ident() else { continue };
        let below = format!("{path}.{}", name.label());
        if let Some(Node::Record(record)) = def.value.as_ref().map(|value| &value.node)
            && path == "re"
        {
            shape_of(&below, record.field_defs, shapes);
        }
        let inner = def.metadata.annotation.traverse_ref::<(), &'ast [FieldDef<'ast>]>(
            &mut |ast: &'ast Ast<'ast>, ()| match &ast.node {
                Node::Record(record) => TraverseControl::Return(record.field_defs),
                _ => TraverseControl::Continue,
            },
            &(),
        );
        if let Some(inner) = inner {
            shape_of(&below, inner, shapes);
        }
        fields.push(Described {
            name: name.label().to_owned(),
            doc: def.metadata.doc.map(str::to_owned),
            optional: def.metadata.opt,
            hidden: def.metadata.not_exported,
        });
    }
    shapes[at].fields = fields;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_of_the_library_has_a_doc() {
        let mut fields = 0;
        for shape in shapes() {
            for field in &shape.fields {
                let doc = field.doc.as_deref().unwrap_or_default();
                assert!(doc.trim().len() > 3, "{}.{} has no doc", shape.path, field.name);
                fields += 1;
            }
        }
        assert!(fields > 120, "only {fields} fields were found");
    }

    #[test]
    fn every_constructor_and_what_lies_below_is_there() {
        let paths: Vec<&str> = shapes().iter().map(|shape| &*shape.path).collect();
        let constructors = crate::library::KINDS.map(|(name, _)| format!("re.{name}"));
        for path in constructors.iter().map(String::as_str).chain([
            "re",
            "re.Platform",
            "re.Spec",
            "re.Files.files",
            "re.Debian.repositories",
            "re.Run.limits",
            "re.Image.healthcheck",
        ]) {
            assert!(paths.contains(&path), "{path} is not among {paths:?}");
        }
        let sections: Vec<&str> = shape("re.Spec").expect("it is there").names().collect();
        assert_eq!(sections, crate::library::SECTIONS);
    }
}

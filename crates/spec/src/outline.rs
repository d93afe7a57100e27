//! Where the fields of a spec are written, read off its text: for errors that only know a name.

use nickel_lang_core::{
    ast::{Ast, InputFormat, Node, record::FieldPathElem},
    cache::{CacheHub, SourcePath},
    files::FileId,
    position::RawSpan,
    traverse::{TraverseAlloc, TraverseControl},
};

use crate::sources::Sources;

/// A field as it is written.
pub(crate) struct Definition {
    /// The names from the outermost record of its file on.
    pub(crate) path: Vec<String>,
    /// Where its last name stands.
    pub(crate) key: RawSpan,
    /// Where its value stands.
    pub(crate) value: Option<RawSpan>,
}

/// Every field that the user's files define.
pub(crate) fn definitions(sources: &Sources) -> Vec<Definition> {
    let mut definitions = Vec::new();
    for (id, text) in sources.texts() {
        let mut hub = CacheHub::new();
        let name = SourcePath::Path("spec.ncl".into(), InputFormat::Nickel);
        let parsed = hub.sources.add_string(name, text.to_owned());
        if hub.parse_to_ast(parsed).is_ok()
            && let Some(ast) = hub.asts.get(parsed)
        {
            Outline { id, definitions: &mut definitions }.visit(ast, &[]);
        }
    }
    definitions
}

struct Outline<'o> {
    id: FileId,
    definitions: &'o mut Vec<Definition>,
}

impl Outline<'_> {
    fn visit<'ast>(&mut self, ast: &'ast Ast<'ast>, above: &[String]) {
        ast.traverse_ref::<(), ()>(
            &mut |ast: &'ast Ast<'ast>, ()| {
                let Node::Record(record) = &ast.node else { return TraverseControl::Continue };
                for def in record.field_defs {
                    let mut path = above.to_vec();
                    for name in def.path.iter().filter_map(FieldPathElem::try_as_ident) {
                        path.push(name.label().to_owned());
                        let Some(key) = name.pos.into_opt() else { continue };
                        let value = def
                            .value
                            .as_ref()
                            .filter(|_| path.len() == above.len() + def.path.len());
                        let value = value.and_then(|value| value.pos.into_opt());
                        self.definitions.push(Definition {
                            path: path.clone(),
                            key: self.moved(key),
                            value: value.map(|value| self.moved(value)),
                        });
                    }
                    if let Some(value) = &def.value {
                        self.visit(value, &path);
                    }
                }
                TraverseControl::SkipBranch
            },
            &(),
        );
    }

    /// The same span in the file that the evaluation knows.
    fn moved(&self, span: RawSpan) -> RawSpan {
        RawSpan { src_id: self.id, ..span }
    }
}

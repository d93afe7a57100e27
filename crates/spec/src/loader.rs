//! Reads a spec and all it imports before anything is evaluated.
//!
//! Imports are literals, so the closure is known without evaluation. Each file is checked before it is opened
//! (inside the project, a plain file, not through a link that leads out) and then handed to Nickel as text:
//! Nickel itself opens no file.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    ffi::OsStr,
    path::{Path, PathBuf},
};

use nickel_lang_core::{
    ast::{Ast, Import, InputFormat, Node},
    cache::{CacheHub, SourcePath, normalize_abs_path},
    files::FileId,
    identifier::Ident,
    package::PackageMap,
    position::RawSpan,
    traverse::{TraverseAlloc, TraverseControl},
};
use reimage_castore::Digest;

use crate::{
    diagnostic::Diagnostic,
    explain,
    library::{LIBRARY, LIBRARY_FILE, ROOT},
    project::Project,
    sources::{Source, Sources},
    suggest::closest,
};

/// Where `import reimage` finds the library; apart from [`ROOT`], which is searched for every import.
const PACKAGE: &str = "/@reimage/package";

/// Bytes of a file of Nickel at most; what is larger is data, and belongs into JSON. Nickel's parser and type
/// checker recurse: the stack is made for what fits.
const LARGEST_SPEC: u64 = 2 << 20;

/// Bytes of a file of data at most.
pub(crate) const LARGEST_DATA: u64 = 16 << 20;

/// Brackets and prefix operators within each other at most.
const DEEPEST: usize = 10_000;

/// What was read.
#[derive(Debug, Default)]
pub(crate) struct Closure {
    /// Every file by its path from the project on, with the digest of the very bytes that are evaluated.
    pub(crate) files: BTreeMap<PathBuf, Digest>,
    /// Files that would have been imported instead of the library, had they existed.
    pub(crate) absent: BTreeSet<PathBuf>,
}

/// One import expression, or the spec itself.
struct Wanted {
    path: PathBuf,
    format: InputFormat,
    /// The import expression, and what it says.
    from: Option<(RawSpan, String)>,
}

pub(crate) struct Loader<'a> {
    pub(crate) hub: &'a mut CacheHub,
    pub(crate) sources: &'a mut Sources,
    pub(crate) project: &'a Project,
    pub(crate) closure: Closure,
    pub(crate) faults: Vec<Diagnostic>,
}

/// Makes the library known under its two names.
pub(crate) fn add_library(hub: &mut CacheHub) {
    for path in [Path::new(ROOT).join(LIBRARY_FILE), Path::new(PACKAGE).join("main.ncl")] {
        hub.sources.add_string(SourcePath::Path(path, InputFormat::Nickel), LIBRARY.to_owned());
    }
    hub.sources.add_import_paths(std::iter::once(PathBuf::from(ROOT)));
    let mut packages = PackageMap::default();
    packages.top_level.insert(Ident::new("reimage"), PathBuf::from(PACKAGE));
    hub.sources.set_package_map(packages);
}

impl Loader<'_> {
    /// Loads the spec and what it imports.
    pub(crate) fn spec(&mut self) {
        let path = self.project.file.clone();
        self.load(vec![Wanted { path, format: InputFormat::Nickel, from: None }]);
    }

    /// Loads what an expression of the command line imports.
    pub(crate) fn expression(&mut self, id: FileId, directory: &Path) {
        let wanted = self.imports(id, directory);
        self.load(wanted);
    }

    fn load(&mut self, wanted: Vec<Wanted>) {
        let mut wanted = VecDeque::from(wanted);
        while let Some(file) = wanted.pop_front() {
            let name = SourcePath::Path(file.path.clone(), file.format);
            if self.hub.sources.file_ids.contains_key(&name) {
                continue;
            }
            let text = match self.read(&file) {
                Ok(text) => text,
                Err(fault) => {
                    self.faults.push(*fault);
                    continue;
                }
            };
            let directory = file.path.parent().unwrap_or(&self.project.root).to_owned();
            let shown = self.project.shown(&file.path);
            let source = Source::new(shown, directory.clone(), &text);
            let id = self.hub.sources.add_string(name, text);
            self.sources.insert(id, source);
            if file.format == InputFormat::Nickel {
                wanted.extend(self.imports(id, &directory));
            }
        }
    }

    /// Reads one file, if it may be.
    fn read(&mut self, file: &Wanted) -> Result<String, Box<Diagnostic>> {
        let shown = self.project.shown(&file.path);
        let said = file.from.as_ref().map_or(&shown, |(_, said)| said);
        let fault = |message: String, text: &str| {
            let label = file.from.as_ref().and_then(|(span, _)| self.sources.at(*span, text));
            Diagnostic::error(message).label(label)
        };
        if !file.path.starts_with(&self.project.root) {
            return Err(Box::new(
                fault(format!("import of `{said}`, which is outside the project"), "outside")
                    .note("a spec reads nothing outside its project: the directory with `.git`, or with the highest `reimage.lock`"),
            ));
        }
        let real = match fs_err::canonicalize(&file.path) {
            Ok(real) => real,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let library = closest(said, [LIBRARY_FILE].into_iter());
                let text =
                    library.map_or("not found".to_owned(), |l| format!("did you mean `{l}`?"));
                return Err(Box::new(
                    fault(format!("no file `{said}` to import"), &text)
                        .note("a path is relative to the file that imports it"),
                ));
            }
            Err(error) => return Err(Box::new(fault(unreadable(said, &error), ""))),
        };
        if !real.starts_with(&self.project.root) {
            return Err(Box::new(
                fault(format!("`{said}` leads out of the project through a symbolic link"), "")
                    .note("a spec reads nothing outside its project"),
            ));
        }
        let bytes = fs_err::metadata(&real).and_then(|metadata| {
            if !metadata.is_file() {
                return Err(std::io::Error::other("it is no plain file"));
            }
            let (largest, message) = match file.format {
                InputFormat::Nickel => (LARGEST_SPEC, "it is larger than 2 MiB"),
                _ => (LARGEST_DATA, "it is larger than 16 MiB"),
            };
            if metadata.len() > largest {
                return Err(std::io::Error::other(message));
            }
            fs_err::read(&real)
        });
        let bytes = bytes.map_err(|error| Box::new(fault(unreadable(said, &error), "")))?;
        let digest = Digest::of(&bytes);
        let text = String::from_utf8(bytes).map_err(|error| {
            let at = error.utf8_error().valid_up_to();
            let valid = String::from_utf8_lossy(&error.as_bytes()[..at]);
            let line = valid.matches('\n').count() + 1;
            Box::new(
                fault(format!("`{said}` is not UTF-8"), "")
                    .note(format!("the first byte that is not is in line {line}")),
            )
        })?;
        if file.format == InputFormat::Nickel && nesting(&text) > DEEPEST {
            return Err(Box::new(fault(format!("`{said}` is nested too deeply"), "")));
        }
        let path = file.path.strip_prefix(&self.project.root).unwrap_or(&file.path).to_owned();
        self.closure.files.insert(path, digest);
        Ok(text)
    }

    /// What a file of Nickel imports, but for the library.
    fn imports(&mut self, id: FileId, directory: &Path) -> Vec<Wanted> {
        if let Err(errors) = self.hub.parse_to_ast(id) {
            self.faults.extend(explain::parse(errors, self.hub.sources.files(), self.sources));
            return Vec::new();
        }
        let mut found = Vec::new();
        if let Some(ast) = self.hub.asts.get(id) {
            collect(ast, &mut found);
        }
        let mut wanted = Vec::new();
        for (import, span) in found {
            match import {
                Found::Path(said, format) => {
                    wanted.extend(self.import(&said, format, span, directory));
                }
                Found::Package(name) if name == "reimage" => {}
                Found::Package(name) => self.faults.push(
                    Diagnostic::error(format!("no package `{name}`"))
                        .label(self.sources.at(span, ""))
                        .note("write `import reimage` for the library, `import \"..\"` for a file of the project"),
                ),
            }
        }
        wanted
    }

    fn import(
        &mut self,
        said: &OsStr,
        format: InputFormat,
        span: RawSpan,
        directory: &Path,
    ) -> Option<Wanted> {
        let path = normalize_abs_path(&directory.join(said));
        let library = Path::new(ROOT).join(LIBRARY_FILE);
        if normalize_abs_path(&Path::new(ROOT).join(said)) == library {
            if fs_err::symlink_metadata(&path).is_err() {
                self.closure.absent.insert(path);
                return None;
            }
            let shown = self.project.shown(&path);
            self.faults.push(
                Diagnostic::error(format!("`{shown}` hides the library of the same name"))
                    .label(self.sources.at(span, "this means the library inside reimage"))
                    .note(format!("rename or remove `{shown}`")),
            );
            return None;
        }
        let said = said.to_string_lossy().into_owned();
        Some(Wanted { path, format, from: Some((span, said)) })
    }
}

fn unreadable(said: &str, error: &std::io::Error) -> String {
    format!("cannot read `{said}`: {error}")
}

enum Found {
    Path(std::ffi::OsString, InputFormat),
    Package(String),
}

fn collect<'ast>(ast: &'ast Ast<'ast>, found: &mut Vec<(Found, RawSpan)>) {
    ast.traverse_ref::<(), ()>(
        &mut |ast: &'ast Ast<'ast>, ()| {
            if let (Node::Import(import), Some(span)) = (&ast.node, ast.pos.into_opt()) {
                let import = match import {
                    Import::Path { path, format } => Found::Path((*path).to_owned(), *format),
                    Import::Package { id } => Found::Package(id.label().to_owned()),
                };
                found.push((import, span));
            }
            TraverseControl::Continue
        },
        &(),
    );
}

/// The deepest nesting of brackets and prefix operators; more than there is where strings hold them.
fn nesting(text: &str) -> usize {
    let (mut depth, mut prefixes, mut deepest) = (0_usize, 0_usize, 0);
    for byte in text.bytes() {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            b'!' | b'-' => prefixes += 1,
            b' ' | b'\t' | b'\r' | b'\n' => {}
            _ => prefixes = 0,
        }
        deepest = deepest.max(depth + prefixes);
    }
    deepest
}

//! `re.Local`: a path belongs to the file that writes it, and leads nowhere outside the project.

use std::path::{Component, Path, PathBuf};

use reimage_plan::Local;

use crate::{
    diagnostic::Diagnostic,
    fields::{Fields, Value},
    kinds::unpack,
    machine::Fault,
    words::{boolean, string, strings},
};

pub(crate) fn local(fields: &mut Fields) -> Option<Local> {
    let path = fields.need("path", host_path);
    let include = fields.get("include", strings);
    let exclude = fields.get("exclude", strings).unwrap_or_default();
    let gitignore = fields.get("gitignore", boolean).unwrap_or(true);
    let unpack = unpack(fields);
    let project = fields.machine.project.root.clone();
    Some(Local { path: path?, project, include, exclude, gitignore, unpack })
}

/// Where the path lies: seen from the file in which the string stands, whoever passed it on.
fn host_path(fields: &mut Fields, value: &Value) -> Result<PathBuf, Fault> {
    let span = value.span.or(fields.span);
    let said = string(fields, value)?;
    let project = fields.machine.project;
    let source = span.and_then(|span| fields.machine.sources.get(span.src_id));
    let beside = source.map_or(project.file.parent().unwrap_or(&project.root), |s| &s.directory);
    let label = |text: &str| fields.machine.at(span, text);
    let outside = |message: String| {
        let fault = Diagnostic::error(message).label(label(""));
        vec![fault.note("a spec reads nothing outside its project")]
    };
    let path = beside.join(&said);
    let inside = Path::new(&said).is_relative().then(|| within(beside, &said, &project.root));
    let Some(lexical) = inside.flatten() else {
        return Err(outside(format!("`{said}` lies outside the project")));
    };
    match fs_err::canonicalize(&lexical) {
        Ok(real) if real.starts_with(&project.root) => {
            fields.machine.locals.insert(lexical, real.clone());
            Ok(real)
        }
        Ok(_) => Err(outside(format!("`{said}` leads out of the project through a symbolic link"))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let place = span.and_then(|span| fields.machine.sources.place(span));
            let names =
                place.map_or(String::new(), |p| format!(", which {}:{} names", p.file, p.line));
            let shown = project.shown(&lexical);
            Err(vec![
                Diagnostic::error(format!("no file `{shown}`{names}")).label(label("")).note(
                    "a path is relative to the file that writes it; take a tree as parameter to use the caller's",
                ),
            ])
        }
        Err(error) => {
            let shown = path.display();
            Err(vec![Diagnostic::error(format!("cannot read `{shown}`: {error}")).label(label(""))])
        }
    }
}

/// `said`, seen from `beside`, without `.` and `..`; none if it climbs out of `root`.
fn within(beside: &Path, said: &str, root: &Path) -> Option<PathBuf> {
    let mut path = beside.to_owned();
    for component in Path::new(said).components() {
        match component {
            Component::Normal(name) => path.push(name),
            Component::CurDir => {}
            Component::ParentDir if path != root => {
                path.pop();
            }
            _ => return None,
        }
    }
    path.starts_with(root).then_some(path)
}

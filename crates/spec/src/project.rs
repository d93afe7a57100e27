//! Which directory is the project of a spec, and which lock is its lock (spec-language §8).

use std::{
    io,
    path::{Component, Path, PathBuf},
};

use thiserror::Error;

/// A spec that cannot be reached.
#[derive(Debug, Error)]
pub enum ProjectError {
    /// No spec lies there.
    #[error("No spec at `{path}`: `reimage init` writes one", path = path.display())]
    Absent {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// A directory that is called as a spec is.
    #[error("`{path}` is a directory, not a spec", path = path.display())]
    Directory {
        /// Its path.
        path: PathBuf,
    },
    /// It cannot be read.
    #[error("Cannot reach the spec `{path}`", path = path.display())]
    Reach {
        /// Where it was looked for.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// A spec and the directory that its paths and imports stay inside of; both absolute, without symbolic links
/// above the spec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project {
    /// The spec's file.
    pub file: PathBuf,
    /// The nearest directory upwards with `.git`; without one, the highest with a `reimage.lock`; else the
    /// spec's own.
    pub root: PathBuf,
}

/// Finds the project of the spec at `file`: a file, or a directory that holds a `spec.ncl`.
pub fn find_project(file: &Path) -> Result<Project, ProjectError> {
    let inside = file.join("spec.ncl");
    if file.is_dir() && file.extension().is_some_and(|e| e == "ncl") && !inside.exists() {
        return Err(ProjectError::Directory { path: file.to_owned() });
    }
    let file = if file.is_dir() { inside } else { file.to_owned() };
    let reach = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            ProjectError::Absent { path: file.clone() }
        }
        _ => ProjectError::Reach { path: file.clone(), source },
    };
    let name = file.file_name().ok_or_else(|| ProjectError::Absent { path: file.clone() })?;
    let parent = file.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let directory = fs_err::canonicalize(parent).map_err(reach)?;
    let file = directory.join(name);
    if !fs_err::metadata(&file).map_err(reach)?.is_file() {
        return Err(ProjectError::Absent { path: file });
    }
    let above = || directory.ancestors();
    let repository = above().find(|d| d.join(".git").exists());
    let locked = || above().filter(|d| d.join("reimage.lock").is_file()).last();
    let root = repository.or_else(locked).unwrap_or(&directory).to_owned();
    Ok(Project { file, root })
}

impl Project {
    /// The lock of this spec: the nearest `reimage.lock` upwards inside the project; if there is none, where
    /// a new one goes, beside the spec.
    pub fn lock(&self) -> PathBuf {
        let directory = self.file.parent().unwrap_or(&self.root);
        let inside = |d: &&Path| d.starts_with(&self.root);
        let mut locks = directory.ancestors().take_while(inside).map(|d| d.join("reimage.lock"));
        locks.find(|lock| lock.is_file()).unwrap_or_else(|| directory.join("reimage.lock"))
    }

    /// A file, named from the project on, as seen from `directory`, which is absolute: what stands in messages can be
    /// opened from there.
    pub fn seen_from(&self, directory: &Path, file: &str) -> String {
        if file.starts_with("--") {
            return file.to_owned();
        }
        let path = self.root.join(file);
        let shared = path.components().zip(directory.components()).take_while(|(a, b)| a == b);
        let shared = shared.count();
        if shared <= 1 {
            // Nothing but `/`.
            return path.display().to_string();
        }
        let ups = directory.components().skip(shared).map(|_| Component::ParentDir);
        ups.chain(path.components().skip(shared)).collect::<PathBuf>().display().to_string()
    }

    /// How `path` is shown: from the project on.
    pub(crate) fn shown(&self, path: &Path) -> String {
        path.strip_prefix(&self.root).unwrap_or(path).display().to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_as_seen_from_a_directory() {
        let project = Project { file: "/a/b/c/spec.ncl".into(), root: "/a/b".into() };
        let seen = |from: &str| project.seen_from(from.as_ref(), "c/spec.ncl");
        assert_eq!(seen("/a/b"), "c/spec.ncl");
        assert_eq!(seen("/a/b/c"), "spec.ncl");
        assert_eq!(seen("/a"), "b/c/spec.ncl");
        assert_eq!(seen("/a/b/other/place"), "../../c/spec.ncl");
        assert_eq!(seen("/elsewhere"), "/a/b/c/spec.ncl");
        assert_eq!(seen("/"), "/a/b/c/spec.ncl");
        assert_eq!(project.seen_from("/a".as_ref(), "--set"), "--set");
    }
}

//! Local trees: what lies under a path of the project, as a value (design §5, spec-language §4).
//!
//! In it are contents, executable bits and link targets; not in it are owners, times and other modes, `.git`,
//! `reimage.lock` and its bundle, `*.ncl` unless `include` names them, what the project's own .gitignore files name, and
//! directories with nothing kept in them. Each file is digested from the very bytes that enter the store.
//!
//! What was digested once is remembered by path, inode, size and times; that can only cost a second look.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::io::Errno;
use thiserror::Error;

use crate::{
    Attrs, Digest, Entry, Node, PathError, Patterns, Store, StoreError, Tree, files::shown,
};

mod gitignore;
mod remember;
mod take;
mod walk;

use remember::Remembered;
use walk::{Found, Walk};

/// How often a tree that changes while it is read is read again.
const TRIES: usize = 5;

/// A path that cannot be taken as a tree.
#[derive(Debug, Error)]
pub enum LocalError {
    /// Nothing lies there.
    #[error("There is no file or directory `{}`", shown(.path))]
    NotThere {
        /// The path.
        path: PathBuf,
    },
    /// It cannot be read.
    #[error("Cannot read `{}`", shown(.path))]
    Read {
        /// The path.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A socket, a named pipe or a device.
    #[error(
        "`{}` is a {kind}: only files, directories and symbolic links can be in a tree; `exclude` it",
        shown(.path)
    )]
    Special {
        /// The path.
        path: PathBuf,
        /// What it is.
        kind: &'static str,
    },
    /// A pointer of git-lfs in the place of the file.
    #[error(
        "`{}` is a git-lfs pointer, not the file itself: run `git lfs pull`, or `exclude` it",
        shown(.path)
    )]
    LfsPointer {
        /// The path.
        path: PathBuf,
    },
    /// It did not hold still.
    #[error(
        "`{}` changes while it is read: stop what writes to it, or `exclude` it",
        shown(.path)
    )]
    Changing {
        /// The path.
        path: PathBuf,
    },
    /// A name that no tree can have.
    #[error("`{}` cannot be in a tree", shown(.path))]
    Name {
        /// The path.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: PathError,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl LocalError {
    fn read(path: impl Into<PathBuf>, source: impl Into<io::Error>) -> Self {
        Self::Read { path: path.into(), source: source.into() }
    }
}

/// What of a path to take.
#[derive(Debug, Clone, Default)]
pub struct LocalOptions {
    /// The root of the project; the .gitignore files from here down count.
    pub project: PathBuf,
    /// Only what one of these matches; none takes everything.
    pub include: Option<Patterns>,
    /// Not what one of these matches.
    pub exclude: Patterns,
    /// Whether to leave out what .gitignore files name.
    pub gitignore: bool,
}

/// A local tree, in the store with all its blobs.
#[derive(Debug, Clone)]
pub struct Local {
    /// The tree; its root is a file if the path names one.
    pub tree: Arc<Tree>,
    /// Its digest.
    pub digest: Digest,
    /// How many files were read; the others were remembered.
    pub read: usize,
}

/// Takes what lies at `root`, an absolute path, into the store.
pub fn ingest(store: &Store, root: &Path, options: &LocalOptions) -> Result<Local, LocalError> {
    let mut changed = PathBuf::new();
    for _ in 0..TRIES {
        match attempt(store, root, options)? {
            Ok(local) => return Ok(local),
            Err(path) => changed = path,
        }
    }
    Err(LocalError::Changing { path: changed })
}

/// One try; the inner error is a path that changed meanwhile.
fn attempt(
    store: &Store,
    root: &Path,
    options: &LocalOptions,
) -> Result<Result<Local, PathBuf>, LocalError> {
    let mut remembered = Remembered::load(store, root, options)?;
    let found = match Walk::new(root, options).run()? {
        Ok(found) => found,
        Err(changed) => return Ok(Err(changed)),
    };
    let taken = match take::digests(store, root, &found.entries, &mut remembered)? {
        Ok(taken) => taken,
        Err(changed) => return Ok(Err(changed)),
    };
    if let Some(changed) = found.changed(root) {
        return Ok(Err(changed));
    }
    remembered.save(store, &found.entries, &taken.digests)?;
    let entries = found.entries.into_iter().zip(&taken.digests).map(|(found, digest)| {
        let Found { path, what } = found;
        (path, entry(what, *digest))
    });
    let tree = Arc::new(Tree::from_found(entries.collect()));
    let digest = store.put_tree(tree.clone())?;
    Ok(Ok(Local { tree, digest, read: taken.read }))
}

/// What a tree holds of a file of the project.
fn entry(what: walk::What, digest: Digest) -> Entry {
    match what {
        walk::What::File(stat) => {
            let node = Node::File { digest, size: stat.size };
            let attrs = if stat.executable { Attrs::mode(0o755) } else { Attrs::file() };
            Entry { node, attrs }
        }
        walk::What::Symlink(target) => Entry::symlink(target),
        walk::What::Directory => Entry::implied(),
    }
}

/// Whether an error means that something went or turned into something else since it was listed.
fn is_gone(error: Errno) -> bool {
    matches!(error, Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::INVAL)
}

#[cfg(test)]
mod tests;

//! A `Files` step: what is written in the spec itself, as a tree.

use reimage_castore::{Attrs, Entry, Node, Store, StoreError, Tree, TreeError};
use reimage_plan::{FileContent, Files};
use thiserror::Error;

/// Files that make no tree.
#[derive(Debug, Error)]
pub(crate) enum FilesError {
    /// Such as a path below a file.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Makes the tree; directories that only a path implies are implied.
pub(crate) fn files(store: &Store, files: &Files) -> Result<Tree, FilesError> {
    let mut tree = Tree::default();
    for (path, file) in &files.files {
        let (node, mut attrs) = match &file.content {
            FileContent::Text(text) => {
                let digest = store.put(text.as_bytes())?;
                (Node::File { digest, size: text.len() as u64 }, Attrs::file())
            }
            FileContent::Symlink(target) => {
                (Node::Symlink { target: target.as_bytes().into() }, Attrs::symlink())
            }
            FileContent::Directory => (Node::Directory, Attrs::directory()),
        };
        if let Some(mode) = file.chmod.as_ref().filter(|_| !matches!(node, Node::Symlink { .. })) {
            attrs.mode = mode.apply(attrs.mode, node == Node::Directory);
        }
        if let Some(owner) = file.chown {
            (attrs.uid, attrs.gid) = (owner.uid, owner.gid);
        }
        tree.insert_deep(path.clone(), Entry { node, attrs })?;
    }
    Ok(tree)
}

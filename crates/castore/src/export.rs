//! Hands a tree out as plain files of whoever asks: `build --output DIR`.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    os::{fd::AsFd, unix::ffi::OsStrExt},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{CWD, RenameFlags, XattrFlags},
    io::Errno,
};

use crate::{
    Diff, Store, StoreError, Tree, TreePath,
    files::{read_dir_sorted, remove_all},
    layout::{Kind, Layout},
    store::Context,
};

/// On a directory that was exported: it may be replaced by another export.
const EXPORTED: &str = "user.reimage.export";

impl Store {
    /// Writes `tree` as `to`, whose directory is there: owned by whoever runs this, modes as in the tree
    /// without special bits, whatever the umask; times are `time`, in seconds since 1970, or left as they come.
    ///
    /// A file there is replaced, and so is a directory that was exported or is empty; any other is an error.
    pub fn export(&self, tree: &Tree, to: &Path, time: Option<i64>) -> Result<(), StoreError> {
        let parent = to.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let name = to.file_name().unwrap_or_default();
        let layout = Layout { store: self, kind: Kind::Plain, time: time.map(|time| (time, 0)) };
        let temp = parent.join(temp_name(name));
        remove_all(&temp).at("remove", &temp)?;
        let written = if tree.root().is_directory() {
            may_replace(to)?;
            write_directory(&layout, tree, &temp).and_then(|()| swap(&temp, to))
        } else {
            let directory = fs::File::open(parent).at("open", parent)?;
            let name = temp.file_name().unwrap_or_default().as_bytes();
            layout
                .node(directory.as_fd(), name, &TreePath::root(), tree.root(), to)
                .and_then(|()| fs::rename(&temp, to).at("write", to))
        };
        if written.is_err() {
            let _ = remove_all(&temp);
        }
        written
    }
}

fn temp_name(name: &std::ffi::OsStr) -> OsString {
    let mut temp = OsString::from(".");
    temp.push(name);
    temp.push(format!(".reimage-{}", std::process::id()));
    temp
}

fn write_directory(layout: &Layout<'_>, tree: &Tree, temp: &Path) -> Result<(), StoreError> {
    let diff = Diff::of_tree(tree);
    let implied = match diff.get(&TreePath::root()) {
        Some(_) => BTreeMap::new(),
        None => BTreeMap::from([(TreePath::root(), tree.root().attrs.clone())]),
    };
    layout.write(temp, &diff, &implied)?;
    match rustix::fs::setxattr(temp, EXPORTED, b"1", XattrFlags::empty()) {
        // Where there are no extended attributes, the next export says that it cannot know the directory.
        Ok(()) | Err(Errno::OPNOTSUPP | Errno::PERM | Errno::ACCESS) => Ok(()),
        Err(error) => Err(StoreError::io("mark", temp, error)),
    }
}

/// Whether what is there came from an export, or is nothing that could be missed.
fn may_replace(to: &Path) -> Result<(), StoreError> {
    let not_ours = || Err(StoreError::NotOurs { path: to.to_owned() });
    match to.symlink_metadata() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(StoreError::io("stat", to, error)),
        Ok(there) if there.is_dir() => {
            let mut mark = [0_u8; 8];
            let marked = rustix::fs::getxattr(to, EXPORTED, &mut mark).is_ok();
            let empty = || read_dir_sorted(to).is_ok_and(|entries| entries.is_empty());
            if marked || empty() { Ok(()) } else { not_ours() }
        }
        Ok(_) => not_ours(),
    }
}

/// Puts `temp` in the place of `to`, at one moment, and takes away what was there.
fn swap(temp: &Path, to: &Path) -> Result<(), StoreError> {
    match rustix::fs::renameat_with(CWD, temp, CWD, to, RenameFlags::EXCHANGE) {
        Ok(()) => remove_all(temp).at("remove", temp),
        Err(Errno::NOENT) => fs::rename(temp, to).at("write", to),
        // The file system does not exchange: nothing, then the new one.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            remove_all(to).at("replace", to)?;
            fs::rename(temp, to).at("write", to)
        }
        Err(error) => Err(StoreError::io("write", PathBuf::from(to), error)),
    }
}

#[cfg(test)]
mod tests;

//! What a step wrote, read out of its sandbox into the store.
//!
//! The sandbox walks the directory and never follows a link out of it; here its entries become nodes: contents
//! blobs, times F unless the step set an earlier one, owners and modes as they are.

use std::{collections::BTreeMap, fs::File, time::SystemTime};

use rayon::prelude::*;
use reimage_castore::{
    Attrs, Captured, Digest, Entry, Node, PathError, Store, StoreError, TreePath, xattr_allowed,
};
use reimage_sandbox::{CaptureError, Entries, EntryKind};
use thiserror::Error;

use crate::{baseline::FILE_TIME, secrets};

/// A written file system that cannot be kept.
#[derive(Debug, Error)]
pub(crate) enum KeepError {
    /// It could not be read.
    #[error("`/{}` that the step wrote could not be read", String::from_utf8_lossy(&.0.path))]
    Read(#[source] CaptureError),
    /// A name that no tree holds.
    #[error(transparent)]
    Path(#[from] PathError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What was read, and what the user should hear of it.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// The raw material of the diff.
    pub(crate) captured: Captured,
    /// Such as sockets that were dropped.
    pub(crate) notes: Vec<String>,
    /// Files that look like secrets, sorted.
    pub(crate) secrets: Vec<(TreePath, Digest)>,
}

impl Kept {
    /// Drops the paths that `unwanted` says.
    pub(crate) fn leave_out(&mut self, unwanted: impl Fn(&TreePath) -> bool) {
        self.captured.entries.retain(|path, _| !unwanted(path));
        self.secrets.retain(|(path, _)| !unwanted(path));
        for group in &mut self.captured.links {
            group.retain(|path| !unwanted(path));
        }
        self.captured.links.retain(|group| group.len() > 1);
    }
}

/// Files that are open at a time while their contents go into the store.
const BATCH: usize = 256;

/// Reads all of `entries`; a time from `start` on is one of the step's own and becomes F.
pub(crate) fn read(store: &Store, entries: Entries, start: SystemTime) -> Result<Kept, KeepError> {
    let mut kept = Kept::default();
    let mut inodes: BTreeMap<u64, Vec<TreePath>> = BTreeMap::new();
    let mut files: Vec<(TreePath, Attrs, File)> = Vec::new();
    let mut first: BTreeMap<u64, TreePath> = BTreeMap::new();
    let mut again: Vec<(TreePath, TreePath)> = Vec::new();
    let start = start
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(i64::MAX, |d| d.as_secs().cast_signed());
    for entry in entries {
        let entry = entry.map_err(KeepError::Read)?;
        let path = TreePath::new(&entry.path)?;
        let attrs = attrs(&entry, start);
        if entry.links > 1
            && !matches!(entry.kind, EntryKind::Directory { .. } | EntryKind::Whiteout)
        {
            inodes.entry(entry.inode).or_default().push(path.clone());
        }
        let node = match entry.kind {
            EntryKind::File { file, .. } => {
                // Every name of an inode has the same content: it is read once.
                if entry.links > 1 {
                    if let Some(first) = first.get(&entry.inode) {
                        again.push((path, first.clone()));
                        continue;
                    }
                    first.insert(entry.inode, path.clone());
                }
                files.push((path, attrs, file));
                if files.len() == BATCH {
                    put_files(store, &mut files, &mut kept)?;
                }
                continue;
            }
            EntryKind::Directory { opaque } => {
                if opaque {
                    kept.captured.opaque.insert(path.clone());
                }
                Node::Directory
            }
            EntryKind::Symlink { target } => Node::Symlink { target: target.into() },
            EntryKind::Fifo => Node::Fifo,
            EntryKind::Device { block: true, major, minor } => Node::BlockDevice { major, minor },
            EntryKind::Device { block: false, major, minor } => Node::CharDevice { major, minor },
            EntryKind::Whiteout => {
                kept.captured.entries.insert(path, None);
                continue;
            }
            EntryKind::Socket => {
                kept.notes.push(format!(
                    "The socket `{path}` is not kept: it is of no use without its process"
                ));
                continue;
            }
        };
        kept.captured.entries.insert(path, Some(Entry { node, attrs }));
    }
    put_files(store, &mut files, &mut kept)?;
    for (path, first) in again {
        let entry = kept.captured.entries.get(&first).cloned().flatten();
        kept.captured.entries.insert(path, entry);
    }
    kept.captured.links = inodes.into_values().filter(|group| group.len() > 1).collect();
    kept.secrets.sort();
    for group in &mut kept.captured.links {
        group.sort();
    }
    kept.captured.links.sort();
    Ok(kept)
}

fn put_files(
    store: &Store,
    files: &mut Vec<(TreePath, Attrs, File)>,
    kept: &mut Kept,
) -> Result<(), KeepError> {
    let put = |(path, attrs, file): (TreePath, Attrs, File)| {
        let (digest, size) = store.put_file(&file)?;
        let suspect = secrets::is_suspect(&path, &file, size).map_err(|source| {
            KeepError::Read(CaptureError { path: path.as_bytes().to_vec(), source })
        })?;
        let entry = Some(Entry { node: Node::File { digest, size }, attrs });
        Ok((path, entry, suspect.then_some(digest)))
    };
    let put: Result<Vec<_>, KeepError> = std::mem::take(files).into_par_iter().map(put).collect();
    for (path, entry, suspect) in put? {
        kept.secrets.extend(suspect.map(|content| (path.clone(), content)));
        kept.captured.entries.insert(path, entry);
    }
    Ok(())
}

fn attrs(entry: &reimage_sandbox::Entry, start: i64) -> Attrs {
    let mut attrs = Attrs::mode(entry.mode).owned(entry.uid, entry.gid);
    if matches!(entry.kind, EntryKind::Symlink { .. }) {
        attrs.mode = 0o777;
    }
    let (seconds, _) = entry.mtime;
    attrs.mtime = (seconds < start && seconds < FILE_TIME).then_some(seconds);
    for (name, value) in &entry.xattrs {
        if xattr_allowed(name) {
            let value =
                if name == b"security.capability" { capability(value) } else { value.clone() };
            attrs.set_xattr(name, &value).expect("its name was just checked");
        }
    }
    attrs
}

/// File capabilities as version 2: version 3 adds the user namespace's root, a fact of the machine.
fn capability(value: &[u8]) -> Vec<u8> {
    match value {
        [flags, 0, 0, 3, rest @ ..] if rest.len() == 20 => {
            [&[*flags, 0, 0, 2], &rest[..16]].concat()
        }
        _ => value.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_become_version_2() {
        let data: Vec<u8> = (1..=16).collect();
        let v2 = [&[1, 0, 0, 2], &data[..]].concat();
        let v3 = [&[1, 0, 0, 3], &data[..], &[0xe9, 3, 0, 0]].concat();
        assert_eq!(capability(&v3), v2);
        assert_eq!(capability(&v2), v2);
    }
}

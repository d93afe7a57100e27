//! What one layer of an image holds, before it is bytes.
//!
//! A layer is a step's diff against the merged view beneath it in *this* image, and every directory above an
//! entry with its merged attributes: whoever unpacks layers one by one, without following links or looking
//! beneath, still gets `/tmp` with 1777. That is a [`Diff`] again, so its canonical encoding names it.

use reimage_castore::{Change, Diff, Digest, Encoder, Entry, Node, TreeError, TreePath, View};
use thiserror::Error;

use crate::Profile;

/// Version of the bytes that [`crate::write_tar`] makes of an entry; moves with its golden vectors.
const TAR_VERSION: u64 = 1;

/// Names with this beginning are whiteouts in a layer.
pub(crate) const WHITEOUT: &[u8] = b".wh.";

/// The highest number that the seven octal digits of a device number hold.
const MAX_DEVICE: u32 = 0o7_777_777;

/// A diff that no layer can express.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum LayerError {
    /// A name that readers of layers would take for a deletion.
    #[error(
        "`{path}` cannot be in an image: names that begin with `.wh.` mean deletions in a layer"
    )]
    Whiteout {
        /// The path.
        path: TreePath,
    },
    /// An extended attribute whose name tar cannot hold.
    #[error(
        "The extended attribute `{name}` of `{path}` cannot be in an image: its name contains `=`"
    )]
    Xattr {
        /// The path.
        path: TreePath,
        /// The attribute.
        name: String,
    },
    /// A device number beyond what tar can hold.
    #[error("The device `{path}` cannot be in an image: {major}:{minor} is beyond 2097151")]
    Device {
        /// The path.
        path: TreePath,
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A path without a directory to lie in: the diff is of another view.
    #[error(
        "`{path}` cannot be in a layer here: nothing below or in it makes the directory `{above}`"
    )]
    NoParent {
        /// The path.
        path: TreePath,
        /// The directory that is missing.
        above: TreePath,
    },
    /// A path that lies in something that is no directory.
    #[error("`{path}` cannot be in a layer here: `{above}` is a {kind}, not a directory")]
    NotBelowDirectory {
        /// The path.
        path: TreePath,
        /// What it lies below.
        above: TreePath,
        /// What that is.
        kind: &'static str,
    },
    /// Hard links that cannot be.
    #[error(transparent)]
    Links(#[from] TreeError),
}

/// The entries of one layer: puts, removals that hide something, and all directories above them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerContent {
    entries: Diff,
}

impl LayerContent {
    /// What `diff` is as a layer upon `beneath`, the merged layers below it in the image.
    ///
    /// A removal of what is not there is dropped. The root is an entry only if the diff changes it or its
    /// attributes beneath are not 0755, root's.
    pub fn new(beneath: &View, diff: &Diff) -> Result<Self, LayerError> {
        let mut entries = Diff::new();
        for (path, change) in diff {
            match change {
                Change::Remove if beneath.get(path).is_none() => continue,
                Change::Remove => check_name(path)?,
                Change::Put(entry) => check(path, entry)?,
            }
            add_ancestors(&mut entries, beneath, path)?;
            entries.insert(path.clone(), change.clone());
        }
        for group in diff.links().iter() {
            entries.link(group.to_vec())?;
        }
        Ok(Self { entries })
    }

    /// The entries in the order of the archive, and the hard links among them.
    pub fn entries(&self) -> &Diff {
        &self.entries
    }

    /// The digest of all that decides the layer's bytes: the entries, the time of files that have none of
    /// their own (seconds since 1970), the tar format's version and the profile.
    pub fn key(&self, profile: Profile, file_time: i64) -> Digest {
        let mut encoder = Encoder::new("reimage layer key 1\n");
        encoder.number(TAR_VERSION).bytes(profile.name().as_bytes()).signed(file_time);
        encoder.bytes(&self.entries.encode());
        Digest::of(&encoder.finish())
    }
}

fn add_ancestors(entries: &mut Diff, beneath: &View, path: &TreePath) -> Result<(), LayerError> {
    for above in path.ancestors() {
        let error = |kind| {
            let (path, above) = (path.clone(), above.clone());
            LayerError::NotBelowDirectory { path, above, kind }
        };
        match entries.get(&above) {
            Some(Change::Put(entry)) if entry.is_directory() => continue,
            Some(Change::Put(entry)) => return Err(error(entry.node.kind())),
            Some(Change::Remove) => return Err(error("deletion")),
            None => {}
        }
        match beneath.get(&above) {
            Some(entry) if above.is_root() && entry.same(&Entry::directory()) => {}
            Some(entry) if entry.is_directory() => {
                entries.insert(above, Change::Put(entry.clone()));
            }
            Some(entry) => return Err(error(entry.node.kind())),
            None if above.is_root() => {}
            None => return Err(LayerError::NoParent { path: path.clone(), above }),
        }
    }
    Ok(())
}

fn check(path: &TreePath, entry: &Entry) -> Result<(), LayerError> {
    check_name(path)?;
    if let Some(name) = entry.attrs.xattrs.keys().find(|name| name.contains(&b'=')) {
        let name = String::from_utf8_lossy(name).into_owned();
        return Err(LayerError::Xattr { path: path.clone(), name });
    }
    match entry.node {
        Node::CharDevice { major, minor } | Node::BlockDevice { major, minor }
            if major > MAX_DEVICE || minor > MAX_DEVICE =>
        {
            Err(LayerError::Device { path: path.clone(), major, minor })
        }
        _ => Ok(()),
    }
}

fn check_name(path: &TreePath) -> Result<(), LayerError> {
    if path.components().any(|name| name.starts_with(WHITEOUT)) {
        return Err(LayerError::Whiteout { path: path.clone() });
    }
    Ok(())
}

#[cfg(test)]
mod tests;

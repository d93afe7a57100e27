//! A file system as a value: every path, what it is, and which paths are hard links of each other.
//!
//! A tree is flat, sorted by path, and its digest is that of its canonical encoding (`docs/encoding.md`).
//! Its root may be a file: the node of a source is exactly what the source names.

use std::collections::{BTreeMap, btree_map};

use thiserror::Error;

use crate::{
    Attrs, DecodeError, Decoder, Digest, Encoder, Entry, LinkError, Links, Node, TreePath,
};

const MAGIC: &str = "reimage tree 1\n";

/// A tree that cannot be.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum TreeError {
    /// A path lies below something that is no directory.
    #[error("`{path}` cannot be: `{above}` is a {kind}, not a directory")]
    NotBelowDirectory {
        /// The path.
        path: TreePath,
        /// What it lies below.
        above: TreePath,
        /// What that is.
        kind: &'static str,
    },
    /// A path lies in a directory that the tree does not have.
    #[error("`{path}` lies in a directory that is not there")]
    NoParent {
        /// The path.
        path: TreePath,
    },
    /// Hard links that differ, or are directories, or are not there.
    #[error("`{path}` cannot be a hard link of `{first}`")]
    Link {
        /// The path.
        path: TreePath,
        /// The first of its group.
        first: TreePath,
    },
    /// Groups of hard links that cannot be.
    #[error(transparent)]
    Links(#[from] LinkError),
}

/// Paths and their entries; each lies in a directory of the tree, and the root is always there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    entries: BTreeMap<TreePath, Entry>,
    links: Links,
}

impl Default for Tree {
    fn default() -> Self {
        Self::new(Entry::implied())
    }
}

impl Tree {
    /// A tree of this root alone.
    pub fn new(root: Entry) -> Self {
        Self { entries: BTreeMap::from([(TreePath::root(), root)]), links: Links::new() }
    }

    /// Of entries that are sorted and each lie in a directory before them.
    pub(crate) fn from_found(entries: Vec<(TreePath, Entry)>) -> Self {
        debug_assert!(entries.is_sorted_by(|a, b| a.0 < b.0), "they were walked in order");
        Self { entries: entries.into_iter().collect(), links: Links::new() }
    }

    /// The root.
    pub fn root(&self) -> &Entry {
        &self.entries[&TreePath::root()]
    }

    /// What lies at `path`.
    pub fn get(&self, path: &TreePath) -> Option<&Entry> {
        self.entries.get(path)
    }

    /// All paths in order, the root first.
    pub fn iter(&self) -> btree_map::Iter<'_, TreePath, Entry> {
        self.entries.iter()
    }

    /// All paths at and below `path`.
    pub fn below<'a>(
        &'a self,
        path: &'a TreePath,
    ) -> impl Iterator<Item = (&'a TreePath, &'a Entry)> {
        self.entries.range(path..).take_while(move |(p, _)| p.starts_with(path))
    }

    /// The number of paths, the root included.
    #[expect(clippy::len_without_is_empty, reason = "the root is always there")]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// The groups of hard links.
    pub fn links(&self) -> &Links {
        &self.links
    }

    /// Puts `entry` at `path`, whose directory must be there; what lies below goes unless both are directories.
    /// An implied directory changes nothing of a directory that is there.
    pub fn insert(&mut self, path: TreePath, entry: Entry) -> Result<(), TreeError> {
        if entry.node == Node::Implied && self.get(&path).is_some_and(Entry::is_directory) {
            return Ok(());
        }
        if let Some(parent) = path.parent() {
            match self.entries.get(&parent) {
                Some(entry) if entry.is_directory() => {}
                Some(other) => {
                    let kind = other.node.kind();
                    return Err(TreeError::NotBelowDirectory { path, above: parent, kind });
                }
                None => return Err(TreeError::NoParent { path }),
            }
        }
        if !entry.is_directory() {
            self.clear(&path);
        }
        self.links.remove(&path);
        self.entries.insert(path, entry);
        Ok(())
    }

    /// Like [`Self::insert`], with missing directories implied.
    pub fn insert_deep(&mut self, path: TreePath, entry: Entry) -> Result<(), TreeError> {
        for above in path.ancestors() {
            if !self.entries.contains_key(&above) {
                self.insert(above, Entry::implied())?;
            }
        }
        self.insert(path, entry)
    }

    /// Takes away `path` and all below it; the root loses what lies below and stays.
    pub fn remove(&mut self, path: &TreePath) {
        self.clear(path);
        if !path.is_root() {
            self.links.remove(path);
            self.entries.remove(path);
        }
    }

    fn clear(&mut self, path: &TreePath) {
        let gone: Vec<_> =
            self.below(path).map(|(p, _)| p).filter(|p| *p != path).cloned().collect();
        for path in gone {
            self.links.remove(&path);
            self.entries.remove(&path);
        }
    }

    /// Says that these paths are one inode: two or more, there, equal, no directories.
    pub fn link(&mut self, group: Vec<TreePath>) -> Result<(), TreeError> {
        check_group(&group, |path| self.entries.get(path))?;
        Ok(self.links.insert(group)?)
    }

    /// Sets the attributes of a path that is there.
    pub fn set_attrs(&mut self, path: &TreePath, attrs: Attrs) {
        if let Some(entry) = self.entries.get_mut(path) {
            entry.attrs = attrs;
        }
    }

    /// Digests of all files, with their sizes in bytes, in the order of their paths.
    pub fn blobs(&self) -> impl Iterator<Item = (Digest, u64)> {
        self.entries.values().filter_map(|entry| match entry.node {
            Node::File { digest, size } => Some((digest, size)),
            _ => None,
        })
    }

    /// The canonical encoding.
    pub fn encode(&self) -> Vec<u8> {
        let mut encoder = Encoder::new(MAGIC);
        encoder.list(self.entries.iter(), |e, (path, entry)| {
            e.bytes(path.as_bytes());
            encode_entry(e, entry);
        });
        encode_links(&mut encoder, &self.links);
        encoder.finish()
    }

    /// Reads a canonical encoding; anything else, and any tree that cannot be, is an error.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut decoder = Decoder::new(bytes, MAGIC)?;
        let mut entries: Vec<(TreePath, Entry)> = Vec::new();
        // The entries above the present one, the root first.
        let mut above: Vec<usize> = Vec::new();
        decoder.list(|d| {
            let path = decode_path(d)?;
            let entry = decode_entry(d)?;
            if entries.last().is_some_and(|(last, _)| *last >= path) {
                return Err(d.error("paths that are not sorted or come twice"));
            }
            while above.last().is_some_and(|at| !path.starts_with(&entries[*at].0)) {
                above.pop();
            }
            match above.last().map(|at| &entries[*at]) {
                None if path.is_root() => {}
                None => return Err(d.error("a tree without its root")),
                Some((parent, there)) if there.is_directory() && path.is_in(parent) => {}
                Some((parent, there)) => {
                    let (path, above, kind) = (path, parent.clone(), there.node.kind());
                    let error = if there.is_directory() {
                        TreeError::NoParent { path }
                    } else {
                        TreeError::NotBelowDirectory { path, above, kind }
                    };
                    return Err(d.error(error.to_string()));
                }
            }
            above.push(entries.len());
            entries.push((path, entry));
            Ok(())
        })?;
        if entries.is_empty() {
            return Err(decoder.error("a tree without its root"));
        }
        let mut tree = Self { entries: entries.into_iter().collect(), links: Links::new() };
        for group in decode_links(&mut decoder)? {
            tree.link(group).map_err(|e| decoder.error(e.to_string()))?;
        }
        decoder.finish()?;
        Ok(tree)
    }

    /// The digest of the canonical encoding.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.encode())
    }
}

impl<'a> IntoIterator for &'a Tree {
    type Item = (&'a TreePath, &'a Entry);
    type IntoIter = btree_map::Iter<'a, TreePath, Entry>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// Checks that hard links are equal and no directories.
pub(crate) fn check_group<'a>(
    group: &[TreePath],
    get: impl Fn(&TreePath) -> Option<&'a Entry>,
) -> Result<(), TreeError> {
    let Some(first) = group.first() else { return Err(LinkError::Group.into()) };
    let node = get(first);
    for path in group {
        let entry = get(path);
        if entry.is_none_or(Entry::is_directory) || entry != node {
            return Err(TreeError::Link { path: path.clone(), first: first.clone() });
        }
    }
    Ok(())
}

pub(crate) fn encode_entry(e: &mut Encoder, entry: &Entry) {
    match &entry.node {
        Node::File { digest, size } => e.number(1).raw(digest.as_bytes()).number(*size),
        Node::Directory => e.number(2),
        // Its attributes say nothing, so they are not written.
        Node::Implied => {
            e.number(7);
            return;
        }
        Node::Symlink { target } => e.number(3).bytes(target),
        Node::Fifo => e.number(4),
        Node::CharDevice { major, minor } => {
            e.number(5).number((*major).into()).number((*minor).into())
        }
        Node::BlockDevice { major, minor } => {
            e.number(6).number((*major).into()).number((*minor).into())
        }
    };
    let Attrs { mode, uid, gid, mtime, xattrs } = &entry.attrs;
    e.number((*mode).into()).number((*uid).into()).number((*gid).into());
    e.option(*mtime, |e, t| {
        e.signed(t);
    });
    e.list(xattrs.iter(), |e, (name, value)| {
        e.bytes(name).bytes(value);
    });
}

pub(crate) fn decode_entry(d: &mut Decoder<'_>) -> Result<Entry, DecodeError> {
    let node = match d.number()? {
        1 => Node::File { digest: Digest::from_bytes(d.raw32()?), size: d.number()? },
        2 => Node::Directory,
        3 => match Node::symlink(d.bytes()?) {
            Some(link) => link,
            None => return Err(d.error("a symbolic link whose target cannot be")),
        },
        4 => Node::Fifo,
        5 => Node::CharDevice { major: d.small()?, minor: d.small()? },
        6 => Node::BlockDevice { major: d.small()?, minor: d.small()? },
        7 => return Ok(Entry::implied()),
        other => return Err(d.error(format!("an unknown kind of node, {other}"))),
    };
    let mode = d.small::<u16>()?;
    if mode > 0o7777 {
        return Err(d.error("a mode of more than 12 bits"));
    }
    let mut attrs = Attrs { mode, uid: d.small()?, gid: d.small()?, ..Attrs::mode(0) };
    attrs.mtime = d.option(Decoder::signed)?;
    let xattrs = d.list(|d| Ok((d.bytes()?, d.bytes()?)))?;
    if !xattrs.is_sorted_by(|a, b| a.0 < b.0) {
        return Err(d.error("extended attributes that are not sorted or come twice"));
    }
    for (name, value) in xattrs {
        attrs.set_xattr(name, value).map_err(|e| d.error(e.to_string()))?;
    }
    Ok(Entry { node, attrs })
}

pub(crate) fn decode_path(d: &mut Decoder<'_>) -> Result<TreePath, DecodeError> {
    let bytes = d.bytes()?;
    if bytes.first() == Some(&b'/') {
        return Err(d.error("a path that begins with `/`"));
    }
    TreePath::new(bytes).map_err(|e| d.error(e.to_string()))
}

pub(crate) fn encode_links(e: &mut Encoder, links: &Links) {
    e.list(links.iter(), |e, group| {
        e.list(group.iter(), |e, path| {
            e.bytes(path.as_bytes());
        });
    });
}

pub(crate) fn decode_links(d: &mut Decoder<'_>) -> Result<Vec<Vec<TreePath>>, DecodeError> {
    d.sorted(|d| d.sorted(decode_path))
}

#[cfg(test)]
pub(crate) mod tests;

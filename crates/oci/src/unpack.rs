//! Unpacking: the archive of a layer becomes a diff again.
//!
//! A layer means what overlay2 makes of it: a directory that it does not mention but puts something into is
//! there with default attributes if it was no directory before; nothing goes through a symbolic link. Names
//! lead nowhere but down: absolute ones are seen from the root, `..` is refused.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Read},
};

use reimage_castore::{
    Attrs, Captured, Diff, Digest, Entry, Node, PathError, TreeError, TreePath, View, xattr_allowed,
};
use thiserror::Error;

use crate::layer::WHITEOUT;

mod reader;

pub(crate) use reader::{Kind, Member, Members};

/// A layer that cannot be unpacked.
#[derive(Debug, Error)]
pub enum UnpackError {
    /// The archive cannot be read, or a content not be kept.
    #[error("The layer cannot be read")]
    Read(#[from] io::Error),
    /// The archive is no archive from here on.
    #[error("The layer is not a valid archive at byte {at}: {what}")]
    Archive {
        /// Where, in bytes from its beginning.
        at: u64,
        /// What is wrong.
        what: String,
    },
    /// A member whose name leads out of the tree.
    #[error("The layer has a member that no tree can hold")]
    Path(#[from] PathError),
    /// A member below something that is no directory.
    #[error("The layer puts `{path}` below `{above}`, which is a {kind}")]
    NotBelowDirectory {
        /// The member.
        path: TreePath,
        /// What it lies below.
        above: TreePath,
        /// What that is.
        kind: &'static str,
    },
    /// A hard link to what is not there or a directory.
    #[error("The layer links `{path}` to `{target}`, which is no file")]
    Link {
        /// The member.
        path: TreePath,
        /// Where it leads.
        target: TreePath,
    },
    /// A kind of member that layers do not have.
    #[error("The layer's member `{path}` is of a kind that layers do not have: {kind}")]
    Kind {
        /// The member.
        path: TreePath,
        /// The kind.
        kind: String,
    },
    /// A member that cannot be as it says.
    #[error("The layer's member `{path}` cannot be: {what}")]
    Member {
        /// The member.
        path: TreePath,
        /// What is wrong.
        what: &'static str,
    },
    /// More than the limits allow.
    #[error("The layer has more than {limit} members")]
    Members {
        /// The limit.
        limit: u64,
    },
    /// Hard links that cannot be.
    #[error(transparent)]
    Tree(#[from] TreeError),
}

/// How much a layer may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the archive.
    pub bytes: u64,
    /// Members of the archive.
    pub members: u64,
}

impl Default for Limits {
    /// 64 GiB and ten million members: more than any image, less than a bomb.
    fn default() -> Self {
        Self { bytes: 64 << 30, members: 10_000_000 }
    }
}

/// Reads a layer's archive, plain, as what it changes upon `beneath`.
///
/// Contents go to `put`, which gives back their digests and sizes in bytes. A member's time that equals
/// `file_time` (seconds since 1970) is as none. Extended attributes that no tree holds are left out.
pub fn unpack(
    archive: impl Read,
    beneath: &View,
    file_time: i64,
    limits: Limits,
    mut put: impl FnMut(&mut dyn Read) -> io::Result<(Digest, u64)>,
) -> Result<Diff, UnpackError> {
    let (captured, groups, group_of) = Default::default();
    let mut layer = Unpacking { beneath, captured, groups, group_of };
    let mut members = Members::new(archive);
    let mut count = 0;
    while let Some(member) = members.next()? {
        count += 1;
        if count > limits.members {
            return Err(UnpackError::Members { limit: limits.members });
        }
        let path = tree_path(&member.path)?;
        match path.name().and_then(|name| name.strip_prefix(WHITEOUT)) {
            Some(b".wh..opq") => layer.opaque(&path.parent().unwrap_or_default())?,
            // Notes of aufs to itself.
            Some(name) if name.starts_with(WHITEOUT) => {}
            Some(name) => {
                let above = path.parent().unwrap_or_default();
                layer.remove(above.join(&TreePath::new(name)?)?, name)?;
            }
            None => {
                let attrs = attrs(&member, file_time);
                if let Some(node) = layer.node(&path, &member, &mut members, &mut put)? {
                    layer.put(path, Entry { node, attrs })?;
                }
            }
        }
        members.skip_content()?;
    }
    layer.finish()
}

struct Unpacking<'a> {
    beneath: &'a View,
    captured: Captured,
    /// The names of each inode that has several.
    groups: Vec<BTreeSet<TreePath>>,
    /// The number of a name's group.
    group_of: BTreeMap<TreePath, usize>,
}

impl Unpacking<'_> {
    /// What a member is; none for a hard link, which is put here.
    fn node<R: Read>(
        &mut self,
        path: &TreePath,
        member: &Member,
        members: &mut Members<R>,
        put: &mut impl FnMut(&mut dyn Read) -> io::Result<(Digest, u64)>,
    ) -> Result<Option<Node>, UnpackError> {
        let wrong = |what| UnpackError::Member { path: path.clone(), what };
        let (major, minor) = (member.major, member.minor);
        Ok(Some(match &member.kind {
            Kind::Directory => Node::Directory,
            Kind::Other(kind) => {
                return Err(UnpackError::Kind { path: path.clone(), kind: kind.clone() });
            }
            _ if path.is_root() => return Err(wrong("the root is a directory")),
            Kind::File => {
                let (digest, size) = put(&mut members.content())?;
                if size != member.size {
                    return Err(wrong("the archive ends within it"));
                }
                Node::File { digest, size }
            }
            Kind::Symlink => Node::symlink(&member.link)
                .ok_or_else(|| wrong("its target has no or more than 4095 bytes, or NUL in it"))?,
            Kind::Link => {
                let target = tree_path(&member.link)?;
                self.link(path.clone(), target)?;
                return Ok(None);
            }
            Kind::Fifo => Node::Fifo,
            Kind::CharDevice => Node::CharDevice { major, minor },
            Kind::BlockDevice => Node::BlockDevice { major, minor },
        }))
    }

    fn put(&mut self, path: TreePath, entry: Entry) -> Result<(), UnpackError> {
        self.open(&path)?;
        match self.captured.entries.get(&path) {
            // Removed and made again: nothing of what lay below shows.
            Some(None) if entry.is_directory() => {
                self.captured.opaque.insert(path.clone());
            }
            // Also of a directory that this layer does not mention: what it put there goes with it.
            _ if !entry.is_directory() => self.clear(&path),
            _ => {}
        }
        self.unlink(&path);
        self.captured.entries.insert(path, Some(entry));
        Ok(())
    }

    /// Forgets what this layer put at and below `path`.
    fn clear(&mut self, path: &TreePath) {
        let entries = self.captured.entries.range(path..).map(|(p, _)| p);
        let gone: Vec<_> = entries.take_while(|p| p.starts_with(path)).cloned().collect();
        for gone in gone {
            self.captured.entries.remove(&gone);
            self.captured.opaque.remove(&gone);
            self.unlink(&gone);
        }
    }

    /// Makes sure that all above `path` are directories.
    fn open(&mut self, path: &TreePath) -> Result<(), UnpackError> {
        for above in path.ancestors().skip(1) {
            match self.captured.entries.get(&above) {
                Some(Some(entry)) if entry.is_directory() => {}
                Some(Some(entry)) => {
                    let kind = entry.node.kind();
                    return Err(UnpackError::NotBelowDirectory { path: path.clone(), above, kind });
                }
                None if self.beneath.get(&above).is_some_and(Entry::is_directory) => {}
                None => {
                    self.captured.entries.insert(above, Some(Entry::directory()));
                }
                Some(None) => self.remake(above),
            }
        }
        Ok(())
    }

    /// Makes a directory of what was removed; nothing of what lay below shows.
    fn remake(&mut self, path: TreePath) {
        self.captured.opaque.insert(path.clone());
        self.captured.entries.insert(path, Some(Entry::directory()));
    }

    fn remove(&mut self, path: TreePath, name: &[u8]) -> Result<(), UnpackError> {
        if path.name() != Some(name) {
            let what = "it removes something that is no name";
            return Err(UnpackError::Member { path, what });
        }
        match self.captured.entries.get(&path) {
            // Put by this very layer, which says that nothing of the one below shows.
            Some(Some(entry)) if entry.is_directory() => {
                self.captured.opaque.insert(path);
            }
            Some(_) => {}
            None => {
                self.captured.entries.insert(path, None);
            }
        }
        Ok(())
    }

    fn opaque(&mut self, path: &TreePath) -> Result<(), UnpackError> {
        self.open(path)?;
        if let Some(Some(entry)) = self.captured.entries.get(path)
            && !entry.is_directory()
        {
            let (above, kind) = (path.clone(), entry.node.kind());
            return Err(UnpackError::NotBelowDirectory { path: path.clone(), above, kind });
        }
        if self.captured.entries.get(path).is_none_or(Option::is_none) {
            let there = self.beneath.get(path).filter(|entry| entry.is_directory());
            let entry = there.cloned().unwrap_or_else(Entry::directory);
            self.captured.entries.insert(path.clone(), Some(entry));
        }
        self.captured.opaque.insert(path.clone());
        Ok(())
    }

    fn link(&mut self, path: TreePath, target: TreePath) -> Result<(), UnpackError> {
        if path == target {
            return Err(UnpackError::Link { path, target });
        }
        let here = self.captured.entries.get(&target).cloned();
        let (entry, names) = match here {
            Some(entry) => (entry, Vec::new()),
            None => (
                self.beneath.get(&target).cloned(),
                self.beneath.group(&target).unwrap_or_default(),
            ),
        };
        let Some(entry) = entry.filter(|entry| !entry.is_directory() && !self.covers(&target))
        else {
            return Err(UnpackError::Link { path, target });
        };
        // One name more makes another group, which is put whole.
        for name in names.into_iter().chain([target.clone()]) {
            if !self.captured.entries.contains_key(&name) && !self.covers(&name) {
                self.captured.entries.insert(name.clone(), Some(entry.clone()));
                self.join(&target, name);
            }
        }
        self.put(path.clone(), entry)?;
        self.join(&target, path);
        Ok(())
    }

    /// Whether this layer has put something that is no directory above `path`.
    fn covers(&self, path: &TreePath) -> bool {
        path.ancestors().skip(1).any(|above| {
            let entry = self.captured.entries.get(&above).and_then(Option::as_ref);
            entry.is_some_and(|entry| !entry.is_directory())
        })
    }

    fn join(&mut self, target: &TreePath, path: TreePath) {
        let number = *self.group_of.entry(target.clone()).or_insert_with(|| {
            self.groups.push(BTreeSet::from([target.clone()]));
            self.groups.len() - 1
        });
        self.groups[number].insert(path.clone());
        self.group_of.insert(path, number);
    }

    fn unlink(&mut self, path: &TreePath) {
        if let Some(number) = self.group_of.remove(path) {
            self.groups[number].remove(path);
        }
    }

    /// Whether something above `path`, itself not mentioned, is hidden by this layer.
    fn shut(&self, path: &TreePath) -> bool {
        path.ancestors().any(|above| {
            self.captured.opaque.contains(&above)
                || self.captured.entries.get(&above) == Some(&None)
        })
    }

    /// Members come in any order: what one of them hides or implies is known only at the end.
    fn settle(&mut self) {
        let put = self.captured.entries.iter().filter(|(_, entry)| entry.is_some());
        let put: Vec<_> = put.map(|(path, _)| path.clone()).collect();
        for path in put {
            for above in path.ancestors().skip(1) {
                match self.captured.entries.get(&above) {
                    Some(None) => self.remake(above),
                    None if self.shut(&above) => self.remake(above),
                    _ => {}
                }
            }
        }
        // A removal below what is gone anyway says nothing.
        let says_nothing = |path: &TreePath| {
            path.ancestors().skip(1).any(|above| match self.captured.entries.get(&above) {
                Some(entry) => !entry.as_ref().is_some_and(Entry::is_directory),
                None => self.shut(&above),
            })
        };
        let removed = self.captured.entries.iter().filter(|(_, entry)| entry.is_none());
        let idle: Vec<_> = removed.map(|(p, _)| p).filter(|p| says_nothing(p)).cloned().collect();
        for path in idle {
            self.captured.entries.remove(&path);
        }
        let root = TreePath::root();
        if self.captured.opaque.contains(&root) {
            for child in self.beneath.children(&root) {
                self.captured.entries.entry(child).or_insert(None);
            }
        }
    }

    fn finish(mut self) -> Result<Diff, UnpackError> {
        self.settle();
        let groups = self.groups.into_iter().filter(|group| group.len() > 1);
        self.captured.links = groups.map(|group| group.into_iter().collect()).collect();
        Ok(self.beneath.diff(&self.captured)?)
    }
}

/// `./a//b/` as `a/b`; `..` is refused.
pub(crate) fn tree_path(name: &[u8]) -> Result<TreePath, PathError> {
    let names = name.split(|b| *b == b'/').filter(|name| !matches!(*name, b"" | b"."));
    TreePath::new(names.collect::<Vec<_>>().join(&b'/'))
}

fn attrs(member: &Member, file_time: i64) -> Attrs {
    let mut attrs = Attrs::mode(member.mode).owned(member.uid, member.gid);
    if member.kind == Kind::Symlink {
        attrs.mode = Attrs::symlink().mode;
    }
    attrs.mtime = Some(member.mtime).filter(|time| *time != file_time);
    for (name, value) in &member.xattrs {
        if xattr_allowed(name) {
            attrs.xattrs.insert(name.as_slice().into(), value.as_slice().into());
        }
    }
    attrs
}

#[cfg(test)]
mod tests;

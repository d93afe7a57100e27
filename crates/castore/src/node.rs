//! What a path of a tree can be.

use crate::{Attrs, Digest};

/// A node without its name; names belong to the tree, attributes to the [`Entry`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Node {
    /// A regular file.
    File {
        /// Digest of its content.
        digest: Digest,
        /// Size of its content in bytes.
        size: u64,
    },
    /// A directory; what lies in it are the tree's paths below.
    Directory,
    /// A directory that is there only because something lies below it: where the tree is laid upon another,
    /// attributes and links of what is there hold, and where nothing is, the defaults. Never part of a diff.
    Implied,
    /// A symbolic link.
    Symlink {
        /// Where it points, 1 to 4095 bytes, none of them NUL, uninterpreted.
        target: Box<[u8]>,
    },
    /// A named pipe.
    Fifo,
    /// A character device.
    CharDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
}

impl Node {
    /// A symbolic link; none if no link has such a target.
    pub fn symlink(target: &[u8]) -> Option<Self> {
        let possible = (1..=4095).contains(&target.len()) && !target.contains(&0);
        possible.then(|| Self::Symlink { target: target.into() })
    }

    /// What a person calls it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::File { .. } => "file",
            Self::Directory | Self::Implied => "directory",
            Self::Symlink { .. } => "symbolic link",
            Self::Fifo => "named pipe",
            Self::CharDevice { .. } => "character device",
            Self::BlockDevice { .. } => "block device",
        }
    }
}

/// A node and its attributes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Entry {
    /// What it is.
    pub node: Node,
    /// Mode, owner, time, xattrs.
    pub attrs: Attrs,
}

impl Entry {
    /// A directory with default attributes.
    pub fn directory() -> Self {
        Self { node: Node::Directory, attrs: Attrs::directory() }
    }

    /// A directory that something below implies.
    pub fn implied() -> Self {
        Self { node: Node::Implied, attrs: Attrs::directory() }
    }

    /// A file with default attributes.
    pub fn file(digest: Digest, size: u64) -> Self {
        Self { node: Node::File { digest, size }, attrs: Attrs::file() }
    }

    /// A symbolic link with default attributes.
    pub fn symlink(target: impl AsRef<[u8]>) -> Self {
        Self { node: Node::Symlink { target: target.as_ref().into() }, attrs: Attrs::symlink() }
    }

    /// Whether nothing has changed from `self` to `other`; a directory's time alone is no change.
    pub fn same(&self, other: &Self) -> bool {
        match (&self.node, &other.node) {
            (Node::Implied, Node::Directory | Node::Implied) | (Node::Directory, Node::Implied) => {
                true
            }
            (Node::Directory, Node::Directory) => {
                let Attrs { mode, uid, gid, mtime: _, xattrs } = &self.attrs;
                let other = &other.attrs;
                (*mode, *uid, *gid, xattrs) == (other.mode, other.uid, other.gid, &other.xattrs)
            }
            _ => self == other,
        }
    }

    /// Whether it is a directory.
    pub fn is_directory(&self) -> bool {
        matches!(self.node, Node::Directory | Node::Implied)
    }
}

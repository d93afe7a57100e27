//! A directory as it lies on disk, every path with all that an image keeps of it; times are left out.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    fs::{self, Metadata},
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
};

/// All paths below a directory, without a `/` in front.
pub(super) type Tree = BTreeMap<PathBuf, Node>;

/// What lies at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Node {
    /// What it is.
    pub(super) kind: Kind,
    /// Permissions with setuid, setgid and sticky; of a link always 0777.
    pub(super) mode: u32,
    /// Owner and group: numbers, or names where they have been looked up.
    pub(super) owner: (String, String),
    /// Extended attributes, capabilities among them.
    pub(super) xattrs: BTreeMap<String, Vec<u8>>,
    /// The first of the paths that are the same file, if there are several.
    pub(super) first: Option<PathBuf>,
}

/// The type of a file, with what makes it what it is, but for the contents of a regular one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A link and its target.
    Link(PathBuf),
    /// A device: whether it is a block device, and its number.
    Device(bool, u64),
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (uid, gid) = &self.owner;
        write!(f, "{:04o} {uid}:{gid} {:?}", self.mode, self.kind)?;
        for (name, value) in &self.xattrs {
            write!(f, " {name}={value:02x?}")?;
        }
        self.first.as_ref().map_or(Ok(()), |first| write!(f, " same as {}", first.display()))
    }
}

/// Reads all that lies below `root`.
pub(super) fn read(root: &Path) -> Result<Tree, String> {
    let mut tree = Tree::new();
    let mut links: BTreeMap<(u64, u64), BTreeSet<PathBuf>> = BTreeMap::new();
    let mut todo = vec![PathBuf::new()];
    while let Some(directory) = todo.pop() {
        let failed = |e: std::io::Error| format!("{}: {e}", root.join(&directory).display());
        for entry in fs::read_dir(root.join(&directory)).map_err(failed)? {
            let path = directory.join(entry.map_err(failed)?.file_name());
            let full = root.join(&path);
            let metadata = full.symlink_metadata().map_err(failed)?;
            let node = node(&full, &metadata)?;
            match node.kind {
                Kind::Directory => todo.push(path.clone()),
                _ if metadata.nlink() > 1 => {
                    links.entry((metadata.dev(), metadata.ino())).or_default().insert(path.clone());
                }
                _ => {}
            }
            tree.insert(path, node);
        }
    }
    for group in links.values().filter(|group| group.len() > 1) {
        for path in group {
            tree.entry(path.clone()).and_modify(|node| node.first = group.first().cloned());
        }
    }
    Ok(tree)
}

fn node(path: &Path, metadata: &Metadata) -> Result<Node, String> {
    let failed = |e: std::io::Error| format!("{}: {e}", path.display());
    let kind = metadata.file_type();
    let kind = if kind.is_file() {
        Kind::File
    } else if kind.is_dir() {
        Kind::Directory
    } else if kind.is_symlink() {
        Kind::Link(fs::read_link(path).map_err(failed)?)
    } else if kind.is_fifo() {
        Kind::Fifo
    } else if kind.is_socket() {
        Kind::Socket
    } else {
        Kind::Device(kind.is_block_device(), metadata.rdev())
    };
    let mode = if matches!(kind, Kind::Link(_)) { 0o777 } else { metadata.mode() & 0o7777 };
    let xattrs = xattrs(path).map_err(|e| failed(e.into()))?;
    let owner = (metadata.uid().to_string(), metadata.gid().to_string());
    Ok(Node { kind, mode, owner, xattrs, first: None })
}

fn xattrs(path: &Path) -> Result<BTreeMap<String, Vec<u8>>, rustix::io::Errno> {
    let mut names = vec![0; 64 << 10];
    let size = rustix::fs::llistxattr(path, &mut names)?;
    let mut found = BTreeMap::new();
    for name in names[..size].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let name = String::from_utf8_lossy(name).into_owned();
        let mut value = vec![0; 64 << 10];
        let size = rustix::fs::lgetxattr(path, &name, &mut value[..])?;
        value.truncate(size);
        found.insert(name, value);
    }
    Ok(found)
}

//! Debian packages: a .deb as a tree that is made once and shared by every image.
//!
//! ```text
//! data/…       what the package installs: owners, modes, times, links as in the package
//! control/…    its control members as they are; `md5sums` is made if the package has none, as dpkg does
//! list         the paths of `data` in the order in which dpkg unpacks them: its `info/NAME.list`
//! ```
//!
//! A .deb is an `ar` archive of `debian-binary`, `control.tar*` and `data.tar*`, in this order (deb(5)). It is
//! read once, as a stream, with bounded memory; decompression is nearly all of the time, so callers unpack
//! several packages side by side.

use std::{
    collections::BTreeMap,
    io::{self, BufRead, Read},
};

use md5::{Digest as _, Md5};
use reimage_castore::{Digest, Entry, Node, Patterns, Store, StoreError, Tree, TreePath, hex};
use thiserror::Error;

use crate::archive::{
    ArchiveError, Attributes, Limits, Members, Meter, decompress, shown, walk_tar,
};

mod ar;
mod control;
mod package;

pub use control::{Control, ControlError};
pub use package::{Conffile, Package};

/// Bytes that the control members of a package may have together.
const CONTROL: Limits = Limits { bytes: 64 << 20, entries: 1000 };

/// A package that cannot be read.
#[derive(Debug, Error)]
pub enum DebError {
    /// It is no package at all, or not one of version 2.
    #[error("`{package}` is no Debian package: {why}")]
    NotAPackage {
        /// The package.
        package: String,
        /// What is wrong.
        why: String,
    },
    /// It ends too early, or cannot be read.
    #[error("`{package}` is truncated or damaged")]
    Damaged {
        /// The package.
        package: String,
        /// What was found.
        #[source]
        source: io::Error,
    },
    /// A tar archive in it is bad.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// Its control file is bad.
    #[error("The control file of `{package}` is bad")]
    Control {
        /// The package.
        package: String,
        /// What is wrong.
        #[source]
        source: ControlError,
    },
    /// The store fails.
    #[error("Cannot keep `{package}`")]
    Store {
        /// The package.
        package: String,
        /// Why not.
        #[source]
        source: StoreError,
    },
    /// A tree from the store that no package was unpacked to.
    #[error("The unpacked tree of `{package}` lacks `{what}`")]
    Tree {
        /// The package.
        package: String,
        /// What is not there.
        what: String,
    },
}

/// How a package is unpacked.
#[derive(Debug, Clone)]
pub struct UnpackOptions<'a> {
    /// What not to keep of its files.
    pub exclude: &'a Patterns,
    /// The file time F in seconds since 1970: times from it on become F.
    pub file_time: i64,
    /// How much it may unpack to.
    pub limits: Limits,
}

/// Unpacks the package that `from` gives; `name` is how errors call it.
pub fn unpack_deb(
    store: &Store,
    name: &str,
    from: impl Read,
    options: &UnpackOptions<'_>,
) -> Result<Tree, DebError> {
    let no_package =
        |why: &str| DebError::NotAPackage { package: name.to_owned(), why: why.to_owned() };
    let mut from = io::BufReader::with_capacity(128 << 10, from);
    let mut ar = ar::Reader::new(&mut from, name)?;
    ar::check_version(&mut ar, name)?;
    let mut control = None;
    loop {
        let Some((member, content)) = ar.next()? else {
            return Err(no_package(match control {
                None => "it has no `control.tar`",
                Some(_) => "it has no `data.tar`",
            }));
        };
        let content = io::BufReader::with_capacity(64 << 10, content);
        match (member.as_str(), &control) {
            (member, _) if member.starts_with('_') => {
                io::copy(&mut { content }, &mut io::sink()).map_err(|e| damaged(name, e))?;
            }
            (member, None) if member.starts_with("control.tar") => {
                control = Some(read_control(store, name, member, content, options.file_time)?);
            }
            (member, Some(_)) if member.starts_with("data.tar") => {
                let mut tree = control.take().expect("it was just matched");
                read_data(store, name, member, content, options, &mut tree)?;
                return Ok(tree);
            }
            (other, _) => return Err(no_package(&format!("`{other}` is not in its place"))),
        }
    }
}

fn damaged(package: &str, source: io::Error) -> DebError {
    DebError::Damaged { package: package.to_owned(), source }
}

fn at(path: &str) -> TreePath {
    TreePath::new(path).expect("a constant is a good path")
}

fn read_control(
    store: &Store,
    name: &str,
    member: &str,
    content: impl BufRead,
    file_time: i64,
) -> Result<Tree, DebError> {
    let archive = format!("{name}: {member}");
    let stream = decompress(content).map_err(|e| damaged(name, e))?;
    let meter = Meter::new(CONTROL);
    let mut members = Members::new(&archive, CONTROL, 0);
    let attributes = Attributes::All { newest: file_time };
    crate::archive::read_tar(store, &mut members, &meter, stream, attributes)?;
    let mut tree = Tree::default();
    let found = members.finish()?;
    for (path, entry) in &found {
        // No package has links or directories here; whoever puts them there gains nothing by it.
        if matches!(entry.node, Node::File { .. }) && path.components().count() == 1 {
            let path = at("control").join(path).map_err(|error| DebError::NotAPackage {
                package: name.to_owned(),
                why: error.to_string(),
            })?;
            tree.insert_deep(path, entry.clone()).expect("`control` is a directory");
        }
    }
    if tree.get(&at("control/control")).is_none() {
        let why = "it has no control file".to_owned();
        return Err(DebError::NotAPackage { package: name.to_owned(), why });
    }
    Ok(tree)
}

/// Reads the files into `tree`, with the list that dpkg makes of them, and sums if the package brings none itself.
fn read_data(
    store: &Store,
    name: &str,
    member: &str,
    content: impl BufRead,
    options: &UnpackOptions<'_>,
    tree: &mut Tree,
) -> Result<(), DebError> {
    let archive = format!("{name}: {member}");
    let stream = decompress(content).map_err(|e| damaged(name, e))?;
    let meter = Meter::new(options.limits);
    let mut members = Members::new(&archive, options.limits, 0);
    members.remember_order();
    let attributes = Attributes::All { newest: options.file_time };
    let mut sums = tree.get(&at("control/md5sums")).is_none().then(BTreeMap::new);
    walk_tar(&mut members, &meter, stream, attributes, |_, archive, content| {
        let store_failed = |source| ArchiveError::Store { archive: archive.to_owned(), source };
        let mut md5 = Md5::new();
        let kept = if sums.is_some() {
            store.put_reader(Tee { inner: content, md5: &mut md5 })
        } else {
            store.put_reader(content)
        };
        let (digest, size) = match (kept, meter.failure(archive)) {
            (_, Some(error)) => return Err(error),
            (kept, None) => kept.map_err(store_failed)?,
        };
        if let Some(sums) = &mut sums {
            sums.insert(digest, hex(&md5.finalize()));
        }
        Ok(Node::File { digest, size })
    })?;
    // dpkg unpacks symbolic links last.
    let (mut order, data) = members.finish_in_order()?;
    let symlink = |path: &TreePath| {
        matches!(data.get(path).map(|entry| &entry.node), Some(Node::Symlink { .. }))
    };
    order.sort_by_key(symlink);
    let mut keep = |at: TreePath, text: &[u8]| {
        let digest = store
            .put(text)
            .map_err(|source| DebError::Store { package: name.to_owned(), source })?;
        tree.insert_deep(at, Entry::file(digest, text.len() as u64))
            .expect("`control` is a directory");
        Ok::<_, DebError>(())
    };
    keep(at("list"), &list(&order))?;
    if let Some(sums) = sums {
        keep(at("control/md5sums"), &md5sums(&order, &data, &sums))?;
    }
    let excluded = |path: &TreePath| options.exclude.matches(path);
    tree.insert(at("data"), Entry::implied()).expect("the root is a directory");
    let place = |path: &TreePath| {
        at("data").join(path).map_err(|error| DebError::NotAPackage {
            package: name.to_owned(),
            why: error.to_string(),
        })
    };
    for (path, entry) in &data {
        if !path.is_root() && !excluded(path) {
            tree.insert_deep(place(path)?, entry.clone()).expect("what is above was just put");
        }
    }
    for group in data.links().iter() {
        let group: Vec<_> =
            group.iter().filter(|path| !excluded(path)).map(place).collect::<Result<_, _>>()?;
        if group.len() > 1 {
            tree.link(group).expect("they were one group");
        }
    }
    Ok(())
}

/// The paths of a package, a line each.
fn list(order: &[TreePath]) -> Vec<u8> {
    let mut list = Vec::new();
    for path in order {
        list.push(b'/');
        list.extend_from_slice(if path.is_root() { b"." } else { path.as_bytes() });
        list.push(b'\n');
    }
    list
}

/// `md5sums` as dpkg makes it: of every name of every file, conffiles too, as they come.
fn md5sums(order: &[TreePath], data: &Tree, sums: &BTreeMap<Digest, String>) -> Vec<u8> {
    let mut text = Vec::new();
    for path in order {
        if let Some(Node::File { digest, .. }) = data.get(path).map(|entry| &entry.node) {
            text.extend_from_slice(sums[digest].as_bytes());
            text.extend_from_slice(b"  ");
            text.extend_from_slice(path.as_bytes());
            text.push(b'\n');
        }
    }
    text
}

/// Digests what passes by.
struct Tee<'a, R> {
    inner: R,
    md5: &'a mut Md5,
}

impl<R: Read> Read for Tee<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.md5.update(&buffer[..count]);
        Ok(count)
    }
}

#[cfg(test)]
pub(crate) mod tests;

//! What a package's unpacked tree says.

use std::collections::BTreeMap;

use reimage_castore::{Digest, Entry, Node, Sha256, Store, Tree, TreePath};

use super::{Control, DebError, at};

/// A package that has been unpacked to a tree.
#[derive(Debug, Clone)]
pub struct Package {
    /// Its control file.
    pub control: Control,
    /// The digest of the .deb.
    pub digest: Sha256,
    /// Its files, at their own paths; the root is implied.
    pub data: Tree,
    /// Its control members by name.
    pub members: BTreeMap<String, Entry>,
    /// The digest of dpkg's list of its paths.
    pub list: (Digest, u64),
    /// Its configuration files.
    pub conffiles: Vec<Conffile>,
}

/// A file that its administrator may change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conffile {
    /// Where it is.
    pub path: TreePath,
    /// Whether the package no longer has it and wants it gone.
    pub remove: bool,
}

impl Package {
    /// Reads what `tree`, the unpacked .deb of this digest, says; `name` is how errors call it.
    pub fn open(store: &Store, name: &str, digest: Sha256, tree: &Tree) -> Result<Self, DebError> {
        let failed = |source| DebError::Store { package: name.to_owned(), source };
        let lacks = |what: &str| DebError::Tree { package: name.to_owned(), what: what.to_owned() };
        let file = |path: &TreePath| match tree.get(path).map(|entry| &entry.node) {
            Some(Node::File { digest, size }) => Some((*digest, *size)),
            _ => None,
        };
        let list = file(&at("list")).ok_or_else(|| lacks("list"))?;
        let (control, _) = file(&at("control/control")).ok_or_else(|| lacks("control/control"))?;
        let control = Control::parse(&store.read(&control).map_err(failed)?)
            .map_err(|source| DebError::Control { package: name.to_owned(), source })?;
        let top = at("control");
        let members = tree.below(&top).skip(1).filter_map(|(path, entry)| {
            Some((String::from_utf8(path.name()?.to_vec()).ok()?, entry.clone()))
        });
        let members: BTreeMap<_, _> = members.collect();
        let conffiles = match file(&at("control/conffiles")) {
            Some((digest, _)) => conffiles(&store.read(&digest).map_err(failed)?),
            None => Vec::new(),
        };
        let mut data = Tree::default();
        let top = at("data");
        for (path, entry) in tree.below(&top).skip(1) {
            let path = path.below(&top).ok_or_else(|| lacks("data"))?;
            data.insert_deep(path, entry.clone()).map_err(|_| lacks("data"))?;
        }
        for group in tree.links().iter() {
            let group: Vec<_> = group.iter().filter_map(|path| path.below(&top)).collect();
            if group.len() > 1 {
                data.link(group).map_err(|_| lacks("data"))?;
            }
        }
        Ok(Self { control, digest, data, members, list, conffiles })
    }

    /// The text of a control member; empty if there is none.
    pub fn member(&self, store: &Store, name: &str) -> Result<String, DebError> {
        match self.members.get(name).map(|entry| &entry.node) {
            Some(Node::File { digest, .. }) => {
                let bytes = store.read(digest).map_err(|source| {
                    let package = self.control.name().to_owned();
                    DebError::Store { package, source }
                })?;
                Ok(String::from_utf8_lossy(&bytes).into_owned())
            }
            _ => Ok(String::new()),
        }
    }
}

/// Reads the member `conffiles`.
pub(super) fn conffiles(bytes: &[u8]) -> Vec<Conffile> {
    let lines =
        bytes.split(|b| *b == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty());
    let conffiles = lines.filter_map(|line| {
        let (path, remove) = match line.strip_prefix(b"remove-on-upgrade ") {
            Some(path) => (path.trim_ascii(), true),
            None => (line, false),
        };
        Some(Conffile { path: TreePath::new(path).ok()?, remove })
    });
    conffiles.collect()
}

//! What the dpkg database of a root says.

use std::collections::BTreeSet;

use reimage_castore::{Store, StoreError, TreePath, View};

use super::{ByName, InstallError, file, text};
use crate::debian::deb::{Control, Package};

const STATUS: &str = "var/lib/dpkg/status";

/// The packages of a root.
#[derive(Debug, Clone, Default)]
pub struct Installed {
    paragraphs: ByName<Control>,
    provided: BTreeSet<String>,
    text: Vec<u8>,
}

impl Installed {
    /// Reads the database of the root that `view` shows; none is an empty one.
    pub fn read(store: &Store, view: &View) -> Result<Self, InstallError> {
        let text = text(store, view, STATUS)?;
        let bad = |source| InstallError::Database { path: file(STATUS), source };
        let mut installed = Self { text, ..Self::default() };
        for control in Control::paragraphs(&installed.text).map_err(bad)? {
            // A package that was removed is remembered as long as it has conffiles.
            let status = control.get("Status").unwrap_or_default();
            let there = !matches!(
                status.split_whitespace().last(),
                Some("not-installed" | "config-files" | "half-installed") | None
            );
            if there {
                installed.provided.extend(control.provides().map(str::to_owned));
            }
            installed.paragraphs.insert(control.name().to_owned(), control);
        }
        Ok(installed)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.paragraphs.is_empty()
    }

    /// Whether the database knows this package, installed or not.
    pub fn has(&self, package: &str) -> bool {
        self.paragraphs.contains_key(package)
    }

    /// Whether something that is installed has this name or provides it.
    pub fn provides(&self, name: &str) -> bool {
        self.provided.contains(name)
    }

    /// The status file.
    pub(super) fn text(&self) -> &[u8] {
        &self.text
    }
}

/// Paths that dpkg would unpack elsewhere or with other attributes.
#[derive(Debug, Clone, Default)]
pub(super) struct Overrides(BTreeSet<TreePath>);

impl Overrides {
    /// Whether a file of the package is diverted, or has its mode overridden.
    pub(super) fn touch(&self, package: &Package) -> bool {
        !self.0.is_empty() && package.data.iter().any(|(path, _)| self.0.contains(path))
    }
}

/// Reads diversions and overridden modes of a root.
pub(super) fn overrides(store: &Store, view: &View) -> Result<Overrides, StoreError> {
    let diverted = diversions(&text(store, view, "var/lib/dpkg/diversions")?);
    let modes = text(store, view, "var/lib/dpkg/statoverride")?;
    let mut paths: BTreeSet<_> = diverted.into_iter().flat_map(|(from, to)| [from, to]).collect();
    for line in modes.split(|b| *b == b'\n') {
        let path = line.splitn(4, |b| *b == b' ').nth(3);
        paths.extend(path.and_then(|path| TreePath::new(path).ok()));
    }
    paths.remove(&TreePath::root());
    Ok(Overrides(paths))
}

/// Reads dpkg's list of diversions: from where, and to where.
pub(super) fn diversions(list: &[u8]) -> Vec<(TreePath, TreePath)> {
    let lines: Vec<_> = list.split(|b| *b == b'\n').collect();
    // The third line is who diverts.
    let pairs = lines
        .chunks_exact(3)
        .filter_map(|three| Some((TreePath::new(three[0]).ok()?, TreePath::new(three[1]).ok()?)));
    pairs.collect()
}

/// Whether a `preinst` does nothing where the package was never installed before: there is none, or all it does
/// is to call `dpkg-maintscript-helper`, which acts on upgrades alone.
pub(super) fn does_nothing(script: &str) -> bool {
    let mut lines = script.lines();
    match lines.next() {
        None => return true,
        Some(first) if first.starts_with("#!/bin/sh") || first.starts_with("#! /bin/sh") => {}
        Some(_) => return false,
    }
    let joined = lines.collect::<Vec<_>>().join("\n").replace("\\\n", " ");
    joined.lines().map(str::trim).all(|line| {
        let helper = line.strip_prefix("dpkg-maintscript-helper ").is_some_and(|rest| {
            let kinds = ["rm_conffile", "mv_conffile", "symlink_to_dir", "dir_to_symlink"];
            let kind = kinds.iter().any(|kind| rest.starts_with(&format!("{kind} ")));
            // Nothing may follow the call, and nothing may be called within it.
            kind && !rest.replace("\"$@\"", "").contains([';', '&', '|', '`', '$', '<', '>'])
        });
        line.is_empty()
            || line.starts_with('#')
            || matches!(line, "set -e" | "exit 0" | ":")
            || helper
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_that_do_nothing() {
        let helper = "#!/bin/sh\nset -e\n# Automatically added\ndpkg-maintscript-helper rm_conffile \
             /etc/x 1\\~ -- \"$@\"\ndpkg-maintscript-helper symlink_to_dir /a \\\n  b 1 -- \"$@\"\n\nexit 0\n";
        for quiet in ["", "#!/bin/sh\nset -e\n", "#!/bin/sh -e\n\n:\n", helper] {
            assert!(does_nothing(quiet), "{quiet}");
        }
        for busy in [
            "#!/usr/bin/perl\n",
            "#!/bin/sh\nmkdir /x\n",
            "#!/bin/sh\ndpkg-maintscript-helper rm_conffile /x -- \"$@\"; rm /y\n",
            "#!/bin/sh\ndpkg-maintscript-helper rm_conffile `x` -- \"$@\"\n",
            "#!/bin/sh\ndpkg-maintscript-helper supports rm_conffile\n",
        ] {
            assert!(!does_nothing(busy), "{busy}");
        }
    }
}

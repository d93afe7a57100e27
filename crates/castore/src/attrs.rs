//! What is known of a node besides its content: mode, owner, time, extended attributes.

use std::collections::BTreeMap;

use thiserror::Error;

/// An extended attribute that a tree does not hold.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[error("The extended attribute `{name}` is neither `user.*` nor `security.capability`")]
pub struct XattrError {
    /// Its name.
    pub name: String,
}

/// Attributes of a node; the defaults are root's, 0644 or 0755, the baseline's file time F, no xattrs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Attrs {
    /// Permissions with setuid, setgid and sticky: 12 bits.
    pub mode: u16,
    /// Numeric owner.
    pub uid: u32,
    /// Numeric group.
    pub gid: u32,
    /// Time of last modification in seconds since 1970; none is F, the file time of the baseline.
    pub mtime: Option<i64>,
    /// Extended attributes: `user.*` and `security.capability` (version 2).
    pub xattrs: BTreeMap<Box<[u8]>, Box<[u8]>>,
}

impl Attrs {
    /// Root's, with these permission bits (12 are kept), at F.
    pub fn mode(mode: u32) -> Self {
        let mode = u16::try_from(mode & 0o7777).expect("12 bits fit in 16");
        Self { mode, uid: 0, gid: 0, mtime: None, xattrs: BTreeMap::new() }
    }

    /// Of a file written with umask 022: 0644.
    pub fn file() -> Self {
        Self::mode(0o644)
    }

    /// Of a directory or an executable: 0755.
    pub fn directory() -> Self {
        Self::mode(0o755)
    }

    /// Of a symbolic link: 0777, as Linux shows all of them.
    pub fn symlink() -> Self {
        Self::mode(0o777)
    }

    /// The same with this owner.
    #[must_use]
    pub fn owned(self, uid: u32, gid: u32) -> Self {
        Self { uid, gid, ..self }
    }

    /// Adds an extended attribute; only those a tree may hold are accepted.
    pub fn set_xattr(&mut self, name: &[u8], value: &[u8]) -> Result<(), XattrError> {
        if !xattr_allowed(name) {
            return Err(XattrError { name: String::from_utf8_lossy(name).into_owned() });
        }
        self.xattrs.insert(name.into(), value.into());
        Ok(())
    }
}

/// Whether a tree keeps this extended attribute: `user.*` but overlayfs's and our own, and file capabilities.
pub fn xattr_allowed(name: &[u8]) -> bool {
    let user = name.starts_with(b"user.") && name.len() > 5;
    let ours = name.starts_with(b"user.overlay.") || name.starts_with(b"user.reimage.");
    (user && !ours && !name.contains(&0)) || name == b"security.capability"
}

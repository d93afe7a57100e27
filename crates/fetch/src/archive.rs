//! Unpacks archives into trees: tar, whatever compresses it, and zip.
//!
//! An archive is foreign: it is read as a stream with bounded memory, its kind is told from its first bytes, and
//! whatever could lead out of the tree, or make the store grow without end, is refused by name.

use std::io::{self, Read, Seek, SeekFrom};

use reimage_castore::{Store, StoreError, Tree, read_full};
use thiserror::Error;

mod compression;
mod members;
mod meter;
mod tarball;
mod zipped;

pub(crate) use compression::{Compression, decompress};
pub(crate) use members::Members;
pub(crate) use meter::Meter;
pub(crate) use tarball::{Attributes, read_tar, walk_tar};

/// How much an archive may unpack to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of all members together, headers and holes included.
    pub bytes: u64,
    /// Members.
    pub entries: u64,
}

impl Default for Limits {
    /// 64 GiB in a million members.
    fn default() -> Self {
        Self { bytes: 64 << 30, entries: 1_000_000 }
    }
}

/// An archive that cannot be unpacked.
#[derive(Debug, Error)]
pub enum ArchiveError {
    /// It is of no kind that is known here.
    #[error(
        "`{archive}` is neither a tar archive (plain, or compressed by gzip, bzip2, xz or zstd) nor a zip"
    )]
    Unknown {
        /// The archive.
        archive: String,
    },
    /// It ends too early, or its bytes make no sense.
    #[error("`{archive}` is truncated or damaged")]
    Damaged {
        /// The archive.
        archive: String,
        /// What was found.
        #[source]
        source: io::Error,
    },
    /// It has a member that is not unpacked.
    #[error("The member `{member}` of `{archive}` {refusal}")]
    Member {
        /// The archive.
        archive: String,
        /// The member, shortened.
        member: String,
        /// Why not.
        refusal: Refusal,
    },
    /// It has too many members.
    #[error("`{archive}` has more than {limit} members")]
    Entries {
        /// The archive.
        archive: String,
        /// The most there may be.
        limit: u64,
    },
    /// It unpacks to too much.
    #[error("`{archive}` unpacks to more than {limit} bytes")]
    Bytes {
        /// The archive.
        archive: String,
        /// The most it may be.
        limit: u64,
    },
    /// Nothing is left of it.
    #[error("Nothing of `{archive}` is left after `strip = {strip}`")]
    Stripped {
        /// The archive.
        archive: String,
        /// Names dropped from the front of each member.
        strip: u32,
    },
    /// The store does not take it.
    #[error("Cannot keep what `{archive}` holds")]
    Store {
        /// The archive.
        archive: String,
        /// Why not.
        #[source]
        source: StoreError,
    },
}

/// Why a member is not unpacked.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// Its path begins with `/`.
    #[error("has an absolute path")]
    Absolute,
    /// Its path has `..` in it.
    #[error("has `..` in its path")]
    Parent,
    /// A name of it is too long, or all of them together.
    #[error("has a path that is too long: names have at most 255 bytes, paths 4095")]
    Long,
    /// Its path has a NUL byte.
    #[error("has a NUL byte in its path")]
    Nul,
    /// It lies below a member that is no directory, such as a symbolic link.
    #[error("lies below `{above}`, which is a {kind} in the archive")]
    Below {
        /// That member.
        above: String,
        /// What it is.
        kind: &'static str,
    },
    /// It is a file where the archive has a directory with something in it.
    #[error("is a {kind} where the archive has a directory that is not empty")]
    OverDirectory {
        /// What it is.
        kind: &'static str,
    },
    /// It is a device.
    #[error("is a device")]
    Device,
    /// It is of a kind that no file system has.
    #[error("is of an unknown kind (type flag {flag:?})")]
    Kind {
        /// The type flag of its header.
        flag: char,
    },
    /// It is a file with holes, told in a way that is not known here.
    #[error(
        "is a sparse file in the PAX format: pack it without `--sparse`, or with `--format=gnu`"
    )]
    Sparse,
    /// It is a symbolic link to nothing, to more than 4095 bytes, or to a name with NUL in it.
    #[error("is a symbolic link with an empty or impossible target")]
    Target,
    /// It is a hard link to something that is not there before it.
    #[error("is a hard link to `{target}`, which is no file before it in the archive")]
    Link {
        /// Where it points.
        target: String,
    },
    /// It needs a password.
    #[error("is encrypted")]
    Encrypted,
    /// It is packed in a way that is not known here.
    #[error("is compressed by a method that is not supported: use deflate")]
    Method,
}

/// Unpacks the archive that `file` holds; `archive` is how errors call it.
///
/// Modes are kept; owners are 0:0 and times F, so that equal contents are equal trees. The first `strip` names of
/// each member are dropped; members that have no more names vanish. The root is implied.
pub fn unpack(
    store: &Store,
    archive: &str,
    mut file: impl Read + Seek,
    strip: u32,
    limits: Limits,
) -> Result<Tree, ArchiveError> {
    let damaged = |source| ArchiveError::Damaged { archive: archive.to_owned(), source };
    let mut block = [0; 512];
    let got = read_full(&mut file, &mut block).map_err(damaged)?;
    file.seek(SeekFrom::Start(0)).map_err(damaged)?;
    let meter = Meter::new(limits);
    let mut members = Members::new(archive, limits, strip);
    if zipped::is_zip(&block[..got]) {
        zipped::read_zip(store, &mut members, &meter, file)?;
    } else {
        let plain = Compression::of(&block[..got]) == Compression::None;
        if plain && !tarball::is_tar(&block[..got]) {
            return Err(ArchiveError::Unknown { archive: archive.to_owned() });
        }
        let file = io::BufReader::with_capacity(64 << 10, file);
        let stream = decompress(file).map_err(damaged)?;
        read_tar(store, &mut members, &meter, stream, Attributes::Modes)?;
    }
    members.finish()
}

/// A name from an archive as errors show it.
pub(crate) fn shown(name: &[u8]) -> String {
    let end = name.len().min(200);
    let mut text = String::from_utf8_lossy(&name[..end]).into_owned();
    if end < name.len() {
        text.push('…');
    }
    text
}

#[cfg(test)]
pub(crate) mod tests;

//! Packing: the entries of a layer become an archive, and the archive a blob.

use std::io::{self, Read, Write};

use reimage_castore::{Change, Digest, Hasher, Node, Sha256, TreePath};
use thiserror::Error;

use crate::{
    LayerContent, Profile,
    compress::compress,
    tar::{self, Member},
};

/// Packing that could not be finished.
#[derive(Debug, Error)]
pub enum PackError {
    /// The content of a file cannot be read.
    #[error("The content of `{path}` ({digest}) cannot be read")]
    Content {
        /// The file.
        path: TreePath,
        /// Digest of its content.
        digest: Digest,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The content of a file is not what its digest says: the store's copy is damaged.
    #[error("The content of `{path}` is damaged: expected {size} bytes with the digest {digest}")]
    Damaged {
        /// The file.
        path: TreePath,
        /// Digest that its content should have.
        digest: Digest,
        /// Size that its content should have, in bytes.
        size: u64,
    },
    /// The archive or blob cannot be written.
    #[error("The layer cannot be written")]
    Write(#[from] io::Error),
}

/// A layer as a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackedLayer {
    /// How it is encoded.
    pub profile: Profile,
    /// Digest of the blob, as a manifest names it.
    pub digest: Sha256,
    /// Size of the blob in bytes.
    pub size: u64,
    /// Digest of the archive in it, as a configuration names it.
    pub diff_id: Sha256,
}

/// Writes `layer` to `sink` as `profile` says, reading contents with `open`.
///
/// Everything is read, encoded, digested and written in one pass, in parallel, with at most 130 MiB of it in
/// memory. Contents are verified: one that is not what its digest says fails the packing. Files without a time
/// of their own get `file_time` (seconds since 1970).
pub fn pack<R: Read>(
    layer: &LayerContent,
    profile: Profile,
    file_time: i64,
    open: impl Fn(&Digest) -> io::Result<R>,
    sink: &mut (dyn Write + Send),
) -> Result<PackedLayer, PackError> {
    let compressed =
        compress(profile, sink, |frames| write_tar(layer, file_time, open, frames).map(|_| ()))?;
    Ok(PackedLayer {
        profile,
        digest: compressed.digest,
        size: compressed.size,
        diff_id: compressed.diff_id,
    })
}

/// Writes `layer` as a plain archive and hands `out` back; like [`pack`], on this thread alone.
pub fn write_tar<R: Read, W: Write>(
    layer: &LayerContent,
    file_time: i64,
    open: impl Fn(&Digest) -> io::Result<R>,
    mut out: W,
) -> Result<W, PackError> {
    let entries = layer.entries();
    let mut buffer = vec![0; 128 << 10];
    for (path, change) in entries {
        let Change::Put(entry) = change else {
            tar::write_header(&mut out, &Member::Whiteout(path), file_time)?;
            continue;
        };
        let first = entries.links().group(path).map(|group| &group[0]);
        if let Some(first) = first.filter(|first| *first != path) {
            tar::write_header(&mut out, &Member::Link { path, entry, first }, file_time)?;
            continue;
        }
        tar::write_header(&mut out, &Member::Entry { path, entry }, file_time)?;
        if let Node::File { digest, size } = entry.node
            && size > 0
        {
            let content = open(&digest).map_err(|source| PackError::Content {
                path: path.clone(),
                digest,
                source,
            })?;
            copy(content, path, digest, size, &mut out, &mut buffer)?;
            tar::write_padding(&mut out, size)?;
        }
    }
    tar::write_end(&mut out)?;
    Ok(out)
}

/// Copies exactly `size` bytes that have `digest`.
fn copy(
    mut content: impl Read,
    path: &TreePath,
    digest: Digest,
    size: u64,
    out: &mut impl Write,
    buffer: &mut [u8],
) -> Result<(), PackError> {
    let damaged = || PackError::Damaged { path: path.clone(), digest, size };
    let mut hasher = Hasher::new();
    let mut left = size;
    loop {
        let read = match content.read(buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(source) => return Err(PackError::Content { path: path.clone(), digest, source }),
        };
        left = left.checked_sub(read as u64).ok_or_else(damaged)?;
        hasher.update(&buffer[..read]);
        out.write_all(&buffer[..read])?;
    }
    if left > 0 || hasher.finish() != digest {
        return Err(damaged());
    }
    Ok(())
}

#[cfg(test)]
mod tests;

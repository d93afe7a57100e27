//! Zip archives, read by their directory.

use std::io::{Read, Seek};

use reimage_castore::{Attrs, Entry, Node, Store};
use zip::result::ZipError;

use super::{ArchiveError, Members, Meter, Refusal, members::symlink};

const TYPE: u32 = 0o170_000;
const SYMLINK: u32 = 0o120_000;
const DIRECTORY: u32 = 0o040_000;

/// Whether a file that begins so is a zip: by a member's header, or by the directory of an empty one.
pub(super) fn is_zip(magic: &[u8]) -> bool {
    magic.starts_with(b"PK\x03\x04") || magic.starts_with(b"PK\x05\x06")
}

/// Reads all members.
pub(super) fn read_zip(
    store: &Store,
    members: &mut Members<'_>,
    meter: &Meter,
    file: impl Read + Seek,
) -> Result<(), ArchiveError> {
    let archive = members.archive();
    let damaged = |error: ZipError| meter.error(archive, error.into());
    let mut zip = zip::ZipArchive::new(file).map_err(damaged)?;
    for number in 0..zip.len() {
        members.count()?;
        let (member, encrypted) = {
            let raw = zip.by_index_raw(number).map_err(damaged)?;
            (raw.name_raw().to_vec(), raw.encrypted())
        };
        if encrypted {
            return Err(members.refuse(&member, Refusal::Encrypted));
        }
        let Some(path) = members.place(&member)? else { continue };
        let mut entry = match zip.by_index(number) {
            Err(ZipError::UnsupportedArchive(_) | ZipError::CompressionMethodNotSupported(_)) => {
                return Err(members.refuse(&member, Refusal::Method));
            }
            other => other.map_err(damaged)?,
        };
        // Archives made on other systems have no modes.
        let mode = entry.unix_mode();
        let kind = mode.unwrap_or(0) & TYPE;
        let node = if member.ends_with(b"/") || kind == DIRECTORY {
            Node::Directory
        } else {
            let mut content = meter.content(&mut entry as &mut dyn Read);
            if kind == SYMLINK {
                let mut target = Vec::new();
                content
                    .by_ref()
                    .take(4096)
                    .read_to_end(&mut target)
                    .map_err(|error| meter.error(archive, error))?;
                symlink(&target).map_err(|refusal| members.refuse(&member, refusal))?
            } else {
                let kept = store.put_reader(&mut content);
                match (kept, meter.failure(archive)) {
                    (Ok((digest, size)), None) => Node::File { digest, size },
                    (_, Some(error)) => return Err(error),
                    (Err(source), None) => {
                        return Err(ArchiveError::Store { archive: archive.to_owned(), source });
                    }
                }
            }
        };
        let attrs = match (&node, mode.filter(|mode| mode & 0o777 != 0)) {
            (Node::Symlink { .. }, _) => Attrs::symlink(),
            (_, Some(mode)) => Attrs::mode(mode),
            (Node::Directory, None) => Attrs::directory(),
            (_, None) => Attrs::file(),
        };
        members.insert(&member, &path, Entry { node, attrs })?;
    }
    Ok(())
}

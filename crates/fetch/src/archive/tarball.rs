//! Tar archives: ustar, GNU and PAX, read as a stream.

use std::io::{self, Read};

use reimage_castore::{Attrs, Entry, Node, Store, TreePath};
use tar::EntryType;

use super::{ArchiveError, Members, Meter, Refusal, members::symlink, meter::Content};

/// Which attributes of its members count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Attributes {
    /// Their modes alone; devices are refused.
    Modes,
    /// Modes, owners, devices, and times before this one, in seconds since 1970.
    All {
        /// Times from here on are not kept.
        newest: i64,
    },
}

/// Whether a file that begins with this block is a tar: by the checksum of its first header, or by the zeros of
/// an empty one.
pub(super) fn is_tar(block: &[u8]) -> bool {
    if block.len() < 512 {
        return false;
    }
    // The checksum is taken as if its own field were blank.
    let sum = |bytes: &[u8]| bytes.iter().map(|b| u32::from(*b)).sum::<u32>();
    let blank = sum(&block[..148]) + 8 * u32::from(b' ') + sum(&block[156..512]);
    let found = tar::Header::from_byte_slice(&block[..512]).cksum();
    block.iter().all(|b| *b == 0) || found.is_ok_and(|found| found == blank)
}

/// Reads all members of the tar archive that comes out of a decoder, to its end.
pub(crate) fn read_tar(
    store: &Store,
    members: &mut Members<'_>,
    meter: &Meter,
    stream: impl Read,
    attributes: Attributes,
) -> Result<(), ArchiveError> {
    walk_tar(members, meter, stream, attributes, |_, archive, content| {
        let kept = store.put_reader(&mut *content);
        let (digest, size) = match (kept, meter.failure(archive)) {
            (Ok(kept), None) => kept,
            (_, Some(error)) => return Err(error),
            (Err(source), None) => {
                return Err(ArchiveError::Store { archive: archive.to_owned(), source });
            }
        };
        Ok(Node::File { digest, size })
    })
}

/// Reads all members; `file` takes the content of one.
pub(crate) fn walk_tar(
    members: &mut Members<'_>,
    meter: &Meter,
    stream: impl Read,
    attributes: Attributes,
    mut file: impl FnMut(&TreePath, &str, &mut Content<'_, &mut dyn Read>) -> Result<Node, ArchiveError>,
) -> Result<(), ArchiveError> {
    let archive_name = members.archive();
    let damaged = |source| meter.error(archive_name, source);
    let mut archive = tar::Archive::new(meter.stream(stream));
    meter.expect_header();
    let entries = archive.entries().map_err(damaged)?;
    for entry in entries {
        let mut entry = entry.map_err(damaged)?;
        meter.expect_content();
        members.count()?;
        let member = entry.path_bytes().into_owned();
        let Some(path) = members.place(&member)? else {
            members.root();
            meter.expect_header();
            continue;
        };
        let attrs = attrs(&entry, attributes).map_err(damaged)?;
        let kind = entry.header().entry_type();
        let node = match kind {
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                // An old tar says that something is a directory by its name alone.
                if member.ends_with(b"/") && kind == EntryType::Regular {
                    Node::Directory
                } else {
                    let size = entry.size();
                    meter.announce(size).map_err(damaged)?;
                    if is_pax_sparse(&mut entry).map_err(damaged)? {
                        return Err(members.refuse(&member, Refusal::Sparse));
                    }
                    let mut content = meter.content(&mut entry as &mut dyn Read);
                    let node = file(&path, archive_name, &mut content)?;
                    if content.count() != size {
                        return Err(damaged(io::ErrorKind::UnexpectedEof.into()));
                    }
                    node
                }
            }
            EntryType::Directory => Node::Directory,
            EntryType::Symlink => {
                let target = entry.link_name_bytes().unwrap_or_default();
                symlink(&target).map_err(|refusal| members.refuse(&member, refusal))?
            }
            EntryType::Link => {
                let target = entry.link_name_bytes().unwrap_or_default().into_owned();
                // dpkg gives a second name's own attributes to the file, tar gives it none.
                let own = (attributes != Attributes::Modes).then_some(attrs);
                members.hard_link(&member, &path, &target, own)?;
                meter.expect_header();
                continue;
            }
            EntryType::Fifo => Node::Fifo,
            EntryType::Char | EntryType::Block if attributes != Attributes::Modes => {
                let header = entry.header();
                let number = |n: io::Result<Option<u32>>| n.map(Option::unwrap_or_default);
                let major = number(header.device_major()).map_err(damaged)?;
                let minor = number(header.device_minor()).map_err(damaged)?;
                if kind == EntryType::Char {
                    Node::CharDevice { major, minor }
                } else {
                    Node::BlockDevice { major, minor }
                }
            }
            EntryType::Char | EntryType::Block => {
                return Err(members.refuse(&member, Refusal::Device));
            }
            // Global headers of PAX carry comments, such as the commit that `git archive` names.
            EntryType::XGlobalHeader => {
                meter.expect_header();
                continue;
            }
            other => {
                let flag = char::from(other.as_byte());
                return Err(members.refuse(&member, Refusal::Kind { flag }));
            }
        };
        members.insert(&member, &path, Entry { node, attrs })?;
        meter.expect_header();
    }
    meter.expect_content();
    // To the very end: what follows the last member proves that nothing was cut off or changed.
    io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(damaged)?;
    Ok(())
}

/// Whether the content is a map of holes and what lies between them, which the reader takes for the file itself.
fn is_pax_sparse(entry: &mut tar::Entry<'_, impl Read>) -> io::Result<bool> {
    let Some(extensions) = entry.pax_extensions()? else { return Ok(false) };
    for extension in extensions {
        if extension?.key_bytes().starts_with(b"GNU.sparse.") {
            return Ok(true);
        }
    }
    Ok(false)
}

fn attrs(entry: &tar::Entry<'_, impl Read>, attributes: Attributes) -> io::Result<Attrs> {
    let header = entry.header();
    let mut attrs = Attrs::mode(header.mode()?);
    if header.entry_type() == EntryType::Symlink {
        attrs.mode = Attrs::symlink().mode;
    }
    if let Attributes::All { newest } = attributes {
        let id = |id: u64| {
            u32::try_from(id)
                .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "an owner beyond 32 bits"))
        };
        attrs = attrs.owned(id(header.uid()?)?, id(header.gid()?)?);
        attrs.mtime = i64::try_from(header.mtime()?).ok().filter(|time| *time < newest);
    }
    Ok(attrs)
}

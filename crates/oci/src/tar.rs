//! The bytes of an archive's members: ustar, with PAX records only where ustar cannot say it.
//!
//! | what | where |
//! |---|---|
//! | owners | numbers; names are left empty |
//! | path | raw bytes, split into prefix and name; PAX `path` if neither fits; a directory's ends with `/`, the root is `./` |
//! | target of a link | raw bytes; PAX `linkpath` beyond 100 |
//! | number too large, or a time before 1970 | PAX `uid` `gid` `size` `mtime`, and 0 in its field |
//! | extended attributes | PAX `SCHILY.xattr.<name>` |
//! | deletion of `name` | an empty file `.wh.name`, 0644, root's |
//! | hard links | the first path holds the content, the others are links to it |
//! | end | two blocks of zeros |
//!
//! PAX records are sorted; those that are not UTF-8 are announced by `hdrcharset=BINARY`.

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use reimage_castore::{Attrs, Entry, Node, TreePath};
use tar::{EntryType, Header};

use crate::layer::WHITEOUT;

const BLOCK: usize = 512;
/// The highest number of a field of eight bytes.
const MAX_7_DIGITS: u64 = 0o7_777_777;
/// The highest number of a field of twelve bytes.
const MAX_11_DIGITS: u64 = 0o77_777_777_777;

/// One member of an archive.
pub(crate) enum Member<'a> {
    /// A node; a file's content follows.
    Entry { path: &'a TreePath, entry: &'a Entry },
    /// One more name of what an earlier member put.
    Link { path: &'a TreePath, entry: &'a Entry, first: &'a TreePath },
    /// A deletion.
    Whiteout(&'a TreePath),
}

type Records = BTreeMap<Vec<u8>, Vec<u8>>;

/// Writes the header of `member`, before it a PAX header if it needs one.
pub(crate) fn write_header(
    out: &mut impl Write,
    member: &Member<'_>,
    file_time: i64,
) -> io::Result<()> {
    let mut records = Records::new();
    let mut header = Header::new_ustar();
    let attrs = match member {
        Member::Entry { entry, .. } | Member::Link { entry, .. } => entry.attrs.clone(),
        Member::Whiteout(_) => Attrs::file(),
    };
    set_attrs(&mut header, &mut records, &attrs, file_time);
    header.set_size(0);
    let path = match member {
        Member::Entry { path, entry } => {
            set_node(&mut header, &mut records, &entry.node);
            member_name(path, entry.is_directory())
        }
        Member::Link { path, first, .. } => {
            header.set_entry_type(EntryType::Link);
            set_link(&mut header, &mut records, first.as_bytes());
            member_name(path, false)
        }
        Member::Whiteout(path) => {
            header.set_entry_type(EntryType::Regular);
            whiteout_name(path)
        }
    };
    set_path(&mut header, &mut records, &path);
    if !records.is_empty() {
        write_records(out, records, &path)?;
    }
    header.set_cksum();
    out.write_all(header.as_bytes())
}

/// Fills the last block of a content of `size` bytes.
pub(crate) fn write_padding(out: &mut impl Write, size: u64) -> io::Result<()> {
    let rest = usize::try_from(size % BLOCK as u64).expect("less than a block");
    if rest == 0 { Ok(()) } else { out.write_all(&[0; BLOCK][rest..]) }
}

/// Ends the archive.
pub(crate) fn write_end(out: &mut impl Write) -> io::Result<()> {
    out.write_all(&[0; 2 * BLOCK])
}

fn member_name(path: &TreePath, directory: bool) -> Vec<u8> {
    if path.is_root() {
        return b"./".to_vec();
    }
    let mut name = path.as_bytes().to_vec();
    if directory {
        name.push(b'/');
    }
    name
}

fn whiteout_name(path: &TreePath) -> Vec<u8> {
    let name = path.name().expect("the root is never removed");
    let above = &path.as_bytes()[..path.as_bytes().len() - name.len()];
    [above, WHITEOUT, name].concat()
}

fn set_attrs(header: &mut Header, records: &mut Records, attrs: &Attrs, file_time: i64) {
    let mut fit = |key: &str, value: u64, max: u64| {
        if value <= max {
            return value;
        }
        records.insert(key.into(), value.to_string().into());
        0
    };
    header.set_mode(attrs.mode.into());
    header.set_uid(fit("uid", attrs.uid.into(), MAX_7_DIGITS));
    header.set_gid(fit("gid", attrs.gid.into(), MAX_7_DIGITS));
    let mtime = attrs.mtime.unwrap_or(file_time);
    if let Ok(mtime) = u64::try_from(mtime) {
        header.set_mtime(fit("mtime", mtime, MAX_11_DIGITS));
    } else {
        header.set_mtime(0);
        records.insert("mtime".into(), mtime.to_string().into());
    }
    for (name, value) in &attrs.xattrs {
        records.insert([b"SCHILY.xattr.", &**name].concat(), value.to_vec());
    }
}

fn set_node(header: &mut Header, records: &mut Records, node: &Node) {
    let device = |header: &mut Header, major, minor| {
        let ustar = header.as_ustar_mut().expect("it was made as ustar");
        ustar.set_device_major(major);
        ustar.set_device_minor(minor);
    };
    let kind = match node {
        Node::File { size, .. } => {
            if *size > MAX_11_DIGITS {
                records.insert("size".into(), size.to_string().into());
            } else {
                header.set_size(*size);
            }
            EntryType::Regular
        }
        Node::Directory | Node::Implied => EntryType::Directory,
        Node::Symlink { target } => {
            set_link(header, records, target);
            EntryType::Symlink
        }
        Node::Fifo => EntryType::Fifo,
        Node::CharDevice { major, minor } => {
            device(header, *major, *minor);
            EntryType::Char
        }
        Node::BlockDevice { major, minor } => {
            device(header, *major, *minor);
            EntryType::Block
        }
    };
    header.set_entry_type(kind);
}

fn set_link(header: &mut Header, records: &mut Records, target: &[u8]) {
    let field = &mut header.as_ustar_mut().expect("it was made as ustar").linkname;
    if !fill(field, target) {
        records.insert("linkpath".into(), target.to_vec());
    }
}

fn set_path(header: &mut Header, records: &mut Records, path: &[u8]) {
    let ustar = header.as_ustar_mut().expect("it was made as ustar");
    if path.len() <= ustar.name.len() {
        fill(&mut ustar.name, path);
        return;
    }
    // The last `/` that leaves a prefix that fits and a name.
    let end = path.len() - 1;
    let split = path[..end.min(ustar.prefix.len() + 1)].iter().rposition(|b| *b == b'/');
    if let Some(at) = split.filter(|at| path.len() - at - 1 <= ustar.name.len()) {
        fill(&mut ustar.prefix, &path[..at]);
        fill(&mut ustar.name, &path[at + 1..]);
        return;
    }
    fill(&mut ustar.name, &path[..100]);
    records.insert("path".into(), path.to_vec());
}

/// Puts `bytes` into a field filled up with zeros, as far as they fit; says whether they do.
fn fill(field: &mut [u8], bytes: &[u8]) -> bool {
    let fits = bytes.len().min(field.len());
    field[..fits].copy_from_slice(&bytes[..fits]);
    bytes.len() <= field.len()
}

fn write_records(out: &mut impl Write, mut records: Records, path: &[u8]) -> io::Result<()> {
    let named = ["path", "linkpath"].iter().filter_map(|key| records.get(key.as_bytes()));
    if named.into_iter().any(|value| std::str::from_utf8(value).is_err()) {
        records.insert("hdrcharset".into(), "BINARY".into());
    }
    let mut body = Vec::new();
    for (key, value) in &records {
        write_record(&mut body, key, value);
    }
    let mut header = Header::new_ustar();
    header.set_entry_type(EntryType::XHeader);
    let name = path.rsplit(|b| *b == b'/').find(|name| !name.is_empty()).unwrap_or(b".");
    let name = [b"PaxHeaders/", name].concat();
    fill(&mut header.as_ustar_mut().expect("it was made as ustar").name, &name);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(body.len() as u64);
    header.set_cksum();
    out.write_all(header.as_bytes())?;
    out.write_all(&body)?;
    write_padding(out, body.len() as u64)
}

/// Appends `LENGTH KEY=VALUE\n`, whose length counts its own digits.
pub(crate) fn write_record(body: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = 3 + key.len() + value.len();
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    body.extend_from_slice(length.to_string().as_bytes());
    body.push(b' ');
    body.extend_from_slice(key);
    body.push(b'=');
    body.extend_from_slice(value);
    body.push(b'\n');
}

#[cfg(test)]
mod tests;

//! Members of an archive, one after the other: ustar, PAX, and GNU's long names.
//!
//! Written here because a record of PAX may hold any byte (a capability does), which the tar crate's reader of
//! records does not take; its headers are used.

use std::{
    collections::BTreeMap,
    io::{self, Read},
};

use tar::{EntryType, Header};

use super::UnpackError;

const BLOCK: u64 = 512;
/// PAX headers larger than this are refused: extended attributes have at most 64 KiB each.
const MAX_RECORDS: u64 = 1 << 20;

/// What a member is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Directory,
    Symlink,
    Link,
    Fifo,
    CharDevice,
    BlockDevice,
    Other(String),
}

/// One member as it is written, names unchecked.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) path: Vec<u8>,
    pub(crate) link: Vec<u8>,
    pub(crate) kind: Kind,
    pub(crate) size: u64,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: i64,
    pub(crate) major: u32,
    pub(crate) minor: u32,
    pub(crate) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// An archive being read.
pub(crate) struct Members<R> {
    archive: R,
    /// Bytes read so far.
    at: u64,
    /// Bytes of the current member's content that are not read yet.
    content: u64,
    /// Bytes that fill up its last block.
    padding: u64,
}

/// What comes before a member and belongs to it.
#[derive(Default)]
struct Extended {
    records: BTreeMap<Vec<u8>, Vec<u8>>,
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
}

impl<R: Read> Members<R> {
    pub(crate) fn new(archive: R) -> Self {
        Self { archive, at: 0, content: 0, padding: 0 }
    }

    /// The next member; none at the archive's end.
    pub(crate) fn next(&mut self) -> Result<Option<Member>, UnpackError> {
        let mut extended = Extended::default();
        while let Some(header) = self.header()? {
            let size = self.field(header.entry_size())?;
            match header.entry_type() {
                EntryType::XHeader => {
                    let body = self.short(size)?;
                    let records = records(&body).ok_or_else(|| self.error("a bad PAX record"))?;
                    extended.records = records;
                }
                EntryType::XGlobalHeader => drop(self.short(size)?),
                EntryType::GNULongName => extended.path = Some(self.long(size)?),
                EntryType::GNULongLink => extended.link = Some(self.long(size)?),
                _ => return self.member(&header, size, extended).map(Some),
            }
        }
        Ok(None)
    }

    /// The current member's content.
    pub(crate) fn content(&mut self) -> impl Read {
        Content(self)
    }

    /// Passes over what is left of the current member.
    pub(crate) fn skip_content(&mut self) -> Result<(), UnpackError> {
        let mut pass = |size| io::copy(&mut self.archive.by_ref().take(size), &mut io::sink());
        let content = pass(self.content)?;
        // Some writers leave the last block unfilled.
        let padding = pass(self.padding)?;
        self.at += content + padding;
        if content < self.content {
            return Err(self.error("it ends within a member"));
        }
        (self.content, self.padding) = (0, 0);
        Ok(())
    }

    fn header(&mut self) -> Result<Option<Header>, UnpackError> {
        let mut header = Header::new_old();
        let mut filled = 0;
        while filled < header.as_bytes().len() {
            match self.archive.read(&mut header.as_mut_bytes()[filled..]) {
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => return Err(self.error("it ends within a header")),
                Ok(read) => filled += read,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e.into()),
            }
        }
        if header.as_bytes().iter().all(|b| *b == 0) {
            // The end; what follows is padding, which must be read for whoever digests the archive.
            io::copy(&mut self.archive, &mut io::sink())?;
            return Ok(None);
        }
        let bytes = header.as_bytes();
        let sum: u32 = bytes[..148].iter().chain(&bytes[156..]).map(|b| u32::from(*b)).sum();
        if self.field(header.cksum())? != sum + 8 * 32 {
            return Err(self.error("a header whose checksum is wrong"));
        }
        self.at += BLOCK;
        Ok(Some(header))
    }

    fn member(
        &mut self,
        header: &Header,
        size: u64,
        extended: Extended,
    ) -> Result<Member, UnpackError> {
        let Extended { records, path, link } = extended;
        let number = |key: &str| -> Result<Option<u64>, UnpackError> {
            let Some(value) = records.get(key.as_bytes()) else { return Ok(None) };
            let number = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
            number.map(Some).ok_or_else(|| self.error(format!("`{key}` of PAX is no number")))
        };
        if records.keys().any(|key| key.starts_with(b"GNU.sparse.")) {
            return Err(self.error("a sparse file, which layers do not have"));
        }
        let record = |key: &str| records.get(key.as_bytes()).filter(|value| !value.is_empty());
        let path = record("path").cloned().or(path).unwrap_or_else(|| header.path_bytes().into());
        let link = record("linkpath").cloned().or(link);
        let link = link.or_else(|| header.link_name_bytes().map(Into::into)).unwrap_or_default();
        let kind = match header.entry_type() {
            EntryType::Regular | EntryType::Continuous if path.ends_with(b"/") => Kind::Directory,
            EntryType::Regular | EntryType::Continuous => Kind::File,
            EntryType::Directory => Kind::Directory,
            EntryType::Symlink => Kind::Symlink,
            EntryType::Link => Kind::Link,
            EntryType::Fifo => Kind::Fifo,
            EntryType::Char => Kind::CharDevice,
            EntryType::Block => Kind::BlockDevice,
            other => {
                Kind::Other(format!("type `{}`", char::from(other.as_byte()).escape_default()))
            }
        };
        let size = number("size")?.unwrap_or(size);
        let owner = |id: u64, what: &str| {
            u32::try_from(id).map_err(|_| self.error(format!("the {what} {id} is beyond 32 bits")))
        };
        let uid = number("uid")?.map_or_else(|| self.field(header.uid()), Ok)?;
        let gid = number("gid")?.map_or_else(|| self.field(header.gid()), Ok)?;
        let mtime = match record("mtime") {
            Some(value) => seconds(value).ok_or_else(|| self.error("a bad time"))?,
            None => self.field(header.mtime())?.cast_signed(),
        };
        let device = |number: io::Result<Option<u32>>| match kind {
            Kind::CharDevice | Kind::BlockDevice => {
                self.field(number).map(Option::unwrap_or_default)
            }
            _ => Ok(0),
        };
        let (major, minor) = (device(header.device_major())?, device(header.device_minor())?);
        let (uid, gid) = (owner(uid, "owner")?, owner(gid, "group")?);
        let mode = self.field(header.mode())?;
        let xattrs = records.iter().filter_map(|(key, value)| {
            Some((key.strip_prefix(b"SCHILY.xattr.")?.to_vec(), value.clone()))
        });
        let xattrs = xattrs.collect();
        // Only files have a content, whatever the field of another says.
        let regular = matches!(header.entry_type(), EntryType::Regular | EntryType::Continuous);
        self.content = if regular || matches!(kind, Kind::Other(_)) { size } else { 0 };
        self.padding = self.content.wrapping_neg() % BLOCK;
        if self.content.checked_add(self.padding).is_none() {
            return Err(self.error("a size that cannot be"));
        }
        Ok(Member { path, link, kind, size, mode, uid, gid, mtime, major, minor, xattrs })
    }

    /// A whole content of at most 1 MiB.
    fn short(&mut self, size: u64) -> Result<Vec<u8>, UnpackError> {
        if size > MAX_RECORDS {
            return Err(self.error(format!("a name or attributes of {size} bytes")));
        }
        let mut body = Vec::new();
        let padded = size.next_multiple_of(BLOCK);
        self.at += self.archive.by_ref().take(padded).read_to_end(&mut body)? as u64;
        if (body.len() as u64) < padded {
            return Err(self.error("it ends within a header"));
        }
        body.truncate(usize::try_from(size).expect("at most 1 MiB"));
        Ok(body)
    }

    /// GNU's long name: a string up to the first NUL.
    fn long(&mut self, size: u64) -> Result<Vec<u8>, UnpackError> {
        let mut name = self.short(size)?;
        let end = name.iter().position(|b| *b == 0).unwrap_or(name.len());
        name.truncate(end);
        Ok(name)
    }

    fn field<T>(&self, value: io::Result<T>) -> Result<T, UnpackError> {
        value.map_err(|e| self.error(e.to_string()))
    }

    fn error(&self, what: impl Into<String>) -> UnpackError {
        UnpackError::Archive { at: self.at, what: what.into() }
    }
}

/// Reads the content of the current member, then nothing.
struct Content<'a, R>(&'a mut Members<R>);

impl<R: Read> Read for Content<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Self(members) = self;
        let most = usize::try_from(members.content).unwrap_or(usize::MAX).min(buffer.len());
        let read = members.archive.read(&mut buffer[..most])?;
        members.content -= read as u64;
        members.at += read as u64;
        Ok(read)
    }
}

/// `LENGTH KEY=VALUE\n`, again and again; a value may hold any byte.
fn records(mut body: &[u8]) -> Option<BTreeMap<Vec<u8>, Vec<u8>>> {
    let mut records = BTreeMap::new();
    while !body.is_empty() {
        let space = body.iter().take(20).position(|b| *b == b' ')?;
        let length: usize = std::str::from_utf8(&body[..space]).ok()?.parse().ok()?;
        let (record, rest) = body.split_at_checked(length)?;
        let record = record.get(space + 1..)?.strip_suffix(b"\n")?;
        let equals = record.iter().position(|b| *b == b'=')?;
        records.insert(record[..equals].to_vec(), record[equals + 1..].to_vec());
        body = rest;
    }
    Some(records)
}

/// Whole seconds of `-12.34`, rounded down.
fn seconds(value: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(value).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().ok()?;
    let below = whole.starts_with('-') && fraction.bytes().any(|b| b != b'0');
    fraction.bytes().all(|b| b.is_ascii_digit()).then_some(seconds)?.checked_sub(below.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_hold_any_byte() {
        let (mut body, odd) = (Vec::new(), b"1\n2 b=\0\xff=\nx");
        crate::tar::write_record(&mut body, b"a", odd);
        crate::tar::write_record(&mut body, b"c", b"");
        let read = records(&body).expect("good records");
        assert_eq!(read[&b"a"[..]], odd);
        assert_eq!(read[&b"c"[..]], b"");
        for bad in [
            &b"3 a"[..],
            b"99 a=b\n",
            b"x a=b\n",
            b"5 a=b",
            b"5 ab\n",
            b"0 a=b\n",
            b" \n",
            b"2 a=b\n",
        ] {
            assert!(records(bad).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn times_are_rounded_down() {
        for (text, time) in
            [("12", 12), ("12.9", 12), ("-1", -1), ("-1.5", -2), ("-0.5", -1), ("-1.0", -1)]
        {
            assert_eq!(seconds(text.as_bytes()), Some(time), "{text}");
        }
        for bad in ["", "x", "1.x", "99999999999999999999", "1e3"] {
            assert_eq!(seconds(bad.as_bytes()), None, "{bad}");
        }
    }
}

//! The outer shell of a package: an `ar` archive of the plainest kind.
//!
//! deb(5) allows no long names, no symbol tables and no name tables, so that forty strict lines replace a
//! reader of everything that `ar` has ever meant, whose name table could be 9 GB.

use std::io::{self, BufRead, Read};

use reimage_castore::read_full;

use super::{DebError, damaged, shown};

const MAGIC: &[u8] = b"!<arch>\n";

/// Reads members one after the other.
pub(super) struct Reader<'a, R> {
    from: R,
    package: &'a str,
    /// Bytes of the present member that are not read yet, its padding apart.
    left: u64,
    padding: bool,
}

impl<'a, R: BufRead> Reader<'a, R> {
    pub(super) fn new(mut from: R, package: &'a str) -> Result<Self, DebError> {
        let mut magic = [0; 8];
        let got = read_full(&mut from, &mut magic).map_err(|e| damaged(package, e))?;
        if magic[..got] != *MAGIC {
            let why = if got == 0 { "it is empty" } else { "it is no `ar` archive" };
            return Err(DebError::NotAPackage { package: package.into(), why: why.into() });
        }
        Ok(Self { from, package, left: 0, padding: false })
    }

    /// The name and content of the next member; what is left of the one before is skipped.
    pub(super) fn next(&mut self) -> Result<Option<(String, Content<'_, R>)>, DebError> {
        let package = self.package;
        let failed = |e| damaged(package, e);
        io::copy(&mut self.content(), &mut io::sink()).map_err(failed)?;
        if std::mem::take(&mut self.padding) {
            read_full(&mut self.from, &mut [0]).map_err(failed)?;
        }
        let mut header = [0; 60];
        match read_full(&mut self.from, &mut header).map_err(failed)? {
            0 => return Ok(None),
            60 => {}
            _ => return Err(failed(io::ErrorKind::UnexpectedEof.into())),
        }
        let bad = |what: &str| {
            let why = format!("its `ar` header {what}");
            DebError::NotAPackage { package: package.to_owned(), why }
        };
        if header[58..] != *b"`\n" {
            return Err(bad("has a bad end"));
        }
        let text = |range: std::ops::Range<usize>| header[range].trim_ascii_end();
        let size = std::str::from_utf8(text(48..58)).ok().and_then(|size| size.parse().ok());
        self.left = size.ok_or_else(|| bad("has a size that is no number"))?;
        self.padding = self.left % 2 == 1;
        let name = text(0..16);
        let name = shown(name.strip_suffix(b"/").unwrap_or(name));
        Ok(Some((name, self.content())))
    }

    fn content(&mut self) -> Content<'_, R> {
        Content { from: &mut self.from, left: &mut self.left }
    }
}

/// What a member holds; an error if the archive ends before it.
pub(super) struct Content<'r, R> {
    from: &'r mut R,
    left: &'r mut u64,
}

impl<R: Read> Read for Content<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if *self.left == 0 || buffer.is_empty() {
            return Ok(0);
        }
        let most = usize::try_from(*self.left).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.from.read(&mut buffer[..most])?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        *self.left -= count as u64;
        Ok(count)
    }
}

/// Reads the first member, which says that this is a package of version 2.
pub(super) fn check_version<R: BufRead>(
    ar: &mut Reader<'_, R>,
    package: &str,
) -> Result<(), DebError> {
    let bad =
        |why: &str| DebError::NotAPackage { package: package.to_owned(), why: why.to_owned() };
    match ar.next()? {
        Some((name, content)) if name == "debian-binary" => {
            let mut version = Vec::new();
            content.take(16).read_to_end(&mut version).map_err(|e| damaged(package, e))?;
            if version.starts_with(b"2.") {
                return Ok(());
            }
            Err(bad("it is not of version 2"))
        }
        _ => Err(bad("its first member is not `debian-binary`")),
    }
}

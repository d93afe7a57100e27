//! Contents of files in one temporary file, found by their digest.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read, Write},
    os::unix::fs::FileExt,
    path::Path,
};

use reimage_castore::{Digest, Hasher};

/// Contents, each once; gone when dropped.
pub struct Spool {
    file: File,
    /// Where each content lies: offset and size in bytes.
    contents: BTreeMap<Digest, (u64, u64)>,
    end: u64,
}

impl Spool {
    /// An empty one in `dir`.
    pub fn new(dir: &Path) -> io::Result<Self> {
        Ok(Self { file: tempfile::tempfile_in(dir)?, contents: BTreeMap::new(), end: 0 })
    }

    /// Keeps a content; gives its digest and size in bytes.
    pub fn put(&mut self, content: &mut dyn Read) -> io::Result<(Digest, u64)> {
        let mut hasher = Hasher::new();
        let mut buffer = vec![0; 64 << 10];
        let mut size = 0;
        loop {
            let read = match content.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(e),
            };
            hasher.write_all(&buffer[..read])?;
            self.file.write_all_at(&buffer[..read], self.end + size)?;
            size += read as u64;
        }
        let digest = hasher.finish();
        let end = self.end;
        self.contents.entry(digest).or_insert_with(|| {
            self.end += size;
            (end, size)
        });
        Ok((digest, size))
    }

    /// Reads a content that was put.
    pub fn open(&self, digest: &Digest) -> io::Result<impl Read + use<'_>> {
        let (at, left) = *self.contents.get(digest).ok_or(io::ErrorKind::NotFound)?;
        Ok(Part { file: &self.file, at, left })
    }
}

struct Part<'a> {
    file: &'a File,
    at: u64,
    left: u64,
}

impl Read for Part<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let read = self.file.read_at(&mut buffer[..most], self.at)?;
        self.at += read as u64;
        self.left -= read as u64;
        Ok(read)
    }
}

//! Counts what an archive gives, so that a small one cannot become an endless one.

use std::{
    cell::{Cell, RefCell},
    io::{self, Read},
};

use super::{ArchiveError, Limits};

/// Bytes that the headers of one member may have, long names included.
const HEADER: u64 = 1 << 20;

/// What is left of the limits, shared by all who read of one archive.
#[derive(Debug)]
pub(crate) struct Meter {
    limits: Limits,
    stream: Cell<u64>,
    header: Cell<Option<u64>>,
    content: Cell<u64>,
    hit: Cell<bool>,
    failed: RefCell<Option<io::Error>>,
}

impl Meter {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            stream: Cell::new(limits.bytes),
            header: Cell::new(None),
            content: Cell::new(limits.bytes),
            hit: Cell::new(false),
            failed: RefCell::new(None),
        }
    }

    /// From here on headers are read: they are kept in memory, so they are small.
    pub(crate) fn expect_header(&self) {
        self.header.set(Some(HEADER));
    }

    /// From here on content is read.
    pub(crate) fn expect_content(&self) {
        self.header.set(None);
    }

    /// Counts what comes out of a decoder.
    pub(crate) fn stream<R: Read>(&self, inner: R) -> Stream<'_, R> {
        Stream { inner, meter: self }
    }

    /// Fails if so many bytes of content are more than may come, before any of them is read.
    pub(crate) fn announce(&self, size: u64) -> io::Result<()> {
        if size > self.content.get() {
            self.hit.set(true);
            return Err(io::Error::other("too large"));
        }
        Ok(())
    }

    /// Counts the content of one member; of a sparse file its holes, too.
    pub(crate) fn content<R: Read>(&self, inner: R) -> Content<'_, R> {
        Content { inner, meter: self, count: 0 }
    }

    /// What became of reading: a limit that was hit, damage, or nothing.
    pub(crate) fn error(&self, archive: &str, source: io::Error) -> ArchiveError {
        if self.hit.get() {
            return ArchiveError::Bytes { archive: archive.to_owned(), limit: self.limits.bytes };
        }
        ArchiveError::Damaged { archive: archive.to_owned(), source }
    }

    /// The error that reading content ended with, if that is why it ended.
    pub(crate) fn failure(&self, archive: &str) -> Option<ArchiveError> {
        let source = self.failed.borrow_mut().take()?;
        Some(self.error(archive, source))
    }

    fn take(&self, left: &Cell<u64>, count: usize) -> io::Result<()> {
        let Some(rest) = left.get().checked_sub(count as u64) else {
            self.hit.set(true);
            return Err(io::Error::other("too large"));
        };
        left.set(rest);
        Ok(())
    }
}

/// A decoded stream that is counted.
pub(crate) struct Stream<'a, R> {
    inner: R,
    meter: &'a Meter,
}

impl<R: Read> Read for Stream<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.meter.take(&self.meter.stream, count)?;
        if let Some(left) = self.meter.header.get() {
            let Some(rest) = left.checked_sub(count as u64) else {
                let error = "the header of a member is larger than 1 MiB";
                return Err(io::Error::new(io::ErrorKind::InvalidData, error));
            };
            self.meter.header.set(Some(rest));
        }
        Ok(count)
    }
}

/// The content of a member, counted; it remembers why it failed, for the store does not.
pub(crate) struct Content<'a, R> {
    inner: R,
    meter: &'a Meter,
    count: u64,
}

impl<R> Content<'_, R> {
    /// Bytes that came so far.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }
}

impl<R: Read> Read for Content<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer).and_then(|count| {
            self.meter.take(&self.meter.content, count)?;
            Ok(count)
        });
        match read {
            Ok(count) => {
                self.count += count as u64;
                Ok(count)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) => {
                let again = io::Error::new(error.kind(), error.to_string());
                *self.meter.failed.borrow_mut() = Some(error);
                Err(again)
            }
        }
    }
}

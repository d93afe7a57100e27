//! What comes from a cache and what goes there: watched, and never other than it should be.

use std::{
    fs::File,
    io::{self, Read, Seek as _, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use reimage_castore::Sha256Hasher;

use super::calls::Shared;
use crate::Blob;

/// A sign of life of one call.
#[derive(Clone)]
pub(super) struct Pulse {
    shared: Arc<Shared>,
    last: Arc<AtomicU64>,
}

impl Pulse {
    /// That of a call that begins now.
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let last = Arc::new(AtomicU64::new(shared.millis()));
        Self { shared, last }
    }

    pub(super) fn beat(&self) {
        let now = self.shared.millis();
        self.last.fetch_max(now, Ordering::Relaxed);
        self.shared.hear();
    }

    /// For how long there was none.
    pub(super) fn silent(&self) -> Duration {
        self.shared.since(self.last.load(Ordering::Relaxed))
    }
}

/// Takes what is received: never more than was announced.
pub(super) struct Sink {
    file: File,
    hasher: Sha256Hasher,
    blob: Blob,
    left: u64,
    too_long: bool,
    pulse: Pulse,
}

/// What came.
pub(super) enum Came {
    Whole(File),
    Short,
    Wrong,
}

impl Sink {
    pub(super) fn new(file: File, blob: Blob, pulse: Pulse) -> Self {
        let hasher = Sha256Hasher::new();
        Self { file, hasher, blob, left: blob.size, too_long: false, pulse }
    }

    /// Whether more came than was announced.
    pub(super) fn is_too_long(&self) -> bool {
        self.too_long
    }

    /// What came, when nothing more comes.
    pub(super) fn end(mut self) -> io::Result<Came> {
        if self.left > 0 {
            return Ok(Came::Short);
        }
        self.file.rewind()?;
        let right = self.hasher.finish() == self.blob.digest;
        Ok(if right { Came::Whole(self.file) } else { Came::Wrong })
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.pulse.beat();
        let Some(left) = self.left.checked_sub(bytes.len() as u64) else {
            self.too_long = true;
            return Err(io::Error::other("it is longer than it should be"));
        };
        self.left = left;
        self.file.write_all(bytes)?;
        self.hasher.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Gives what is sent: an error instead of the last bytes if they are not what they should be.
pub(super) struct Source {
    from: Box<dyn Read + Send>,
    hasher: Option<Sha256Hasher>,
    blob: Blob,
    left: u64,
    failed: bool,
    pulse: Pulse,
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.pulse.beat();
        let read = self.checked(buffer);
        self.failed |= read.is_err();
        read
    }
}

impl Source {
    pub(super) fn new(from: Box<dyn Read + Send>, blob: Blob, pulse: Pulse) -> Self {
        let hasher = Some(Sha256Hasher::new());
        Self { from, hasher, blob, left: blob.size, failed: false, pulse }
    }

    /// Whether it could not give what it should.
    pub(super) fn has_failed(&self) -> bool {
        self.failed
    }

    fn checked(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.from.read(buffer)?;
        let damaged = || io::Error::other("what is sent is damaged");
        self.left = self.left.checked_sub(read as u64).ok_or_else(damaged)?;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&buffer[..read]);
        }
        if self.left == 0
            && let Some(hasher) = self.hasher.take()
            && hasher.finish() != self.blob.digest
        {
            return Err(damaged());
        }
        if read == 0 && self.left > 0 && !buffer.is_empty() {
            return Err(damaged());
        }
        Ok(read)
    }
}

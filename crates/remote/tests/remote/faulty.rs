//! A backend that does what a test says.

use std::{
    io::{Read, Write},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use reimage_castore::Digest;
use reimage_remote::{Backend, BackendError, Blob, Directory, Patience, Remote};

/// What a call does instead of what it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing but what it should.
    None,
    /// It fails; the next time it may go well.
    Fails,
    /// It fails, and always will.
    Forbidden,
    /// It never ends.
    Hangs,
    /// A blob ends in the middle.
    Short,
    /// A blob has another last byte.
    Wrong,
    /// A blob goes on and on.
    Long,
}

/// A directory whose calls fail as a script says, one after the other; then all of them as the last one.
#[derive(Debug)]
pub(crate) struct Faulty {
    pub(crate) inner: Arc<Directory>,
    script: Mutex<Vec<Fault>>,
    pub(crate) calls: AtomicUsize,
}

impl Faulty {
    pub(crate) fn new(inner: Arc<Directory>, script: &[Fault]) -> Arc<Self> {
        let script = Mutex::new(script.iter().rev().copied().collect());
        Arc::new(Self { inner, script, calls: AtomicUsize::new(0) })
    }

    fn fault(&self) -> Result<Fault, BackendError> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let fault = {
            let mut script = self.script.lock().expect("nobody panics");
            if script.len() > 1 { script.pop() } else { script.last().copied() }
        };
        match fault.unwrap_or(Fault::None) {
            Fault::Fails => Err(BackendError::passing("503 Service Unavailable")),
            Fault::Forbidden => Err(BackendError::lasting("403 Forbidden")),
            Fault::Hangs => loop {
                thread::sleep(Duration::from_hours(1));
            },
            fault => Ok(fault),
        }
    }
}

impl Backend for Faulty {
    fn has(&self, blobs: &[Blob]) -> Result<Vec<bool>, BackendError> {
        self.fault()?;
        self.inner.has(blobs)
    }

    fn get(&self, blob: &Blob, into: &mut dyn Write) -> Result<bool, BackendError> {
        let fault = self.fault()?;
        let mut bytes = Vec::new();
        if !self.inner.get(blob, &mut bytes)? {
            return Ok(false);
        }
        match fault {
            Fault::Short => bytes.truncate(bytes.len() / 2),
            Fault::Wrong => *bytes.last_mut().expect("not empty") ^= 1,
            Fault::Long => bytes.extend_from_slice(&vec![0; 1 << 20]),
            _ => {}
        }
        into.write_all(&bytes)?;
        Ok(true)
    }

    fn put(&self, blob: &Blob, from: &mut dyn Read) -> Result<(), BackendError> {
        self.fault()?;
        self.inner.put(blob, from)
    }

    fn record(&self, key: &Digest) -> Result<Option<Vec<u8>>, BackendError> {
        self.fault()?;
        self.inner.record(key)
    }

    fn put_record(
        &self,
        key: &Digest,
        record: &[u8],
        blobs: &[Blob],
        refused: Option<&[u8]>,
    ) -> Result<bool, BackendError> {
        self.fault()?;
        self.inner.put_record(key, record, blobs, refused)
    }
}

/// The warnings of a cache.
pub(crate) type Warnings = Arc<Mutex<Vec<String>>>;

/// A cache of this backend that waits a tenth of what users wait, and what it warns of.
pub(crate) fn remote(backend: Arc<dyn Backend>) -> (Remote, Warnings) {
    remote_with(backend, Duration::from_millis(170))
}

/// The same for tests in which nothing hangs, however busy the machine is.
pub(crate) fn patient_remote(backend: Arc<dyn Backend>) -> (Remote, Warnings) {
    remote_with(backend, Duration::from_secs(30))
}

fn remote_with(backend: Arc<dyn Backend>, dead: Duration) -> (Remote, Warnings) {
    let warnings = Warnings::default();
    let theirs = warnings.clone();
    let warn = Arc::new(move |what| theirs.lock().expect("nobody panics").push(what));
    let patience = Patience {
        ask: dead * 7 / 17,
        dead,
        stalled: Duration::from_secs(2).max(dead),
        backoff: Duration::from_millis(1),
        ..Patience::default()
    };
    (Remote::new("test:", backend, patience, std::env::temp_dir(), 1, warn), warnings)
}

pub(crate) fn said(warnings: &Warnings) -> Vec<String> {
    warnings.lock().expect("nobody panics").clone()
}

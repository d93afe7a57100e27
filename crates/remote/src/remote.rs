//! One cache as it is used: whatever its backend does, it answers, or is given up.
//!
//! A call runs on a thread of its own, so that one that never ends is left behind. A call that fails and may pass is
//! tried again; too many in a row, or a cache from which nothing at all is heard, and it is *off*: asked nothing more
//! in this build, with one warning. A cache that is dead from the beginning so costs less than two seconds, once.

mod calls;
mod metrics;
mod patience;
mod streams;

use std::{
    fmt,
    fs::File,
    io::{self, Read},
    path::PathBuf,
    sync::Arc,
};

use reimage_castore::Digest;

use crate::{Backend, BackendError, Blob, MAX_RECORD};
use calls::{Shared, Work};
pub use metrics::Metrics;
use metrics::add;
pub use patience::Patience;
use streams::{Came, Sink, Source};

/// A call that did not go well; the cache's warning says why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unavailable;

/// One cache.
#[derive(Clone)]
pub struct Remote(Arc<Shared>);

/// Who hears warnings; called from any thread.
pub type Warn = Arc<dyn Fn(String) + Send + Sync>;

impl Remote {
    /// The cache in `backend`, which people call `name`. What is received lies in `tmp` at first; `seed` differs from
    /// that of other processes.
    pub fn new(
        name: impl Into<String>,
        backend: Arc<dyn Backend>,
        patience: Patience,
        tmp: impl Into<PathBuf>,
        seed: u64,
        warn: Warn,
    ) -> Self {
        Self(Arc::new(Shared::new(name.into(), backend, patience, tmp.into(), seed, warn)))
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Whether it is asked nothing more.
    pub fn is_off(&self) -> bool {
        self.0.state().off
    }

    /// Whether nothing more is written to it.
    pub fn takes_nothing(&self) -> bool {
        let state = self.0.state();
        state.off || state.full
    }

    /// What went to and came from it so far.
    pub fn metrics(&self) -> Metrics {
        self.0.counts.get()
    }

    /// Says something about it to the user.
    pub fn warn(&self, what: &str) {
        self.0.warn(what);
    }

    /// Which of these blobs are there, in their order.
    pub fn has(&self, blobs: &[Blob]) -> Result<Vec<bool>, Unavailable> {
        let asked = blobs.to_vec();
        let mut there = self.call(move |backend, _| backend.has(&asked))?;
        there.resize(blobs.len(), false);
        let state = self.0.state();
        let good = |(blob, there): (&Blob, bool)| there && !state.wrong.contains(blob);
        Ok(blobs.iter().zip(there).map(good).collect())
    }

    /// A blob, verified, as a file without a name; none: it is not there, or something else is in its place.
    pub fn get(&self, blob: Blob) -> Result<Option<File>, Unavailable> {
        let tmp = self.0.tmp.clone();
        let came = self.call(move |backend, pulse| {
            let mut sink = Sink::new(tempfile::tempfile_in(&tmp)?, blob, pulse);
            let got = backend.get(&blob, &mut sink);
            if sink.is_too_long() {
                return Ok(Some(Came::Wrong));
            }
            if !got? {
                return Ok(None);
            }
            match sink.end()? {
                Came::Short => Err(BackendError::passing("a blob ends too early")),
                came => Ok(Some(came)),
            }
        })?;
        match came {
            Some(Came::Whole(file)) => {
                add(&self.0.counts.received, blob.size);
                Ok(Some(file))
            }
            None => Ok(None),
            Some(_) => {
                self.0.state().wrong.insert(blob);
                self.warn(&format!("has something else in the place of {}", blob.digest));
                Ok(None)
            }
        }
    }

    /// Keeps a blob, verified on the way; `open` gives its bytes, again for each try.
    pub fn put(
        &self,
        blob: Blob,
        open: impl Fn() -> io::Result<Box<dyn Read + Send>> + Send + Sync + 'static,
    ) -> Result<(), Unavailable> {
        let put = self.write(move |backend, pulse| {
            // What cannot be read here is no fault of the cache's.
            let Ok(from) = open() else { return Ok(false) };
            let mut source = Source::new(from, blob, pulse);
            let put = backend.put(&blob, &mut source);
            if source.has_failed() { Ok(false) } else { put.map(|()| true) }
        })?;
        if !put {
            return Err(Unavailable);
        }
        self.0.state().wrong.remove(&blob);
        add(&self.0.counts.sent, blob.size);
        Ok(())
    }

    /// The record of `key`.
    pub fn record(&self, key: Digest) -> Result<Option<Vec<u8>>, Unavailable> {
        let record = self.call(move |backend, _| backend.record(&key))?;
        let record = record.filter(|record| record.len() as u64 <= MAX_RECORD);
        match &record {
            Some(record) => {
                add(&self.0.counts.hits, 1);
                add(&self.0.counts.received, record.len() as u64);
            }
            None => add(&self.0.counts.misses, 1),
        }
        Ok(record)
    }

    /// Keeps a record; one that is there stays, and the answer is false, unless it is `refused`.
    pub fn put_record(
        &self,
        key: Digest,
        record: Vec<u8>,
        blobs: Vec<Blob>,
        refused: Option<Vec<u8>>,
    ) -> Result<bool, Unavailable> {
        let size = record.len() as u64;
        let kept = self.write(move |backend, _| {
            backend.put_record(&key, &record, &blobs, refused.as_deref())
        })?;
        add(&self.0.counts.sent, size);
        Ok(kept)
    }

    fn write<T: Send + 'static>(&self, work: impl Work<T>) -> Result<T, Unavailable> {
        if self.takes_nothing() {
            return Err(Unavailable);
        }
        self.0.attempts(work).map_err(|failed| {
            if let Some(failed) = failed
                && !std::mem::replace(&mut self.0.state().full, true)
            {
                self.warn(&format!("takes nothing: {failed}"));
            }
            Unavailable
        })
    }

    fn call<T: Send + 'static>(&self, work: impl Work<T>) -> Result<T, Unavailable> {
        self.0.attempts(work).map_err(|failed| {
            if let Some(failed) = failed {
                self.0.switch_off(&failed.to_string());
            }
            Unavailable
        })
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Remote").field(&self.0.name).finish()
    }
}

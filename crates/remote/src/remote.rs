//! One cache as it is used: whatever its backend does, it answers, or is given up.
//!
//! A call runs on a thread of its own, so that one that never ends is left behind. A call that fails and may pass is
//! tried again; too many in a row, or a cache from which nothing at all is heard, and it is *off*: asked nothing more
//! in this build, with one warning. A cache that is dead from the beginning so costs less than two seconds, once.

use std::{
    collections::BTreeSet,
    fmt,
    fs::File,
    io::{self, Read, Seek, Write},
    path::PathBuf,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use reimage_castore::{Digest, Sha256Hasher};

use crate::{Again, Backend, BackendError, Blob, MAX_RECORD};

/// How long a cache is waited for; the same for every backend.
#[derive(Debug, Clone)]
pub struct Patience {
    /// After this long without a word it is asked whether it is there at all.
    pub ask: Duration,
    /// After this long without a word, to that question either, it is off.
    pub dead: Duration,
    /// A call from which nothing is heard for this long is given up, even if the cache is there.
    pub stalled: Duration,
    /// How often a call that may pass is tried again.
    pub retries: u32,
    /// The wait before the first retry; the next ones double, each with up to half as much again at random.
    pub backoff: Duration,
    /// Calls in a row that fail before it is off.
    pub failures: u32,
    /// Calls at the same time.
    pub parallel: usize,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            ask: Duration::from_millis(700),
            dead: Duration::from_millis(1700),
            stalled: Duration::from_secs(20),
            retries: 2,
            backoff: Duration::from_millis(100),
            failures: 3,
            parallel: 16,
        }
    }
}

/// What went to and came from a cache.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Metrics {
    /// Calls, each try counted.
    pub calls: u64,
    /// Records that were found.
    pub hits: u64,
    /// Records that were asked for and not there.
    pub misses: u64,
    /// Bytes that came.
    pub received: u64,
    /// Bytes that went.
    pub sent: u64,
    /// Calls that failed, after all tries.
    pub failed: u64,
}

/// A call that did not go well; the cache's warning says why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unavailable;

/// One cache.
#[derive(Clone)]
pub struct Remote(Arc<Shared>);

struct Shared {
    /// What people call it: its URL.
    name: String,
    backend: Arc<dyn Backend>,
    patience: Patience,
    /// Where what is received lies at first.
    tmp: PathBuf,
    warn: Warn,
    began: Instant,
    /// Milliseconds from the beginning to the last word of it.
    heard: AtomicU64,
    state: Mutex<State>,
    freed: Condvar,
    counts: Counts,
    seed: AtomicU64,
}

/// Who hears warnings; called from any thread.
pub type Warn = Arc<dyn Fn(String) + Send + Sync>;

#[derive(Default)]
struct State {
    off: bool,
    /// Writing is not allowed, or there is no room.
    full: bool,
    running: usize,
    /// Calls in a row that failed.
    failures: u32,
    /// When the first of them began.
    trouble: Option<u64>,
    /// Blobs in whose place something else is.
    wrong: BTreeSet<Blob>,
    asking: bool,
}

#[derive(Default)]
struct Counts {
    calls: AtomicU64,
    hits: AtomicU64,
    misses: AtomicU64,
    received: AtomicU64,
    sent: AtomicU64,
    failed: AtomicU64,
}

/// A sign of life of one call.
#[derive(Clone)]
struct Pulse {
    shared: Arc<Shared>,
    last: Arc<AtomicU64>,
}

/// How one try ended.
enum Try<T> {
    Done(T),
    Failed(BackendError),
    /// It did not end.
    Left(&'static str),
    Off,
}

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
        Self(Arc::new(Shared {
            name: name.into(),
            backend,
            patience,
            tmp: tmp.into(),
            warn,
            began: Instant::now(),
            heard: AtomicU64::new(0),
            state: Mutex::default(),
            freed: Condvar::new(),
            counts: Counts::default(),
            seed: AtomicU64::new(seed),
        }))
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
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let Counts { calls, hits, misses, received, sent, failed } = &self.0.counts;
        Metrics {
            calls: get(calls),
            hits: get(hits),
            misses: get(misses),
            received: get(received),
            sent: get(sent),
            failed: get(failed),
        }
    }

    /// Says something about it to the user.
    pub fn warn(&self, what: &str) {
        (self.0.warn)(format!("The cache {} {what}", self.0.name));
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
        let got = self.call(move |backend, pulse| {
            let mut sink = Sink::new(tempfile::tempfile_in(&tmp)?, blob.size, pulse);
            let got = backend.get(&blob, &mut sink);
            if sink.too_long {
                return Ok(Got::Wrong);
            }
            if !got? {
                return Ok(Got::Nothing);
            }
            if sink.left > 0 {
                return Err(BackendError::passing("a blob ends too early"));
            }
            let mut file = sink.file;
            file.rewind()?;
            Ok(if sink.hasher.finish() == blob.digest { Got::Blob(file) } else { Got::Wrong })
        })?;
        match got {
            Got::Blob(file) => {
                self.0.counts.received.fetch_add(blob.size, Ordering::Relaxed);
                Ok(Some(file))
            }
            Got::Nothing => Ok(None),
            Got::Wrong => {
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
            let hasher = Some(Sha256Hasher::new());
            let mut source = Source { from, hasher, blob, left: blob.size, failed: false, pulse };
            let put = backend.put(&blob, &mut source);
            if source.failed { Ok(false) } else { put.map(|()| true) }
        })?;
        if !put {
            return Err(Unavailable);
        }
        self.0.state().wrong.remove(&blob);
        self.0.counts.sent.fetch_add(blob.size, Ordering::Relaxed);
        Ok(())
    }

    /// The record of `key`.
    pub fn record(&self, key: Digest) -> Result<Option<Vec<u8>>, Unavailable> {
        let record = self.call(move |backend, _| backend.record(&key))?;
        let record = record.filter(|record| record.len() as u64 <= MAX_RECORD);
        let Counts { hits, misses, received, .. } = &self.0.counts;
        match &record {
            Some(record) => {
                hits.fetch_add(1, Ordering::Relaxed);
                received.fetch_add(record.len() as u64, Ordering::Relaxed);
            }
            None => {
                misses.fetch_add(1, Ordering::Relaxed);
            }
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
        self.0.counts.sent.fetch_add(size, Ordering::Relaxed);
        Ok(kept)
    }

    fn write<T: Send + 'static>(
        &self,
        work: impl Fn(&dyn Backend, Pulse) -> Result<T, BackendError> + Send + Sync + 'static,
    ) -> Result<T, Unavailable> {
        if self.takes_nothing() {
            return Err(Unavailable);
        }
        self.attempts(work).map_err(|failed| {
            if let Some(failed) = failed
                && !std::mem::replace(&mut self.0.state().full, true)
            {
                self.warn(&format!("takes nothing: {failed}"));
            }
            Unavailable
        })
    }

    fn call<T: Send + 'static>(
        &self,
        work: impl Fn(&dyn Backend, Pulse) -> Result<T, BackendError> + Send + Sync + 'static,
    ) -> Result<T, Unavailable> {
        self.attempts(work).map_err(|failed| {
            if let Some(failed) = failed {
                self.0.switch_off(&failed.to_string());
            }
            Unavailable
        })
    }

    /// Tries until it goes well, or no try is left. An error that stays is given back.
    fn attempts<T: Send + 'static>(
        &self,
        work: impl Fn(&dyn Backend, Pulse) -> Result<T, BackendError> + Send + Sync + 'static,
    ) -> Result<T, Option<BackendError>> {
        let work = Arc::new(work);
        let began = self.0.millis();
        let mut tries = 0;
        loop {
            let why = match self.attempt(work.clone(), began) {
                Try::Done(value) => {
                    let mut state = self.0.state();
                    (state.failures, state.trouble) = (0, None);
                    return Ok(value);
                }
                Try::Off => return Err(None),
                Try::Left(why) => why.to_owned(),
                Try::Failed(error) if error.again == Again::Never => {
                    self.0.counts.failed.fetch_add(1, Ordering::Relaxed);
                    return Err(Some(error));
                }
                Try::Failed(error) if tries < self.0.patience.retries => {
                    if self.0.silent(began) >= self.0.patience.dead {
                        self.0.switch_off(&error.to_string());
                        return Err(None);
                    }
                    tries += 1;
                    thread::sleep(self.0.wait(tries));
                    continue;
                }
                Try::Failed(error) => error.to_string(),
            };
            self.0.counts.failed.fetch_add(1, Ordering::Relaxed);
            let failures = {
                let mut state = self.0.state();
                state.failures += 1;
                state.trouble.get_or_insert(began);
                state.failures
            };
            if failures >= self.0.patience.failures || self.0.silent(began) >= self.0.patience.dead
            {
                self.0.switch_off(&why);
            }
            return Err(None);
        }
    }

    fn attempt<T: Send + 'static>(
        &self,
        work: Arc<impl Fn(&dyn Backend, Pulse) -> Result<T, BackendError> + Send + Sync + 'static>,
        began: u64,
    ) -> Try<T> {
        let shared = &self.0;
        if !shared.begin() {
            return Try::Off;
        }
        shared.counts.calls.fetch_add(1, Ordering::Relaxed);
        let started = shared.millis();
        let pulse = Pulse { shared: shared.clone(), last: Arc::new(AtomicU64::new(started)) };
        let (answer, answered) = mpsc::channel();
        let (worker, theirs) = (shared.clone(), pulse.clone());
        let spawned = thread::Builder::new().name("cache".to_owned()).spawn(move || {
            let done = work(&*worker.backend, theirs);
            worker.end();
            // Nobody may be waiting any more.
            let _ = answer.send(done);
        });
        if let Err(error) = spawned {
            shared.end();
            return Try::Failed(error.into());
        }
        loop {
            match answered.recv_timeout(Duration::from_millis(50)) {
                Ok(Ok(value)) => {
                    pulse.beat();
                    return Try::Done(value);
                }
                Ok(Err(error)) => return Try::Failed(error),
                Err(RecvTimeoutError::Disconnected) => return Try::Left("a call of it broke off"),
                Err(RecvTimeoutError::Timeout) => {}
            }
            if shared.state().off {
                return Try::Off;
            }
            let (patience, silent) = (&shared.patience, shared.silent(began));
            if silent >= patience.dead {
                shared.switch_off("it does not answer");
                return Try::Off;
            }
            if shared.since(pulse.last.load(Ordering::Relaxed)) >= patience.stalled {
                return Try::Left("it stands still");
            }
            if silent >= patience.ask {
                shared.ask();
            }
        }
    }
}

/// What a call for a blob brought.
enum Got {
    Blob(File),
    Nothing,
    Wrong,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn millis(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn since(&self, millis: u64) -> Duration {
        Duration::from_millis(self.millis().saturating_sub(millis))
    }

    /// For how long nothing good was heard, as far as a call knows that began at `began`.
    fn silent(&self, began: u64) -> Duration {
        let trouble = self.state().trouble.map_or(began, |trouble| trouble.min(began));
        self.since(self.heard.load(Ordering::Relaxed).max(trouble))
    }

    /// Waits for its turn; false: the cache is off.
    fn begin(&self) -> bool {
        let mut state = self.state();
        while !state.off && state.running >= self.patience.parallel {
            state = self.freed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let on = !state.off;
        state.running += usize::from(on);
        on
    }

    fn end(&self) {
        self.state().running -= 1;
        self.freed.notify_one();
    }

    fn switch_off(&self, why: &str) {
        if !std::mem::replace(&mut self.state().off, true) {
            (self.warn)(format!("The cache {} is not used: {why}", self.name));
        }
        self.freed.notify_all();
    }

    /// Asks for a record that nobody has, unless that is being asked: any answer is a sign of life.
    fn ask(self: &Arc<Self>) {
        if std::mem::replace(&mut self.state().asking, true) {
            return;
        }
        let shared = self.clone();
        // Without a thread there is no answer.
        let _ = thread::Builder::new().name("cache".to_owned()).spawn(move || {
            if shared.backend.record(&Digest::EMPTY).is_ok() {
                shared.heard.fetch_max(shared.millis(), Ordering::Relaxed);
            }
            shared.state().asking = false;
        });
    }

    fn wait(&self, number: u32) -> Duration {
        let seed = self.seed.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        let jitter = (seed ^ (seed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 54; // 0..1024
        let base = self.patience.backoff.saturating_mul(1 << (number - 1).min(6));
        base + base.mul_f64(f64::from(u32::try_from(jitter).unwrap_or(0)) / 2048.0)
    }
}

impl Pulse {
    fn beat(&self) {
        let now = self.shared.millis();
        self.last.fetch_max(now, Ordering::Relaxed);
        self.shared.heard.fetch_max(now, Ordering::Relaxed);
    }
}

/// Takes what is received: never more than was announced.
struct Sink {
    file: File,
    hasher: Sha256Hasher,
    left: u64,
    too_long: bool,
    pulse: Pulse,
}

impl Sink {
    fn new(file: File, size: u64, pulse: Pulse) -> Self {
        Self { file, hasher: Sha256Hasher::new(), left: size, too_long: false, pulse }
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
struct Source {
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

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Remote").field(&self.0.name).finish()
    }
}

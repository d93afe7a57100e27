//! One call: tried again if that may help, left behind if it never ends, and the last one if the cache is dead.

use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use reimage_castore::Digest;
use reimage_http::Waits;

use super::{
    Patience, Warn,
    metrics::{Counts, add},
    streams::Pulse,
};
use crate::{Again, Backend, BackendError, Blob};

/// What is asked of a backend, once for each try.
pub(super) trait Work<T>:
    Fn(&dyn Backend, Pulse) -> Result<T, BackendError> + Send + Sync + 'static
{
}

impl<T, F> Work<T> for F where
    F: Fn(&dyn Backend, Pulse) -> Result<T, BackendError> + Send + Sync + 'static
{
}

/// A cache, and what is known of it.
pub(super) struct Shared {
    /// What people call it: its URL.
    pub(super) name: String,
    pub(super) backend: Arc<dyn Backend>,
    pub(super) patience: Patience,
    /// Where what is received lies at first.
    pub(super) tmp: PathBuf,
    pub(super) warn: Warn,
    pub(super) counts: Counts,
    began: Instant,
    /// Milliseconds from the beginning to the last word of it.
    heard: AtomicU64,
    state: Mutex<State>,
    freed: Condvar,
    waits: Waits,
    /// Whether it is being asked if it is there at all.
    asking: AtomicBool,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) off: bool,
    /// Writing is not allowed, or there is no room.
    pub(super) full: bool,
    /// Blobs in whose place something else is.
    pub(super) wrong: BTreeSet<Blob>,
    running: usize,
    /// Calls in a row that failed.
    failures: u32,
    /// When the first of them began.
    trouble: Option<u64>,
    /// Whether it was said that it does not take everything.
    picky: bool,
}

/// How one try ended.
enum Try<T> {
    Done(T),
    Failed(BackendError),
    /// It did not end.
    Left(&'static str),
    Off,
}

impl Shared {
    pub(super) fn new(
        name: String,
        backend: Arc<dyn Backend>,
        patience: Patience,
        tmp: PathBuf,
        seed: u64,
        warn: Warn,
    ) -> Self {
        let waits = Waits::new(patience.backoff, seed);
        let (began, heard, state) = (Instant::now(), AtomicU64::new(0), Mutex::default());
        let (freed, counts, asking) = Default::default();
        Self {
            name,
            backend,
            patience,
            tmp,
            warn,
            counts,
            began,
            heard,
            state,
            freed,
            waits,
            asking,
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tries until it goes well, or no try is left. An error that stays is given back.
    pub(super) fn attempts<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl Work<T>,
    ) -> Result<T, Option<BackendError>> {
        let work = Arc::new(work);
        let began = self.millis();
        let mut tries = 0;
        loop {
            let why = match self.attempt(work.clone(), began) {
                Try::Done(value) => {
                    self.forgive();
                    return Ok(value);
                }
                Try::Off => return Err(None),
                Try::Left(why) => why.to_owned(),
                Try::Failed(error) => match error.again {
                    Again::Never => {
                        add(&self.counts.failed, 1);
                        return Err(Some(error));
                    }
                    Again::Others => {
                        add(&self.counts.failed, 1);
                        self.forgive();
                        if !std::mem::replace(&mut self.state().picky, true) {
                            self.warn(&format!("does not take everything: {error}"));
                        }
                        return Err(None);
                    }
                    Again::Soon if tries < self.patience.retries => {
                        tries += 1;
                        let wait = self.waits.time(tries, error.after);
                        if self.silent(began) + wait >= self.patience.dead {
                            self.switch_off(&error.to_string());
                            return Err(None);
                        }
                        thread::sleep(wait);
                        continue;
                    }
                    Again::Soon => error.to_string(),
                },
            };
            add(&self.counts.failed, 1);
            let failures = {
                let mut state = self.state();
                state.failures += 1;
                state.trouble.get_or_insert(began);
                state.failures
            };
            if failures >= self.patience.failures || self.silent(began) >= self.patience.dead {
                self.switch_off(&why);
            }
            return Err(None);
        }
    }

    fn attempt<T: Send + 'static>(self: &Arc<Self>, work: Arc<impl Work<T>>, began: u64) -> Try<T> {
        if !self.begin() {
            return Try::Off;
        }
        add(&self.counts.calls, 1);
        let pulse = Pulse::new(self.clone());
        let (answer, answered) = mpsc::channel();
        let (worker, theirs) = (self.clone(), pulse.clone());
        let spawned = thread::Builder::new().name("cache".to_owned()).spawn(move || {
            let done = work(&*worker.backend, theirs);
            worker.end();
            // Nobody may be waiting any more.
            let _ = answer.send(done);
        });
        if let Err(error) = spawned {
            self.end();
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
            if self.state().off {
                return Try::Off;
            }
            let silent = self.silent(began);
            if silent >= self.patience.dead {
                self.switch_off("it does not answer");
                return Try::Off;
            }
            if pulse.silent() >= self.patience.stalled {
                return Try::Left("it stands still");
            }
            if silent >= self.patience.ask {
                self.ask();
            }
        }
    }

    pub(super) fn millis(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    pub(super) fn since(&self, millis: u64) -> Duration {
        Duration::from_millis(self.millis().saturating_sub(millis))
    }

    /// Takes note of a sign of life.
    pub(super) fn hear(&self) {
        self.heard.fetch_max(self.millis(), Ordering::Relaxed);
    }

    /// For how long nothing good was heard, as far as a call knows that began at `began`.
    fn silent(&self, began: u64) -> Duration {
        let trouble = self.state().trouble.map_or(began, |trouble| trouble.min(began));
        self.since(self.heard.load(Ordering::Relaxed).max(trouble))
    }

    /// After an answer failures begin to be counted anew.
    fn forgive(&self) {
        let mut state = self.state();
        (state.failures, state.trouble) = (0, None);
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

    /// Says something about it to the user.
    pub(super) fn warn(&self, what: &str) {
        (self.warn)(format!("The cache {} {what}", self.name));
    }

    pub(super) fn switch_off(&self, why: &str) {
        if !std::mem::replace(&mut self.state().off, true) {
            self.warn(&format!("is not used: {why}"));
        }
        self.freed.notify_all();
    }

    /// Asks for a record that nobody has, unless that is being asked: any answer is a sign of life.
    fn ask(self: &Arc<Self>) {
        if self.asking.swap(true, Ordering::Relaxed) {
            return;
        }
        let shared = self.clone();
        // Without a thread there is no answer.
        let _ = thread::Builder::new().name("cache".to_owned()).spawn(move || {
            if shared.backend.record(&Digest::EMPTY).is_ok() {
                shared.hear();
            }
            shared.asking.store(false, Ordering::Relaxed);
        });
    }
}

//! Sending behind the build: what is made goes into a queue, and whoever made it goes on.

use std::{
    collections::{BTreeMap, VecDeque},
    io::{self, Read},
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use reimage_castore::Digest;

use crate::{
    Blob, Cache, MAX_RECORD, Record, Remote, Unavailable,
    cache::{Shared, lock},
    record,
};

/// Threads that prepare and send; calls to one cache are bounded apart.
const THREADS: usize = 2;

/// A blob that is to be sent, and how to read it, once for each try.
pub type Upload = (Blob, Arc<dyn Fn() -> io::Result<Box<dyn Read + Send>> + Send + Sync>);

/// What became of what was to be sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sent {
    /// Records that are there now, and were not before.
    pub sent: usize,
    /// What could not be sent, or was not sent in time.
    pub not_sent: Vec<String>,
}

type Job = Box<dyn FnOnce() -> Result<bool, Unavailable> + Send>;

/// The queue.
pub(crate) struct Uploads {
    shared: Arc<Shared>,
    queue: Arc<Queue>,
}

#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<(u64, Job)>,
    /// What waits or is being sent, by number.
    names: BTreeMap<u64, String>,
    next: u64,
    threads: usize,
    done: Sent,
}

impl Uploads {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, queue: Arc::default() }
    }
}

impl Cache {
    /// Will say of `key` what `prepare` gives, after the blobs that it gives beside it, to each cache that is written
    /// to and does not have it. People call it `name`. None: it turns out that there is nothing to say.
    pub fn push<T: Record + Send + 'static>(
        &self,
        name: &str,
        key: Digest,
        prepare: impl FnOnce() -> io::Result<Option<(T, Vec<Upload>)>> + Send + 'static,
    ) {
        if !self.takes() {
            if self.is_written() {
                lock(&self.uploads.queue.state).done.not_sent.push(name.to_owned());
            }
            return;
        }
        let shared = self.uploads.shared.clone();
        let job: Job = Box::new(move || send(&shared, &key, prepare));
        let queue = &self.uploads.queue;
        let mut state = lock(&queue.state);
        let number = state.next;
        state.next += 1;
        state.names.insert(number, name.to_owned());
        state.waiting.push_back((number, job));
        if state.threads < THREADS {
            let queue = queue.clone();
            let thread = thread::Builder::new().name("upload".to_owned());
            if thread.spawn(move || work(&queue)).is_ok() {
                state.threads += 1;
            }
        }
    }

    /// Waits until all is sent, at most for so long, and says what became of it since this was asked last.
    pub fn finish(&self, most: Duration) -> Sent {
        let queue = &self.uploads.queue;
        let end = Instant::now() + most;
        let mut state = lock(&queue.state);
        while !state.names.is_empty() && self.takes() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || state.threads == 0 {
                break;
            }
            // Woken from time to time to see whether the caches are still there.
            let wait = left.min(Duration::from_millis(200));
            let woken = queue.changed.wait_timeout(state, wait);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.waiting.clear();
        let unsent: Vec<_> = std::mem::take(&mut state.names).into_values().collect();
        let mut done = std::mem::take(&mut state.done);
        done.not_sent.extend(unsent);
        done.not_sent.sort();
        done.not_sent.dedup();
        done
    }
}

fn work(queue: &Queue) {
    loop {
        let (number, job) = {
            let mut state = lock(&queue.state);
            let Some(next) = state.waiting.pop_front() else {
                state.threads -= 1;
                return;
            };
            next
        };
        let sent = job();
        let mut state = lock(&queue.state);
        // Without its name nobody waits for it any more.
        if let Some(name) = state.names.remove(&number) {
            match sent {
                Ok(sent) => state.done.sent += usize::from(sent),
                Err(Unavailable) => state.done.not_sent.push(name),
            }
        }
        drop(state);
        queue.changed.notify_all();
    }
}

/// Sends one record and its blobs; whether any cache took it that did not have it.
fn send<T: Record>(
    shared: &Shared,
    key: &Digest,
    prepare: impl FnOnce() -> io::Result<Option<(T, Vec<Upload>)>>,
) -> Result<bool, Unavailable> {
    let numbers = 0..shared.remotes.len();
    let writes = |number: &usize| {
        let (remote, write) = &shared.remotes[*number];
        *write && !remote.takes_nothing()
    };
    let lacks = |number: &usize| shared.find::<T>(*number, key, Record::blobs).is_none();
    let to: Vec<_> = numbers.filter(writes).filter(lacks).collect();
    if to.is_empty() {
        return Ok(false);
    }
    let Some((record, uploads)) = prepare().map_err(|_| Unavailable)? else { return Ok(false) };
    let place = record::key_of::<T>(key);
    let bytes = shared.write(key, &record);
    if bytes.len() as u64 > MAX_RECORD {
        return Err(Unavailable);
    }
    let mut result = Ok(false);
    for number in to {
        let remote = &shared.remotes[number].0;
        let sent = send_blobs(remote, &uploads).and_then(|()| {
            let refused = shared.refused(number, place);
            remote.put_record(place, bytes.clone(), record.blobs(), refused)
        });
        result = match (result, sent) {
            (Ok(before), Ok(sent)) => Ok(before || sent),
            _ => Err(Unavailable),
        };
    }
    result
}

fn send_blobs(remote: &Remote, uploads: &[Upload]) -> Result<(), Unavailable> {
    let blobs: Vec<_> = uploads.iter().map(|(blob, _)| *blob).collect();
    if blobs.is_empty() {
        return Ok(());
    }
    let there = remote.has(&blobs)?;
    let missing = uploads.iter().zip(there).filter(|(_, there)| !there);
    let missing: Vec<_> = missing.map(|(upload, _)| upload).collect();
    let failed = thread::scope(|scope| {
        // As many at a time as the cache takes: the others wait for their turn.
        let sends: Vec<_> = missing
            .into_iter()
            .map(|(blob, open)| {
                let open = open.clone();
                scope.spawn(move || remote.put(*blob, move || open()))
            })
            .collect();
        sends.into_iter().any(|send| !matches!(send.join(), Ok(Ok(()))))
    });
    if failed { Err(Unavailable) } else { Ok(()) }
}

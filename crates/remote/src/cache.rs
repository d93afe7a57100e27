//! Several caches as one: read in order, written to some, believed as far as their records are signed.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    fs::File,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use reimage_castore::Digest;

use crate::{Blob, Metrics, PrivateKey, Record, Refused, Remote, Trust, record, upload::Uploads};

/// What a cache is made of.
#[derive(Debug)]
pub struct CacheConfig {
    /// The caches in the order in which they are asked, and whether each is written to.
    pub remotes: Vec<(Remote, bool)>,
    /// Whose records are believed.
    pub trust: Trust,
    /// What records that are written are signed with; what it signed is believed.
    pub signer: Option<PrivateKey>,
}

/// Caches that are asked in order; clones are the same one.
#[derive(Clone)]
pub struct Cache {
    pub(crate) shared: Arc<Shared>,
    pub(crate) uploads: Arc<Uploads>,
}

pub(crate) struct Shared {
    pub(crate) remotes: Vec<(Remote, bool)>,
    trust: Trust,
    signer: Option<PrivateKey>,
    /// Records that are not believed, or name what is gone, by cache and key: they may be replaced.
    refused: Mutex<BTreeMap<(usize, Digest), Vec<u8>>>,
    /// Blobs that no cache gave.
    lost: Mutex<BTreeSet<Blob>>,
    /// Contents that were to be had and then were not.
    given_up: Mutex<BTreeSet<Digest>>,
}

impl Cache {
    /// One of these.
    pub fn new(config: CacheConfig) -> Self {
        let CacheConfig { remotes, mut trust, signer } = config;
        if let (Trust::Keys(keys), Some(signer)) = (&mut trust, &signer) {
            keys.push(signer.public());
        }
        let (refused, lost, given_up) = Default::default();
        let shared = Arc::new(Shared { remotes, trust, signer, refused, lost, given_up });
        Self { uploads: Arc::new(Uploads::new(shared.clone())), shared }
    }

    /// What the first cache that has a record of `key` says, if it is believed and all the `needed` blobs are there.
    pub fn find<T: Record>(&self, key: &Digest, needed: impl Fn(&T) -> Vec<Blob>) -> Option<T> {
        let numbers = 0..self.shared.remotes.len();
        numbers.into_iter().find_map(|number| self.shared.find(number, key, &needed))
    }

    /// A blob from the first cache that has it, as a file without a name.
    pub fn get(&self, blob: Blob) -> Option<File> {
        let got = self.shared.remotes.iter().find_map(|(remote, _)| {
            if remote.is_off() { None } else { remote.get(blob).ok().flatten() }
        });
        if got.is_none() {
            lock(&self.shared.lost).insert(blob);
        }
        got
    }

    /// Says that this content could not be had: what names it is to be made again.
    pub fn give_up(&self, content: Digest) {
        lock(&self.shared.given_up).insert(content);
    }

    /// Whether that was said.
    pub fn gave_up(&self, content: &Digest) -> bool {
        lock(&self.shared.given_up).contains(content)
    }

    /// Whether a cache is to be given what is made here.
    pub fn is_written(&self) -> bool {
        self.shared.remotes.iter().any(|(_, write)| *write)
    }

    /// Whether one still takes it.
    pub(crate) fn takes(&self) -> bool {
        self.shared.remotes.iter().any(|(remote, write)| *write && !remote.takes_nothing())
    }

    /// Each cache, and what went to and came from it.
    pub fn metrics(&self) -> Vec<(String, Metrics)> {
        let remotes = self.shared.remotes.iter();
        remotes.map(|(remote, _)| (remote.name().to_owned(), remote.metrics())).collect()
    }
}

impl Shared {
    /// What cache `number` says.
    pub(crate) fn find<T: Record>(
        &self,
        number: usize,
        key: &Digest,
        needed: impl Fn(&T) -> Vec<Blob>,
    ) -> Option<T> {
        let remote = &self.remotes[number].0;
        if remote.is_off() {
            return None;
        }
        let place = record::key_of::<T>(key);
        let bytes = remote.record(place).ok()??;
        let record = match record::read::<T>(key, &bytes, &self.trust) {
            Ok(record) => record,
            Err(why) => {
                if why != Refused::Version && self.refuse(number, place, bytes) {
                    remote.warn(&format!("has a {} that is not used: {why}", T::KIND));
                }
                return None;
            }
        };
        let needed = needed(&record);
        let lost = needed.iter().any(|blob| lock(&self.lost).contains(blob));
        // Part of what it names was evicted: the record is of no use to anybody.
        if lost || (!needed.is_empty() && !remote.has(&needed).ok()?.into_iter().all(|has| has)) {
            self.refuse(number, place, bytes);
            return None;
        }
        Some(record)
    }

    /// Remembers that a record is of no use; true for the first time.
    fn refuse(&self, number: usize, place: Digest, bytes: Vec<u8>) -> bool {
        lock(&self.refused).insert((number, place), bytes).is_none()
    }

    /// The record of cache `number` that may be replaced.
    pub(crate) fn refused(&self, number: usize, place: Digest) -> Option<Vec<u8>> {
        lock(&self.refused).get(&(number, place)).cloned()
    }

    /// The bytes that say `record` of `key`, signed.
    pub(crate) fn write<T: Record>(&self, key: &Digest, record: &T) -> Vec<u8> {
        record::write(key, record, self.signer.as_ref())
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Cache").field(&self.shared.remotes).finish()
    }
}

//! Frees space: results first, then roots, then blobs that nothing needs any more.
//!
//! Whatever was used since the oldest open lease began stays, so a build that runs meanwhile loses nothing; each
//! file's time is looked at once more right before it goes. If a blob goes all the same between a build's look
//! and its use, the build finds it missing and makes it again.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use super::{
    Store, StoreError,
    error::Context,
    listing::{Listed, disk_size},
};
use crate::{
    ActionDigest, Digest,
    files::{Locked, read_dir_sorted, remove_all},
};

/// How many lists of what was evicted are kept.
const TOMBSTONES: usize = 32;

/// What to keep.
#[derive(Debug, Clone)]
pub struct Policy {
    /// The present time.
    pub now: SystemTime,
    /// How many bytes on disk may stay, by what was used last; none is any number.
    pub max_size: Option<u64>,
    /// What was not used for so long goes; none keeps it.
    pub max_age: Option<Duration>,
    /// Results that stay, with all that they need.
    pub keep: BTreeSet<ActionDigest>,
    /// Whether only to say what would go.
    pub dry_run: bool,
}

impl Policy {
    fn is_too_old(&self, used: SystemTime) -> bool {
        let age = self.now.duration_since(used).unwrap_or_default();
        self.max_age.is_some_and(|most| age > most)
    }
}

/// What went, or would go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Action results.
    pub results: usize,
    /// Diffs laid out, and files that stand for devices.
    pub roots: usize,
    /// Blobs.
    pub blobs: usize,
    /// Bytes on disk that these took.
    pub freed: u64,
    /// Bytes on disk that stay.
    pub kept: u64,
}

/// Something that may go.
struct Candidate<T> {
    what: T,
    path: PathBuf,
    used: SystemTime,
    size: u64,
}

/// What there is, and who needs it.
struct Inventory {
    results: Vec<Candidate<(ActionDigest, Vec<Digest>)>>,
    roots: Vec<Candidate<()>>,
    blobs: BTreeMap<Digest, Listed>,
    needed: BTreeMap<Digest, usize>,
    /// What was used from here on stays.
    since: SystemTime,
    total: u64,
}

/// What is to go.
#[derive(Default)]
struct Doomed {
    results: Vec<Candidate<(ActionDigest, Vec<Digest>)>>,
    roots: Vec<Candidate<()>>,
    blobs: BTreeSet<Digest>,
    freed: u64,
}

impl Store {
    /// Takes away what the policy does not keep.
    pub fn prune(&self, policy: &Policy) -> Result<Pruned, StoreError> {
        let mut inventory = self.inventory()?;
        let doomed = choose(&mut inventory, policy);
        let total = inventory.total;
        let mut pruned = Pruned {
            results: doomed.results.len(),
            roots: doomed.roots.len(),
            blobs: doomed.blobs.len(),
            freed: doomed.freed,
            kept: total - doomed.freed,
        };
        if !policy.dry_run {
            pruned = self.remove(&inventory, doomed, policy.now)?;
            pruned.kept = total - pruned.freed;
            self.sweep(inventory.since, policy)?;
        }
        Ok(pruned)
    }

    /// When `prune` took the result of an action away, as far as is remembered.
    pub fn evicted(&self, action: &ActionDigest) -> Option<SystemTime> {
        let directory = self.bucket("tombstones");
        read_dir_sorted(directory).ok()?.into_iter().rev().find_map(|entry| {
            let list = fs::read(entry.path()).ok()?;
            let there = list.chunks_exact(32).any(|d| d == action.digest().as_bytes());
            let seconds = entry.file_name().to_str()?.parse().ok()?;
            there.then(|| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
        })
    }

    fn inventory(&self) -> Result<Inventory, StoreError> {
        let since = self.oldest_lease()?;
        let (blobs, _) = self.list("objects-v1")?;
        let mut needed = BTreeMap::new();
        let mut results = Vec::new();
        for (listed, result) in self.all_results()? {
            let blobs = self.blobs_of(&result);
            for blob in &blobs {
                *needed.entry(*blob).or_default() += 1;
            }
            let Listed { digest, path, size, used } = listed;
            results.push(Candidate { what: (ActionDigest::new(digest), blobs), path, used, size });
        }
        self.forget_values();
        let mut roots = Vec::new();
        for bucket in ["roots-v1", "devices-v1"] {
            let top = self.bucket(bucket);
            for entry in read_dir_sorted(&top).at("read", &top)? {
                let path = entry.path();
                let used = entry.metadata().and_then(|m| m.modified());
                let (Ok(used), Ok(size)) = (used, size_below(&path)) else { continue };
                roots.push(Candidate { what: (), path, used, size });
            }
        }
        results.sort_by_key(|r| (r.used, r.what.0));
        roots.sort_by_key(|r| r.used);
        let total = blobs.iter().map(|b| b.size).sum::<u64>()
            + results.iter().map(|r| r.size).sum::<u64>()
            + roots.iter().map(|r| r.size).sum::<u64>();
        let blobs = blobs.into_iter().map(|blob| (blob.digest, blob)).collect();
        Ok(Inventory { results, roots, blobs, needed, since, total })
    }

    /// When the oldest process that has the store open opened it.
    fn oldest_lease(&self) -> Result<SystemTime, StoreError> {
        let directory = self.bucket("leases");
        let mut oldest = self.0.opened;
        for entry in read_dir_sorted(&directory).at("read", &directory)? {
            // Whoever can be locked is dead; looking takes it away.
            let alive = !matches!(Locked::attempt(&entry.path(), false), Ok(Some(_)));
            if let (true, Ok(began)) = (alive, entry.metadata().and_then(|m| m.modified())) {
                oldest = oldest.min(began);
            }
        }
        Ok(oldest)
    }

    fn remove(
        &self,
        inventory: &Inventory,
        doomed: Doomed,
        now: SystemTime,
    ) -> Result<Pruned, StoreError> {
        let mut pruned = Pruned::default();
        let mut evicted = Vec::new();
        let mut blobs = doomed.blobs;
        for result in doomed.results {
            if remove_unused(&result.path, result.used).at("remove", &result.path)? {
                evicted.extend_from_slice(result.what.0.digest().as_bytes());
                pruned.results += 1;
                pruned.freed += result.size;
            } else {
                // Somebody has just used it, and so needs what it names.
                for blob in &result.what.1 {
                    blobs.remove(blob);
                }
            }
        }
        self.bury(&evicted, now)?;
        for root in doomed.roots {
            if is_unused(&root.path, root.used) {
                // First out of sight, so that nobody finds a part of it.
                let away = self.tmp_name();
                fs::rename(&root.path, &away).at("remove", &root.path)?;
                remove_all(&away).at("remove", &away)?;
                pruned.roots += 1;
                pruned.freed += root.size;
            }
        }
        for digest in blobs {
            let blob = &inventory.blobs[&digest];
            if remove_unused(&blob.path, blob.used).at("remove", &blob.path)? {
                pruned.blobs += 1;
                pruned.freed += blob.size;
            }
        }
        if pruned.blobs > 0 {
            self.blobs_are_missing();
        }
        Ok(pruned)
    }

    /// Takes away memos, downloads that never ended and what was set aside, if it is too old; all of it is made again
    /// when needed.
    fn sweep(&self, since: SystemTime, policy: &Policy) -> Result<(), StoreError> {
        let mut files = Vec::new();
        for bucket in ["memos-v1", "complete-v1", "stat-v1"] {
            files.extend(self.list(bucket)?.0.into_iter().map(|file| (file.path, file.used)));
        }
        for bucket in ["partial", "quarantine"] {
            let directory = self.bucket(bucket);
            for entry in read_dir_sorted(&directory).at("read", &directory)? {
                if let Ok(used) = entry.metadata().and_then(|m| m.modified()) {
                    files.push((entry.path(), used));
                }
            }
        }
        for (path, used) in files {
            if used < since && policy.is_too_old(used) {
                remove_unused(&path, used).at("remove", &path)?;
            }
        }
        Ok(())
    }

    fn bury(&self, evicted: &[u8], now: SystemTime) -> Result<(), StoreError> {
        if evicted.is_empty() {
            return Ok(());
        }
        let seconds = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let directory = self.bucket("tombstones");
        let path = directory.join(seconds.to_string());
        let before = fs::read(&path).unwrap_or_default();
        fs::write(&path, [&before, evicted].concat()).at("write", &path)?;
        let all = read_dir_sorted(&directory).at("read", &directory)?;
        for old in all.iter().take(all.len().saturating_sub(TOMBSTONES)) {
            let _ = fs::remove_file(old.path());
        }
        Ok(())
    }
}

/// Decides what goes: what is too old, then, while there is too much, unneeded blobs, roots, and results with
/// what only they need, each by its last use.
fn choose(inventory: &mut Inventory, policy: &Policy) -> Doomed {
    let since = inventory.since;
    let too_old = |used| policy.is_too_old(used);
    let mut doomed = Doomed::default();
    let results = std::mem::take(&mut inventory.results);
    let may_go = |r: &Candidate<(ActionDigest, Vec<Digest>)>| {
        r.used < since && !policy.keep.contains(&r.what.0)
    };
    let (mut candidates, kept): (Vec<_>, Vec<_>) = results.into_iter().partition(may_go);
    drop(kept);
    let rest = candidates.split_off(candidates.partition_point(|r| too_old(r.used)));
    for result in candidates {
        doom(inventory, &mut doomed, result, too_old);
    }
    let mut roots = std::mem::take(&mut inventory.roots);
    roots.retain(|root| root.used < since);
    let young = roots.split_off(roots.partition_point(|r| too_old(r.used)));
    for root in roots {
        doomed.freed += root.size;
        doomed.roots.push(root);
    }
    let mut unneeded: Vec<_> = inventory
        .blobs
        .values()
        .filter(|b| b.used < since && !inventory.needed.contains_key(&b.digest))
        .filter(|b| !doomed.blobs.contains(&b.digest))
        .map(|b| (b.used, b.digest, b.size))
        .collect();
    unneeded.sort_unstable();
    let excess = |doomed: &Doomed| {
        let left = inventory.total - doomed.freed;
        policy.max_size.is_some_and(|most| left > most)
    };
    for (used, digest, size) in unneeded {
        if too_old(used) || excess(&doomed) {
            doomed.blobs.insert(digest);
            doomed.freed += size;
        }
    }
    for root in young {
        if excess(&doomed) {
            doomed.freed += root.size;
            doomed.roots.push(root);
        }
    }
    for result in rest {
        let left = inventory.total - doomed.freed;
        if policy.max_size.is_none_or(|most| left <= most) {
            break;
        }
        doom(inventory, &mut doomed, result, |_| true);
    }
    doomed
}

/// A result goes, and with it what only it needs and may go.
fn doom(
    inventory: &mut Inventory,
    doomed: &mut Doomed,
    result: Candidate<(ActionDigest, Vec<Digest>)>,
    may_go: impl Fn(SystemTime) -> bool,
) {
    for digest in &result.what.1 {
        let needed = inventory.needed.get_mut(digest).expect("it was counted");
        *needed -= 1;
        if *needed > 0 {
            continue;
        }
        inventory.needed.remove(digest);
        if let Some(blob) = inventory.blobs.get(digest)
            && blob.used < inventory.since
            && may_go(blob.used)
        {
            doomed.blobs.insert(*digest);
            doomed.freed += blob.size;
        }
    }
    doomed.freed += result.size;
    doomed.results.push(result);
}

fn is_unused(path: &Path, used: SystemTime) -> bool {
    fs::symlink_metadata(path).and_then(|m| m.modified()).is_ok_and(|now| now == used)
}

/// Removes a file unless it was used meanwhile; whether it did.
fn remove_unused(path: &Path, used: SystemTime) -> std::io::Result<bool> {
    if !is_unused(path, used) {
        return Ok(false);
    }
    fs::remove_file(path).map(|()| true)
}

/// Bytes on disk of all below.
fn size_below(path: &Path) -> std::io::Result<u64> {
    let mut size = 0;
    for entry in read_dir_sorted(path)? {
        let metadata = entry.metadata()?;
        size += disk_size(&metadata);
        if metadata.is_dir() {
            size += size_below(&entry.path()).unwrap_or(0);
        }
    }
    Ok(size)
}

#[cfg(test)]
mod tests;

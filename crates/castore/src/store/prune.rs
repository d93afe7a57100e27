//! Frees space: results first, then roots, then blobs that nothing needs any more, and what only saves work.
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

use super::{Store, StoreError, error::Context, listing::Listed};
use crate::{
    ActionDigest, Digest,
    files::{Locked, disk_size, read_dir_sorted, remove_all},
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
    /// How many bytes of the disk are to be free afterwards; what was used last stays longest.
    pub min_free: Option<u64>,
    /// What was not used for so long or longer goes; none keeps it.
    pub max_age: Option<Duration>,
    /// Results that stay, with all that they need.
    pub keep: BTreeSet<ActionDigest>,
    /// Whether only to say what would go.
    pub dry_run: bool,
}

impl Policy {
    /// Whether what was used last at this time goes.
    pub fn is_too_old(&self, used: SystemTime) -> bool {
        let age = self.now.duration_since(used).unwrap_or_default();
        self.max_age.is_some_and(|most| age >= most)
    }
}

/// How much of one kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amount {
    /// How many files, or directories as a whole.
    pub count: usize,
    /// Bytes that they take on disk.
    pub bytes: u64,
}

impl Amount {
    /// One more, of so many bytes.
    pub fn add(&mut self, bytes: u64) {
        self.count += 1;
        self.bytes += bytes;
    }
}

/// What went, or would go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Action results.
    pub results: Amount,
    /// Diffs laid out, and files that stand for devices.
    pub roots: Amount,
    /// Blobs.
    pub blobs: Amount,
    /// Memos, and stat caches of local trees.
    pub memos: Amount,
    /// Package indexes.
    pub indexes: Amount,
    /// Downloads that broke off.
    pub partial: Amount,
    /// What was found damaged and set aside.
    pub damaged: Amount,
    /// Bytes on disk that stay.
    pub kept: u64,
}

impl Pruned {
    /// Bytes on disk that all of it took.
    pub fn freed(&self) -> u64 {
        let Self { results, roots, blobs, memos, indexes, partial, damaged, kept: _ } = self;
        [results, roots, blobs, memos, indexes, partial, damaged]
            .map(|amount| amount.bytes)
            .iter()
            .sum()
    }

    fn of(&mut self, kind: Loose) -> &mut Amount {
        match kind {
            Loose::Memo => &mut self.memos,
            Loose::Index => &mut self.indexes,
            Loose::Partial => &mut self.partial,
            Loose::Damaged => &mut self.damaged,
        }
    }
}

/// What nothing refers to: it only saves work, or is there to be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Loose {
    Memo,
    Index,
    Partial,
    Damaged,
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
    loose: Vec<Candidate<Loose>>,
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
    loose: Vec<Candidate<Loose>>,
    blobs: BTreeSet<Digest>,
    freed: u64,
}

impl Doomed {
    fn root(&mut self, root: Candidate<()>) {
        self.freed += root.size;
        self.roots.push(root);
    }

    fn loose(&mut self, file: Candidate<Loose>) {
        self.freed += file.size;
        self.loose.push(file);
    }

    fn blob(&mut self, blob: &Listed) {
        self.freed += blob.size;
        self.blobs.insert(blob.digest);
    }

    /// What it comes to.
    fn amounts(&self, inventory: &Inventory) -> Pruned {
        let mut pruned = Pruned::default();
        for result in &self.results {
            pruned.results.add(result.size);
        }
        for root in &self.roots {
            pruned.roots.add(root.size);
        }
        for file in &self.loose {
            pruned.of(file.what).add(file.size);
        }
        for blob in &self.blobs {
            pruned.blobs.add(inventory.blobs[blob].size);
        }
        pruned
    }
}

impl Store {
    /// Takes away what the policy does not keep.
    pub fn prune(&self, policy: &Policy) -> Result<Pruned, StoreError> {
        let mut inventory = self.inventory()?;
        let most = self.most(policy, inventory.total)?;
        let doomed = choose(&mut inventory, policy, most);
        let mut pruned = if policy.dry_run {
            doomed.amounts(&inventory)
        } else {
            self.remove(&inventory, doomed, policy.now)?
        };
        pruned.kept = inventory.total - pruned.freed();
        Ok(pruned)
    }

    /// How many of `total` bytes may stay.
    fn most(&self, policy: &Policy, total: u64) -> Result<Option<u64>, StoreError> {
        let Some(wanted) = policy.min_free else { return Ok(policy.max_size) };
        let root = self.root();
        let disk = rustix::fs::statvfs(root).map_err(std::io::Error::from).at("look at", root)?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        let most = total.saturating_sub(wanted.saturating_sub(free));
        Ok(Some(policy.max_size.map_or(most, |size| size.min(most))))
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
        let mut loose = self.loose()?;
        results.sort_by_key(|r| (r.used, r.what.0));
        roots.sort_by_key(|r| r.used);
        loose.sort_by_key(|file| file.used);
        let total = blobs.iter().map(|b| b.size).sum::<u64>()
            + results.iter().map(|r| r.size).sum::<u64>()
            + roots.iter().map(|r| r.size).sum::<u64>()
            + loose.iter().map(|file| file.size).sum::<u64>();
        let blobs = blobs.into_iter().map(|blob| (blob.digest, blob)).collect();
        Ok(Inventory { results, roots, loose, blobs, needed, since, total })
    }

    fn loose(&self) -> Result<Vec<Candidate<Loose>>, StoreError> {
        let mut loose = Vec::new();
        for bucket in ["memos-v1", "complete-v1", "stat-v1"] {
            for Listed { path, used, size, .. } in self.list(bucket)?.0 {
                loose.push(Candidate { what: Loose::Memo, path, used, size });
            }
        }
        let directories = [
            ("indexes", Loose::Index),
            ("partial", Loose::Partial),
            ("quarantine", Loose::Damaged),
        ];
        for (name, what) in directories {
            let directory = self.bucket(name);
            if !directory.exists() {
                continue;
            }
            for entry in read_dir_sorted(&directory).at("read", &directory)? {
                // What cannot be looked at went while we looked.
                if let Ok(metadata) = entry.metadata()
                    && let (true, Ok(used)) = (metadata.is_file(), metadata.modified())
                {
                    let (path, size) = (entry.path(), disk_size(&metadata));
                    loose.push(Candidate { what, path, used, size });
                }
            }
        }
        Ok(loose)
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
                pruned.results.add(result.size);
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
                pruned.roots.add(root.size);
            }
        }
        if !blobs.is_empty() {
            // Before as well as after: who is killed in between has said so.
            self.blobs_are_missing();
        }
        for digest in &blobs {
            let blob = &inventory.blobs[digest];
            if remove_unused(&blob.path, blob.used).at("remove", &blob.path)? {
                pruned.blobs.add(blob.size);
            }
        }
        if !blobs.is_empty() {
            self.blobs_are_missing();
        }
        for file in doomed.loose {
            let removed = match file.what {
                // Whoever downloads holds its lock; to have it and let go of it takes it away.
                Loose::Partial => matches!(Locked::attempt(&file.path, false), Ok(Some(_))),
                _ => remove_unused(&file.path, file.used).at("remove", &file.path)?,
            };
            if removed {
                pruned.of(file.what).add(file.size);
            }
        }
        Ok(pruned)
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

/// Decides what goes: what is too old, then, while more than `most` bytes stay, what nothing needs, roots, and results
/// with what only they need, each by its last use.
fn choose(inventory: &mut Inventory, policy: &Policy, most: Option<u64>) -> Doomed {
    let (since, total) = (inventory.since, inventory.total);
    let too_old = |used| policy.is_too_old(used);
    let excess = |doomed: &Doomed| most.is_some_and(|most| total - doomed.freed > most);
    let mut doomed = Doomed::default();
    let mut results = std::mem::take(&mut inventory.results);
    results.retain(|r| r.used < since && !policy.keep.contains(&r.what.0));
    let young_results = results.split_off(results.partition_point(|r| too_old(r.used)));
    for result in results {
        doom(inventory, &mut doomed, result, too_old);
    }
    let mut roots = std::mem::take(&mut inventory.roots);
    roots.retain(|root| root.used < since);
    let young_roots = roots.split_off(roots.partition_point(|r| too_old(r.used)));
    for root in roots {
        doomed.root(root);
    }
    let mut loose = std::mem::take(&mut inventory.loose);
    loose.retain(|file| file.used < since);
    let young_loose = loose.split_off(loose.partition_point(|file| too_old(file.used)));
    for file in loose {
        doomed.loose(file);
    }
    let unneeded = |b: &&Listed| b.used < since && !inventory.needed.contains_key(&b.digest);
    let mut unneeded: Vec<_> = inventory.blobs.values().filter(unneeded).collect();
    unneeded.retain(|blob| !doomed.blobs.contains(&blob.digest));
    unneeded.sort_by_key(|blob| (blob.used, blob.digest));
    for blob in unneeded {
        if too_old(blob.used) || excess(&doomed) {
            doomed.blob(blob);
        }
    }
    for file in young_loose {
        // Memos are small, and each saves much.
        if file.what != Loose::Memo && excess(&doomed) {
            doomed.loose(file);
        }
    }
    for root in young_roots {
        if excess(&doomed) {
            doomed.root(root);
        }
    }
    for result in young_results {
        if !excess(&doomed) {
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
            doomed.blob(blob);
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

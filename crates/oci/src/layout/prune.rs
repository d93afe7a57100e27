//! Taking away what nothing refers to.

use std::{collections::BTreeSet, io, path::Path};

use fs_err as fs;
use reimage_castore::{Amount, Policy, Sha256, disk_size, read_dir_sorted};

use super::{Layout, LayoutError};

/// What went, or would go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pruned {
    /// Blobs that no image needs.
    pub blobs: Amount,
    /// What layers were packed to whose blobs are gone, and where layers can be had that no image needs.
    pub memos: Amount,
    /// Downloads that broke off, and what killed processes left.
    pub partial: Amount,
    /// What was found damaged and set aside.
    pub damaged: Amount,
}

impl Pruned {
    /// Bytes on disk that all of it took.
    pub fn freed(&self) -> u64 {
        let Self { blobs, memos, partial, damaged } = self;
        [blobs, memos, partial, damaged].map(|amount| amount.bytes).iter().sum()
    }
}

impl Layout {
    /// Takes away every blob that no image needs, whatever its age, and of downloads that broke off and of what is
    /// damaged what the policy finds too old. Waits until nobody adds to the layout, unless nothing is to be taken.
    ///
    /// Fails, taking nothing, if a manifest cannot be read: what it needs is not known then.
    pub fn prune(&self, policy: &Policy) -> Result<Pruned, LayoutError> {
        let lock = self.lock_file("use.lock")?;
        if !policy.dry_run {
            lock.lock().map_err(|e| self.io(e))?;
        }
        let needed = self.needed()?;
        self.take(&needed, policy).map_err(|e| self.io(e))
    }

    /// Whether somebody adds to the layout just now, so that [`Self::prune`] would wait.
    pub fn is_in_use(&self) -> bool {
        self.lock_file("use.lock").is_ok_and(|lock| lock.try_lock().is_err())
    }

    fn take(&self, needed: &BTreeSet<Sha256>, policy: &Policy) -> io::Result<Pruned> {
        let mut pruned = Pruned::default();
        let goes = |amount: &mut Amount, path: &Path| -> io::Result<()> {
            amount.add(size_of(path)?);
            match fs::symlink_metadata(path)?.is_dir() {
                _ if policy.dry_run => Ok(()),
                true => fs::remove_dir_all(path),
                false => fs::remove_file(path),
            }
        };
        for path in paths(&self.blobs())? {
            // What is not named by a digest is not ours.
            if digest_of(&path).is_some_and(|digest| !needed.contains(&digest)) {
                goes(&mut pruned.blobs, &path)?;
            }
        }
        for path in paths(&self.own("layers-v1"))? {
            if !fs::read(&path).is_ok_and(|memo| self.holds(&memo, needed, policy)) {
                goes(&mut pruned.memos, &path)?;
            }
        }
        for path in paths(&self.own("away"))? {
            if digest_of(&path).is_none_or(|digest| !needed.contains(&digest)) {
                goes(&mut pruned.memos, &path)?;
            }
        }
        // Nobody is here, so what is being written is nobody's; a dry run cannot know that.
        for path in if policy.dry_run { Vec::new() } else { paths(&self.own("tmp"))? } {
            goes(&mut pruned.partial, &path)?;
        }
        let old = |path: &Path| -> io::Result<bool> {
            Ok(policy.is_too_old(fs::symlink_metadata(path)?.modified()?))
        };
        for path in paths(&self.own("partial"))? {
            if old(&path)? {
                goes(&mut pruned.partial, &path)?;
            }
        }
        for path in paths(&self.own(""))? {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if name.starts_with("damaged-") && old(&path)? {
                goes(&mut pruned.damaged, &path)?;
            }
        }
        Ok(pruned)
    }

    /// Every blob that an image of the index needs.
    fn needed(&self) -> Result<BTreeSet<Sha256>, LayoutError> {
        let mut needed = BTreeSet::new();
        for entry in self.index()?.manifests {
            for descriptor in self.walk(&entry)? {
                needed.insert(descriptor.digest);
                if descriptor.is_manifest() {
                    let (manifest, _) = self.manifest(&descriptor)?;
                    needed.insert(manifest.config.digest);
                    needed.extend(manifest.layers.iter().map(|layer| layer.digest));
                }
            }
        }
        Ok(needed)
    }

    /// Whether the blob that a memo names stays.
    fn holds(&self, memo: &[u8], needed: &BTreeSet<Sha256>, policy: &Policy) -> bool {
        #[derive(serde::Deserialize)]
        struct Blob {
            digest: Sha256,
            size: u64,
        }
        serde_json::from_slice(memo).is_ok_and(|Blob { digest, size }| {
            self.has(digest, size) && (!policy.dry_run || needed.contains(&digest))
        })
    }
}

fn digest_of(path: &Path) -> Option<Sha256> {
    format!("sha256:{}", path.file_name()?.to_str()?).parse().ok()
}

/// What lies in `dir`; nothing if it is not there.
fn paths(dir: &Path) -> io::Result<Vec<std::path::PathBuf>> {
    match read_dir_sorted(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        entries => Ok(entries?.iter().map(fs::DirEntry::path).collect()),
    }
}

/// Bytes on disk of a file, or of a directory with all in it.
fn size_of(path: &Path) -> io::Result<u64> {
    let metadata = fs::symlink_metadata(path)?;
    let mut size = disk_size(&metadata);
    if metadata.is_dir() {
        for path in paths(path)? {
            size += size_of(&path)?;
        }
    }
    Ok(size)
}

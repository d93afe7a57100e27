//! What lies in the buckets, for those who must look at everything.

use std::{io, path::PathBuf, time::SystemTime};

use super::{Store, StoreError, error::Context};
use crate::{
    ActionDigest, ActionResult, Digest, Output,
    files::{disk_size, read_dir_sorted},
};

/// One file of a bucket that is sorted by digest.
pub(super) struct Listed {
    pub(super) digest: Digest,
    pub(super) path: PathBuf,
    /// Bytes that it takes on disk.
    pub(super) size: u64,
    /// When it was last used, as far as it was marked.
    pub(super) used: SystemTime,
}

impl Store {
    /// All files of a bucket, sorted; what has no digest as its name is returned apart.
    pub(super) fn list(&self, bucket: &str) -> Result<(Vec<Listed>, Vec<PathBuf>), StoreError> {
        let top = self.bucket(bucket);
        let (mut listed, mut others) = (Vec::new(), Vec::new());
        for directory in read_dir_sorted(&top).at("read", &top)? {
            let path = directory.path();
            let first = directory.file_name().to_string_lossy().into_owned();
            if first.len() != 2 || !path.is_dir() {
                if first != "generation" {
                    others.push(path);
                }
                continue;
            }
            for entry in read_dir_sorted(&path).at("read", &path)? {
                let name = format!("{first}{}", entry.file_name().to_string_lossy());
                match (name.parse::<Digest>(), entry.metadata()) {
                    (Ok(digest), Ok(metadata)) if metadata.is_file() => {
                        listed.push(Listed {
                            digest,
                            path: entry.path(),
                            size: disk_size(&metadata),
                            used: metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH),
                        });
                    }
                    // It went while we looked.
                    (_, Err(error)) if error.kind() == io::ErrorKind::NotFound => {}
                    _ => others.push(entry.path()),
                }
            }
        }
        Ok((listed, others))
    }

    /// All blobs that a result needs, its log among them; those of a tree that is gone are not known.
    pub(super) fn blobs_of(&self, result: &ActionResult) -> Vec<Digest> {
        let mut blobs: Vec<_> = result.log.into_iter().collect();
        match &result.output {
            Output::Diff(digest) => {
                blobs.push(*digest);
                if let Ok(diff) = self.diff(digest) {
                    blobs.extend(diff.blobs().map(|(digest, _)| digest));
                }
            }
            Output::Tree(digest) => {
                blobs.push(*digest);
                if let Ok(tree) = self.tree(digest) {
                    blobs.extend(tree.blobs().map(|(digest, _)| digest));
                }
            }
        }
        blobs.sort_unstable();
        blobs.dedup();
        blobs
    }

    /// All action results that can be read, with when they were used last.
    pub(super) fn all_results(&self) -> Result<Vec<(Listed, ActionResult)>, StoreError> {
        let (listed, _) = self.list("actions-v1")?;
        let read = |listed: Listed| {
            let result = self.result_record(&ActionDigest::new(listed.digest));
            result.transpose().map(|result| result.map(|result| (listed, result)))
        };
        listed.into_iter().filter_map(read).collect()
    }
}

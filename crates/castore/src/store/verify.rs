//! Looks at everything in a store: `reimage cache verify`.

use std::path::PathBuf;

use rayon::prelude::*;

use super::{Store, StoreError};
use crate::{ActionDigest, Digest};

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verified {
    /// How many blobs there are.
    pub blobs: usize,
    /// How many bytes they take on disk.
    pub bytes: u64,
    /// How many action results there are.
    pub results: usize,
    /// Blobs that were not what their digest says; they are set aside.
    pub corrupt: Vec<Digest>,
    /// Results that were not intact; they are set aside.
    pub bad_results: Vec<ActionDigest>,
    /// Other records that were not intact, such as memos; they are set aside.
    pub bad_records: Vec<PathBuf>,
    /// How many diffs are laid out for the sandbox.
    pub roots: usize,
    /// Those that were not as they were laid out; they are gone.
    pub bad_roots: Vec<PathBuf>,
    /// Results whose blobs are not all there: their steps will run again.
    pub incomplete: Vec<ActionDigest>,
    /// Files that reimage did not put there.
    pub foreign: Vec<PathBuf>,
}

impl Verified {
    /// Whether every blob, record and root is intact; an incomplete result does no harm.
    pub fn is_good(&self) -> bool {
        self.corrupt.is_empty()
            && self.bad_results.is_empty()
            && self.bad_records.is_empty()
            && self.bad_roots.is_empty()
    }
}

impl Store {
    /// Checks every result for its blobs and, if `full`, every byte of every blob, record and root.
    pub fn verify(&self, full: bool) -> Result<Verified, StoreError> {
        let (blobs, mut foreign) = self.list("objects-v1")?;
        let mut verified = Verified {
            blobs: blobs.len(),
            bytes: blobs.iter().map(|blob| blob.size).sum(),
            ..Verified::default()
        };
        if full {
            let found: Vec<_> = blobs
                .par_iter()
                .filter_map(|blob| self.check(&blob.digest).transpose())
                .collect::<Result<_, _>>()?;
            verified.corrupt = found;
        }
        let (records, others) = self.list("actions-v1")?;
        foreign.extend(others);
        verified.foreign = foreign;
        // Not what is remembered: what lies there.
        self.forget_values();
        self.blobs_are_missing();
        if full {
            for bucket in ["memos-v1", "complete-v1", "stat-v1"] {
                let (records, _) = self.list(bucket)?;
                for record in records {
                    if self.read_record(bucket, &record.digest)?.is_none() {
                        verified.bad_records.push(record.path);
                    }
                }
            }
            (verified.roots, verified.bad_roots) = self.verify_roots()?;
        }
        for record in records {
            let action = ActionDigest::new(record.digest);
            match self.result_record(&action)? {
                Some(result) if self.result_is_complete(&result)? => verified.results += 1,
                Some(_) => {
                    verified.results += 1;
                    verified.incomplete.push(action);
                }
                None => verified.bad_results.push(action),
            }
        }
        Ok(verified)
    }

    /// Reads a blob; its digest if it is not what that says.
    fn check(&self, digest: &Digest) -> Result<Option<Digest>, StoreError> {
        let Some((size, _)) = self.stat_object(digest)? else { return Ok(None) };
        let read = self.reader(digest, size).and_then(|mut reader| {
            std::io::copy(&mut reader, &mut std::io::sink()).map_err(|error| {
                error
                    .downcast()
                    .unwrap_or_else(|e| StoreError::io("read", self.object_path(digest), e))
            })
        });
        match read {
            Ok(_) | Err(StoreError::Missing { .. }) => Ok(None),
            Err(StoreError::Corrupt { digest, .. }) => Ok(Some(digest)),
            Err(other) => Err(other),
        }
    }
}

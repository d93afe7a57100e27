//! Action results: what a step gave, by the digest of all that could influence it.

use super::{Store, StoreError};
use crate::{ActionDigest, ActionResult, Digest, Output};

const BUCKET: &str = "actions-v1";
/// When all blobs of a tree or diff were last seen: the generation.
const COMPLETE: &str = "complete-v1";
/// From how many blobs on that is worth remembering.
const MANY: usize = 500;

/// What became of a result that was to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PutResult {
    /// It is stored; there was none, or one whose blobs are gone.
    Stored,
    /// One with the same output was there and stays.
    Same,
    /// One with another output was there, complete, and stays: the action is not deterministic.
    Differs(ActionResult),
    /// One with another output was there, its blobs are gone, and ours took its place.
    Replaced(ActionResult),
}

impl Store {
    /// The result of an action, if it is there with all its blobs.
    pub fn result(&self, action: &ActionDigest) -> Result<Option<ActionResult>, StoreError> {
        let Some(result) = self.result_record(action)? else { return Ok(None) };
        if self.result_is_complete(&result)? {
            self.touch_record(BUCKET, action.digest());
            return Ok(Some(result));
        }
        Ok(None)
    }

    /// The result of an action, whether or not its blobs are there: for its log, or to say what was evicted.
    pub fn result_record(&self, action: &ActionDigest) -> Result<Option<ActionResult>, StoreError> {
        let Some(bytes) = self.read_record(BUCKET, action.digest())? else { return Ok(None) };
        // A record that is intact and cannot be read was written by another version: a miss.
        Ok(ActionResult::decode(&bytes).ok())
    }

    /// Stores a result, after all its blobs. A complete one that is there is never replaced.
    pub fn put_result(
        &self,
        action: &ActionDigest,
        result: &ActionResult,
    ) -> Result<PutResult, StoreError> {
        let bytes = result.encode();
        if self.write_record(BUCKET, action.digest(), &bytes, false)? {
            return Ok(PutResult::Stored);
        }
        let there = self.result_record(action)?;
        if let Some(there) = &there
            && self.result_is_complete(there)?
        {
            self.touch_record(BUCKET, action.digest());
            let same = there.output == result.output;
            return Ok(if same { PutResult::Same } else { PutResult::Differs(there.clone()) });
        }
        self.write_record(BUCKET, action.digest(), &bytes, true)?;
        Ok(match there {
            Some(there) if there.output != result.output => PutResult::Replaced(there),
            _ => PutResult::Stored,
        })
    }

    /// Takes a result back, such as one whose blobs were found corrupted.
    pub fn forget_result(&self, action: &ActionDigest) -> Result<(), StoreError> {
        let path = self.record_path(BUCKET, action.digest());
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(StoreError::io("remove", path, error))
            }
            _ => Ok(()),
        }
    }

    /// Whether all that a result names is there, each blob with its size; a log may be gone.
    pub fn result_is_complete(&self, result: &ActionResult) -> Result<bool, StoreError> {
        let complete = match &result.output {
            Output::Diff(digest) => self.diff_is_complete(digest),
            Output::Tree(digest) => self.tree_is_complete(digest),
        };
        match complete {
            // The tree or diff itself: gone, corrupted, or something else altogether.
            Err(error) if error.is_miss().is_some() => Ok(false),
            Err(StoreError::Decode { .. }) => Ok(false),
            other => other,
        }
    }

    /// Whether a diff and all its blobs are there; an error if the diff itself is not.
    pub fn diff_is_complete(&self, digest: &Digest) -> Result<bool, StoreError> {
        let diff = self.diff(digest)?;
        self.is_complete(digest, diff.blobs().collect())
    }

    /// Whether a tree and all its blobs are there; an error if the tree itself is not.
    pub fn tree_is_complete(&self, digest: &Digest) -> Result<bool, StoreError> {
        let tree = self.tree(digest)?;
        self.is_complete(digest, tree.blobs().collect())
    }

    /// Looks for every blob, unless that was done since blobs last went missing.
    fn is_complete(&self, of: &Digest, blobs: Vec<(Digest, u64)>) -> Result<bool, StoreError> {
        if !self.has(of) {
            return Ok(false);
        }
        if blobs.len() < MANY {
            return Ok(self.missing(blobs).is_empty());
        }
        let mut mark = Vec::new();
        for number in self.generation()?.0 {
            mark.extend_from_slice(&number.to_le_bytes());
        }
        if self.read_record(COMPLETE, of)?.as_ref() == Some(&mark) {
            return Ok(true);
        }
        let complete = self.missing(blobs).is_empty();
        if complete {
            self.write_record(COMPLETE, of, &mark, true)?;
        }
        Ok(complete)
    }
}

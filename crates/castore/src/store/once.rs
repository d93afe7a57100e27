//! The same step wanted by two runs, or by two threads of one, is run once.

use super::{Store, StoreError, error::Context};
use crate::{ActionDigest, files::Locked};

/// The right to run an action; it ends when this is dropped, or with the process, however that ends.
#[derive(Debug)]
pub struct Once {
    _lock: Locked,
}

impl Store {
    /// Waits until nobody else runs the action. Look the result up again then: it may be there.
    pub fn once(&self, action: &ActionDigest) -> Result<Once, StoreError> {
        let path = self.bucket("locks").join(action.digest().to_string());
        Locked::wait(&path).map(|lock| Once { _lock: lock }).at("lock", &path)
    }

    /// The same without waiting; none if somebody runs the action now.
    pub fn try_once(&self, action: &ActionDigest) -> Result<Option<Once>, StoreError> {
        let path = self.bucket("locks").join(action.digest().to_string());
        let lock = Locked::attempt(&path, true).at("lock", &path)?;
        Ok(lock.map(|lock| Once { _lock: lock }))
    }
}

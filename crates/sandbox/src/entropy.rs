//! Where a step's random numbers come from.

use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::notify::random;
use crate::wire::path;

/// Where the random numbers of a command come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Entropy {
    /// The kernel: they are different each time.
    Real,
    /// Streams that are the same each time, and known to everybody: nothing that is made of them is secret. Addresses
    /// of memory are the same each time, too.
    Fixed {
        /// A file that stands for `/dev/random` and `/dev/urandom`: [`write_device`] writes one.
        #[serde(with = "path")]
        device: PathBuf,
    },
}

/// Bytes of a file that stands for `/dev/urandom`.
pub const DEVICE_SIZE: u64 = 64 << 20;

/// Writes the file that stands for `/dev/urandom`: [`DEVICE_SIZE`] bytes, the same each time.
pub fn write_device(mut to: impl io::Write) -> io::Result<()> {
    let mut block = vec![0; 1 << 20];
    for begin in (0..DEVICE_SIZE).step_by(block.len()) {
        random(b"/dev/urandom", 0, begin, &mut block);
        to.write_all(&block)?;
    }
    Ok(())
}

/// What /proc/sys/kernel/random/uuid says each time.
pub(crate) const UUID: &str = "00000000-0000-4000-8000-000000000002\n";

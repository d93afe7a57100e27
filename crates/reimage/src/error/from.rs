//! One conversion for each library error: whose fault it is, and what to do.

use std::io;

use super::{CommandError, Kind};

impl From<io::Error> for CommandError {
    fn from(error: io::Error) -> Self {
        let kind = match error.kind() {
            io::ErrorKind::BrokenPipe => Kind::BrokenPipe,
            _ => Kind::Environment,
        };
        Self::wrap(kind, error)
    }
}

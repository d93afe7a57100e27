//! What time it is in a step.

use serde::{Deserialize, Serialize};

/// The clock of a command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Clock {
    /// This machine's.
    #[default]
    Real,
    /// One that begins at the same time in every run and moves as the command waits.
    Fixed {
        /// When it begins, in seconds since 1970.
        start: i64,
    },
}

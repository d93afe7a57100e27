//! Whose files a step makes: the id backends and the choice between them.

use serde::{Deserialize, Serialize};

/// How the user and group ids of a step are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ids {
    /// Real root, or a user namespace that maps every id: owners are physical.
    Full,
    /// One mapped id; the monitor answers for the others and records owners beside the files.
    Notify,
    /// Subordinate ids mapped by `newuidmap`: owners are physical, inside this process's user namespace.
    Mapped,
}

impl Ids {
    /// Whether the owner of a file is what the file system says.
    pub fn physical(self) -> bool {
        self != Self::Notify
    }
}

/// Which backend is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IdsSetting {
    /// Real root keeps its ids; a plain user gets [`Ids::Notify`].
    #[default]
    Auto,
    /// [`Ids::Notify`], for real root too (in a user namespace of its own).
    Notify,
    /// [`Ids::Mapped`]: needs `newuidmap`, `newgidmap` and a line in /etc/subuid and /etc/subgid.
    Mapped,
}

//! The lock of a spec, as a build wants it.

use reimage_plan::Lock;

use crate::{app::App, error::CommandError, session::Session, spec_args::Loaded};

/// The lock to build `loaded` with.
pub(crate) fn lock_of(
    _app: &App,
    _session: &Session<'_>,
    loaded: &Loaded,
    _locked: bool,
) -> Result<Lock, CommandError> {
    Ok(loaded.lock.clone().unwrap_or_default())
}

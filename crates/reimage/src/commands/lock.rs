//! The lock of a spec, as a build wants it.

use std::io::Write;

use reimage_build::{Update, lock};
use reimage_plan::{Lock, Plan};

use crate::{
    app::App,
    error::{CommandError, Kind},
    session::Session,
    spec_args::Loaded,
};

/// The lock to build `loaded` with: what is there, as it is; where nothing is there, a new one, unless `locked`.
pub(crate) fn lock_of(
    app: &App,
    session: &Session<'_>,
    loaded: &Loaded,
    locked: bool,
) -> Result<Lock, CommandError> {
    if let Some(lock) = &loaded.lock {
        return Ok(lock.clone());
    }
    let empty = Lock::default();
    let plan = Plan::new(loaded.evaluated.spec.clone(), &empty)?;
    if plan.unpinned().next().is_none() {
        return Ok(empty);
    }
    if locked {
        let message =
            format!("There is no `{}`, and `--locked` makes none", loaded.lock_path.display());
        return Err(CommandError::new(Kind::Spec, message)
            .hint("run `reimage lock` and commit what it writes"));
    }
    let made = session.during(|context| lock(plan.spec(), &empty, &Update::Nothing, context))?;
    write(&loaded.lock_path, &made.lock)?;
    app.ui.note(format!(
        "Wrote `{}`: commit it, and everybody builds the same",
        loaded.lock_path.display()
    ));
    Ok(made.lock)
}

/// Replaces the lock file whole, or not at all.
pub(crate) fn write(path: &std::path::Path, lock: &Lock) -> Result<(), CommandError> {
    let directory = path.parent().unwrap_or(path);
    let mut file = tempfile::Builder::new().prefix(".reimage.lock").tempfile_in(directory)?;
    file.write_all(lock.render().as_bytes())?;
    // Made for other people to read, unlike other temporaries.
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    file.as_file().set_permissions(mode)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

//! Fresh checkouts: modes of a umask, times of a day, one order or the other.

use std::{
    fs, io,
    os::unix::fs::{PermissionsExt, chown},
    path::Path,
    time::{Duration, SystemTime},
};

use super::way::Way;

const DAY: Duration = Duration::from_hours(24);

/// F, from 1970 on.
const F: Duration = Duration::from_hours(498_192);

/// Copies `from`, or touches it where it lies, as `way` says.
pub(crate) fn make(from: &Path, to: &Path, way: &Way) -> io::Result<()> {
    let mut entries: Vec<_> = fs::read_dir(from)?.collect::<Result<_, _>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    if way.reversed {
        entries.reverse();
    }
    let mask = u32::from_str_radix(way.umask, 8).unwrap_or(0o022);
    for entry in entries {
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type()?.is_dir() {
            fs::create_dir_all(&target)?;
            make(&path, &target, way)?;
            fs::set_permissions(&target, fs::Permissions::from_mode(0o777 & !mask))?;
            continue;
        }
        if path != target {
            fs::copy(&path, &target)?;
        }
        let executable = entry.metadata()?.permissions().mode() & 0o100;
        let mode = if executable == 0 { 0o666 } else { 0o777 };
        fs::set_permissions(&target, fs::Permissions::from_mode(mode & !mask))?;
        touch(&target, way.days)?;
    }
    Ok(())
}

/// Gives every file of a checkout the time of `days` from F.
pub(crate) fn touch_all(at: &Path, days: i64) -> io::Result<()> {
    for entry in fs::read_dir(at)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            touch_all(&entry.path(), days)?;
        } else {
            touch(&entry.path(), days)?;
        }
    }
    Ok(())
}

fn touch(file: &Path, days: i64) -> io::Result<()> {
    let distance = DAY * u32::try_from(days.unsigned_abs()).unwrap_or(0);
    let f = SystemTime::UNIX_EPOCH + F;
    let time = if days < 0 { f - distance } else { f + distance };
    fs::File::open(file)?.set_modified(time)
}

/// Hands a directory and all in it over to a user.
pub(crate) fn own(path: &Path, (uid, gid): (u32, u32)) -> io::Result<()> {
    if path.symlink_metadata()?.is_dir() {
        for entry in fs::read_dir(path)? {
            own(&entry?.path(), (uid, gid))?;
        }
    }
    chown(path, Some(uid), Some(gid))
}

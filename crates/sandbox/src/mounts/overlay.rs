//! One overlay: the root's or an input's.

use std::ffi::CString;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use rustix::fs::{CWD, FileType, Timespec, Timestamps};
use rustix::mount::mount;

use super::QUIET;
use super::inside::{make_dir, open_dir};
use crate::error::{During, Failure};

/// Where the writes to an overlay go.
pub(super) struct Writes<'a> {
    pub(super) base: &'a Path,
    pub(super) names: &'a Path,
    pub(super) name: &'a str,
}

/// Mounts an overlay and returns its upper directory, which gets the attributes of the top lower's root.
pub(super) fn overlay(
    lowers: &[&Path],
    writes: &Writes<'_>,
    at: &[u8],
) -> Result<OwnedFd, Failure> {
    let top = writes.base.join(writes.name);
    let (upper, work) = (top.join("upper"), top.join("work"));
    for dir in [&top, &upper, &work] {
        make_dir(dir, 0o755)?;
    }
    if let Some(lower) = lowers.last() {
        copy_attributes(lower, &upper)?;
    }
    let names = writes.names.join(writes.name);
    make_dir(&names, 0o755)?;
    let link = |to: &Path, name: &str| {
        symlink(to, names.join(name)).during(|| format!("name the layer `{}`", to.display()))
    };
    let mut options = String::from("lowerdir=");
    for (at, lower) in lowers.iter().rev().enumerate() {
        link(lower, &at.to_string())?;
        options.push_str(if at == 0 { "" } else { ":" });
        options.push_str(&at.to_string());
    }
    link(&upper, "u")?;
    link(&work, "w")?;
    // userxattr implies metacopy=off and redirect_dir=nofollow, and refuses to be told so.
    // volatile: no fsync ever, no syncfs of the whole file system at unmount. In memory that is nothing, but shows.
    options.push_str(",upperdir=u,workdir=w,userxattr,index=off,xino=off,volatile");
    rustix::process::chdir(&names).during(|| "enter the layers' names".into())?;
    let options = CString::new(options).expect("the options hold no NUL");
    mount("overlay", at, "overlay", QUIET, options.as_c_str()).during(|| {
        let list: Vec<_> = lowers.iter().skip(1).map(|path| path.display().to_string()).collect();
        format!("stack the directories [{}] with overlayfs", list.join(", "))
    })?;
    open_dir(&upper)
}

/// Gives the upper's root what the merged root must show: it hides the lowers' own attributes.
fn copy_attributes(from: &Path, to: &Path) -> Result<(), Failure> {
    let what = || format!("read the layer `{}`", from.display());
    let stat = rustix::fs::stat(from).during(what)?;
    if !FileType::from_raw_mode(stat.st_mode).is_dir() {
        return Err(Failure::invalid(format!("the layer `{}` is no directory", from.display())));
    }
    let what = || format!("copy the attributes of `{}`", from.display());
    let same = rustix::fs::stat(to).during(what)?;
    if (stat.st_uid, stat.st_gid) != (same.st_uid, same.st_gid) {
        let (uid, gid) =
            (rustix::fs::Uid::from_raw(stat.st_uid), rustix::fs::Gid::from_raw(stat.st_gid));
        match rustix::fs::chown(to, Some(uid), Some(gid)) {
            // The host's root, which has no number in a plain user's namespace, and is shown as ours.
            Err(rustix::io::Errno::INVAL) => {}
            changed => changed.during(what)?,
        }
    }
    fs::set_permissions(to, fs::Permissions::from_mode(stat.st_mode & 0o7777)).during(what)?;
    crate::xattr::copy_user(from, to).during(what)?;
    let time = |seconds, nanoseconds| Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
    let nanoseconds = stat.st_mtime_nsec.cast_signed();
    let times = Timestamps {
        last_access: time(stat.st_mtime, nanoseconds),
        last_modification: time(stat.st_mtime, nanoseconds),
    };
    rustix::fs::utimensat(CWD, to, &times, rustix::fs::AtFlags::empty()).during(what)
}

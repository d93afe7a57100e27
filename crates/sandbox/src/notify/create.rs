//! New files: they belong to whoever makes them, in a setgid directory to its group; devices are records.
//!
//! Root making a file in an ordinary directory is the kernel's business alone. Everything else is made here, on
//! the caller's behalf, with its umask, so that no other process ever sees the file with the wrong owner.

use std::ffi::{CStr, CString};
use std::os::fd::OwnedFd;

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, mkdirat, mknodat, openat, readlinkat, symlinkat, unlinkat,
};

use super::creds::Who;
#[cfg(target_arch = "x86_64")]
use super::place::HERE;
use super::place::{At, Place};
use super::{
    Failed, Feature, Handled, Handler, Notifier, Reply, fell_back, on, unresolved, unsigned,
};
use crate::filter::When;
use crate::ids::Ids;
use crate::sys::{self, Notification};
use crate::xattr::DEVICE;

/// Flags of a call that writes, or may.
const WRITES: u32 = (libc::O_WRONLY | libc::O_RDWR | libc::O_CREAT | libc::O_TRUNC).cast_unsigned();

const CREATES: u32 = (libc::O_CREAT | (libc::O_TMPFILE & !libc::O_DIRECTORY)).cast_unsigned();

pub(super) const TABLE: &[Handler] = &[
    #[cfg(target_arch = "x86_64")]
    on(libc::SYS_open, When::AnyBit(1, CREATES), Feature::Ownership, open),
    on(libc::SYS_openat, When::AnyBit(2, CREATES), Feature::Ownership, open_at),
    on(libc::SYS_openat2, When::Always, Feature::Ownership, open_at_2),
    #[cfg(target_arch = "x86_64")]
    on(libc::SYS_open, When::AnyBit(1, WRITES), Feature::Stat, open),
    on(libc::SYS_openat, When::AnyBit(2, WRITES), Feature::Stat, open_at),
    on(libc::SYS_openat2, When::Always, Feature::Stat, open_at_2),
    #[cfg(target_arch = "x86_64")]
    on(libc::SYS_creat, When::Always, Feature::Stat, creat),
    #[cfg(target_arch = "x86_64")]
    on(libc::SYS_mkdir, When::Always, Feature::Stat, mkdir),
    on(libc::SYS_mkdirat, When::Always, Feature::Stat, mkdir_at),
    #[cfg(target_arch = "x86_64")]
    on(libc::SYS_symlink, When::Always, Feature::Stat, symlink),
    on(libc::SYS_symlinkat, When::Always, Feature::Stat, symlink_at),
    #[cfg(target_arch = "x86_64")]
    on(libc::SYS_creat, When::Always, Feature::Ownership, creat),
    #[cfg(target_arch = "x86_64")]
    on(libc::SYS_mkdir, When::Always, Feature::Ownership, mkdir),
    on(libc::SYS_mkdirat, When::Always, Feature::Ownership, mkdir_at),
    #[cfg(target_arch = "x86_64")]
    on(libc::SYS_symlink, When::Always, Feature::Ownership, symlink),
    on(libc::SYS_symlinkat, When::Always, Feature::Ownership, symlink_at),
    #[cfg(target_arch = "x86_64")]
    on(libc::SYS_mknod, When::Masked(1, 0o130_000, 0o020_000), Feature::Devices, mknod),
    on(libc::SYS_mknodat, When::Masked(2, 0o130_000, 0o020_000), Feature::Devices, mknod_at),
    #[cfg(target_arch = "x86_64")]
    on(libc::SYS_mknod, When::Always, Feature::Ownership, mknod),
    on(libc::SYS_mknodat, When::Always, Feature::Ownership, mknod_at),
    #[cfg(target_arch = "x86_64")]
    on(libc::SYS_mknod, When::Always, Feature::Stat, mknod),
    on(libc::SYS_mknodat, When::Always, Feature::Stat, mknod_at),
];

#[cfg(target_arch = "x86_64")]
fn open(notifier: &mut Notifier, call: &Notification) -> Handled {
    let [path, flags, mode, ..] = call.args;
    create(notifier, call, HERE, path, flags, mode)
}

fn open_at(notifier: &mut Notifier, call: &Notification) -> Handled {
    let [dirfd, path, flags, mode, ..] = call.args;
    create(notifier, call, dirfd, path, flags, mode)
}

#[cfg(target_arch = "x86_64")]
fn creat(notifier: &mut Notifier, call: &Notification) -> Handled {
    let flags = libc::O_CREAT | libc::O_WRONLY | libc::O_TRUNC;
    create(notifier, call, HERE, call.args[0], flags.cast_unsigned().into(), call.args[1])
}

fn open_at_2(notifier: &mut Notifier, call: &Notification) -> Handled {
    let [dirfd, path, how, size, ..] = call.args;
    let mut bytes = [0; 24];
    if size < 24 {
        return Ok(Reply::Continue); // EINVAL
    }
    notifier.read(call, how, &mut bytes)?;
    let word = |at: usize| u64::from_ne_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
    let (flags, mode, resolve) = (word(0), word(8), word(16));
    if flags & u64::from(WRITES) == 0 {
        return Ok(Reply::Continue);
    }
    if resolve != 0 {
        let place = notifier.place(call, dirfd, path, 0)?;
        notifier.writes(call, &place)?;
        if notifier.ids != Ids::Notify || flags & u64::from(CREATES) == 0 {
            return Ok(Reply::Continue);
        }
        let who = notifier.credentials.of(call.pid)?;
        let ordinary = who.uid.fs == 0 && who.gid.fs == 0;
        if !ordinary || setgid_group(notifier, place.sibling(&parent(&place.path)))?.is_some() {
            let reason = "it was made by openat2 with a resolve mode";
            return Err(fell_back("the owner of a new file", reason));
        }
        return Ok(Reply::Continue);
    }
    create(notifier, call, dirfd, path, flags, mode)
}

/// Who a file belongs to that `who` makes in the directory `parent`; `None` if the kernel gets it right.
fn heir(notifier: &Notifier, who: &Who, parent: At<'_>) -> Result<Option<(u32, u32)>, Failed> {
    let group = setgid_group(notifier, parent)?;
    let owner = (who.uid.fs, group.unwrap_or(who.gid.fs));
    if owner == (0, 0) {
        return Ok(None);
    }
    let stat = sys::stat_at(parent.path, 0).map_err(unresolved)?;
    let dir = notifier.records.owner(parent, true, stat.mode(), stat.owner())?;
    if !who.may(dir, stat.mode(), 3) {
        return Err(Failed::Errno(libc::EACCES));
    }
    Ok(Some(owner))
}

/// The group that a directory gives to what is made in it.
fn setgid_group(notifier: &Notifier, dir: At<'_>) -> Result<Option<u32>, Failed> {
    let stat = sys::stat_at(dir.path, 0).map_err(unresolved)?;
    if stat.mode() & libc::S_ISGID == 0 {
        return Ok(None);
    }
    Ok(Some(notifier.records.owner(dir, true, stat.mode(), stat.owner())?.1))
}

/// The directory part of a path, and its last name.
pub(super) fn split(path: &CStr) -> (CString, CString) {
    let bytes = path.to_bytes();
    let end = bytes.iter().rposition(|byte| *byte != b'/').map_or(0, |at| at + 1);
    let start = bytes[..end].iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1);
    let dir = if start == 0 { b".".as_slice() } else { &bytes[..start] };
    let own = |bytes: &[u8]| CString::new(bytes).expect("a part of a C string holds no NUL");
    (own(dir), own(&bytes[start..end]))
}

fn parent(path: &CStr) -> CString {
    split(path).0
}

fn create(
    notifier: &mut Notifier,
    call: &Notification,
    dirfd: u64,
    path: u64,
    flags: u64,
    mode: u64,
) -> Handled {
    let flags = OFlags::from_bits_retain(unsigned(flags));
    let place = notifier.place(call, dirfd, path, 0)?;
    if flags.bits() & WRITES != 0 && !flags.intersects(OFlags::PATH | OFlags::DIRECTORY) {
        notifier.writes(call, &place)?;
    }
    if notifier.ids != Ids::Notify || flags.bits() & CREATES == 0 {
        return Ok(Reply::Continue);
    }
    let who = notifier.credentials.of(call.pid)?.clone();
    let nameless = flags.contains(OFlags::TMPFILE);
    let mut target = place.path.clone();
    if flags.contains(OFlags::PATH) {
        return Ok(Reply::Continue); // O_CREAT means nothing then
    }
    // An existing file is opened, not made. A dangling link is made where it points to.
    for _ in 0..40 {
        if nameless {
            break;
        }
        let Ok(stat) = sys::stat_at(&target, libc::AT_SYMLINK_NOFOLLOW) else { break };
        let link = stat.mode() & libc::S_IFMT == libc::S_IFLNK;
        if !link
            || flags.intersects(OFlags::EXCL | OFlags::NOFOLLOW)
            || sys::stat_at(&target, 0).is_ok()
        {
            return existing(notifier, &who, place.sibling(&target), flags);
        }
        target = pointed_to(&target)?;
    }
    let dir = if nameless { target.clone() } else { parent(&target) };
    let Some(owner) = heir(notifier, &who, place.sibling(&dir))? else {
        return Ok(Reply::Continue);
    };
    let close_on_exec = flags.contains(OFlags::CLOEXEC);
    let mut ours = flags | OFlags::CLOEXEC | OFlags::NOCTTY;
    if !nameless {
        ours |= OFlags::EXCL;
    }
    let mode = Mode::from_bits_retain(unsigned(mode) & 0o7777);
    let opened = with_umask(call, || openat(CWD, &target, ours, mode))?;
    let fd = match opened {
        Ok(fd) => fd,
        // Somebody was faster: it is an existing file now.
        Err(rustix::io::Errno::EXIST) if !flags.contains(OFlags::EXCL) => {
            return Ok(Reply::Continue);
        }
        Err(error) => return Err(error.into()),
    };
    record_fd(&fd, owner)?;
    Ok(Reply::Fd { fd, close_on_exec })
}

/// Opening what exists: the kernel's business, but for the modes that bind everyone but root.
fn existing(notifier: &Notifier, who: &Who, at: At<'_>, flags: OFlags) -> Handled {
    let writes = flags.intersects(OFlags::WRONLY | OFlags::RDWR);
    let reads = !flags.contains(OFlags::WRONLY);
    if !who.privileged()
        && !flags.contains(OFlags::EXCL)
        && let Ok(stat) = sys::stat_at(at.path, 0)
    {
        let owner = notifier.records.owner(at, true, stat.mode(), stat.owner())?;
        let wanted = if writes { 2 } else { 0 } | if reads { 4 } else { 0 };
        if !who.may(owner, stat.mode(), wanted) {
            return Err(Failed::Errno(libc::EACCES));
        }
    }
    Ok(Reply::Continue)
}

/// Where a link points to, as a path for us.
fn pointed_to(link: &CStr) -> Result<CString, Failed> {
    let target = readlinkat(CWD, link, Vec::new())?;
    if target.to_bytes().starts_with(b"/") {
        return Ok(target);
    }
    let mut path = parent(link).into_bytes();
    path.push(b'/');
    path.extend_from_slice(target.to_bytes());
    Ok(CString::new(path).expect("made of C strings"))
}

/// Records the owner of an open file, which may have no name yet.
fn record_fd(fd: &OwnedFd, owner: (u32, u32)) -> Result<(), Failed> {
    let record = format!("{}:{}", owner.0, owner.1);
    let set = rustix::fs::fsetxattr(
        fd,
        crate::xattr::OWNER,
        record.as_bytes(),
        rustix::fs::XattrFlags::empty(),
    );
    set.map_err(|error| fell_back("the owner of a new file", error))
}

/// A line of the caller's /proc/PID/status, without its name.
fn status_line(call: &Notification, name: &str) -> Result<String, Failed> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let proc = super::place::name(call.pid, "status");
    let status = openat(CWD, proc, flags, Mode::empty())?;
    let mut text = [0; 1024];
    let length = rustix::io::read(&status, &mut text)?;
    let text = String::from_utf8_lossy(&text[..length]);
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let unknown = || fell_back("what a process is", format!("the kernel does not tell its {name}"));
    line.map(|line| line.trim().to_owned()).ok_or_else(unknown)
}

/// Does something under the caller's umask.
fn with_umask<T>(call: &Notification, make: impl FnOnce() -> T) -> Result<T, Failed> {
    let umask = u32::from_str_radix(&status_line(call, "Umask:")?, 8)
        .map_err(|error| fell_back("the umask of a process", error))?;
    let ours = rustix::process::umask(Mode::from_bits_retain(umask));
    let result = make();
    rustix::process::umask(ours);
    Ok(result)
}

#[cfg(target_arch = "x86_64")]
fn mkdir(notifier: &mut Notifier, call: &Notification) -> Handled {
    make_dir(notifier, call, HERE, call.args[0], call.args[1])
}

fn mkdir_at(notifier: &mut Notifier, call: &Notification) -> Handled {
    make_dir(notifier, call, call.args[0], call.args[1], call.args[2])
}

fn make_dir(
    notifier: &mut Notifier,
    call: &Notification,
    dirfd: u64,
    path: u64,
    mode: u64,
) -> Handled {
    if notifier.ids != Ids::Notify {
        return Ok(Reply::Continue);
    }
    let place = notifier.place(call, dirfd, path, 0)?;
    let who = notifier.credentials.of(call.pid)?.clone();
    let Some(owner) = heir(notifier, &who, place.sibling(&parent(&place.path)))? else {
        return Ok(Reply::Continue);
    };
    let mode = Mode::from_bits_retain(unsigned(mode) & 0o1777);
    with_umask(call, || mkdirat(CWD, &place.path, mode))??;
    made(notifier, &place, libc::S_IFDIR, owner)
}

/// Records the owner of what was just made at a place.
fn made(notifier: &mut Notifier, place: &Place, kind: u32, owner: (u32, u32)) -> Handled {
    notifier.records.record(place.at(), false, kind, owner)?;
    Ok(Reply::Value(0))
}

#[cfg(target_arch = "x86_64")]
fn symlink(notifier: &mut Notifier, call: &Notification) -> Handled {
    link(notifier, call, call.args[0], HERE, call.args[1])
}

fn symlink_at(notifier: &mut Notifier, call: &Notification) -> Handled {
    link(notifier, call, call.args[0], call.args[1], call.args[2])
}

fn link(
    notifier: &mut Notifier,
    call: &Notification,
    target: u64,
    dirfd: u64,
    path: u64,
) -> Handled {
    let place = notifier.place(call, dirfd, path, libc::AT_SYMLINK_NOFOLLOW)?;
    notifier.makes(call, &place)?;
    if notifier.ids != Ids::Notify {
        return Ok(Reply::Continue);
    }
    let who = notifier.credentials.of(call.pid)?.clone();
    let Some(owner) = heir(notifier, &who, place.sibling(&parent(&place.path)))? else {
        return Ok(Reply::Continue);
    };
    let target = notifier.read_string(call, target)?;
    symlinkat(target.as_slice(), CWD, &place.path)?;
    made(notifier, &place, libc::S_IFLNK, owner)
}

#[cfg(target_arch = "x86_64")]
fn mknod(notifier: &mut Notifier, call: &Notification) -> Handled {
    let [path, mode, device, ..] = call.args;
    node(notifier, call, HERE, path, unsigned(mode), device)
}

fn mknod_at(notifier: &mut Notifier, call: &Notification) -> Handled {
    let [dirfd, path, mode, device, ..] = call.args;
    node(notifier, call, dirfd, path, unsigned(mode), device)
}

fn node(
    notifier: &mut Notifier,
    call: &Notification,
    dirfd: u64,
    path: u64,
    mode: u32,
    device: u64,
) -> Handled {
    let kind = mode & libc::S_IFMT;
    let is_device = matches!(kind, libc::S_IFCHR | libc::S_IFBLK);
    let place = notifier.place(call, dirfd, path, 0)?;
    notifier.makes(call, &place)?;
    if notifier.ids == Ids::Full {
        return Ok(Reply::Continue);
    }
    let (privileged, heir) = if notifier.ids == Ids::Notify {
        let who = notifier.credentials.of(call.pid)?.clone();
        let heir = heir(notifier, &who, place.sibling(&parent(&place.path)))?;
        (who.privileged(), heir)
    } else {
        // The kernel keeps the ids, and owners are physical; only root gets here by its own right.
        (status_line(call, "Uid:")?.split_whitespace().nth(1) == Some("0"), None)
    };
    let permissions = Mode::from_bits_retain(mode & 0o7777);
    if !is_device {
        let Some(owner) = heir else { return Ok(Reply::Continue) };
        let file_type = FileType::from_raw_mode(if kind == 0 { libc::S_IFREG } else { kind });
        if matches!(file_type, FileType::RegularFile | FileType::Fifo | FileType::Socket) {
            with_umask(call, || mknodat(CWD, &place.path, file_type, permissions, 0))??;
            return made(notifier, &place, file_type.as_raw_mode(), owner);
        }
        return Ok(Reply::Continue); // EINVAL
    }
    // 0:0 is overlayfs's whiteout, which it lets nobody make.
    if !privileged || (kind == libc::S_IFCHR && device == 0) {
        return Err(Failed::Errno(libc::EPERM));
    }
    let letter = if kind == libc::S_IFCHR { 'c' } else { 'b' };
    let device = u64::from(unsigned(device)); // the kernel takes 32 bits
    let record = format!("{letter} {} {}", rustix::fs::major(device), rustix::fs::minor(device));
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let fd = with_umask(call, || openat(CWD, &place.path, flags, permissions))??;
    let set =
        rustix::fs::fsetxattr(&fd, DEVICE, record.as_bytes(), rustix::fs::XattrFlags::empty());
    if let Err(error) = set {
        // Best effort: the step ends anyway.
        let _left = unlinkat(CWD, &place.path, AtFlags::empty());
        return Err(fell_back("a device node", error));
    }
    match heir {
        Some(owner) => made(notifier, &place, libc::S_IFREG, owner),
        None => Ok(Reply::Value(0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_split_as_the_kernel_walks_them() {
        let check = |path: &CStr, dir: &str, name: &str| {
            let (got_dir, got_name) = split(path);
            assert_eq!((got_dir.to_str(), got_name.to_str()), (Ok(dir), Ok(name)), "{path:?}");
        };
        check(c"a", ".", "a");
        check(c"/a", "/", "a");
        check(c"12/cwd/a/b", "12/cwd/a/", "b");
        check(c"12/cwd/a//b//", "12/cwd/a//", "b");
        check(c"/", ".", "");
    }
}

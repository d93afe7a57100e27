//! Paths of another process, resolved as that process would.
//!
//! We share its mount namespace, not its pid namespace: `/proc/self` of its /proc does not exist for us, so
//! such paths are named through the host's. A process that has changed its root is followed into it.

use std::ffi::{CStr, CString};
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, openat, readlinkat, statat};
use rustix::process::{chroot, fchdir};

use super::{
    Failed, Feature, Handled, Handler, Notifier, Reply, fell_back, int, on, unreadable, unresolved,
};
use crate::filter::When;
use crate::sys::{self, Notification};

pub(super) const TABLE: &[Handler] =
    &[on(libc::SYS_chroot, When::Always, Feature::Ownership, note_chroot)];

const PATH_MAX: usize = 4096;

/// The caller's working directory, as an argument.
pub(super) const HERE: u64 = libc::AT_FDCWD.cast_unsigned() as u64;

/// A path that leads us where the caller's path leads the caller, until this value is dropped.
pub(super) struct Place {
    pub(super) path: CString,
    /// Whether it runs through the host's /proc: what lies *in* that is not what the caller would see.
    pub(super) by_proc: bool,
    /// Whether it is a descriptor of the caller rather than a name.
    pub(super) descriptor: bool,
    /// Path of the root that the caller has changed to; empty if it has not.
    pub(super) root: Vec<u8>,
    _home: Option<Home>,
}

/// Brings us back to our own root and working directory.
struct Home {
    root: Rc<OwnedFd>,
    proc: Rc<OwnedFd>,
}

impl Drop for Home {
    fn drop(&mut self) {
        let home = fchdir(&self.root).and_then(|()| chroot(".")).and_then(|()| fchdir(&self.proc));
        // We hold CAP_SYS_CHROOT and both descriptors; without our root no answer could be trusted.
        home.expect("the monitor can return to its own root");
    }
}

#[expect(clippy::unnecessary_wraps, reason = "all handlers of the table have one type")]
fn note_chroot(notifier: &mut Notifier, _: &Notification) -> Handled {
    notifier.chrooted = true;
    Ok(Reply::Continue)
}

impl Place {
    /// Another path of the same process, beside this one.
    pub(super) fn sibling<'a>(&'a self, path: &'a CStr) -> At<'a> {
        At { path, root: &self.root }
    }

    /// This place, as what records are looked up by.
    pub(super) fn at(&self) -> At<'_> {
        self.sibling(&self.path)
    }
}

/// A path, and the path of the root that it is relative to.
#[derive(Clone, Copy)]
pub(super) struct At<'a> {
    pub(super) path: &'a CStr,
    pub(super) root: &'a [u8],
}

/// Opens a path as a mere place.
pub(super) fn open_path(path: &CStr) -> rustix::io::Result<OwnedFd> {
    openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
}

impl Notifier {
    /// Reads a string from the caller's memory, at most `PATH_MAX` bytes with its NUL.
    pub(super) fn read_string(&self, call: &Notification, address: u64) -> Result<Vec<u8>, Failed> {
        let mut text = Vec::new();
        let mut buffer = [0; PATH_MAX];
        let mut from = address;
        while text.len() < PATH_MAX {
            // Never across a page: the next one need not be mapped. Most strings are short.
            let page = PATH_MAX - usize::try_from(from % PATH_MAX as u64).unwrap_or(0);
            let length = page.min(if text.is_empty() { 256 } else { PATH_MAX });
            let read =
                sys::read_memory(call.pid, from, &mut buffer[..length]).map_err(unreadable)?;
            if let Some(end) = buffer[..read].iter().position(|byte| *byte == 0) {
                text.extend_from_slice(&buffer[..end]);
                self.still_there(call)?;
                return Ok(text);
            }
            text.extend_from_slice(&buffer[..read]);
            from += read as u64;
        }
        Err(Failed::Errno(libc::ENAMETOOLONG))
    }

    /// Where `path` at `address`, relative to the caller's descriptor `dirfd`, leads. With `AT_EMPTY_PATH`
    /// in `flags` an empty or absent path is the descriptor itself; with `AT_SYMLINK_NOFOLLOW` a link that means the
    /// caller, such as `/proc/self`, is that link.
    pub(super) fn place(
        &self,
        call: &Notification,
        dirfd: u64,
        address: u64,
        flags: i32,
    ) -> Result<Place, Failed> {
        let empty_is_fd = flags & libc::AT_EMPTY_PATH != 0;
        let path = match address {
            0 if empty_is_fd => Vec::new(),
            _ => match self.read_string(call, address) {
                Err(Failed::Errno(_)) => return Err(Failed::Unresolved),
                read => read?,
            },
        };
        if path.is_empty() {
            return if empty_is_fd { Ok(fd_place(call, dirfd)) } else { Err(Failed::Unresolved) };
        }
        if flags & libc::AT_SYMLINK_NOFOLLOW != 0
            && through_self(call, &path).is_some_and(|(_, rest)| rest.is_empty())
        {
            let path = text(&path);
            return Ok(Place {
                path,
                by_proc: false,
                descriptor: false,
                root: Vec::new(),
                _home: None,
            });
        }
        self.place_of(call, dirfd, &path)
    }

    /// Where `path` leads the caller.
    pub(super) fn place_of(
        &self,
        call: &Notification,
        dirfd: u64,
        path: &[u8],
    ) -> Result<Place, Failed> {
        if self.chrooted
            && let Some((root, home)) = self.follow(call, dirfd, path)?
        {
            let path = text(path);
            return Ok(Place { path, by_proc: false, descriptor: false, root, _home: Some(home) });
        }
        let mut named = Vec::with_capacity(path.len() + 24);
        let mut by_proc = false;
        if path[0] != b'/' {
            let base = base(call, dirfd);
            named.extend_from_slice(base.to_bytes());
            named.push(b'/');
            named.extend_from_slice(path);
        } else if let Some((prefix, rest)) = through_self(call, path) {
            by_proc = true;
            named.extend_from_slice(&prefix);
            named.extend_from_slice(rest);
        } else {
            named.extend_from_slice(path);
        }
        Ok(Place { path: text(&named), by_proc, descriptor: false, root: Vec::new(), _home: None })
    }

    /// Changes our root and directory to the caller's, if its root is not ours.
    fn follow(
        &self,
        call: &Notification,
        dirfd: u64,
        path: &[u8],
    ) -> Result<Option<(Vec<u8>, Home)>, Failed> {
        let theirs = open_path(&name(call.pid, "root")).map_err(their_root)?;
        let [a, b] = [&theirs, &*self.root].map(|fd| statat(fd, c"", AtFlags::EMPTY_PATH));
        let (a, b) = (a?, b?);
        if (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino) {
            return Ok(None);
        }
        let base = if path[0] == b'/' {
            None
        } else {
            Some(open_path(&base(call, dirfd)).map_err(unresolved)?)
        };
        let named = readlinkat(CWD, name(call.pid, "root"), Vec::new()).map_err(their_root)?;
        let named = named.into_bytes();
        let home = Home { root: Rc::clone(&self.root), proc: Rc::clone(&self.host_proc) };
        fchdir(&theirs).and_then(|()| chroot(".")).map_err(their_root)?;
        if let Some(base) = base {
            fchdir(&base).map_err(unresolved)?; // its descriptor may be no directory
        }
        Ok(Some((named, home)))
    }
}

/// Without the caller's root its paths mean nothing to us. A thread that is gone has none.
fn their_root(errno: rustix::io::Errno) -> Failed {
    match errno {
        rustix::io::Errno::NOENT | rustix::io::Errno::SRCH => Failed::Gone,
        other => fell_back("the root of a process", other),
    }
}

/// The caller's descriptor itself.
pub(super) fn fd_place(call: &Notification, fd: u64) -> Place {
    let path = base(call, fd);
    Place { path, by_proc: false, descriptor: true, root: Vec::new(), _home: None }
}

fn base(call: &Notification, dirfd: u64) -> CString {
    match int(dirfd) {
        libc::AT_FDCWD => name(call.pid, "cwd"),
        fd => name(call.pid, &format!("fd/{fd}")),
    }
}

/// A file of a process in /proc, relative to our working directory.
pub(super) fn name(tid: u32, file: &str) -> CString {
    let mut name = Vec::with_capacity(24);
    write!(name, "{tid}/{file}").expect("writing to memory works");
    text(&name)
}

fn text(bytes: &[u8]) -> CString {
    CString::new(bytes).expect("a string that was read to its NUL holds none")
}

/// Replaces a beginning that means the caller by the caller's own directory.
fn through_self<'a>(call: &Notification, path: &'a [u8]) -> Option<(Vec<u8>, &'a [u8])> {
    let aliases = [
        ("/proc/self", ""),
        ("/proc/thread-self", ""),
        ("/dev/fd", "/fd"),
        ("/dev/stdin", "/fd/0"),
        ("/dev/stdout", "/fd/1"),
        ("/dev/stderr", "/fd/2"),
    ];
    aliases.iter().find_map(|(alias, means)| {
        let rest = path.strip_prefix(alias.as_bytes())?;
        let whole = rest.is_empty() || rest[0] == b'/';
        whole.then(|| (format!("{}{means}", call.pid).into_bytes(), rest))
    })
}

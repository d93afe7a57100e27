//! What this machine can do, found by doing it, for `reimage doctor`.

use std::fmt;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, StatxFlags, XattrFlags, statx};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::process::{
    ForeignRawFd, PidfdFlags, PidfdGetfdFlags, WaitOptions, getpid, pidfd_getfd, pidfd_open,
    waitpid,
};
use serde::{Deserialize, Serialize};

use crate::filter::assemble;
use crate::sys::{self, Fork};
use crate::{notify, start, wire};

/// One thing that a sandbox needs or uses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// What was tried.
    pub name: String,
    /// Whether it works, or is as it should be.
    pub works: bool,
    /// Who needs it.
    pub needed: Needed,
    /// What was found.
    pub found: String,
    /// What to do where it does not work, or what it would be good for.
    pub advice: String,
}

/// Who needs something of a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Needed {
    /// Every step.
    Always,
    /// Steps for which one of these is to be the same in every run.
    For(Vec<Fixed>),
    /// Nobody: without it something is slower, or done in another way.
    Never,
}

/// What can be the same in every run of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Fixed {
    /// The time.
    Clock,
    /// Random numbers.
    Entropy,
    /// The machine, and the order of directories.
    Machine,
    /// Inodes.
    Stat,
}

impl fmt::Display for Fixed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Clock => "clock",
            Self::Entropy => "entropy",
            Self::Machine => "machine",
            Self::Stat => "stat",
        })
    }
}

/// Oldest kernel whose notifications cannot be interrupted half-way.
const OLDEST: (u32, u32) = (5, 19);

/// Runs a prober; never returns. `fds`: the caller's socket. `kind`: the request's first byte.
pub(crate) fn run(fds: &[OwnedFd], kind: u8) -> ! {
    if let Some(caller) = fds.first() {
        let found = match kind {
            b'P' => all(),
            b'U' => vec![tried("user namespaces", Needed::Never, start::userns_advice(), || {
                start::enter_single()?;
                own_mounts(0)
            })],
            _ => of_some_steps(),
        };
        // If the caller is gone there is nobody to tell.
        let _told = wire::pack(&found).and_then(|found| wire::send(caller, b"R", &[found.as_fd()]));
    }
    sys::terminate(0)
}

/// Enters a mount namespace, and with `flags` others, and mounts there.
fn own_mounts(flags: libc::c_int) -> io::Result<()> {
    sys::namespaces(flags | libc::CLONE_NEWNS)?;
    let private = MountPropagationFlags::REC | MountPropagationFlags::PRIVATE;
    Ok(mount_change("/", private)?)
}

fn all() -> Vec<Probe> {
    let alone = if start::privileged() { 0 } else { libc::CLONE_NEWUSER };
    let own_mounts = move || own_mounts(alone);
    let tmpfs = move || -> io::Result<&'static Path> {
        own_mounts()?;
        mount("tmpfs", "/sys", "tmpfs", MountFlags::empty(), None)?;
        Ok(Path::new("/sys"))
    };
    let mounts = tried("mounts", Needed::Always, start::userns_advice(), own_mounts);
    let mut probes = vec![architecture(), kernel()];
    // Real root needs none.
    let needed = if start::privileged() { Needed::Never } else { Needed::Always };
    probes.push(tried("user namespaces", needed, start::userns_advice(), || {
        sys::namespaces(libc::CLONE_NEWUSER)
    }));
    let listener = || {
        rustix::thread::set_no_new_privs(true)?;
        sys::install_filter(&assemble(&[]))
    };
    let advice = "use Linux 5.19 or newer, not inside another listener";
    probes.push(tried("seccomp notifications", Needed::Always, advice, || listener().map(drop)));
    let advice = "Linux 6.6 has it; until then each answer takes longer";
    probes.push(tried("synchronous wake-ups", Needed::Never, advice, || {
        sys::wake_synchronously(listener()?)
    }));
    probes.extend(of_some_steps());
    // Without mounts of our own the others can say nothing.
    if mounts.works {
        probes.push(tried("a private /proc", Needed::Always, start::PROC_ADVICE, move || {
            private_proc(&own_mounts)
        }));
        probes.push(tried(
            "overlayfs",
            Needed::Always,
            "use Linux 5.11 or newer with overlayfs",
            move || {
                let dir = tmpfs()?;
                for name in ["l", "u", "w", "m"] {
                    fs::create_dir(dir.join(name))?;
                }
                let options = c"lowerdir=/sys/l,upperdir=/sys/u,workdir=/sys/w,userxattr";
                Ok(mount("overlay", dir.join("m"), "overlay", MountFlags::empty(), options)?)
            },
        ));
        let advice = "Linux 6.6 has them; until then steps write to disk";
        probes.push(tried("user xattrs on tmpfs", Needed::Never, advice, move || {
            Ok(rustix::fs::setxattr(tmpfs()?, c"user.reimage.probe", b"", XattrFlags::empty())?)
        }));
        let advice = "allow network namespaces in the container's profile";
        probes.push(tried("a network namespace", Needed::Always, advice, move || {
            own_mounts()?;
            sys::namespaces(libc::CLONE_NEWNET)?;
            sys::loopback_up()
        }));
    }
    probes.push(mounts);
    probes.push(uidmap());
    probes
}

/// What steps need for which something is to be the same in every run.
fn of_some_steps() -> Vec<Probe> {
    let every_call = Needed::For(vec![Fixed::Machine, Fixed::Stat]);
    let advice = "allow pidfd_getfd in the container's seccomp profile";
    let getfd = tried("descriptors of a step", every_call, advice, || {
        let (read, _write) = io::pipe()?;
        let me = pidfd_open(getpid(), PidfdFlags::empty())?;
        let number = ForeignRawFd::from(read.as_raw_fd());
        Ok(pidfd_getfd(me, number, PidfdGetfdFlags::empty()).map(drop)?)
    });
    let advice = "boot without `proc_mem.force_override=never`, and let this container trace its own processes";
    let of_programs = Needed::For(vec![Fixed::Clock, Fixed::Entropy, Fixed::Machine]);
    let vdso = tried("the vDSO of a program", of_programs, advice, notify::try_replace);
    let advice = "use Linux 5.8 or newer";
    let mounts = tried("numbers of mounts", Needed::For(vec![Fixed::Stat]), advice, || {
        let flags = StatxFlags::from_bits_retain(libc::STATX_MNT_ID);
        let found = statx(CWD, "/", AtFlags::empty(), flags)?.stx_mask & libc::STATX_MNT_ID;
        if found == 0 { Err(io::ErrorKind::Unsupported.into()) } else { Ok(()) }
    });
    vec![getfd, vdso, mounts]
}

fn architecture() -> Probe {
    let name = std::env::consts::ARCH;
    Probe {
        name: "architecture".into(),
        works: name == "x86_64",
        needed: Needed::Always,
        found: name.into(),
        advice: start::ARCHITECTURE_ADVICE.into(),
    }
}

fn kernel() -> Probe {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut numbers =
        release.split(|c: char| !c.is_ascii_digit()).map(|word| word.parse().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    Probe {
        name: "kernel".into(),
        works: version >= OLDEST,
        needed: Needed::Always,
        found: release,
        advice: format!("use Linux {}.{} or newer", OLDEST.0, OLDEST.1),
    }
}

/// Subordinate ids can be mapped only from outside of the user namespace that we are in by now: whether all that it takes
/// is here.
fn uidmap() -> Probe {
    let missing = ["newuidmap", "newgidmap"]
        .into_iter()
        .find(|tool| !Path::new("/usr/bin").join(tool).exists())
        .map(|tool| format!("no {tool}"));
    let missing =
        missing.or_else(|| start::without_subordinate_ids().map(|file| format!("none in {file}")));
    Probe {
        name: "subordinate user ids".into(),
        works: missing.is_none(),
        needed: Needed::Never,
        found: missing.unwrap_or_else(|| "are here".into()),
        advice: "only needed for `ids = \"mapped\"`".into(),
    }
}

/// Tries something in a child, which may change itself as it likes.
fn tried(
    name: &str,
    needed: Needed,
    advice: &str,
    attempt: impl FnOnce() -> io::Result<()>,
) -> Probe {
    let result = in_child(attempt);
    let found = match &result {
        Ok(()) => "works".to_owned(),
        Err(error) => error.to_string(),
    };
    let works = result.is_ok();
    Probe { name: name.into(), works, needed, found, advice: advice.into() }
}

fn in_child(attempt: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    match sys::fork()? {
        Fork::Child => {
            let errno =
                attempt().err().map_or(0, |error| error.raw_os_error().unwrap_or(libc::EIO));
            sys::terminate(errno)
        }
        Fork::Parent(child) => {
            let waited = rustix::io::retry_on_intr(|| waitpid(Some(child), WaitOptions::empty()));
            match waited?.and_then(|(_, status)| status.exit_status()) {
                Some(0) => Ok(()),
                Some(errno) => Err(io::Error::from_raw_os_error(errno)),
                None => Err(io::Error::other("the attempt was killed")),
            }
        }
    }
}

fn private_proc(own_mounts: &impl Fn() -> io::Result<()>) -> io::Result<()> {
    own_mounts()?;
    match sys::clone_into_pid_namespace()? {
        Fork::Child => {
            let mounted = mount("proc", "/sys", "proc", MountFlags::NOSUID, None);
            sys::terminate(mounted.err().map_or(0, rustix::io::Errno::raw_os_error))
        }
        Fork::Parent(child) => {
            let waited = rustix::io::retry_on_intr(|| waitpid(Some(child), WaitOptions::empty()));
            match waited?.and_then(|(_, status)| status.exit_status()) {
                Some(0) => Ok(()),
                errno => Err(io::Error::from_raw_os_error(errno.unwrap_or(libc::EPERM))),
            }
        }
    }
}

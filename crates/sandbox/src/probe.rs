//! What this machine can do, found by doing it, for `reimage doctor`.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::XattrFlags;
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::process::{WaitOptions, waitpid};
use serde::{Deserialize, Serialize};

use crate::filter::assemble;
use crate::sys::{self, Fork};
use crate::{start, wire};

/// One thing that a sandbox needs or uses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// What was tried.
    pub name: String,
    /// Whether it works, or is as it should be.
    pub works: bool,
    /// Whether no step can run without it.
    pub required: bool,
    /// What was found.
    pub found: String,
    /// What to do where it does not work, or what it would be good for.
    pub advice: String,
}

/// Oldest kernel whose notifications cannot be interrupted half-way.
const OLDEST: (u32, u32) = (5, 19);

/// Runs a prober; never returns. `fds`: the caller's socket.
pub(crate) fn run(fds: &[OwnedFd]) -> ! {
    if let Some(caller) = fds.first() {
        let found = all();
        // If the caller is gone there is nobody to tell.
        let _told = wire::pack(&found).and_then(|found| wire::send(caller, b"R", &[found.as_fd()]));
    }
    sys::terminate(0)
}

fn all() -> Vec<Probe> {
    let alone = libc::CLONE_NEWNS | if start::privileged() { 0 } else { libc::CLONE_NEWUSER };
    let own_mounts = move || -> io::Result<()> {
        sys::namespaces(alone)?;
        let private = MountPropagationFlags::REC | MountPropagationFlags::PRIVATE;
        Ok(mount_change("/", private)?)
    };
    let tmpfs = move || -> io::Result<&'static Path> {
        own_mounts()?;
        mount("tmpfs", "/sys", "tmpfs", MountFlags::empty(), None)?;
        Ok(Path::new("/sys"))
    };
    let mounts = tried("mounts", true, start::userns_advice(), own_mounts);
    let mut probes = vec![architecture(), kernel()];
    // Real root needs none.
    probes.push(tried("user namespaces", !start::privileged(), start::userns_advice(), || {
        sys::namespaces(libc::CLONE_NEWUSER)
    }));
    probes.push(tried(
        "seccomp notifications",
        true,
        "use Linux 5.19 or newer, not inside another listener",
        || {
            rustix::thread::set_no_new_privs(true)?;
            sys::install_filter(&assemble(&[])).map(drop)
        },
    ));
    // Without mounts of our own the others can say nothing.
    if mounts.works {
        probes.push(tried("a private /proc", true, start::PROC_ADVICE, move || {
            private_proc(&own_mounts)
        }));
        probes.push(tried(
            "overlayfs",
            true,
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
        probes.push(tried("user xattrs on tmpfs", false, advice, move || {
            Ok(rustix::fs::setxattr(tmpfs()?, c"user.reimage.probe", b"", XattrFlags::empty())?)
        }));
        let advice = "allow network namespaces in the container's profile";
        probes.push(tried("a network namespace", true, advice, move || {
            own_mounts()?;
            sys::namespaces(libc::CLONE_NEWNET)?;
            sys::loopback_up()
        }));
    }
    probes.push(mounts);
    probes.push(uidmap());
    probes
}

fn architecture() -> Probe {
    let name = std::env::consts::ARCH;
    Probe {
        name: "architecture".into(),
        works: name == "x86_64",
        required: true,
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
        required: true,
        found: release,
        advice: format!("use Linux {}.{} or newer", OLDEST.0, OLDEST.1),
    }
}

fn uidmap() -> Probe {
    let there = |tool: &&str| Path::new("/usr/bin").join(tool).exists();
    let works = ["newuidmap", "newgidmap"].iter().all(there);
    Probe {
        name: "newuidmap".into(),
        works,
        required: false,
        found: if works { "is here" } else { "is not here" }.into(),
        advice: "only needed for `ids = \"mapped\"`".into(),
    }
}

/// Tries something in a child, which may change itself as it likes.
fn tried(
    name: &str,
    required: bool,
    advice: &str,
    attempt: impl FnOnce() -> io::Result<()>,
) -> Probe {
    let result = in_child(attempt);
    let found = match &result {
        Ok(()) => "works".to_owned(),
        Err(error) => error.to_string(),
    };
    let works = result.is_ok();
    Probe { name: name.into(), works, required, found, advice: advice.into() }
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

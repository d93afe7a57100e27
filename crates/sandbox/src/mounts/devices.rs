//! /dev and /sys of a sandbox: what programs need, nothing of the machine.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{FileType, Mode, mknodat};
use rustix::mount::{MountFlags, mount, mount_bind, mount_remount};

use super::QUIET;
use super::inside::{fd_path, make_dirs, reopen, target, write_file};
use crate::entropy::Entropy;
use crate::error::{During, Failure};
use crate::machine::{Machine, sys_cpu_files};

/// A minimal /dev: a tmpfs in which no device works but those bound from the host, read-only so that
/// their own attributes cannot be changed (writing to a device is not writing to its inode).
pub(super) fn devices(root: &OwnedFd, entropy: &Entropy) -> Result<(), Failure> {
    let at = target(root, Path::new("/dev"))?;
    let flags = QUIET | MountFlags::NOEXEC;
    mount("dev", fd_path(&at), "tmpfs", flags, c"mode=0755,size=64k")
        .during(|| "mount /dev".into())?;
    let dev = target(root, Path::new("/dev"))?;
    let read_only = MountFlags::BIND | MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NOEXEC;
    for name in ["null", "zero", "full", "random", "urandom", "tty"] {
        let what = || format!("make /dev/{name}");
        mknodat(&dev, name, FileType::RegularFile, Mode::from(0o666), 0).during(what)?;
        // In a directory that is all ours a name is as good as a descriptor, and leads to what is mounted last.
        let node = format!("{}/{name}", fd_path(&dev));
        let source = match entropy {
            Entropy::Fixed { device } if name.ends_with("random") => device.clone(),
            _ => Path::new("/dev").join(name),
        };
        mount_bind(source, &node).during(what)?;
        mount_remount(&node, read_only, c"").during(what)?;
    }
    for (name, mode) in [("pts", 0o755), ("shm", 0o1777)] {
        rustix::fs::mkdirat(&dev, name, Mode::from(mode)).during(|| format!("make /dev/{name}"))?;
    }
    let links = [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
        ("ptmx", "pts/ptmx"),
    ];
    for (name, to) in links {
        rustix::fs::symlinkat(to, &dev, name).during(|| format!("make /dev/{name}"))?;
    }
    let pts = target(root, Path::new("/dev/pts"))?;
    let flags = MountFlags::NOSUID | MountFlags::NOEXEC;
    let options = c"newinstance,ptmxmode=0666,mode=0620";
    mount("devpts", fd_path(&pts), "devpts", flags, options).during(|| "mount /dev/pts".into())?;
    let shm = target(root, Path::new("/dev/shm"))?;
    mount("shm", fd_path(&shm), "tmpfs", QUIET, c"mode=1777").during(|| "mount /dev/shm".into())
}

/// /sys: nothing of the machine shows, and of the baseline's the processors.
pub(super) fn system(at: &OwnedFd, machine: Machine) -> Result<(), Failure> {
    let flags = QUIET | MountFlags::NOEXEC;
    let Machine::Fixed { .. } = machine else {
        let flags = flags | MountFlags::RDONLY;
        return mount("sys", fd_path(at), "tmpfs", flags, c"mode=0755,size=4k")
            .during(|| "mount /sys".into());
    };
    mount("sys", fd_path(at), "tmpfs", flags, c"mode=0755,size=1m")
        .during(|| "mount /sys".into())?;
    let over = reopen(at).during(|| "enter /sys".into())?;
    let cpus = Path::new(&fd_path(&over)).join("devices/system/cpu");
    for (name, content) in sys_cpu_files(machine.cpus()) {
        let path = cpus.join(name);
        if let Some(parent) = path.parent() {
            make_dirs(parent)?;
        }
        write_file(&path, content.as_bytes())?;
    }
    let flags = flags | MountFlags::BIND | MountFlags::RDONLY;
    mount_remount(fd_path(&over), flags, c"").during(|| "protect /sys".into())
}

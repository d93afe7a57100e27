//! /proc of a sandbox: of the machine what the baseline says, and of the kernel's own the processes.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, mount, mount_bind, mount_bind_recursive, mount_remount};

use super::QUIET;
use super::inside::{make_dir, make_dirs, write_file};
use crate::command::Command;
use crate::entropy::{Entropy, UUID};
use crate::error::{During, Failure};
use crate::ids::Ids;
use crate::machine::{Machine, proc_files};
use crate::sysctl;

/// What in /proc is of processes and namespaces, and is shown as it is.
const OF_PROCESSES: [&str; 5] = ["self", "thread-self", "mounts", "net", "sysvipc"];

/// Makes a fresh mount of `proc` fit to be seen. `files` is a name that is free, outside of what the step sees, `null`
/// /dev/null in the sandbox, whose mount is read-only, and so are its copies.
pub(crate) fn cover(
    ids: Ids,
    command: &Command,
    proc: &Path,
    files: &Path,
    null: &Path,
) -> Result<(), Failure> {
    let Machine::Fixed { cpus, booted } = command.machine else {
        mask(ids, proc, null)?;
        if command.entropy == Entropy::Real {
            return Ok(());
        }
        write_file(files, UUID.as_bytes())?;
        return mount_bind(files, proc.join(RANDOM_UUID)).during(|| format!("show {RANDOM_UUID}"));
    };
    show(command, cpus, booted, proc, files)
}

/// A file that says another random number each time.
const RANDOM_UUID: &str = "sys/kernel/random/uuid";

/// Shows the baseline's machine: each name in /proc that is not of processes is its constant, or empty, and all of
/// /proc/sys is constants.
fn show(
    command: &Command,
    cpus: u32,
    booted: u64,
    proc: &Path,
    files: &Path,
) -> Result<(), Failure> {
    let flags = QUIET | MountFlags::NOEXEC;
    make_dir(files, 0o755)?;
    mount("proc", files, "tmpfs", flags, c"mode=0755,size=1m").during(|| "mount a /proc".into())?;
    let (empty, nothing) = (files.join("empty"), files.join("nothing"));
    write_file(&empty, b"")?;
    make_dir(&nothing, 0o755)?;
    let sys = files.join("sys");
    let mut made = PathBuf::new();
    for (name, content) in sysctl::files(&command.hostname) {
        let path = sys.join(name);
        // Those of one directory come together.
        if let Some(parent) = path.parent().filter(|parent| *parent != made) {
            make_dirs(parent)?;
            parent.clone_into(&mut made);
        }
        write_file(&path, content.as_bytes())?;
    }
    write_file(&files.join(RANDOM_UUID), UUID.as_bytes())?;
    let constants = proc_files(cpus, booted);
    for (name, content) in &constants {
        write_file(&files.join(name), content.as_bytes())?;
    }
    mount_remount(files, flags | MountFlags::BIND | MountFlags::RDONLY, c"")
        .during(|| "protect a /proc".into())?;
    if command.entropy == Entropy::Real {
        mount_bind(proc.join(RANDOM_UUID), files.join(RANDOM_UUID))
            .during(|| format!("show {RANDOM_UUID}"))?;
    }
    for (name, directory) in names(proc).during(|| "list /proc".into())? {
        let by = if name == "sys" || constants.iter().any(|(constant, _)| *constant == name) {
            &files.join(&name)
        } else if directory {
            &nothing
        } else {
            &empty
        };
        // With what is mounted in it.
        mount_bind_recursive(by, proc.join(&name)).during(|| format!("show /proc/{name}"))?;
    }
    Ok(())
}

/// What is in /proc and not of processes, sorted, as /proc/mounts will say it; and whether it is a directory.
fn names(proc: &Path) -> io::Result<BTreeMap<String, bool>> {
    let mut names = BTreeMap::new();
    #[expect(clippy::disallowed_methods, reason = "sorted here")]
    for entry in fs::read_dir(proc)? {
        let entry = entry?;
        let (Ok(name), kind) = (entry.file_name().into_string(), entry.file_type()?) else {
            continue;
        };
        let process = name.bytes().all(|byte| byte.is_ascii_digit());
        if !process && !kind.is_symlink() && !OF_PROCESSES.contains(&&*name) {
            names.insert(name, kind.is_dir());
        }
    }
    Ok(names)
}

/// Masks what /proc tells or lets change about the machine that is shown. A plain user may not write to what belongs to
/// the machine's root anyway; what every kernel has is mounted for him, too, so that /proc/mounts says the same.
fn mask(ids: Ids, proc: &Path, null: &Path) -> Result<(), Failure> {
    let masked =
        ["kcore", "kmsg", "keys", "key-users", "timer_list", "sched_debug", "sysrq-trigger"];
    for name in masked {
        let path = proc.join(name);
        match mount_bind(null, &path) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => {}
            Err(error) => Err(error).during(|| format!("mask /proc/{name}"))?,
        }
    }
    let flags = MountFlags::BIND
        | MountFlags::RDONLY
        | MountFlags::NOSUID
        | MountFlags::NODEV
        | MountFlags::NOEXEC;
    let protected: &[&str] = match ids {
        Ids::Full => &["sys", "bus", "fs", "irq", "acpi", "scsi"],
        Ids::Mapped | Ids::Notify => &["sys", "bus", "fs", "irq"],
    };
    for name in protected {
        let path = proc.join(name);
        match mount_bind(&path, &path) {
            Ok(()) => {
                mount_remount(&path, flags, c"").during(|| format!("protect /proc/{name}"))?;
            }
            Err(rustix::io::Errno::NOENT) => {}
            Err(error) => Err(error).during(|| format!("protect /proc/{name}"))?,
        }
    }
    Ok(())
}

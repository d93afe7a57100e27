//! Process 1 of a sandbox and the step that it starts.
//!
//! Both speak to the monitor over one socket: `L`, the filter's listener and the step's process, `E` and why the step did not
//! start, `S` and what became of the step. The monitor says `g` when it listens.

use std::convert::Infallible;
use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use rustix::process::{
    DumpableBehavior, Pid, PidfdFlags, Signal, WaitOptions, WaitStatus, pidfd_open,
    set_dumpable_behavior, set_parent_process_death_signal,
};
use serde::{Deserialize, Serialize};

use crate::command::Command;
use crate::entropy::Entropy;
use crate::error::{During, Failure, FailureKind};
use crate::ids::Ids;
use crate::mounts::{self, Root};
use crate::outcome::Status;
use crate::sys::{self, Fork, Instruction};
use crate::wire;

/// What process 1 needs of the monitor.
pub(crate) struct Start<'a> {
    pub(crate) command: &'a Command,
    pub(crate) root: &'a Root,
    pub(crate) ids: Ids,
    pub(crate) program: &'a [Instruction],
    /// Standard input, output and error.
    pub(crate) stdio: &'a [OwnedFd],
    pub(crate) socket: OwnedFd,
}

/// Runs process 1; never returns.
pub(crate) fn run(start: &Start<'_>) -> ! {
    let Err(failure) = supervise(start);
    tell(&start.socket, &failure);
    sys::terminate(1)
}

fn tell(socket: &OwnedFd, failure: &Failure) {
    let mut message = vec![b'E'];
    message.extend(postcard::to_stdvec(failure).unwrap_or_default());
    // If the monitor is gone there is nobody left to tell, and we are being killed.
    let _gone = wire::send(socket, &message, &[]);
}

fn supervise(start: &Start<'_>) -> Result<Infallible, Failure> {
    set_parent_process_death_signal(Some(Signal::KILL))
        .during(|| "bind init to its monitor".into())?;
    // Not even a step with our uid may trace us or look into our memory: we run without its filter.
    set_dumpable_behavior(DumpableBehavior::NotDumpable).during(|| "protect init".into())?;
    let proc = start.root.path.join("proc");
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    // Only while a fully visible /proc is still mounted here does the kernel allow a new one.
    match mount("proc", &proc, "proc", flags, None) {
        Err(errno @ rustix::io::Errno::PERM) => {
            return Err(Failure {
                kind: FailureKind::Proc,
                what: String::new(),
                errno: errno.raw_os_error(),
            });
        }
        mounted => mounted.during(|| "mount /proc".into())?,
    }
    let (files, null) = (start.root.aux_path.join("proc"), start.root.path.join("dev/null"));
    mounts::cover(start.ids, start.command, &proc, &files, &null)?;
    rustix::process::fchdir(&start.root.dir).during(|| "enter the root".into())?;
    rustix::process::pivot_root(".", ".").during(|| "pivot into the root".into())?;
    unmount(".", UnmountFlags::DETACH).during(|| "leave the host's root".into())?;
    rustix::process::chdir("/").during(|| "enter the root".into())?;
    match sys::fork().during(|| "fork the step".into())? {
        Fork::Child => {
            let Err(failure) = step(start);
            tell(&start.socket, &failure);
            sys::terminate(127)
        }
        Fork::Parent(step) => reap(start, step),
    }
}

/// Waits for the step, and for every orphan; our end is the end of all others.
fn reap(start: &Start<'_>, step: Pid) -> Result<Infallible, Failure> {
    let mut refused = false;
    loop {
        let ended = rustix::io::retry_on_intr(|| rustix::process::wait(WaitOptions::empty()));
        let Some((pid, status)) = ended.during(|| "wait for the step".into())? else { continue };
        refused |= status.terminating_signal() == Some(libc::SIGSYS);
        if pid == step {
            let mut message = vec![b'S'];
            let ended = Ended { status: of_wait(status), refused };
            message.extend(postcard::to_stdvec(&ended).unwrap_or_default());
            wire::send(&start.socket, &message, &[]).during(|| "report the status".into())?;
            sys::terminate(0)
        }
    }
}

/// What became of the step, as process 1 knows it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Ended {
    pub(crate) status: Status,
    /// Whether SIGSYS ended it, or a process whose parent was gone; of others only their parents know.
    pub(crate) refused: bool,
}

fn of_wait(status: WaitStatus) -> Status {
    match status.exit_status() {
        Some(code) => Status::Exited(code),
        None => Status::Signaled(status.terminating_signal().unwrap_or(libc::SIGKILL)),
    }
}

/// Becomes the step; returns only on failure.
fn step(start: &Start<'_>) -> Result<Infallible, Failure> {
    let command = start.command;
    let program = text(&command.argv[0])?;
    let argv = command.argv.iter().map(|word| text(word)).collect::<Result<Vec<_>, _>>()?;
    let env = environment(command)?;
    set_dumpable_behavior(DumpableBehavior::Dumpable).during(|| "protect the step".into())?;
    rustix::process::setsid().during(|| "start a session".into())?;
    streams(start)?;
    rustix::process::umask(rustix::fs::Mode::from(0o022));
    enter(&command.workdir)?;
    sys::default_signals();
    if start.command.entropy != Entropy::Real {
        sys::same_addresses().during(|| "fix the addresses of memory".into())?;
    }
    identity(start)?;
    rustix::thread::set_no_new_privs(true).during(|| "forbid new privileges".into())?;
    let own = rustix::process::getpid();
    let own = pidfd_open(own, PidfdFlags::empty()).during(|| "name the step's process".into())?;
    let listener =
        sys::install_filter(start.program).during(|| "install the seccomp filter".into())?;
    wire::send(&start.socket, b"L", &[listener.as_fd(), own.as_fd()])
        .during(|| "hand over the filter".into())?;
    drop((listener, own));
    wire::receive(&start.socket).during(|| "wait for the monitor".into())?;
    sys::close_on_exec_from(3).during(|| "close the descriptors".into())?;
    let mut refused = io::Error::from_raw_os_error(libc::ENOENT);
    for candidate in candidates(command, program) {
        match sys::exec(&candidate, &argv, &env) {
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
            Err(error) => refused = error,
        }
    }
    Err(Failure {
        kind: FailureKind::Start,
        what: command.argv[0].to_string_lossy().into_owned(),
        errno: refused.raw_os_error().unwrap_or(0),
    })
}

fn text(word: &OsStr) -> Result<CString, Failure> {
    CString::new(word.as_bytes())
        .map_err(|_| Failure::invalid(format!("`{}` contains a NUL byte", word.to_string_lossy())))
}

fn environment(command: &Command) -> Result<Vec<CString>, Failure> {
    command
        .env
        .iter()
        .map(|(key, value)| {
            let mut entry = key.clone();
            entry.push("=");
            entry.push(value);
            text(&entry)
        })
        .collect()
}

/// Where the program may lie: itself if it has a slash, else along PATH.
fn candidates(command: &Command, program: CString) -> Vec<CString> {
    if program.as_bytes().contains(&b'/') {
        return vec![program];
    }
    let path = command.env.get(OsStr::new("PATH")).cloned().unwrap_or_else(OsString::new);
    let path = path.into_vec();
    path.split(|byte| *byte == b':')
        .filter(|dir| !dir.is_empty())
        .filter_map(|dir| CString::new([dir, b"/", program.as_bytes()].concat()).ok())
        .collect()
}

fn enter(workdir: &Path) -> Result<(), Failure> {
    rustix::process::chdir(workdir).during(|| format!("enter `{}`", workdir.display()))
}

fn streams(start: &Start<'_>) -> Result<(), Failure> {
    let what = || "connect the standard streams".into();
    let [input, output, error] = start.stdio else {
        return Err(Failure::invalid("it has not three standard streams"));
    };
    // Our descriptors lie above 2 (the zygote saw to it), so none is overwritten before its turn.
    rustix::stdio::dup2_stdin(input).during(what)?;
    rustix::stdio::dup2_stdout(output).during(what)?;
    rustix::stdio::dup2_stderr(error).during(what)?;
    if rustix::termios::isatty(input) {
        let made = rustix::process::ioctl_tiocsctty(input);
        // A terminal of the caller's may belong to another session; the step then has no job control.
        if start.command.terminal.is_some() {
            made.during(what)?;
        }
    }
    Ok(())
}

/// Capabilities that root keeps in a step, under every id backend: those of a docker container.
const KEPT: rustix::thread::CapabilitySet = {
    use rustix::thread::CapabilitySet as Set;
    Set::CHOWN
        .union(Set::DAC_OVERRIDE)
        .union(Set::FOWNER)
        .union(Set::FSETID)
        .union(Set::KILL)
        .union(Set::SETGID)
        .union(Set::SETUID)
        .union(Set::SETPCAP)
        .union(Set::NET_BIND_SERVICE)
        .union(Set::NET_RAW)
        .union(Set::SYS_CHROOT)
        .union(Set::MKNOD)
        .union(Set::AUDIT_WRITE)
        .union(Set::SETFCAP)
};

fn identity(start: &Start<'_>) -> Result<(), Failure> {
    use rustix::thread::{CapabilitySet, CapabilitySets};
    let what = || "drop capabilities".into();
    for bit in 0..64 {
        let capability = CapabilitySet::from_bits_retain(1 << bit);
        if KEPT.contains(capability) {
            continue;
        }
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            Ok(()) => {}
            Err(rustix::io::Errno::INVAL) => break, // beyond the last one that this kernel knows
            Err(error) => return Err(error).during(what),
        }
    }
    if start.ids != Ids::Notify {
        let user = &start.command.user;
        let (uid, gid) = (rustix::fs::Uid::from_raw(user.uid), rustix::fs::Gid::from_raw(user.gid));
        let groups: Vec<_> =
            user.groups.iter().map(|gid| rustix::fs::Gid::from_raw(*gid)).collect();
        let what = || format!("become user {}:{}", user.uid, user.gid);
        rustix::thread::set_thread_groups(&groups).during(what)?;
        rustix::thread::set_thread_res_gid(gid, gid, gid).during(what)?;
        rustix::thread::set_thread_res_uid(uid, uid, uid).during(what)?;
        if user.uid != 0 {
            return Ok(()); // the kernel took all capabilities with the last call
        }
    }
    let sets =
        CapabilitySets { effective: KEPT, permitted: KEPT, inheritable: CapabilitySet::empty() };
    rustix::thread::set_capabilities(None, sets).during(what)
}

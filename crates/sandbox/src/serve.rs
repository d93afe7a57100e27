//! The zygote: a small process with one thread that forks a monitor for every request.
//!
//! It outlives `reimage` by just the moment that it takes to end the sandboxes and remove what they had
//! written, whatever ended `reimage`.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, getppid, kill_process, pidfd_open, setsid, wait, waitpid,
};

use crate::groups::Groups;
use crate::ids::Ids;
use crate::sys::{self, Fork};
use crate::{monitor, probe, wire};

/// A monitor at work.
struct Child {
    pid: Pid,
    pidfd: OwnedFd,
    scratch: PathBuf,
}

/// Serves requests until `parent` ends; never returns, nor does any process that is forked below it: a panic
/// (a bug) ends the process that it happens in, and never unwinds into what `main` does after `start`.
pub(crate) fn run(ids: Ids, socket: &OwnedFd, parent: Pid) -> ! {
    let _panicked = catch_unwind(AssertUnwindSafe(|| zygote(ids, socket, parent)));
    sys::terminate(101)
}

fn zygote(ids: Ids, socket: &OwnedFd, parent: Pid) -> ! {
    // A terminal's Ctrl-C is for reimage, whose end is ours.
    let _already_leader = setsid();
    sys::ignore_terminal_signals();
    let _shown_as_it_was = rename_command_line();
    // Orphaned sandboxes come to us, so that we can wait for the end of the last of them.
    let _old_kernel = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
    if ids != Ids::Full {
        own_binfmt_misc();
    }
    let groups = Groups::open();
    let (mut children, mut left) = (Vec::new(), Vec::new());
    if let Ok(watch) = pidfd_open(parent, PidfdFlags::empty())
        && getppid() == Some(parent)
    {
        serve(ids, &groups, socket, &watch, &mut children, &mut left);
    }
    end(&children, &left);
    sys::terminate(0)
}

/// What /proc says that we and all below us are, process 1 of a sandbox among them.
const COMMAND_LINE: &[u8] = b"reimage sandbox";

/// Overwrites our arguments: a step can read those of its process 1, and paths of this machine are none of its
/// business.
fn rename_command_line() -> io::Result<()> {
    rustix::thread::set_name(c"reimage")?;
    let stat = fs::read_to_string("/proc/self/stat")?;
    // arg_start and arg_end.
    let bounds = [48, 49].map(|number| sys::stat_field(&stat, number));
    if let [Some(start), Some(end)] = bounds {
        let size = usize::try_from(end.saturating_sub(start)).unwrap_or(0);
        let mut line = COMMAND_LINE[..COMMAND_LINE.len().min(size.saturating_sub(1))].to_vec();
        line.resize(size, 0);
        fs::OpenOptions::new().write(true).open("/proc/self/mem")?.write_all_at(&line, start)?;
    }
    Ok(())
}

/// Gives our user namespace its own, empty set of binary formats (Linux 6.7): what the machine has
/// registered for emulators must not run in a step. It lasts as long as the namespace.
pub(crate) fn own_binfmt_misc() {
    if let Ok(Fork::Child) = sys::fork() {
        if sys::namespaces(libc::CLONE_NEWNS).is_ok() {
            let flags = rustix::mount::MountFlags::empty();
            let _older_kernel =
                rustix::mount::mount("binfmt_misc", "/proc", "binfmt_misc", flags, None);
        }
        sys::terminate(0)
    }
    // Reaped here: nobody else is our child yet.
    let _reaped = wait(WaitOptions::empty());
}

/// Serves until the caller ends. `left`: what lies in the directories of commands that have ended is the caller's, which
/// may end before it has removed it, and whose sockets are closed before it is seen to end.
fn serve(
    ids: Ids,
    groups: &Groups,
    socket: &OwnedFd,
    parent: &OwnedFd,
    children: &mut Vec<Child>,
    left: &mut Vec<PathBuf>,
) {
    loop {
        let mut fds = vec![PollFd::new(parent, PollFlags::IN), PollFd::new(socket, PollFlags::IN)];
        fds.extend(children.iter().map(|child| PollFd::new(&child.pidfd, PollFlags::IN)));
        if rustix::io::retry_on_intr(|| poll(&mut fds, None)).is_err() {
            return;
        }
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        drop(fds);
        if ready[0] {
            return;
        }
        let mut at = 2;
        children.retain_mut(|child| {
            let ended = ready[at];
            at += 1;
            if ended {
                let _reaped = waitpid(Some(child.pid), WaitOptions::empty());
                left.push(std::mem::take(&mut child.scratch));
            }
            !ended
        });
        if ready[1] {
            match wire::receive(socket) {
                // A request that cannot be served is dropped: its caller sees the end of its socket.
                Ok(Some((request, fds))) => {
                    left.retain(|scratch| scratch.exists());
                    children.extend(begin(ids, groups, &request, fds));
                }
                Ok(None) | Err(_) => return,
            }
        }
    }
}

/// Forks a monitor or a prober. The request is `C` and the scratch directory, with the caller's socket, the
/// command's memory file and the three standard streams; or `P`, `F` or `U` with the socket, to try everything, what
/// some steps need, or what another user would need.
fn begin(ids: Ids, groups: &Groups, request: &[u8], fds: Vec<OwnedFd>) -> Option<Child> {
    let (kind, scratch) = request.split_first()?;
    match sys::fork().ok()? {
        Fork::Child if *kind != b'C' => probe::run(&fds, *kind),
        Fork::Child => monitor::run(ids, groups, fds),
        Fork::Parent(pid) => {
            let pidfd = pidfd_open(pid, PidfdFlags::empty()).ok()?;
            Some(Child { pid, pidfd, scratch: PathBuf::from(OsString::from_vec(scratch.to_vec())) })
        }
    }
}

/// Ends every sandbox, waits until none of their processes is left, removes what they wrote.
fn end(children: &[Child], left: &[PathBuf]) {
    for child in children {
        let _ended = kill_process(child.pid, Signal::KILL);
    }
    while rustix::io::retry_on_intr(|| wait(WaitOptions::empty())).is_ok() {}
    let scratches = children.iter().map(|child| &child.scratch).chain(left);
    for scratch in scratches.filter(|scratch| scratch.is_absolute()) {
        let _gone = crate::remove_tree(scratch);
    }
}

/// Whether `fd` is still connected to somebody.
pub(crate) fn connected(fd: impl AsFd) -> bool {
    let mut fds = [PollFd::new(&fd, PollFlags::IN)];
    let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    matches!(poll(&mut fds, Some(&now)), Ok(0))
}

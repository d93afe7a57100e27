//! The monitor of one command: makes its namespaces and root, starts it, answers its system calls,
//! watches its limits, and reports what became of it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, pidfd_open, pidfd_send_signal,
    set_parent_process_death_signal, waitpid,
};

use crate::clock::Clock;
use crate::command::{Command, Network, TerminalSize};
use crate::entropy::Entropy;
use crate::error::{During, Failure};
use crate::filter::{assemble, baseline, fixed_clock, fixed_entropy, fixed_machine};
use crate::groups::Groups;
use crate::ids::Ids;
use crate::init::{self, Ended, Start};
use crate::machine::Machine;
use crate::mounts::{self, Root};
use crate::notify::{self, Notifier};
use crate::outcome::{Report, Status, Void};
use crate::sys::{self, Fork};
use crate::{rlimits, serve, start, wire};

mod limits;

use limits::Watch;

/// Runs a monitor; never returns. `fds`: the caller's socket, the command, the standard streams.
pub(crate) fn run(ids: Ids, groups: &Groups, fds: Vec<OwnedFd>) -> ! {
    let mut fds = fds.into_iter();
    if let (Some(caller), Some(payload)) = (fds.next(), fds.next()) {
        let stdio: Vec<OwnedFd> = fds.collect();
        // If the caller is gone there is nobody to tell.
        let _told = match watch(ids, groups, payload, &caller, stdio) {
            Ok((report, uppers)) => wire::pack(&report).and_then(|payload| {
                let fds: Vec<BorrowedFd<'_>> =
                    std::iter::once(&payload).chain(&uppers).map(AsFd::as_fd).collect();
                wire::send(&caller, b"R", &fds)
            }),
            Err(failure) => wire::pack(&failure)
                .and_then(|payload| wire::send(&caller, b"F", &[payload.as_fd()])),
        };
    }
    sys::terminate(0)
}

fn watch(
    ids: Ids,
    groups: &Groups,
    payload: OwnedFd,
    caller: &OwnedFd,
    stdio: Vec<OwnedFd>,
) -> Result<(Report, Vec<OwnedFd>), Failure> {
    set_parent_process_death_signal(Some(Signal::KILL)).during(|| "bind to the zygote".into())?;
    rustix::process::umask(rustix::fs::Mode::empty());
    let command: Command = wire::unpack(payload).during(|| "read the command".into())?;
    let ids = if command.single_id { single_id(ids)? } else { ids };
    namespaces(&command)?;
    if command.one_processor {
        one_processor().during(|| "take a single processor".into())?;
    }
    like_anybody().during(|| "drop a capability".into())?;
    let root = mounts::build(&command)?;
    let stdio = match command.terminal {
        Some(size) => terminal(&root, size, caller)?,
        None => stdio,
    };
    let host_proc = mounts::open_host_proc()?;
    let shown = rlimits::set().during(|| "set the resource limits".into())?;
    let mut rules = baseline();
    if command.machine != Machine::Real {
        rules.extend(fixed_machine());
    }
    if command.entropy != Entropy::Real {
        rules.extend(fixed_entropy());
    }
    if command.clock != Clock::Real {
        rules.extend(fixed_clock());
    }
    rules.extend(notify::rules(ids, &command, &shown));
    let program = assemble(&rules);
    let (socket, theirs) = wire::pair().during(|| "make a socket".into())?;
    let start = Start {
        command: &command,
        root: &root,
        ids,
        program: &program,
        stdio: &stdio,
        socket: theirs,
    };
    let init = match sys::clone_into_pid_namespace().during(|| "make a pid namespace".into())? {
        Fork::Child => {
            drop(socket);
            init::run(&start)
        }
        Fork::Parent(init) => init,
    };
    drop(start);
    drop(stdio);
    let started = Instant::now();
    let (listener, step) = first_message(&socket)?;
    // init has pivoted: its root is ours too. The host's /proc lives on in this descriptor.
    rustix::process::fchdir(&host_proc).during(|| "enter the host's /proc".into())?;
    let notifier = Notifier::new(ids, listener, host_proc, &command, &root, shown)?;
    wire::send(&socket, b"g", &[]).during(|| "release the step".into())?;
    let watch = Watch::new(&command, &root, groups);
    let mut monitor =
        Monitor { socket, caller, notifier, watch, init, step, started, voided: Vec::new() };
    let ended = monitor.until_the_end()?;
    let elapsed = started.elapsed();
    monitor.voided.append(&mut monitor.notifier.take_voided());
    monitor.watch.at_the_end(&mut monitor.voided);
    let Monitor { notifier, mut voided, .. } = monitor;
    // A step that we have killed has no end of its own.
    let Ended { status, refused } =
        ended.unwrap_or(Ended { status: Status::Signaled(libc::SIGKILL), refused: false });
    if refused && voided.is_empty() {
        voided.push(Void::BadSystemCall);
    }
    let owners = notifier.owners(&root.upper, &root.uncaptured)?;
    let of_input = |(_, upper): &(_, OwnedFd)| notifier.owners(upper, &[]);
    let input_owners = root.inputs.iter().map(of_input).collect::<Result<_, _>>()?;
    let Root { upper, inputs, uncaptured, .. } = root;
    let report = Report { status, voided, owners, input_owners, uncaptured, ids, elapsed };
    Ok((report, std::iter::once(upper).chain(inputs.into_iter().map(|(_, upper)| upper)).collect()))
}

/// Becomes like a plain user who has one id, if we have more.
fn single_id(ids: Ids) -> Result<Ids, Failure> {
    if ids != Ids::Notify {
        start::enter_single().during(|| "make a user namespace".into())?;
        serve::own_binfmt_misc();
    }
    Ok(Ids::Notify)
}

/// Gives up the capability by which overlayfs tells real root from others: with it, files that are copied up
/// keep their inode numbers, and rename treats their hard links differently.
fn like_anybody() -> rustix::io::Result<()> {
    use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
    let mut sets = capabilities(None)?;
    for set in [&mut sets.effective, &mut sets.permitted, &mut sets.inheritable] {
        set.remove(CapabilitySet::DAC_READ_SEARCH);
    }
    set_capabilities(None, sets)
}

/// Confines this process, and all that it starts, to the first processor that it may use.
fn one_processor() -> rustix::io::Result<()> {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
    let all = sched_getaffinity(None)?;
    let mut one = CpuSet::new();
    if let Some(first) = (0..CpuSet::MAX_CPU).find(|cpu| all.is_set(*cpu)) {
        one.set(first);
    }
    sched_setaffinity(None, &one)
}

fn namespaces(command: &Command) -> Result<(), Failure> {
    let mut flags =
        libc::CLONE_NEWNS | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS | libc::CLONE_NEWCGROUP;
    if command.network == Network::None {
        flags |= libc::CLONE_NEWNET;
    }
    sys::namespaces(flags).during(|| "make namespaces".into())?;
    if command.network == Network::None {
        sys::loopback_up().during(|| "bring the loopback device up".into())?;
    }
    let what = || format!("set the host name `{}`", command.hostname);
    rustix::system::sethostname(command.hostname.as_bytes()).during(what)?;
    rustix::system::setdomainname(b"(none)").during(|| "set the domain name".into())
}

/// Makes a terminal in the sandbox's own /dev/pts, sends its master to the caller and returns the step's streams.
fn terminal(root: &Root, size: TerminalSize, caller: &OwnedFd) -> Result<Vec<OwnedFd>, Failure> {
    use rustix::fs::{CWD, Mode, OFlags, openat};
    let what = || "make a terminal".into();
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let master = openat(CWD, root.path.join("dev/pts/ptmx"), flags, Mode::empty()).during(what)?;
    rustix::pty::unlockpt(&master).during(what)?;
    let size = rustix::termios::Winsize {
        ws_row: size.rows,
        ws_col: size.columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    rustix::termios::tcsetwinsize(&master, size).during(what)?;
    let flags = rustix::pty::OpenptFlags::RDWR
        | rustix::pty::OpenptFlags::NOCTTY
        | rustix::pty::OpenptFlags::CLOEXEC;
    let step = rustix::pty::ioctl_tiocgptpeer(&master, flags).during(what)?;
    wire::send(caller, b"T", &[master.as_fd()]).during(what)?;
    Ok(vec![step.try_clone().during(what)?, step.try_clone().during(what)?, step])
}

/// Waits for the listener of the step's filter and its process, or for why there is none.
fn first_message(socket: &OwnedFd) -> Result<(OwnedFd, OwnedFd), Failure> {
    let gone = || Failure::setup("init ended before the step began");
    let (message, fds) =
        wire::receive(socket).during(|| "hear from init".into())?.ok_or_else(gone)?;
    match message.split_first() {
        Some((b'L', _)) => {
            let [listener, step] = <[OwnedFd; 2]>::try_from(fds).map_err(|_| gone())?;
            Ok((listener, step))
        }
        Some((b'E', failure)) => Err(postcard::from_bytes(failure).unwrap_or_else(|_| gone())),
        _ => Err(gone()),
    }
}

struct Monitor<'a> {
    /// To init and the step.
    socket: OwnedFd,
    /// To whoever asked for the command.
    caller: &'a OwnedFd,
    notifier: Notifier,
    watch: Watch<'a>,
    init: Pid,
    step: OwnedFd,
    started: Instant,
    voided: Vec<Void>,
}

impl Monitor<'_> {
    /// Serves until init, and with it every process of the command, has ended.
    fn until_the_end(&mut self) -> Result<Option<Ended>, Failure> {
        let init = pidfd_open(self.init, PidfdFlags::empty()).during(|| "watch init".into())?;
        let mut listening = true;
        let mut ending = false;
        loop {
            let next = self.watch.next_look(self.started);
            let next = self.notifier.next_look().map_or(next, |look| look.min(next));
            let timeout = Timespec::try_from(next).ok();
            // Who has nothing more to say is asked for nothing: poll reports a hang-up for ever. init thrice is harmless.
            let calls = if listening { self.notifier.listener() } else { init.as_fd() };
            let asked = if ending { init.as_fd() } else { self.caller.as_fd() };
            let mut fds =
                [calls, init.as_fd(), asked].map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
            let polled = rustix::io::retry_on_intr(|| poll(&mut fds, timeout.as_ref()));
            polled.during(|| "wait for the step".into())?;
            let [calls, ended, asked] = fds.map(|fd| fd.revents());
            self.notifier.look();
            if ended.contains(PollFlags::IN) {
                break;
            }
            if calls.contains(PollFlags::IN) {
                self.notifier.serve_one();
            } else if !calls.is_empty() {
                listening = false; // the last process under the filter is gone
            }
            if ending {
                continue;
            }
            if !asked.is_empty() {
                let word = wire::receive(self.caller).ok().flatten();
                match word.as_ref().and_then(|(word, _)| wire::as_signal(word)) {
                    // It may have ended just now.
                    Some(signal) => drop(sys::send_signal(&self.step, signal)),
                    // Whatever else it says, or that it is gone, means the same.
                    None => self.voided.push(Void::Stopped),
                }
            }
            self.voided.extend(self.watch.look(self.started));
            if !self.voided.is_empty() || self.notifier.must_end() {
                ending = true;
                let killed = pidfd_send_signal(&init, Signal::KILL);
                killed.during(|| "end the step".into())?;
            }
        }
        rustix::io::retry_on_intr(|| waitpid(Some(self.init), WaitOptions::empty()))
            .during(|| "wait for init".into())?;
        self.ended()
    }

    /// The step's own end, if it came before we ended it.
    fn ended(&self) -> Result<Option<Ended>, Failure> {
        while !serve::connected(&self.socket) {
            let Some((message, _)) =
                wire::receive(&self.socket).during(|| "hear from init".into())?
            else {
                break;
            };
            match message.split_first() {
                Some((b'S', ended)) => return Ok(postcard::from_bytes(ended).ok()),
                Some((b'E', failure)) => {
                    return Err(postcard::from_bytes(failure)
                        .unwrap_or_else(|_| Failure::setup("the step could not begin")));
                }
                _ => {}
            }
        }
        Ok(None)
    }
}

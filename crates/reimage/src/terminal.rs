//! The terminal of a command that a person talks to: `run -t` and `shell`.
//!
//! A sandbox has a session of its own, so it cannot have this process's terminal; it gets a new one, a
//! pseudo-terminal, and what goes through it is passed on both ways while ours is in raw mode.

use std::{
    io::{self, Read, Write},
    os::fd::{AsFd, OwnedFd},
    thread,
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{Mode, OFlags},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize},
};

/// A pseudo-terminal: the side of ours, and the side of the command.
#[derive(Debug)]
pub(crate) struct Terminal {
    ours: OwnedFd,
    /// stdin, stdout and stderr of the command.
    pub(crate) theirs: OwnedFd,
}

/// Puts our terminal back as it was.
struct Raw(Termios);

impl Terminal {
    /// A new one, as large as ours.
    pub(crate) fn new() -> io::Result<Self> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let ours = openpt(flags)?;
        grantpt(&ours)?;
        unlockpt(&ours)?;
        let name = ptsname(&ours, Vec::new())?;
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let theirs = rustix::fs::open(&*name, flags, Mode::empty())?;
        if let Ok(size) = tcgetwinsize(io::stdin()) {
            tcsetwinsize(&ours, size)?;
        }
        Ok(Self { ours, theirs })
    }

    /// Passes on what goes through while `wait` waits for the command to end; gives what it gives.
    pub(crate) fn during<T>(self, wait: impl FnOnce() -> T) -> io::Result<T> {
        let Self { ours, theirs } = self;
        // The command has its own copies; with ours closed, its end is the end of the terminal.
        drop(theirs);
        let raw = Raw::enter()?;
        let (input, output) = (ours.try_clone()?, ours.try_clone()?);
        // It reads stdin until the process ends: a blocked read cannot be taken back.
        thread::spawn(move || pass_input(&input));
        let printer = thread::spawn(move || pass_output(output));
        let waited = wait();
        let _ = printer.join();
        drop(raw);
        Ok(waited)
    }
}

impl Raw {
    fn enter() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(io::stdin(), OptionalActions::Now, &raw)?;
        Ok(Self(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // If the terminal has gone, it needs nothing.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}

/// Passes on what is typed, and now and then the size of the window.
fn pass_input(terminal: &OwnedFd) {
    let stdin = io::stdin();
    let mut buffer = [0; 4096];
    let tick = Timespec { tv_sec: 0, tv_nsec: Duration::from_millis(250).subsec_nanos().into() };
    loop {
        if let Ok(size) = tcgetwinsize(&stdin) {
            let same = tcgetwinsize(terminal)
                .is_ok_and(|now| (now.ws_row, now.ws_col) == (size.ws_row, size.ws_col));
            if !same {
                let _ = tcsetwinsize(terminal, size);
            }
        }
        let mut fds = [PollFd::new(&stdin, PollFlags::IN)];
        match poll(&mut fds, Some(&tick)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => continue,
            Ok(_) => {}
            Err(_) => return,
        }
        match rustix::io::read(stdin.as_fd(), &mut buffer) {
            Ok(0) | Err(_) => return,
            Ok(count) => {
                if write_all(terminal, &buffer[..count]).is_err() {
                    return;
                }
            }
        }
    }
}

fn write_all(to: &OwnedFd, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = rustix::io::retry_on_intr(|| rustix::io::write(to, bytes))?;
        bytes = &bytes[written..];
    }
    Ok(())
}

/// Passes on what the command writes, until nobody has the other side.
fn pass_output(terminal: OwnedFd) {
    let mut terminal = std::fs::File::from(terminal);
    let mut buffer = [0; 1 << 14];
    let mut out = io::stdout().lock();
    loop {
        match terminal.read(&mut buffer) {
            // EIO: the last process of the other side has closed it.
            Ok(0) | Err(_) => return,
            Ok(count) => {
                if out.write_all(&buffer[..count]).and_then(|()| out.flush()).is_err() {
                    return;
                }
            }
        }
    }
}

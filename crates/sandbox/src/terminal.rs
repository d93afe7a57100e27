//! Connects the caller's terminal with that of a command, for the `shell` and `run` verbs.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, read, write};
use rustix::termios::{
    OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize,
};

/// How often the size of the caller's terminal is looked at: a signal handler would be the whole process's.
const RESIZE: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };

/// Puts a terminal back into the mode that it had.
struct Restore<'a>(BorrowedFd<'a>, Termios);

impl Drop for Restore<'_> {
    fn drop(&mut self) {
        // The terminal may be gone by now.
        let _gone = tcsetattr(self.0, OptionalActions::Drain, &self.1);
    }
}

/// Passes bytes both ways between the caller's streams and the master of a command's terminal until the command
/// closes it. A terminal at `input` is in raw mode meanwhile, and its size is followed.
pub fn relay(master: impl AsFd, input: impl AsFd, output: impl AsFd) -> std::io::Result<()> {
    let (master, input, output) = (master.as_fd(), input.as_fd(), output.as_fd());
    let interactive = isatty(input);
    let _restore = if interactive {
        let before = tcgetattr(input)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(input, OptionalActions::Now, &raw)?; // what is typed already is for the command
        Some(Restore(input, before))
    } else {
        None
    };
    let mut buffer = [0; 1 << 14];
    let mut reading = true;
    let mut size = None;
    loop {
        if interactive
            && let Ok(now) = tcgetwinsize(input)
            && size != Some((now.ws_row, now.ws_col))
        {
            size = Some((now.ws_row, now.ws_col));
            tcsetwinsize(master, now)?;
        }
        let wanted = if reading { input } else { master };
        let mut fds = [master, wanted].map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
        match poll(&mut fds, Some(&RESIZE)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let [said, typed] = fds.map(|fd| !fd.revents().is_empty());
        if said {
            match read(master, &mut buffer) {
                Ok(0) | Err(Errno::IO) => return Ok(()), // the last process of the terminal is gone
                Ok(length) => write_all(output, &buffer[..length])?,
                Err(Errno::INTR | Errno::AGAIN) => {}
                Err(error) => return Err(error.into()),
            }
        }
        if reading && typed {
            match read(input, &mut buffer) {
                Ok(0) => {
                    reading = false;
                    write_all(master, &[4])?; // end of file, as a terminal says it
                }
                Ok(length) => write_all(master, &buffer[..length])?,
                Err(Errno::INTR | Errno::AGAIN) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn write_all(to: BorrowedFd<'_>, mut bytes: &[u8]) -> std::io::Result<()> {
    while !bytes.is_empty() {
        match write(to, bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

//! The system calls that the monitor answers, and the loop that serves them.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::command::{Command, Owner};
use crate::error::Failure;
use crate::filter::{Action, Rule, When};
use crate::ids::Ids;
use crate::outcome::Void;
use crate::sys::{self, Answer, Notification};

/// Names an inode for as long as the sandbox lives, beyond the reuse of its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Inode {
    pub(crate) device: u64,
    pub(crate) number: u64,
    /// Birth time: seconds, nanoseconds.
    pub(crate) born: (i64, u32),
}

/// The rules that send calls to the monitor under this id backend.
pub(crate) fn rules(_ids: Ids) -> Vec<Rule> {
    let _ = (When::Always, Action::Notify);
    Vec::new()
}

/// Serves the notifications of one sandbox.
pub(crate) struct Notifier {
    listener: OwnedFd,
    voided: Vec<Void>,
    _host_proc: OwnedFd,
    _records: BTreeMap<Inode, (u32, u32)>,
}

impl Notifier {
    pub(crate) fn new(
        _ids: Ids,
        listener: OwnedFd,
        host_proc: OwnedFd,
        _command: &Command,
    ) -> Result<Self, Failure> {
        Ok(Self { listener, voided: Vec::new(), _host_proc: host_proc, _records: BTreeMap::new() })
    }

    pub(crate) fn listener(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }

    /// Whether the step must end now.
    pub(crate) fn must_end(&self) -> bool {
        !self.voided.is_empty()
    }

    pub(crate) fn take_voided(&mut self) -> Vec<Void> {
        std::mem::take(&mut self.voided)
    }

    pub(crate) fn owners(&mut self, _upper: &OwnedFd) -> Result<Vec<Owner>, Failure> {
        Ok(Vec::new())
    }

    pub(crate) fn serve_one(&mut self) {
        let Ok(call) = sys::receive(&self.listener) else { return };
        let Notification { nr, .. } = call;
        self.voided.push(Void::ForeignArchitecture { nr });
        let _gone = sys::reply(&self.listener, call.id, Answer::Errno(libc::ENOSYS));
    }
}

//! The user and group ids of processes that the kernel holds for one and the same user.
//!
//! A process's credentials are a number in a table, and the number lies in the soft limit of the obsolete
//! `RLIMIT_LOCKS`, which the kernel itself copies at fork, keeps at exec and forgets with the process: no
//! race with short-lived children, daemons or reused process ids. The step cannot see or set it. All
//! threads of a process share it, as the C libraries have it.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;

use super::{Failed, Feature, Handled, Handler, Notifier, Reply, int, on, unsigned};
use crate::command::User;
use crate::filter::When;
use crate::sys::{self, Notification};

pub(super) const TABLE: &[Handler] = &[
    on(libc::SYS_getuid, When::Always, Feature::Ownership, |n, c| id(n, c, |who| who.uid.real)),
    on(libc::SYS_geteuid, When::Always, Feature::Ownership, |n, c| {
        id(n, c, |who| who.uid.effective)
    }),
    on(libc::SYS_getgid, When::Always, Feature::Ownership, |n, c| id(n, c, |who| who.gid.real)),
    on(libc::SYS_getegid, When::Always, Feature::Ownership, |n, c| {
        id(n, c, |who| who.gid.effective)
    }),
    on(libc::SYS_getresuid, When::Always, Feature::Ownership, |n, c| three(n, c, |who| who.uid)),
    on(libc::SYS_getresgid, When::Always, Feature::Ownership, |n, c| three(n, c, |who| who.gid)),
    on(libc::SYS_getgroups, When::Always, Feature::Ownership, getgroups),
    on(libc::SYS_setuid, When::Always, Feature::Ownership, set),
    on(libc::SYS_setgid, When::Always, Feature::Ownership, set),
    on(libc::SYS_setreuid, When::Always, Feature::Ownership, set),
    on(libc::SYS_setregid, When::Always, Feature::Ownership, set),
    on(libc::SYS_setresuid, When::Always, Feature::Ownership, set),
    on(libc::SYS_setresgid, When::Always, Feature::Ownership, set),
    on(libc::SYS_setfsuid, When::Always, Feature::Ownership, setfs),
    on(libc::SYS_setfsgid, When::Always, Feature::Ownership, setfs),
    on(libc::SYS_setgroups, When::Always, Feature::Ownership, setgroups),
    on(libc::SYS_capget, When::Always, Feature::Ownership, capget),
    on(libc::SYS_capset, When::Always, Feature::Ownership, capset),
    on(libc::SYS_prctl, When::Is(0, &[KEEP_CAPABILITIES]), Feature::Ownership, keep_capabilities),
];

/// `PR_SET_KEEPCAPS`.
const KEEP_CAPABILITIES: u32 = 8;

/// The capabilities to change ids.
const SETGID: u32 = 6;
const SETUID: u32 = 7;

/// Every capability that there is.
const ALL: u64 = (1 << 41) - 1;

/// The four ids of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ids {
    pub(super) real: u32,
    pub(super) effective: u32,
    pub(super) saved: u32,
    /// For files.
    pub(super) fs: u32,
}

/// Who a process is.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Who {
    pub(super) uid: Ids,
    pub(super) gid: Ids,
    pub(super) groups: Vec<u32>,
    kept: Option<Kept>,
}

/// Capabilities that a process asked to keep when it stops being root, as `setpriv` does to change its groups
/// afterwards. They are good for its ids alone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Kept {
    /// The program that asked: the next one that is executed has none.
    program: Program,
    /// Those that are in effect, once it is root no more.
    effective: u64,
}

/// What tells one execution of a program from the next: a digest of its file and of what the kernel told it.
type Program = [u8; 32];

impl Ids {
    fn all(id: u32) -> Self {
        Self { real: id, effective: id, saved: id, fs: id }
    }

    fn holds(&self, id: u32) -> bool {
        [self.real, self.effective, self.saved].contains(&id)
    }

    fn any_root(&self) -> bool {
        self.holds(0)
    }
}

impl Who {
    /// Whether it holds root's capabilities.
    pub(super) fn privileged(&self) -> bool {
        self.uid.effective == 0
    }

    fn in_group(&self, gid: u32) -> bool {
        self.gid.fs == gid || self.groups.contains(&gid)
    }

    /// Whether it may change a file's owner from `old` to `new`.
    pub(super) fn may_chown(&self, old: (u32, u32), new: (u32, u32)) -> bool {
        self.privileged()
            || (self.uid.fs == old.0 && new.0 == old.0 && (new.1 == old.1 || self.in_group(new.1)))
    }

    /// Whether the mode of a file lets it do all of `wanted` (4 read, 2 write, 1 execute).
    pub(super) fn may(&self, owner: (u32, u32), mode: u32, wanted: u32) -> bool {
        let shift = if self.uid.fs == owner.0 {
            6
        } else if self.in_group(owner.1) {
            3
        } else {
            0
        };
        self.privileged() || (mode >> shift) & wanted == wanted
    }
}

/// All credentials that processes of this sandbox have had.
pub(super) struct Credentials {
    table: Vec<Who>,
    numbers: BTreeMap<Who, usize>,
    /// Who the step begins as.
    first: usize,
}

impl Credentials {
    /// Number 0 is root; the step begins as `user`.
    pub(super) fn new(user: &User) -> Self {
        let mut credentials = Self {
            table: vec![Who::default()],
            numbers: BTreeMap::from([(Who::default(), 0)]),
            first: 0,
        };
        credentials.first = credentials.number(Who {
            uid: Ids::all(user.uid),
            gid: Ids::all(user.gid),
            groups: user.groups.clone(),
            kept: None,
        });
        credentials
    }

    fn number(&mut self, who: Who) -> usize {
        if let Some(number) = self.numbers.get(&who) {
            return *number;
        }
        self.table.push(who.clone());
        self.numbers.insert(who, self.table.len() - 1);
        self.table.len() - 1
    }

    /// Who the process of this thread is.
    pub(super) fn of(&self, tid: u32) -> Result<&Who, Failed> {
        // The limit is infinite until the process, or one it comes from, has changed its ids.
        let limit = sys::soft_locks_limit(tid).map_err(|error| match error.raw_os_error() {
            Some(libc::ESRCH) => Failed::Gone,
            _ => super::fell_back("who a process is", error),
        })?;
        let number = usize::try_from(limit).ok().filter(|number| *number < self.table.len());
        Ok(&self.table[number.unwrap_or(self.first)])
    }

    fn set(&mut self, tid: u32, who: Who) -> Result<(), Failed> {
        let number = self.number(who);
        sys::set_soft_locks_limit(tid, number as u64)
            .map_err(|error| super::fell_back("the ids of a process", error))
    }
}

fn id(notifier: &mut Notifier, call: &Notification, which: fn(&Who) -> u32) -> Handled {
    Ok(Reply::Value(which(notifier.credentials.of(call.pid)?).into()))
}

fn three(notifier: &mut Notifier, call: &Notification, which: fn(&Who) -> Ids) -> Handled {
    let ids = which(notifier.credentials.of(call.pid)?);
    for (address, id) in call.args.iter().zip([ids.real, ids.effective, ids.saved]) {
        notifier.write(call, *address, &id.to_ne_bytes())?;
    }
    Ok(Reply::Value(0))
}

fn getgroups(notifier: &mut Notifier, call: &Notification) -> Handled {
    let groups = &notifier.credentials.of(call.pid)?.groups;
    let room = int(call.args[0]);
    let value = i64::try_from(groups.len()).unwrap_or(i64::MAX);
    match room {
        0 => Ok(Reply::Value(value)),
        room if i64::from(room) < value => Err(Failed::Errno(libc::EINVAL)),
        _ => {
            let bytes = groups.iter().flat_map(|gid| gid.to_ne_bytes()).collect();
            Ok(Reply::Write { address: call.args[1], bytes, value })
        }
    }
}

fn setgroups(notifier: &mut Notifier, call: &Notification) -> Handled {
    let mut who = notifier.credentials.of(call.pid)?.clone();
    if !may_change(call, &who, SETGID)? {
        return Err(Failed::Errno(libc::EPERM));
    }
    let count = usize::try_from(unsigned(call.args[0])).unwrap_or(usize::MAX);
    if count > 65_536 {
        return Err(Failed::Errno(libc::EINVAL));
    }
    let mut bytes = vec![0; count * 4];
    if count > 0 {
        notifier.read(call, call.args[1], &mut bytes)?;
    }
    who.groups =
        bytes.chunks_exact(4).map(|id| u32::from_ne_bytes([id[0], id[1], id[2], id[3]])).collect();
    who.groups.sort_unstable(); // as the kernel keeps them
    notifier.credentials.set(call.pid, who)?;
    Ok(Reply::Value(0))
}

/// setuid, setreuid, setresuid and their twins for groups, by the kernel's rules.
fn set(notifier: &mut Notifier, call: &Notification) -> Handled {
    let mut who = notifier.credentials.of(call.pid)?.clone();
    let uids = matches!(call.nr, libc::SYS_setuid | libc::SYS_setreuid | libc::SYS_setresuid);
    let privileged = may_change(call, &who, if uids { SETUID } else { SETGID })?;
    let was_root = who.uid.any_root();
    let ids = if uids { &mut who.uid } else { &mut who.gid };
    let old = *ids;
    let [a, b, c] = [0, 1, 2].map(|at| unsigned(call.args[at]));
    let given = |id: u32| id != u32::MAX;
    let denied = Err(Failed::Errno(libc::EPERM));
    match call.nr {
        libc::SYS_setuid | libc::SYS_setgid => {
            if !given(a) {
                return Err(Failed::Errno(libc::EINVAL));
            }
            if privileged {
                *ids = Ids::all(a);
            } else if a == old.real || a == old.saved {
                (ids.effective, ids.fs) = (a, a);
            } else {
                return denied;
            }
        }
        libc::SYS_setreuid | libc::SYS_setregid => {
            let real_ok = a == old.real || a == old.effective;
            let group_saved = b == old.saved;
            let effective_ok = b == old.real || b == old.effective || group_saved;
            if !privileged && ((given(a) && !real_ok) || (given(b) && !effective_ok)) {
                return denied;
            }
            if given(a) {
                ids.real = a;
            }
            if given(b) {
                ids.effective = b;
            }
            if given(a) || (given(b) && b != old.real) {
                ids.saved = ids.effective;
            }
            ids.fs = ids.effective;
        }
        _ => {
            if !privileged && [a, b, c].iter().any(|id| given(*id) && !old.holds(*id)) {
                return denied;
            }
            for (to, id) in [(&mut ids.real, a), (&mut ids.effective, b), (&mut ids.saved, c)] {
                if given(id) {
                    *to = id;
                }
            }
            ids.fs = ids.effective;
        }
    }
    if was_root && !who.uid.any_root() {
        who.kept = kept(call, &who)?;
    }
    notifier.credentials.set(call.pid, who)?;
    Ok(Reply::Value(0))
}

/// Whether the caller may take any id of one kind: it is root, or keeps this capability.
fn may_change(call: &Notification, who: &Who, capability: u32) -> Result<bool, Failed> {
    if who.privileged() {
        return Ok(true);
    }
    Ok(kept(call, who)?.is_some_and(|kept| kept.effective >> capability & 1 == 1))
}

/// What the caller has kept, if it still executes the program that asked for it.
fn kept(call: &Notification, who: &Who) -> Result<Option<Kept>, Failed> {
    match &who.kept {
        Some(kept) if kept.program == program(call)? => Ok(Some(kept.clone())),
        _ => Ok(None),
    }
}

/// The program that the caller executes.
fn program(call: &Notification) -> Result<Program, Failed> {
    let failed = |error| super::fell_back("which program a process executes", error);
    let auxiliary = std::fs::read(format!("{}/auxv", call.pid)).map_err(failed)?;
    let file = std::fs::metadata(format!("{}/exe", call.pid)).map_err(failed)?;
    let mut hasher = blake3::Hasher::new();
    hasher.update(&file.dev().to_le_bytes()).update(&file.ino().to_le_bytes()).update(&auxiliary);
    Ok(hasher.finalize().into())
}

/// `PR_SET_KEEPCAPS`: notes it, for the kernel never sees a process become another user.
fn keep_capabilities(notifier: &mut Notifier, call: &Notification) -> Handled {
    let mut who = notifier.credentials.of(call.pid)?.clone();
    if who.uid.any_root() {
        let asked = call.args[1] == 1;
        who.kept = if asked { Some(Kept { program: program(call)?, effective: 0 }) } else { None };
        notifier.credentials.set(call.pid, who)?;
    }
    Ok(Reply::Continue)
}

/// setfsuid and setfsgid: return the old id, whether or not they changed it.
fn setfs(notifier: &mut Notifier, call: &Notification) -> Handled {
    let mut who = notifier.credentials.of(call.pid)?.clone();
    let uids = call.nr == libc::SYS_setfsuid;
    let privileged = may_change(call, &who, if uids { SETUID } else { SETGID })?;
    let ids = if uids { &mut who.uid } else { &mut who.gid };
    let (old, new) = (ids.fs, unsigned(call.args[0]));
    if new != u32::MAX && new != old && (privileged || ids.holds(new)) {
        ids.fs = new;
        notifier.credentials.set(call.pid, who)?;
    }
    Ok(Reply::Value(old.into()))
}

/// The capabilities of a process that is root no more: none, or those that it has kept.
fn capget(notifier: &mut Notifier, call: &Notification) -> Handled {
    let [header, data, ..] = call.args;
    let (words, own) = capability_words(notifier, call, header)?;
    let who = notifier.credentials.of(call.pid)?.clone();
    if data == 0 || words == 0 || !own || who.privileged() {
        return Ok(Reply::Continue); // the kernel says which version it prefers
    }
    let kept = kept(call, &who)?.map_or([0, 0], |kept| [kept.effective, ALL]);
    // Effective, permitted and inheritable: the low half of each, then the high half.
    let halves = [kept.map(|set| set & 0xffff_ffff), kept.map(|set| set >> 32)];
    let bytes = halves.into_iter().flat_map(|[effective, permitted]| [effective, permitted, 0]);
    let bytes = bytes.take(words).flat_map(|word| word.to_ne_bytes()[..4].to_vec()).collect();
    Ok(Reply::Write { address: data, bytes, value: 0 })
}

/// Which of the capabilities that it has kept a process puts into effect.
fn capset(notifier: &mut Notifier, call: &Notification) -> Handled {
    let [header, data, ..] = call.args;
    let mut who = notifier.credentials.of(call.pid)?.clone();
    if who.privileged() {
        return Ok(Reply::Continue);
    }
    let Some(mut kept) = kept(call, &who)? else { return Ok(Reply::Continue) };
    let (words, _) = capability_words(notifier, call, header)?;
    let mut bytes = vec![0; words * 4];
    notifier.read(call, data, &mut bytes)?;
    let word = |at: usize| {
        let word = bytes.get(at * 4..at * 4 + 4).and_then(|word| word.try_into().ok());
        u64::from(word.map_or(0, u32::from_ne_bytes))
    };
    kept.effective = word(0) | word(3) << 32;
    who.kept = Some(kept);
    notifier.credentials.set(call.pid, who)?;
    Ok(Reply::Continue)
}

/// How many words the sets have in the version that the header of capget and capset names, none if the kernel knows
/// no such version; and whether the caller means itself.
fn capability_words(
    notifier: &Notifier,
    call: &Notification,
    header: u64,
) -> Result<(usize, bool), Failed> {
    let mut bytes = [0; 8];
    notifier.read(call, header, &mut bytes)?;
    let words = match u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) {
        0x1998_0330 => 3,
        0x2007_1026 | 0x2008_0522 => 6,
        _ => 0,
    };
    Ok((words, bytes[4..] == [0; 4]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chown_and_mode_rules() {
        let root = Who::default();
        let mut www =
            Who { uid: Ids::all(33), gid: Ids::all(33), groups: vec![4], ..Who::default() };
        assert!(root.may_chown((1, 1), (2, 2)));
        assert!(!www.may_chown((33, 33), (0, 33)));
        assert!(www.may_chown((33, 33), (33, 4)));
        assert!(!www.may_chown((33, 33), (33, 5)));
        assert!(!www.may_chown((0, 33), (0, 33)));
        assert!(www.may((33, 0), 0o200, 2));
        assert!(!www.may((33, 0), 0o077, 2));
        assert!(www.may((0, 4), 0o020, 2));
        assert!(!www.may((0, 0), 0o770, 1));
        www.uid.effective = 0;
        assert!(www.may((0, 0), 0, 7));
    }

    #[test]
    fn credentials_are_interned() {
        let mut all = Credentials::new(&User::default());
        assert_eq!(all.first, 0);
        let www = Who { uid: Ids::all(33), ..Who::default() };
        assert_eq!(all.number(www.clone()), 1);
        assert_eq!(all.number(Who::default()), 0);
        assert_eq!(all.number(www), 1);
    }
}

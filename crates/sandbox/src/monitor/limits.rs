//! Watches what a command uses and says when a limit is passed. Nothing here is an rlimit: a program that
//! meets a refused allocation or fork would go on, and its result would depend on the machine.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, fstatfs, openat, statat};

use crate::command::{Command, Limits, UpperOn};
use crate::groups::Groups;
use crate::mounts::Root;
use crate::outcome::Void;

/// How often processes and memory are counted.
const TICK: Duration = Duration::from_millis(50);

/// How often, at most, the upper is measured: walking it is not free.
const DISK_TICK: Duration = Duration::from_millis(250);

/// A file system with fewer bytes free than this is taken for full.
const FULL: u64 = 1 << 20;

/// One with fewer inodes free than this, too.
const FULL_FILES: u64 = 64;

/// The limits of one command and where to look.
pub(super) struct Watch<'a> {
    limits: Limits,
    root: &'a Root,
    host: &'a Groups,
    /// When to count next, and when to measure the upper next.
    next: Instant,
    next_disk: Instant,
    timed_out: bool,
    oom_kills: Option<u64>,
    refused_forks: u64,
}

impl<'a> Watch<'a> {
    /// Begins to watch; the working directory is the host's /proc.
    pub(super) fn new(command: &Command, root: &'a Root, host: &'a Groups) -> Self {
        let now = Instant::now();
        Self {
            limits: command.limits.clone(),
            root,
            next: now + TICK,
            next_disk: now + DISK_TICK,
            timed_out: false,
            oom_kills: oom_kills(),
            refused_forks: host.refused_forks(),
            host,
        }
    }

    /// How long the monitor may sleep.
    pub(super) fn next_look(&self, started: Instant) -> Duration {
        let now = Instant::now();
        let tick = self.next.min(self.next_disk).saturating_duration_since(now);
        match self.limits.timeout {
            Some(limit) if !self.timed_out => {
                tick.min((started + limit).saturating_duration_since(now))
            }
            _ => tick,
        }
    }

    /// Looks at what is due and returns what was passed.
    pub(super) fn look(&mut self, started: Instant) -> Vec<Void> {
        let mut passed = Vec::new();
        let now = Instant::now();
        if let Some(limit) = self.limits.timeout
            && !self.timed_out
            && now >= started + limit
        {
            self.timed_out = true;
            passed.push(Void::Timeout { limit });
        }
        if now >= self.next {
            passed.extend(self.count());
            passed.extend(self.in_memory());
            passed.extend(shared_memory_full());
            self.next = Instant::now() + TICK;
        }
        if now >= self.next_disk {
            passed.extend(self.measure());
            let took = now.elapsed();
            self.next_disk = Instant::now() + DISK_TICK.max(took * 20);
        }
        passed
    }

    /// Last looks, when no process is left: whatever was full at some time is likely still nearly so.
    pub(super) fn at_the_end(&self, voided: &mut Vec<Void>) {
        let seen = |voided: &[Void]| {
            voided.iter().any(|void| {
                matches!(void, Void::Disk { .. } | Void::Spilled { .. } | Void::HostDisk { .. })
            })
        };
        if !seen(voided) {
            // What has come to its end in memory has not met the bound of memory.
            voided.extend(self.in_memory().filter(|void| matches!(void, Void::Disk { .. })));
            voided.extend(self.full());
        }
        if !voided.iter().any(|void| matches!(void, Void::SharedMemory { .. })) {
            voided.extend(shared_memory_full());
        }
        let refused = self.host.refused_forks().saturating_sub(self.refused_forks);
        if refused > 0 {
            voided.push(Void::ForkRefused { count: refused });
        }
        if let (Some(before), Some(after)) = (self.oom_kills, oom_kills())
            && after > before
        {
            voided.push(Void::OutOfMemory { count: after - before });
        }
    }

    /// Counts processes and their memory.
    fn count(&self) -> Vec<Void> {
        let mut passed = Vec::new();
        let Limits { memory, processes, .. } = self.limits;
        if memory.is_none() && processes.is_none() {
            return passed;
        }
        let Ok(pids) = pids() else { return passed };
        let count = pids.len() as u64 - 1; // without init
        if let Some(limit) = processes
            && count > limit
        {
            passed.push(Void::Processes { count, limit });
        }
        if let Some(limit) = memory {
            let files = files_in_memory();
            // Resident sets count shared pages often: only if they pass the limit is the exact sum worth its time.
            let rough: u64 = pids.iter().map(|pid| resident(pid)).sum();
            if files + rough > limit {
                let used = files + pids.iter().map(|pid| proportional(pid)).sum::<u64>();
                if used > limit {
                    passed.push(Void::Memory { used, limit });
                }
            }
        }
        passed
    }

    /// Measures what the command has written to memory.
    fn in_memory(&self) -> Option<Void> {
        let UpperOn::Memory { spill } = self.root.upper_on else { return None };
        let stat = fstatfs(&self.root.aux).ok()?;
        let used = (stat.f_blocks - stat.f_bfree) * u64::try_from(stat.f_bsize).ok()?;
        let names_run_out = stat.f_files > 0 && stat.f_ffree < stat.f_files / 4;
        match self.limits.disk {
            Some(limit) if used > limit => Some(Void::Disk { used, limit }),
            _ if used > spill || names_run_out => Some(Void::Spilled { used }),
            _ => None,
        }
    }

    /// Measures what the command has written to disk.
    fn measure(&self) -> Option<Void> {
        if let (UpperOn::Disk, Some(limit)) = (self.root.upper_on, self.limits.disk) {
            let uppers = std::iter::once(&self.root.upper)
                .chain(self.root.inputs.iter().map(|(_, dir)| dir));
            let mut links = BTreeSet::new();
            let used = uppers.map(|dir| size_of_tree(dir, &mut links)).sum();
            if used > limit {
                return Some(Void::Disk { used, limit });
            }
        }
        self.full()
    }

    /// Whether the file system of the upper is full.
    fn full(&self) -> Option<Void> {
        let stat = fstatfs(&self.root.upper).ok()?;
        let free = stat.f_bavail * u64::try_from(stat.f_bsize).ok()?;
        let files = stat.f_ffree;
        // Some file systems have no table of inodes, and say 0 of it.
        let full = free < FULL || (stat.f_files > 0 && files < FULL_FILES);
        full.then_some(Void::HostDisk { free, files })
    }
}

/// Whether /dev/shm is full: a program that meets its end goes on, and how large it is nobody promises.
fn shared_memory_full() -> Option<Void> {
    let stat = rustix::fs::statfs("/dev/shm").ok()?;
    let free = stat.f_bfree * u64::try_from(stat.f_bsize).ok()?;
    (free < FULL).then_some(Void::SharedMemory { free })
}

/// Bytes that the command keeps in shared memory.
fn files_in_memory() -> u64 {
    rustix::fs::statfs("/dev/shm").map_or(0, |stat| (stat.f_blocks - stat.f_bfree) * 4096)
}

/// The processes of the sandbox: its own /proc shows no others.
fn pids() -> io::Result<Vec<String>> {
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    let proc = openat(CWD, "/proc", flags, Mode::empty())?;
    let mut pids = Vec::new();
    for entry in Dir::read_from(proc)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.bytes().all(|byte| byte.is_ascii_digit()) {
            pids.push(name);
        }
    }
    Ok(pids)
}

/// Bytes of the resident set of a process.
fn resident(pid: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
    let pages: u64 = text.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0);
    pages * 4096
}

/// Bytes of a process, shared pages divided among those who share them.
fn proportional(pid: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kilobytes.map_or_else(|| resident(pid), |kilobytes| kilobytes * 1024)
}

/// How many processes the kernel has ended for want of memory since it started, on the whole machine.
fn oom_kills() -> Option<u64> {
    let vmstat = openat(CWD, "vmstat", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    // In large pieces (the kernel gives a page at most): it sums all its counters up again for every read.
    let mut text = vec![0; 1 << 14];
    let mut length = 0;
    while let Ok(read @ 1..) = rustix::io::read(&vmstat, &mut text[length..]) {
        length += read;
    }
    let text = std::str::from_utf8(&text[..length]).ok()?;
    text.lines().find_map(|line| line.strip_prefix("oom_kill "))?.parse().ok()
}

/// Bytes that a tree occupies; what cannot be read (it may vanish meanwhile) counts as nothing.
fn size_of_tree(dir: impl AsFd, links: &mut BTreeSet<u64>) -> u64 {
    let mut total = 0;
    let mut stack = Vec::new();
    stack.extend(open_below(&dir, c"."));
    while let Some(dir) = stack.pop() {
        let Ok(entries) = Dir::read_from(&dir) else { continue };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let Ok(stat) = statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
            if name == c"." || name == c".." || (stat.st_nlink > 1 && !links.insert(stat.st_ino)) {
                continue;
            }
            total += stat.st_blocks.cast_unsigned() * 512;
            // Bounded: a tree deeper than our descriptors is measured less exactly, not followed for ever.
            if FileType::from_raw_mode(stat.st_mode).is_dir() && stack.len() < 256 {
                stack.extend(open_below(&dir, name));
            }
        }
    }
    total
}

fn open_below(dir: impl AsFd, name: &std::ffi::CStr) -> Option<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(dir, name, flags, Mode::empty()).ok()
}

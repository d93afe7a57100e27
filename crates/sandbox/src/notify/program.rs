//! A new program: what the kernel has put into its memory, before it runs.
//!
//! Every C library and Go's run time set their thread register once after an exec, before a thread is made, a stack
//! protected or the clock read. That one call is where the seed and the vDSO are replaced. The vDSO's pages are
//! private to the program, so that writing through `/proc/PID/mem` changes its own copy. It takes no tracing, but on kernels
//! that let only a tracer write so.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::process::{
    Signal, WaitOptions, kill_process, set_parent_process_death_signal, waitpid,
};

use super::{Failed, Feature, Handled, Handler, Notifier, Reply, fell_back, on};
use crate::clock::Clock;
use crate::command::Command;
use crate::entropy::Entropy;
use crate::filter::When;
use crate::machine::Machine;
use crate::sys::{self, Fork, Notification, Parts, Patch};

pub(super) const TABLE: &[Handler] = &[
    #[cfg(target_arch = "x86_64")]
    on(libc::SYS_arch_prctl, When::Is(0, &[ARCH_SET_FS]), Feature::Program, begin),
];

#[cfg(target_arch = "x86_64")]
const ARCH_SET_FS: u32 = 0x1002;

/// What is replaced in the vDSO of this command's programs.
pub(super) fn parts(command: &Command) -> Parts {
    Parts {
        clock: command.clock != Clock::Real,
        cpu: command.machine != Machine::Real,
        random: command.entropy != Entropy::Real,
    }
}

/// Whether anything of a program is replaced.
pub(super) fn any(parts: Parts) -> bool {
    parts.clock || parts.cpu || parts.random
}

/// What the kernel tells a program about itself (`getauxval(3)`).
pub(super) struct Auxiliary(Vec<u64>);

impl Auxiliary {
    /// That of a process, named as the /proc that it is in names it.
    pub(super) fn of(process: &str) -> Result<Self, Failed> {
        let bytes = fs::read(format!("{process}/auxv")).map_err(|error| error_of(&error))?;
        let words = bytes.as_chunks::<8>().0.iter().map(|bytes| u64::from_ne_bytes(*bytes));
        Ok(Self(words.collect()))
    }

    pub(super) fn get(&self, key: u64) -> Option<u64> {
        let pairs = self.0.as_chunks::<2>().0.iter();
        pairs.take_while(|[key, _]| *key != libc::AT_NULL).find(|pair| pair[0] == key).map(|p| p[1])
    }
}

/// The memory of a process, open to be written to, pages that it may not write itself included.
pub(super) struct Memory {
    file: File,
    /// One of its threads, as the /proc that it is in names it: ours, the host's, or the sandbox's own.
    process: String,
}

impl Memory {
    pub(super) fn of(process: &str) -> Result<Self, Failed> {
        let file = OpenOptions::new().read(true).write(true).open(format!("{process}/mem"));
        file.map(|file| Self { file, process: process.to_owned() })
            .map_err(|error| error_of(&error))
    }

    pub(super) fn read(&self, address: u64, bytes: &mut [u8]) -> Result<(), Failed> {
        self.file.read_exact_at(bytes, address).map_err(|error| error_of(&error))
    }

    pub(super) fn write(&self, address: u64, bytes: &[u8]) -> Result<(), Failed> {
        let written = match self.file.write_all_at(bytes, address) {
            // With `proc_mem.force_override=ptrace` (Linux 6.12) only its tracer may.
            Err(error) if error.raw_os_error() == Some(libc::EIO) => {
                host_thread(Path::new("."), &self.process)
                    .and_then(|thread| sys::write_as_tracer(&self.file, thread, address, bytes))
            }
            written => written,
        };
        written.map_err(|error| error_of(&error))
    }
}

/// The number that a thread has in the /proc `host`: that of `TID` there, or of `/proc/TID` in the sandbox.
fn host_thread(host: &Path, process: &str) -> io::Result<u32> {
    let number = |text: &str| text.parse().map_err(|_| io::ErrorKind::NotFound.into());
    let Some(inside) = process.strip_prefix("/proc/") else { return number(process) };
    let namespace = fs::read_link(format!("{process}/ns/pid"))?;
    #[expect(clippy::disallowed_methods, reason = "one is looked for")]
    for entry in fs::read_dir(host)? {
        let Ok(outside) = entry?.file_name().into_string() else { continue };
        // Processes come and go.
        let Ok(status) = fs::read_to_string(host.join(&outside).join("status")) else { continue };
        let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
        if numbers.and_then(|all| all.split_whitespace().last()) == Some(inside)
            && fs::read_link(host.join(&outside).join("ns/pid")).is_ok_and(|link| link == namespace)
        {
            return number(&outside);
        }
    }
    Err(io::ErrorKind::NotFound.into())
}

/// A memory that has ended reads and writes nothing, and a process without one belongs to a root that is not ours.
fn error_of(error: &io::Error) -> Failed {
    match (error.kind(), error.raw_os_error()) {
        (io::ErrorKind::UnexpectedEof | io::ErrorKind::WriteZero, _)
        | (_, Some(libc::ESRCH | libc::ENOENT | libc::EACCES)) => Failed::Gone,
        _ => fell_back("a program's memory", error),
    }
}

#[cfg(target_arch = "x86_64")]
fn begin(notifier: &mut Notifier, call: &Notification) -> Handled {
    let process = call.pid.to_string();
    let auxiliary = Auxiliary::of(&process)?;
    notifier.still_there(call)?;
    if notifier.parts.random
        && let Some(address) = auxiliary.get(libc::AT_RANDOM)
    {
        let mut seed = [0; 16];
        super::random(b"AT_RANDOM", 0, 0, &mut seed);
        notifier.write(call, address, &seed)?;
    }
    notifier.streams.begin(call.pid);
    if let Some(clocks) = &mut notifier.clocks {
        clocks.waits.forget(call.pid);
    }
    notifier.replace(&process, call, &auxiliary)?;
    Ok(Reply::Continue)
}

impl Notifier {
    /// Replaces the functions of a program's vDSO, unless they are replaced already.
    pub(super) fn replace(
        &mut self,
        process: &str,
        call: &Notification,
        auxiliary: &Auxiliary,
    ) -> Result<(), Failed> {
        let Some(patch) = &self.patch else { return Ok(()) };
        let Some(vdso) = auxiliary.get(libc::AT_SYSINFO_EHDR) else { return Ok(()) };
        let memory = Memory::of(process)?;
        self.still_there(call)?;
        match (&self.clocks, patch.words) {
            (Some(clocks), Some(words)) => {
                let mut there = [0; sys::Words::SIZE];
                memory.read(vdso + words, &mut there)?;
                if sys::Words::from_bytes(there).is_none() {
                    let words = clocks.first_words(counter(&memory, auxiliary)?);
                    memory.write(vdso + patch.at, &patch.with(&words))?;
                }
            }
            _ => memory.write(vdso + patch.at, &patch.bytes)?,
        }
        Ok(())
    }
}

/// The last word of a program's stack, which the kernel leaves zero. The name that the program was started by ends just
/// before it, and it is the last one of a page.
fn counter(memory: &Memory, auxiliary: &Auxiliary) -> Result<u64, Failed> {
    const PAGE: u64 = 4096;
    let unknown = || fell_back("the clock", "a program whose stack is of another form");
    let name = auxiliary.get(libc::AT_EXECFN).ok_or_else(unknown)?;
    for end in [name | (PAGE - 1), (name | (PAGE - 1)) + PAGE] {
        let counter = end + 1 - 8;
        let Some(length) = counter.checked_sub(name) else { continue };
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
        memory.read(name, &mut bytes)?;
        match bytes.iter().position(|byte| *byte == 0) {
            Some(at) if at + 1 == bytes.len() => return Ok(counter),
            Some(_) => return Err(unknown()),
            None => {}
        }
    }
    Err(unknown())
}

/// Tries what [`Notifier::replace`] does, on a process of ours.
pub(crate) fn try_replace() -> io::Result<()> {
    let parts = Parts { clock: true, cpu: true, random: true };
    let patch = Patch::new(parts).map_err(io::Error::other)?;
    with_child(|pid| {
        let failed = |failed| match failed {
            Failed::FellBack { reason, .. } => io::Error::other(reason),
            _ => io::Error::other("a process has no memory"),
        };
        let process = pid.to_string();
        rustix::process::chdir("/proc")?;
        let auxiliary = Auxiliary::of(&process).map_err(failed)?;
        let vdso = auxiliary.get(libc::AT_SYSINFO_EHDR);
        let vdso = vdso.ok_or_else(|| io::Error::other("there is no vDSO"))?;
        let memory = Memory::of(&process).map_err(failed)?;
        memory.write(vdso + patch.at, &patch.bytes).map_err(failed)
    })
}

/// Does `work` on a process that waits to be killed.
fn with_child(work: impl FnOnce(u32) -> io::Result<()>) -> io::Result<()> {
    match sys::fork()? {
        Fork::Child => {
            // Where we are killed it is, too.
            let _bound = set_parent_process_death_signal(Some(Signal::KILL));
            loop {
                rustix::event::pause();
            }
        }
        Fork::Parent(child) => {
            let done = work(child.as_raw_nonzero().get().cast_unsigned());
            kill_process(child, Signal::KILL)?;
            rustix::io::retry_on_intr(|| waitpid(Some(child), WaitOptions::empty()))?;
            done
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command as Program;

    use super::*;

    /// As on a kernel that lets nobody but a tracer write there.
    #[test]
    fn what_a_program_may_not_write() {
        let mut child = Program::new("sleep").arg("60").spawn().expect("sleep starts");
        let pid = child.id();
        let path = format!("/proc/{pid}");
        // It is told about its vDSO a little after it was started.
        let vdso = || {
            std::thread::sleep(std::time::Duration::from_millis(1));
            Auxiliary::of(&path).ok().and_then(|all| all.get(libc::AT_SYSINFO_EHDR))
        };
        let vdso = (0..5000).find_map(|_| vdso()).expect("it has a vDSO");
        let memory = Memory::of(&path).ok().expect("it has a memory");
        for byte in [1, 2] {
            sys::write_as_tracer(&memory.file, pid, vdso + 4000, &[byte; 8]).expect("written");
            let mut there = [0; 8];
            assert!(memory.read(vdso + 4000, &mut there).is_ok());
            assert_eq!(there, [byte; 8]);
        }
        // It is not stopped, and soon nobody's but its parent's to wait for: the tracer ends a little after it is joined.
        let status = || fs::read_to_string(format!("{path}/status")).expect("it lives");
        let untraced = |_: &u32| status().contains("TracerPid:\t0\n");
        let wait = |_| std::thread::sleep(std::time::Duration::from_millis(10));
        (0..500).take_while(|turn| !untraced(turn)).for_each(wait);
        let status = status();
        assert!(status.contains("TracerPid:\t0\n"), "{status}");
        assert!(!status.contains("(tracing stop)"), "{status}");
        let host = Path::new("/proc");
        assert_eq!(host_thread(host, &path).expect("here it is the same"), pid);
        assert_eq!(host_thread(host, &pid.to_string()).expect("a number"), pid);
        child.kill().expect("it is ours");
        let status = child.wait().expect("it ends");
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(libc::SIGKILL));
    }
}

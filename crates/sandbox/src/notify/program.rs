//! A new program: what the kernel has put into its memory, before it runs.
//!
//! Every C library and Go's run time set their thread register once after an exec, before a thread is made, a stack
//! protected or the clock read. That one call is where the seed and the vDSO are replaced. The vDSO's pages are
//! private to the program, so that writing through `/proc/PID/mem` changes its own copy.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;

use super::{Failed, Feature, Handled, Handler, Notifier, Reply, fell_back, on};
use crate::clock::Clock;
use crate::command::Command;
use crate::entropy::Entropy;
use crate::filter::When;
use crate::machine::Machine;
use crate::sys::{self, Notification, Parts, Patch};

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
pub(super) struct Memory(File);

impl Memory {
    pub(super) fn of(process: &str) -> Result<Self, Failed> {
        let file = OpenOptions::new().read(true).write(true).open(format!("{process}/mem"));
        file.map(Self).map_err(|error| error_of(&error))
    }

    pub(super) fn read(&self, address: u64, bytes: &mut [u8]) -> Result<(), Failed> {
        self.0.read_exact_at(bytes, address).map_err(|error| error_of(&error))
    }

    pub(super) fn write(&self, address: u64, bytes: &[u8]) -> Result<(), Failed> {
        self.0.write_all_at(bytes, address).map_err(|error| error_of(&error))
    }
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

/// Tries what [`Notifier::replace`] does, on this process itself.
pub(crate) fn try_replace() -> io::Result<()> {
    let parts = Parts { clock: true, cpu: true, random: true };
    let patch = Patch::new(parts).map_err(io::Error::other)?;
    let failed = |failed| match failed {
        Failed::FellBack { reason, .. } => io::Error::other(reason),
        _ => io::Error::other("this process has no memory"),
    };
    let auxiliary = Auxiliary::of("/proc/self").map_err(failed)?;
    let vdso = auxiliary.get(libc::AT_SYSINFO_EHDR);
    let vdso = vdso.ok_or_else(|| io::Error::other("there is no vDSO"))?;
    let memory = Memory::of("/proc/self").map_err(failed)?;
    memory.write(vdso + patch.at, &patch.bytes).map_err(failed)
}

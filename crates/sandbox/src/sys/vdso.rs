//! Code of our own for the vDSO, the functions that the kernel maps into every program so that it can read the clock
//! without a system call.
//!
//! A [`Patch`] is this kernel's vDSO with other functions in it, to be written over a new program's (its pages are
//! private). The functions read [`Words`] beside them, which the monitor keeps up to date, and count their calls in a
//! word that no program uses: the last one of its stack, which is zero after an exec and copied by a fork.

use std::arch::global_asm;
use std::ffi::CStr;

use crate::clock::{ACCELERATION, COARSE, COARSE_ONES, FROZEN_READS, MONOTONIC, REALTIME};

/// What an in-process clock reads, in this order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Words {
    /// [`MARK`]: these are the words.
    pub(crate) mark: u64,
    /// Not 0: the monitor is asked each time.
    pub(crate) ask: u64,
    /// Not 0: `CLOCK_MONOTONIC` is the kernel's plus `offset`.
    pub(crate) runs: u64,
    /// Address of the counter of reads.
    pub(crate) counter: u64,
    /// `CLOCK_REALTIME` is this many seconds …
    pub(crate) start: i64,
    /// … and this many nanoseconds, and what the count of reads adds.
    pub(crate) real: u64,
    /// `CLOCK_MONOTONIC` is this many nanoseconds, and what the count of reads adds, unless it `runs`.
    pub(crate) monotonic: u64,
    /// Nanoseconds.
    pub(crate) offset: i64,
    /// How far the step's time was when `real` and `monotonic` were written, in nanoseconds. Read by the monitor alone.
    pub(crate) seen: u64,
    /// The process, once it has waited; of a fork its parent until then. Read by the monitor alone.
    pub(crate) process: u64,
    /// What its first thread has slept without its clocks moving, in nanoseconds. Read by the monitor alone.
    pub(crate) short: u64,
    /// For how long this process has waited without its clocks moving, in nanoseconds. Read by the monitor alone.
    pub(crate) waited: u64,
}

impl Words {
    /// Their size in bytes.
    pub(crate) const SIZE: usize = size_of::<Self>();

    /// As they lie in a program's memory.
    pub(crate) fn bytes(&self) -> [u8; Self::SIZE] {
        // SAFETY: twelve words without padding.
        unsafe { std::mem::transmute::<Self, [u8; Self::SIZE]>(*self) }
    }

    /// From a program's memory; none if they are not there.
    pub(crate) fn from_bytes(bytes: [u8; Self::SIZE]) -> Option<Self> {
        // SAFETY: twelve words, each of which may have any value.
        let words = unsafe { std::mem::transmute::<[u8; Self::SIZE], Self>(bytes) };
        (words.mark == MARK).then_some(words)
    }
}

/// The first of the [`Words`].
pub(crate) const MARK: u64 = 0x6b63_6f6c_4320_7869;

/// The third argument, which the kernel does not look at, of a `clock_gettime` that the filter lets pass.
pub(crate) const PASS: u32 = 0x7869_6d65;

/// A mask of clocks.
const fn bits(clocks: &[u32]) -> u32 {
    let (mut mask, mut at) = (0, 0);
    while at < clocks.len() {
        mask |= 1 << clocks[at];
        at += 1;
    }
    mask
}

/// What is written over the vDSO of a new program.
#[derive(Clone, Debug)]
pub(crate) struct Patch {
    /// Where in it.
    pub(crate) at: u64,
    /// What.
    pub(crate) bytes: Vec<u8>,
    /// Where in it the [`Words`] are, if it has a clock.
    pub(crate) words: Option<u64>,
}

/// What a patch replaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Parts {
    /// `clock_gettime`, `gettimeofday`, `time` and `clock_getres`.
    pub(crate) clock: bool,
    /// `getcpu`: always processor 0.
    pub(crate) cpu: bool,
    /// `getrandom`: callers fall back to the system call.
    pub(crate) random: bool,
}

#[cfg(target_arch = "x86_64")]
global_asm!(
    r#"
.pushsection .rodata
.balign 16
.globl reimage_vdso_begin
reimage_vdso_begin:
    .quad 0
82: .quad 0                     # ask
83: .quad 0                     # runs
84: .quad 0                     # counter
85: .quad 0                     # start
86: .quad 0                     # real
87: .quad 0                     # monotonic
88: .quad 0                     # offset
    .quad 0
    .quad 0
    .quad 0
    .quad 0
20:                             # rax: nanoseconds that the count of reads adds
    mov rcx, [rip + 84b]
    mov eax, 1
    lock xadd [rcx], rax
    shr rax, {shift}
    imul rax, rax
    imul rax, rax, {acceleration}
    ret
21:                             # rax: seconds, rdx: nanoseconds of CLOCK_REALTIME
    call 20b
    add rax, [rip + 86b]
    xor edx, edx
    mov ecx, 1000000000
    div rcx
    add rax, [rip + 85b]
    ret
.globl reimage_vdso_gettime
reimage_vdso_gettime:
    cmp edi, 11
    ja 30f
    mov eax, {realtime}
    bt eax, edi
    jc 31f
    mov eax, {monotonic}
    bt eax, edi
    jc 32f
30: mov eax, 228                # clock_gettime
    syscall
    ret
31: cmp qword ptr [rip + 82b], 0
    jne 30b
    call 21b
    jmp 35f
32: cmp qword ptr [rip + 83b], 0
    jne 33f
    cmp qword ptr [rip + 82b], 0
    jne 30b
    call 20b
    add rax, [rip + 87b]
    jmp 34f
33: mov edi, 1
    mov edx, {pass}
    mov eax, 228
    syscall
    test eax, eax
    jnz 36f
    imul rax, [rsi], 1000000000
    add rax, [rsi + 8]
    add rax, [rip + 88b]
34: xor edx, edx
    mov ecx, 1000000000
    div rcx
35: mov [rsi], rax
    mov [rsi + 8], rdx
    xor eax, eax
36: ret
.globl reimage_vdso_timeofday
reimage_vdso_timeofday:
    cmp qword ptr [rip + 82b], 0
    jne 42f
    test rdi, rdi
    jz 40f
    call 21b
    mov [rdi], rax
    mov eax, edx
    xor edx, edx
    mov ecx, 1000
    div ecx
    mov [rdi + 8], rax
40: test rsi, rsi
    jz 41f
    mov qword ptr [rsi], 0
41: xor eax, eax
    ret
42: mov eax, 96                 # gettimeofday
    syscall
    ret
.globl reimage_vdso_time
reimage_vdso_time:
    cmp qword ptr [rip + 82b], 0
    jne 51f
    call 21b
    test rdi, rdi
    jz 50f
    mov [rdi], rax
50: ret
51: mov eax, 201                # time
    syscall
    ret
.globl reimage_vdso_getres
reimage_vdso_getres:
    cmp edi, 11
    ja 61f
    cmp edi, 10
    je 61f
    test rsi, rsi
    jz 60f
    mov ecx, 1
    mov edx, {coarse}
    mov eax, {coarse_ones}
    bt eax, edi
    cmovc ecx, edx
    mov qword ptr [rsi], 0
    mov [rsi + 8], rcx
60: xor eax, eax
    ret
61: mov eax, 229                # clock_getres
    syscall
    ret
.globl reimage_vdso_end
reimage_vdso_end:
.globl reimage_vdso_cpu
reimage_vdso_cpu:
    xor eax, eax
    test rdi, rdi
    jz 70f
    mov [rdi], eax
70: test rsi, rsi
    jz 71f
    mov [rsi], eax
71: ret
.globl reimage_vdso_random
reimage_vdso_random:
    mov rax, {nosys}
    ret
.globl reimage_vdso_last
reimage_vdso_last:
.popsection
"#,
    shift = const FROZEN_READS.ilog2(),
    acceleration = const ACCELERATION,
    realtime = const bits(&REALTIME),
    monotonic = const bits(&MONOTONIC),
    coarse_ones = const bits(&COARSE_ONES),
    coarse = const COARSE,
    pass = const PASS,
    nosys = const -libc::ENOSYS,
);

#[cfg(target_arch = "x86_64")]
mod code {
    unsafe extern "C" {
        static reimage_vdso_begin: u8;
        static reimage_vdso_gettime: u8;
        static reimage_vdso_timeofday: u8;
        static reimage_vdso_time: u8;
        static reimage_vdso_getres: u8;
        static reimage_vdso_end: u8;
        static reimage_vdso_cpu: u8;
        static reimage_vdso_random: u8;
        static reimage_vdso_last: u8;
    }

    fn between(begin: *const u8, end: *const u8) -> &'static [u8] {
        // SAFETY: both are labels of the block above, in this order, in read-only data.
        unsafe { std::slice::from_raw_parts(begin, end as usize - begin as usize) }
    }

    /// The clock, and where in it each function of the vDSO begins.
    pub(super) fn clock() -> (&'static [u8], [(&'static str, usize); 4]) {
        let begin = &raw const reimage_vdso_begin;
        let at = |label: *const u8| label as usize - begin as usize;
        let functions = [
            ("__vdso_clock_gettime", at(&raw const reimage_vdso_gettime)),
            ("__vdso_gettimeofday", at(&raw const reimage_vdso_timeofday)),
            ("__vdso_time", at(&raw const reimage_vdso_time)),
            ("__vdso_clock_getres", at(&raw const reimage_vdso_getres)),
        ];
        (between(begin, &raw const reimage_vdso_end), functions)
    }

    pub(super) fn cpu() -> &'static [u8] {
        between(&raw const reimage_vdso_cpu, &raw const reimage_vdso_random)
    }

    pub(super) fn random() -> &'static [u8] {
        between(&raw const reimage_vdso_random, &raw const reimage_vdso_last)
    }
}

/// Nothing to put into another architecture's.
#[cfg(not(target_arch = "x86_64"))]
mod code {
    pub(super) fn clock() -> (&'static [u8], [(&'static str, usize); 4]) {
        (&[], [("", 0); 4])
    }

    pub(super) fn cpu() -> &'static [u8] {
        &[]
    }

    pub(super) fn random() -> &'static [u8] {
        &[]
    }
}

/// A function of the vDSO: its name, where it begins, its size.
type Function = (String, usize, usize);

impl Patch {
    /// The patch for this kernel's vDSO. Errors: what is missing.
    pub(crate) fn new(parts: Parts) -> Result<Self, &'static str> {
        if !cfg!(target_arch = "x86_64") {
            return Err("no functions for this architecture's vDSO");
        }
        let (image, functions) = own().ok_or("a vDSO of another form than is known")?;
        Self::of(image, &functions, parts)
    }

    fn of(image: &[u8], functions: &[Function], parts: Parts) -> Result<Self, &'static str> {
        let find = |name: &str| functions.iter().find(|(other, ..)| other == name);
        let mut changes: Vec<(usize, Vec<u8>)> = Vec::new();
        let mut words = None;
        if parts.clock {
            let (code, entries) = code::clock();
            let mut replaced = entries.iter().filter_map(|(name, _)| find(name));
            let mut largest = replaced.next().ok_or("no function of the vDSO to replace")?;
            for function in replaced {
                if function.2 > largest.2 {
                    largest = function;
                }
            }
            let (_, begin, size) = largest;
            // Behind the jump at its beginning, words on a word's boundary.
            let at = (begin + JUMP).next_multiple_of(16);
            if at + code.len() > begin + size {
                return Err("no room for a clock in the vDSO");
            }
            changes.push((at, code.to_vec()));
            words = u64::try_from(at).ok();
            for (name, to) in entries {
                // A kernel without one of them has nobody who calls it.
                if let Some((_, from, _)) = find(name) {
                    changes.push((*from, jump(*from, at + to)?));
                }
            }
        }
        let whole = [
            (parts.cpu, "__vdso_getcpu", code::cpu()),
            (parts.random, "__vdso_getrandom", code::random()),
        ];
        for (wanted, name, code) in whole {
            if let (true, Some((_, begin, size))) = (wanted, find(name)) {
                if *size < code.len() {
                    return Err("no room for a function in the vDSO");
                }
                changes.push((*begin, code.to_vec()));
            }
        }
        let first = changes.iter().map(|(at, _)| *at).min().unwrap_or(0);
        let last = changes.iter().map(|(at, bytes)| at + bytes.len()).max().unwrap_or(0);
        let mut bytes = image.get(first..last).ok_or("a vDSO shorter than it says")?.to_vec();
        for (at, change) in changes {
            bytes[at - first..at - first + change.len()].copy_from_slice(&change);
        }
        Ok(Self { at: first as u64, bytes, words })
    }

    /// The patch with these words in it.
    pub(crate) fn with(&self, words: &Words) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        if let Some(at) = self.words.and_then(|at| usize::try_from(at - self.at).ok()) {
            bytes[at..at + Words::SIZE].copy_from_slice(&words.bytes());
        }
        bytes
    }
}

/// Size of a jump to a relative address.
const JUMP: usize = 5;

fn jump(from: usize, to: usize) -> Result<Vec<u8>, &'static str> {
    let distance = to.cast_signed() - (from + JUMP).cast_signed();
    let distance = i32::try_from(distance).map_err(|_| "a vDSO larger than is known")?;
    Ok([&[0xe9], distance.to_le_bytes().as_slice()].concat())
}

/// This process's own vDSO, which is every process's, and its functions in the order of their addresses.
fn own() -> Option<(&'static [u8], Vec<Function>)> {
    // SAFETY: takes an integer.
    let base = unsafe { libc::getauxval(libc::AT_SYSINFO_EHDR) };
    let base = usize::try_from(base).ok().filter(|base| *base != 0)?;
    // SAFETY: the kernel maps the vDSO whole, for the life of the process, and its ELF header is within its first page.
    let header = unsafe { bytes_at(base, 64) };
    let headers = word(header, 32)?;
    let count = usize::from(u16::from_le_bytes(header.get(56..58)?.try_into().ok()?));
    // SAFETY: the program headers follow the ELF header in that page.
    let table = unsafe { bytes_at(base + headers, 56 * count) };
    let segment = |kind: u32| {
        table.chunks_exact(56).find(|header| header.get(..4) == Some(&kind.to_le_bytes()))
    };
    let size = word(segment(libc::PT_LOAD)?, 40)?;
    // SAFETY: the one segment that is loaded.
    let image = unsafe { bytes_at(base, size) };
    let functions = functions(image, word(segment(libc::PT_DYNAMIC)?, 16)?)?;
    Some((image, functions))
}

/// # Safety
///
/// `length` bytes at `address` can be read for the life of the process and never change.
unsafe fn bytes_at(address: usize, length: usize) -> &'static [u8] {
    let pointer = std::ptr::with_exposed_provenance(address);
    // SAFETY: as the caller promises.
    unsafe { std::slice::from_raw_parts(pointer, length) }
}

fn word(bytes: &[u8], at: usize) -> Option<usize> {
    let word = bytes.get(at..at + 8)?.try_into().ok()?;
    usize::try_from(u64::from_le_bytes(word)).ok()
}

/// The functions that an image with this dynamic section names.
fn functions(image: &[u8], dynamic: usize) -> Option<Vec<Function>> {
    const FUNCTION: u8 = 2;
    let entries = (0..).map_while(|at| {
        let entry = (word(image, dynamic + 16 * at)?, word(image, dynamic + 16 * at + 8)?);
        (entry.0 != 0).then_some(entry)
    });
    let entries: Vec<_> = entries.collect();
    let entry = |key: usize| entries.iter().find(|(other, _)| *other == key).map(|(_, at)| *at);
    let (names, symbols) = (entry(5)?, entry(6)?);
    // The names follow the symbols.
    let count = names.checked_sub(symbols)? / 24;
    let mut found = Vec::new();
    for at in (0..count).map(|number| symbols + 24 * number) {
        if image.get(at + 4)? & 15 != FUNCTION {
            continue;
        }
        let name = u32::from_le_bytes(image.get(at..at + 4)?.try_into().ok()?) as usize;
        let name = CStr::from_bytes_until_nul(image.get(names + name..)?).ok()?;
        let (begin, size) = (word(image, at + 8)?, word(image, at + 16)?);
        found.push((name.to_string_lossy().into_owned(), begin, size));
    }
    found.sort_by_key(|(_, begin, _)| *begin);
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Parts = Parts { clock: true, cpu: true, random: true };

    #[test]
    fn this_kernel_s_vdso_has_room() {
        let patch = Patch::new(ALL).expect("a patch");
        let words = Words { mark: MARK, start: 7, ..Words::default() };
        let bytes = patch.with(&words);
        let at = usize::try_from(patch.words.expect("a clock") - patch.at).expect("small");
        let found: [u8; Words::SIZE] = bytes[at..at + Words::SIZE].try_into().expect("its size");
        assert_eq!(Words::from_bytes(found), Some(words));
        assert_eq!(Words::from_bytes([0; Words::SIZE]), None);
    }

    #[test]
    fn a_small_vdso_is_refused() {
        let functions = [("__vdso_clock_gettime".to_owned(), 0, 64)];
        let refused = Patch::of(&[0; 64], &functions, ALL);
        assert_eq!(refused.err(), Some("no room for a clock in the vDSO"));
    }

    #[test]
    fn a_part_alone_changes_that_part_alone() {
        let functions = [
            ("__vdso_clock_gettime".to_owned(), 0, 2048),
            ("__vdso_getrandom".to_owned(), 2048, 64),
        ];
        let parts = Parts { clock: false, cpu: true, random: true };
        let patch = Patch::of(&[0; 4096], &functions, parts).expect("a patch");
        assert_eq!((patch.at, patch.words), (2048, None));
        assert_eq!(patch.bytes, code::random());
    }
}

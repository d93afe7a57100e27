//! The machine that a step sees under [`Machine::Fixed`]: constants of the baseline, whatever it runs on.
//!
//! Whoever changes one changes what steps see: the baseline's number moves with it.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

/// What a command sees of the machine that it runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Machine {
    /// All of it.
    Real,
    /// The baseline's: kernel, processors, memory, load; and directories list their names in the order of their bytes.
    Fixed {
        /// Processors, 1 to 64.
        cpus: u32,
        /// When it was switched on, in seconds since 1970: [`UPTIME`] before the step's clock begins.
        booted: u64,
    },
}

impl Machine {
    /// How many processors are shown; none of the real one's.
    pub(crate) fn cpus(self) -> u32 {
        match self {
            Self::Real => 0,
            Self::Fixed { cpus, .. } => cpus.clamp(1, MOST_CPUS),
        }
    }
}

/// For how many seconds the machine has run when a step begins.
pub const UPTIME: u64 = 1_000_000;

/// Processors at most: one word of an affinity mask.
pub(crate) const MOST_CPUS: u32 = 64;

/// Bytes of memory, and how many of them are free.
pub(crate) const MEMORY: [u64; 2] = [8 << 30, 6 << 30];

/// Bytes of each file system, and how many of them are free.
const DISK: [u64; 2] = [64 << 30, 48 << 30];

pub(crate) const RELEASE: &str = "6.1.0";
pub(crate) const VERSION: &str = "#1 SMP";

/// Files of /proc that tell about the machine, each with what it says. Others are empty.
pub(crate) fn proc_files(cpus: u32, booted: u64) -> Vec<(&'static str, String)> {
    vec![
        ("cpuinfo", cpuinfo(cpus)),
        ("meminfo", meminfo()),
        ("stat", stat(cpus, booted)),
        ("uptime", format!("{UPTIME}.00 {}.00\n", UPTIME * u64::from(cpus))),
        ("loadavg", "0.00 0.00 0.00 1/1 1\n".to_owned()),
        ("version", format!("Linux version {RELEASE} {VERSION}\n")),
    ]
}

/// `struct utsname` of x86-64 (uname(2)): six fields of 65 bytes.
pub(crate) fn utsname(host: &str) -> Vec<u8> {
    let fields = ["Linux", host, RELEASE, VERSION, std::env::consts::ARCH, "(none)"];
    fields
        .iter()
        .flat_map(|field| {
            let mut bytes = field.as_bytes().to_vec();
            bytes.truncate(64);
            bytes.resize(65, 0);
            bytes
        })
        .collect()
}

/// `struct sysinfo` of 64-bit machines (sysinfo(2)).
pub(crate) fn sysinfo() -> Vec<u8> {
    let [total, free] = MEMORY;
    // uptime, three loads, total, free, shared, buffers, swap, free swap; then u16 processes and padding to a word.
    let words = [UPTIME, 0, 0, 0, total, free, 0, 0, 0, 0];
    let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    bytes.extend(1_u16.to_ne_bytes());
    bytes.resize(104, 0); // total and free high memory: none
    bytes.extend(1_u32.to_ne_bytes()); // a unit is a byte
    bytes.resize(112, 0);
    bytes
}

/// `struct statfs` of 64-bit machines (statfs(2)) of a file system of this type.
pub(crate) fn file_system(kind: u64) -> Vec<u8> {
    let block = 4096;
    let [total, free] = DISK.map(|bytes| bytes / block);
    let [inodes, free_inodes] = [total / 4, free / 4];
    let longest_name = 255;
    // Type, block, blocks, free, available, inodes, free ones, id, longest name, fragment, flags, four spare ones.
    let words = [
        kind,
        block,
        total,
        free,
        free,
        inodes,
        free_inodes,
        0,
        longest_name,
        block,
        ST_FLAGS,
        0,
        0,
        0,
        0,
    ];
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

/// That the flags are known, and times of access are lazy.
const ST_FLAGS: u64 = 0x20 | 0x1000;

/// A mask of `cpus` processors.
pub(crate) fn affinity(cpus: u32) -> u64 {
    u64::MAX >> (MOST_CPUS - cpus.clamp(1, MOST_CPUS))
}

/// What every processor of the architecture has, and no more.
const FLAGS: &str = "fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2 \
                     syscall nx lm rep_good nopl cpuid pni hypervisor";

fn cpuinfo(cpus: u32) -> String {
    let mut text = String::new();
    for cpu in 0..cpus {
        let _ = write!(
            text,
            "processor\t: {cpu}\nvendor_id\t: GenuineIntel\ncpu family\t: 6\nmodel\t\t: 15\nmodel name\t: x86-64\n\
             stepping\t: 1\nmicrocode\t: 0x1\ncpu MHz\t\t: 2000.000\ncache size\t: 16384 KB\nphysical id\t: 0\n\
             siblings\t: {cpus}\ncore id\t\t: {cpu}\ncpu cores\t: {cpus}\napicid\t\t: {cpu}\ninitial apicid\t: {cpu}\n\
             fpu\t\t: yes\nfpu_exception\t: yes\ncpuid level\t: 13\nwp\t\t: yes\nflags\t\t: {FLAGS}\nbugs\t\t:\n\
             bogomips\t: 4000.00\nclflush size\t: 64\ncache_alignment\t: 64\n\
             address sizes\t: 46 bits physical, 48 bits virtual\npower management:\n\n"
        );
    }
    text
}

fn meminfo() -> String {
    let [total, free] = MEMORY.map(|bytes| bytes >> 10);
    let rest = [
        "Buffers",
        "Cached",
        "SwapCached",
        "Active",
        "Inactive",
        "Unevictable",
        "Mlocked",
        "SwapTotal",
        "SwapFree",
        "Dirty",
        "Writeback",
        "AnonPages",
        "Mapped",
        "Shmem",
        "Slab",
    ];
    let lines = [("MemTotal", total), ("MemFree", free), ("MemAvailable", free)];
    let mut text = String::new();
    for (name, kilobytes) in lines.into_iter().chain(rest.map(|name| (name, 0))) {
        let _ = writeln!(text, "{:<16}{kilobytes:>8} kB", format!("{name}:"));
    }
    text
}

fn stat(cpus: u32, booted: u64) -> String {
    let zeros = "0 0 0 0 0 0 0 0 0 0";
    let mut text = format!("cpu  {zeros}\n");
    for cpu in 0..cpus {
        let _ = writeln!(text, "cpu{cpu} {zeros}");
    }
    let _ = write!(
        text,
        "intr 0\nctxt 0\nbtime {booted}\nprocesses 1\nprocs_running 1\nprocs_blocked 0\nsoftirq 0\n"
    );
    text
}

/// Files below /sys/devices/system/cpu, by which programs count processors.
pub(crate) fn sys_cpu_files(cpus: u32) -> Vec<(String, String)> {
    let list = if cpus == 1 { "0\n".to_owned() } else { format!("0-{}\n", cpus - 1) };
    let lists = ["online", "possible", "present"].map(|name| (name.to_owned(), list.clone()));
    let siblings = (0..cpus).map(|cpu| (format!("cpu{cpu}/topology/core_id"), format!("{cpu}\n")));
    lists.into_iter().chain(siblings).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structures_are_as_large_as_the_kernel_s() {
        assert_eq!(utsname("reimage").len(), size_of::<libc::utsname>());
        assert_eq!(sysinfo().len(), size_of::<libc::sysinfo>());
    }

    #[test]
    fn masks() {
        assert_eq!([1, 2, 4, 64].map(affinity), [1, 3, 15, u64::MAX]);
    }
}

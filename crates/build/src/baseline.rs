//! The constants that every step sees: the *baseline*, by version.
//!
//! They influence digests, so none of them ever changes within a version; a probe's golden digest in the tests
//! holds them.

use std::collections::BTreeMap;

use reimage_castore::Demands;

/// The version in force. Of 0, a preview, steps saw the machine's clock.
pub const VERSION: u32 = 2;

/// F, the file time of the baseline in seconds since 1970: 2026-11-01T00:00:00Z.
pub const FILE_TIME: i64 = 1_793_491_200;

/// What a step demands that says nothing.
pub(crate) const DEMANDS: Demands = Demands::FIXED;

/// Processors that a step sees that says nothing.
pub(crate) const CPUS: u32 = 4;

/// The host name that a step sees.
pub(crate) const HOSTNAME: &str = "reimage";

/// The shell that runs a `script`, unless the step names another.
pub(crate) const SHELL: [&str; 3] = ["/bin/sh", "-e", "-c"];

/// Wall time that a step may take if it names none, in seconds.
pub(crate) const TIMEOUT: u64 = 3600;

/// Processes that a step may have if it names no number.
pub(crate) const PROCESSES: u64 = 4096;

/// Hides from the C library what some processors have and others have not and that shows in results; under both the
/// names of today and those before glibc 2.33. Its functions for strings keep theirs: they have one result.
const GLIBC_TUNABLES: &str = "glibc.cpu.hwcaps=-FMA,-FMA4,-FMA_Usable,-FMA4_Usable,-AVX2_Usable";

/// The environment of every step; a base image's and the step's own go over it. HOME besides, if nobody sets
/// it, is where the user's passwd entry says.
pub(crate) fn environment() -> BTreeMap<String, String> {
    let constants = [
        // The C library computes logarithms and sines with fused multiplication where a processor has it, and the last
        // digit is another.
        ("GLIBC_TUNABLES", GLIBC_TUNABLES),
        ("LC_ALL", "C.UTF-8"),
        ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
        ("TZ", "UTC"),
    ];
    let mut environment: BTreeMap<String, String> =
        constants.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    environment.insert("SOURCE_DATE_EPOCH".to_owned(), FILE_TIME.to_string());
    environment
}

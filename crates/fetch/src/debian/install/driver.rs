//! The script that the step runs: what only a process can do, in dpkg's own order.
//!
//! First each `preinst` of a placed essential package; then, as long as there are any, packages that dpkg
//! unpacks itself, each after what it pre-depends on is configured; then everything is configured, essential
//! packages first, and triggers are processed once, at the end; then the root is scrubbed.

use std::{collections::BTreeSet, fmt::Write as _};

use super::{INPUT, InstallPlan};
use crate::debian::deb::{Control, Package};

/// The version of what drives dpkg: the script and what is placed before it runs.
pub const DRIVER_VERSION: u32 = 2;

/// The version of the list of what is scrubbed.
pub const SCRUB_VERSION: u32 = 1;

const PROLOGUE: &str = include_str!("prologue.sh");
const SCRUB: &str = include_str!("scrub.sh");

/// Packages in one call of dpkg: far below what fits into a command line.
const MANY: usize = 500;

/// Where a package that dpkg unpacks itself lies in the input.
pub(super) fn deb_name(number: usize) -> String {
    format!("debs/{number}.deb")
}

/// The driver.
pub(super) fn script(packages: &[Package], plan: &InstallPlan) -> String {
    let mut script = PROLOGUE.to_owned();
    // With the architecture, or dpkg does not know which of several is meant.
    let named = |control: &Control| match control.architecture() {
        "all" => control.name().to_owned(),
        architecture => format!("{}:{architecture}", control.name()),
    };
    let all = |numbers: &[usize]| -> Vec<String> {
        numbers.iter().map(|number| named(&packages[*number].control)).collect()
    };
    for number in plan.order.essential.iter().filter(|number| plan.preinst.contains(number)) {
        let control = &packages[*number].control;
        let (name, info, arch) = (control.name(), control.info_name(), control.architecture());
        let _ = writeln!(script, "preinst {name} {info} {arch}");
    }
    let mut configured = BTreeSet::new();
    if !plan.order.essential.is_empty() {
        configure(&mut script, &all(&plan.order.essential));
        configured.extend(plan.order.essential.iter().copied());
    }
    let mut waiting = Vec::new();
    for number in plan.order.rest.iter().filter(|number| !plan.placed.contains(number)) {
        let before = plan.order.before_unpacking(*number, &mut configured);
        if !before.is_empty() {
            unpack(&mut script, &mut waiting);
            configure(&mut script, &all(&before));
        }
        waiting.push(format!("{INPUT}/{}", deb_name(*number)));
    }
    unpack(&mut script, &mut waiting);
    let rest: Vec<_> =
        plan.order.rest.iter().copied().filter(|number| !configured.contains(number)).collect();
    configure(&mut script, &all(&rest));
    script.push_str("dpkg_run --configure --pending\n");
    script.push_str(SCRUB);
    script
}

fn configure(script: &mut String, names: &[String]) {
    for names in names.chunks(MANY) {
        let _ = writeln!(script, "dpkg_run --no-triggers --configure {}", names.join(" "));
    }
}

fn unpack(script: &mut String, debs: &mut Vec<String>) {
    for debs in debs.chunks(MANY) {
        let _ = writeln!(script, "dpkg_run --no-triggers --unpack {}", debs.join(" "));
    }
    debs.clear();
}

//! Programs that look at the clock, draw random numbers, list directories and print the machine's name: each step
//! gives the same, whoever runs it and wherever (`hazards.ncl`; docs/determinism.md).

#![expect(clippy::print_stdout, reason = "what differs is shown")]

use std::{
    collections::BTreeMap,
    ffi::OsString,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use reimage_tests::{Ran, TestEnv, files};

/// Those that differ, and why nothing can be done.
const DIFFER: &[(&str, &str)] = &[
    (
        "kernel_of_processes",
        "the kernel's own numbers and times stand in files of /proc, and usage in what wait4 gives",
    ),
    (
        "processor_instructions",
        "CPUID, RDTSC and RDRAND do not ask the kernel; Go and libstdc++ use them",
    ),
    (
        "races",
        "threads and processes that do not wait for each other: numbers of processes, the order of writing",
    ),
    (
        "java_seed",
        "its clock is the machine's once its threads have waited for a second altogether",
    ),
];

/// A machine with the hazards as its project.
fn machine() -> TestEnv {
    let env = TestEnv::new();
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hazards");
    for name in ["spec.ncl", "hazards.ncl"] {
        env.file(name, fs_err::read(here.join(name)).expect("it is there"));
    }
    env
}

/// Everything, by `run`; the digests by name.
fn all(run: impl FnOnce(&[OsString]) -> Ran) -> BTreeMap<String, String> {
    let ran = run(&["build".into(), "--keep-going".into()]).expect(0);
    let digest = |line: &str| {
        let (name, digest) = line.split_once(' ')?;
        Some((name.strip_prefix("exports.")?.to_owned(), digest.to_owned()))
    };
    ran.out().lines().filter_map(digest).collect()
}

/// A program that keeps one processor busy as long as this lives.
struct Load(std::process::Child);

impl Load {
    fn new() -> Self {
        let mut command = Command::new("sh");
        command.args(["-c", "while :; do :; done"]).stdin(Stdio::null());
        Self(command.spawn().expect("there is a shell"))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let _ended = self.0.kill().and_then(|()| self.0.wait());
    }
}

/// On a loaded machine of another name, with one processor, in another place, language, time zone and umask.
fn elsewhere(env: &TestEnv, arguments: &[OsString]) -> Ran {
    let _load = Load::new();
    let script = "umask 077; export TZ=Asia/Kathmandu LANG=tr_TR.UTF-8 LC_ALL=de_DE.UTF-8 SOURCE_DATE_EPOCH=1 USER=x; \
                  exec taskset -c 0 \"$@\"";
    env.as_plain_user_by(&["sh", "-c", script, "sh"], arguments)
}

/// The export of a step, as files.
fn handed_out(env: &TestEnv, name: &str) -> PathBuf {
    let to = format!("handed-{name}");
    let _ = env.reimage(["build", &format!("exports.{name}"), "--output", &to]);
    env.path(to)
}

/// Prints where two exports differ.
fn show(name: &str, one: &Path, other: &Path) {
    let (first, second) = (files(one), files(other));
    for path in first.keys().chain(second.keys().filter(|path| !first.contains_key(*path))) {
        if first.get(path) == second.get(path) {
            continue;
        }
        println!("{name}: {}", path.display());
        let diff = Command::new("diff").arg("-a").args([one.join(path), other.join(path)]).output();
        let text = diff.map(|diff| String::from_utf8_lossy(&diff.stdout).into_owned());
        for line in text.unwrap_or_default().lines().take(6) {
            println!("    {}", line.chars().take(160).collect::<String>());
        }
    }
}

#[test]
fn programs_see_the_same_everywhere() {
    let first = machine();
    let _ = first.reimage(["build", "steps.tools"]).expect(0);
    let second = machine();
    second.file("reimage.lock", first.read("reimage.lock"));
    // What the packages are made into is no part of this test.
    let copy = Command::new("cp")
        .arg("-a")
        .args([first.root().join("cache"), second.root().to_owned()])
        .status();
    assert!(copy.expect("cp runs").success());
    let here = all(|arguments| first.reimage(arguments));
    // Gigabytes that are laid out again where they are needed.
    let roots = first.root().join("cache/reimage/roots-v1");
    fs_err::remove_dir_all(&roots).and_then(|()| fs_err::create_dir(&roots)).expect("it is ours");
    let there = all(|arguments| elsewhere(&second, arguments));
    assert!(here.len() >= 80, "{}", here.len());
    assert_eq!(here.keys().collect::<Vec<_>>(), there.keys().collect::<Vec<_>>());
    let mut differ = Vec::new();
    for (name, digest) in &here {
        if there[name] != *digest {
            show(name, &handed_out(&first, name), &handed_out(&second, name));
            differ.push(name.as_str());
        }
    }
    let listed: Vec<_> = DIFFER.iter().map(|(name, _)| *name).collect();
    println!("{} of {} are the same", here.len() - differ.len(), here.len());
    let unknown: Vec<_> = differ.iter().filter(|name| !listed.contains(name)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
    assert!(listed.len() * 20 <= here.len(), "too many are excused");
}

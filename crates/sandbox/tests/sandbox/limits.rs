//! Limits, ends, and what is left behind: nothing.

use std::fs;
use std::io::Read;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command as Program, Stdio};
use std::time::{Duration, Instant};

use reimage_sandbox::{Command, Ids, Streams, UpperOn, Void};

use crate::Test;
use crate::tools::Lab;

pub(crate) const TESTS: &[Test] = &[
    ("timeout", timeout),
    ("memory_bomb", memory_bomb),
    ("memory_in_files", memory_in_files),
    ("fork_bomb", fork_bomb),
    ("disk_bomb", disk_bomb),
    ("spilling", spilling),
    ("sigsys", sigsys),
    ("refused_forks", refused_forks),
    ("stopping", stopping),
    ("daemons_end", daemons_end),
    ("killed_caller_leaves_nothing", killed_caller_leaves_nothing),
    ("removing_hostile_trees", removing_hostile_trees),
];

fn timeout(lab: &Lab) {
    let mut command =
        lab.script("trap '' TERM INT; nohup setsid sleep 77 & while :; do sleep 0.1; done");
    let limit = Duration::from_millis(300);
    command.limits.timeout = Some(limit);
    let begun = Instant::now();
    let done = lab.run(&command);
    assert_eq!(done.outcome.voided, [Void::Timeout { limit }]);
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    assert!(!done.outcome.succeeded());
}

fn memory_bomb(lab: &Lab) {
    let mut command = lab.perl("while (1) { push @x, 'x' x 1_000_000 }");
    command.limits.memory = Some(200 << 20);
    let done = lab.run(&command);
    assert!(
        matches!(done.outcome.voided[..], [Void::Memory { used, .. }] if used > 200 << 20),
        "{:?}",
        done.outcome
    );
    // Many processes that share what they have are not many times as large.
    let mut command = lab.perl(
        "$x = 'x' x 30_000_000; for (1..12) { fork or do { sleep 1; exit } } 1 while wait > 0",
    );
    command.limits.memory = Some(200 << 20);
    lab.expect(&command, 0);
}

fn memory_in_files(lab: &Lab) {
    let mut command =
        lab.script("dd if=/dev/zero of=/dev/shm/x bs=1M count=300 2>/dev/null; sleep 5");
    command.limits.memory = Some(100 << 20);
    let done = lab.run(&command);
    assert!(matches!(done.outcome.voided[..], [Void::Memory { .. }]), "{:?}", done.outcome);
}

fn fork_bomb(lab: &Lab) {
    let mut command = lab.perl("$SIG{CHLD}='IGNORE'; while (1) { fork }");
    command.limits.processes = Some(100);
    command.limits.timeout = Some(Duration::from_secs(20));
    let done = lab.run(&command);
    assert!(
        matches!(done.outcome.voided[..], [Void::Processes { limit: 100, .. }]),
        "{:?}",
        done.outcome
    );
}

fn disk_bomb(lab: &Lab) {
    for upper in [UpperOn::Disk, UpperOn::Memory { spill: u64::MAX }] {
        let mut command = lab.script("dd if=/dev/zero of=/x bs=1M count=400 2>/dev/null; sleep 2");
        command.upper = upper;
        command.limits.disk = Some(50 << 20);
        let done = lab.run(&command);
        assert!(
            matches!(done.outcome.voided[..], [Void::Disk { .. }]),
            "{upper:?}: {:?}",
            done.outcome
        );
        // A program that swallows the error and removes the file does not hide it, if it takes its time.
        let mut command =
            lab.script("head() { :; }; dd if=/dev/zero of=/x bs=1M count=40 2>/dev/null");
        command.upper = upper;
        command.limits.disk = Some(50 << 20);
        lab.expect(&command, 0);
    }
}

fn spilling(lab: &Lab) {
    let mut command =
        lab.script("dd if=/dev/zero of=/x bs=1M count=100 2>/dev/null; sleep 2; rm /x");
    command.upper = UpperOn::Memory { spill: 20 << 20 };
    let done = lab.run(&command);
    assert!(matches!(done.outcome.voided[..], [Void::Spilled { .. }]), "{:?}", done.outcome);
    // Memory that files take is no memory of the processes.
    let mut command = lab.script("dd if=/dev/zero of=/x bs=1M count=100 2>/dev/null; sleep 0.3");
    command.limits.memory = Some(50 << 20);
    lab.expect(&command, 0);
}

fn sigsys(lab: &Lab) {
    let done = lab.run(&lab.script("kill -31 $$"));
    assert_eq!(done.outcome.voided, [Void::BadSystemCall]);
    // A process that has lost its parent is seen, too, whatever the step says.
    let done = lab.run(&lab.script("(sh -c 'kill -31 $$' &) ; sleep 0.2; exit 0"));
    assert_eq!(done.outcome.voided, [Void::BadSystemCall]);
    assert!(!done.outcome.succeeded());
}

/// A limit of the machine that refuses a fork: the program may go on, its result does not count.
fn refused_forks(lab: &Lab) {
    let group = PathBuf::from(format!("/sys/fs/cgroup/pids/reimage-test-{}", std::process::id()));
    if lab.zygote.ids() != Ids::Full || fs::create_dir(&group).is_err() {
        return; // only root makes such a group, and only where version 1 has the controller
    }
    fs::write(group.join("pids.max"), "12").unwrap();
    let said = Program::new("sh")
        .args(["-c", "echo $$ >$0/cgroup.procs; exec \"$@\""])
        .arg(&group)
        .arg(std::env::current_exe().unwrap())
        .arg(format!("--forks={}", lab.root.display()))
        .output()
        .unwrap();
    wait_until("the group is empty", || fs::remove_dir(&group).is_ok());
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.contains("[ForkRefused { count:"), "{said}");
}

/// The other side of `refused_forks`.
pub(crate) fn fork_much(root: &str) {
    let zygote = reimage_sandbox::start(reimage_sandbox::IdsSetting::Auto);
    let lab = Lab::with(zygote, root.into());
    let script = "for (1..20) { defined($p = fork) or last; $p or do { sleep 1; exit } } exit 0";
    let done = lab.run(&lab.perl(script));
    println!("{:?}", done.outcome.voided);
}

fn stopping(lab: &Lab) {
    let command = lab.script("sleep 60 & sleep 60");
    let null = fs::File::open("/dev/null").unwrap();
    let streams = Streams { input: null.as_fd(), output: null.as_fd(), error: null.as_fd() };
    let running = lab.zygote.spawn(&command, streams).unwrap();
    let stop = running.control().unwrap();
    let begun = Instant::now();
    let stopper = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(100));
        stop.stop();
        stop.stop();
    });
    assert_eq!(running.wait().unwrap().voided, [Void::Stopped]);
    stopper.join().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(3));
    // Dropping it is enough.
    let marker = marker();
    let command = lab.command(&["sleep", &marker]);
    let running = lab.zygote.spawn(&command, streams).unwrap();
    wait_until("it runs", || alive(&marker) > 0);
    drop(running);
    wait_until("it has ended", || alive(&marker) == 0);
}

fn daemons_end(lab: &Lab) {
    let marker = marker();
    let script = format!(
        "trap '' HUP TERM; nohup setsid sleep {marker} >/dev/null 2>&1 & (setsid sleep {marker} >/dev/null 2>&1 &);
         perl -e 'fork and exit; fork and exit; $SIG{{TERM}}=\"IGNORE\"; close STDOUT; close STDERR; sleep {marker}';
         echo done"
    );
    assert_eq!(lab.sh(&script), "done\n");
    assert_eq!(alive(&marker), 0, "none outlives the outcome");
}

/// A number of seconds that nobody else sleeps.
fn marker() -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("9{:07}.{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// How many processes of this machine have this word among their arguments, ourselves excepted.
fn alive(marker: &str) -> usize {
    let mut count = 0;
    for entry in fs_entries(Path::new("/proc")) {
        let pid = entry.file_name().unwrap().to_string_lossy().into_owned();
        if !pid.bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        let line = fs::read(entry.join("cmdline")).unwrap_or_default();
        let words: Vec<_> = line.split(|byte| *byte == 0).collect();
        count += usize::from(
            words.first().is_some_and(|word| word.ends_with(b"sleep"))
                && words.contains(&marker.as_bytes()),
        );
    }
    count
}

fn fs_entries(dir: &Path) -> Vec<PathBuf> {
    fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect()
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(10), "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The other side of `killed_caller_leaves_nothing`: runs a command until it is killed.
pub(crate) fn hold(dir: &str) {
    let zygote = reimage_sandbox::start(reimage_sandbox::IdsSetting::Auto);
    let (root, marker) = dir.split_once(':').unwrap();
    let base = Path::new(root).parent().unwrap();
    for (number, upper) in
        [UpperOn::Disk, UpperOn::Memory { spill: u64::MAX }].into_iter().enumerate()
    {
        let scratch = base.join(format!("held{number}-{marker}"));
        fs::create_dir(&scratch).unwrap();
        let script = format!(
            "mkdir -p /a/b; chmod 0 /a; (setsid nohup sleep {marker} >/dev/null 2>&1 &); echo started; sleep {marker}"
        );
        let mut command = Command::new(&scratch, ["/bin/sh", "-c", &script].map(Into::into));
        command.lowers = vec![root.into()];
        command.upper = upper;
        command.env.insert("PATH".into(), "/bin".into());
        let (input, output) = (fs::File::open("/dev/null").unwrap(), std::io::stdout());
        let streams =
            Streams { input: input.as_fd(), output: output.as_fd(), error: output.as_fd() };
        std::mem::forget(zygote.spawn(&command, streams).unwrap());
    }
    std::thread::sleep(Duration::from_mins(1));
}

fn killed_caller_leaves_nothing(lab: &Lab) {
    let marker = marker();
    let mut caller = Program::new(std::env::current_exe().unwrap())
        .arg(format!("--hold={}:{marker}", lab.root.display()))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = [0; 16];
    caller.stdout.as_mut().unwrap().read_exact(&mut said).unwrap();
    assert_eq!(&said, b"started\nstarted\n");
    wait_until("all run", || alive(&marker) == 4);
    caller.kill().unwrap(); // SIGKILL
    caller.wait().unwrap();
    wait_until("every process ends", || alive(&marker) == 0);
    let base = lab.root.parent().unwrap();
    let left =
        || fs_entries(base).iter().filter(|path| path.to_string_lossy().ends_with(&marker)).count();
    wait_until("what they wrote is removed", || left() == 0);
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains("reimage-sandbox-"), "no mount is left: {mounts}");
}

fn removing_hostile_trees(lab: &Lab) {
    let script = "mkdir -p /t/a/b/c; echo x >/t/a/b/c/d; mkfifo /t/p; ln -s / /t/l; chmod 0 /t/a/b/c /t/a /t;
        perl -e 'chdir \"/\"; for (1..1200) { mkdir \"d\", 0700 or die; chdir \"d\" or die; }'";
    let command = lab.script(script);
    assert!(lab.run(&command).outcome.succeeded());
    reimage_sandbox::remove_tree(&command.scratch).unwrap();
    assert!(!command.scratch.exists());
    reimage_sandbox::remove_tree(&command.scratch).unwrap();
}

//! How long one sandboxed `true` takes, beside `bwrap` and the bare program, in one run.
//!
//! `cargo bench -p reimage-sandbox`; medians, because the machine is shared.

#![expect(clippy::print_stdout, reason = "it prints what it measured")]

use std::fs;
use std::io::Read;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Command as Program, Stdio};
use std::time::{Duration, Instant};

use reimage_sandbox::{Clock, Command, IdsSetting, Machine, Streams, UpperOn};

const ROUNDS: usize = 200;

fn main() {
    let notify = std::env::args().any(|word| word == "--notify");
    let setting = if notify { IdsSetting::Notify } else { IdsSetting::Auto };
    let zygote = reimage_sandbox::start(setting);
    let dir = tempfile::tempdir().expect("a directory");
    let root = dir.path().join("root");
    make_root(&root);
    let null = fs::File::open("/dev/null").expect("/dev/null");
    let streams = Streams { input: null.as_fd(), output: null.as_fd(), error: null.as_fd() };
    let mut count = 0;
    let mut ours = |upper, machine, clock, remove| {
        count += 1;
        let scratch = dir.path().join(format!("s{count}"));
        fs::create_dir(&scratch).expect("a scratch directory");
        let mut command = Command::new(&scratch, ["/bin/true".into()]);
        command.lowers = vec![root.clone()];
        command.upper = upper;
        command.machine = machine;
        command.clock = clock;
        let begun = Instant::now();
        let outcome = zygote.run(&command, streams).expect("a sandbox");
        assert!(outcome.succeeded(), "{outcome:?}");
        let took = begun.elapsed();
        drop(outcome);
        if remove {
            reimage_sandbox::remove_tree(&scratch).expect("removable");
            return begun.elapsed();
        }
        took
    };
    let bwrap = || {
        let begun = Instant::now();
        let status = Program::new("bwrap")
            .args(["--unshare-all", "--bind"])
            .arg(&root)
            .args(["/", "--proc", "/proc", "--dev", "/dev", "/bin/true"])
            .stdin(Stdio::null())
            .status();
        status.ok().filter(std::process::ExitStatus::success).map(|_| begun.elapsed())
    };
    let bare = || {
        let begun = Instant::now();
        Program::new(root.join("bin/true")).status().expect("true");
        begun.elapsed()
    };
    let (mut disk, mut memory, mut fixed, mut clock, mut whole, mut peer, mut none) =
        (vec![], vec![], vec![], vec![], vec![], vec![], vec![]);
    let in_memory = UpperOn::Memory { spill: u64::MAX };
    for _ in 0..ROUNDS {
        disk.push(ours(UpperOn::Disk, Machine::Real, Clock::Real, false));
        memory.push(ours(in_memory, Machine::Real, Clock::Real, false));
        let machine = Machine::Fixed { cpus: 4, booted: 0 };
        fixed.push(ours(in_memory, machine, Clock::Real, false));
        clock.push(ours(in_memory, machine, Clock::Fixed { start: 0 }, false));
        whole.push(ours(UpperOn::Disk, Machine::Real, Clock::Real, true));
        peer.extend(bwrap());
        none.push(bare());
    }
    println!("ids {:?}, {ROUNDS} rounds, median (minimum), milliseconds", zygote.ids());
    let reference = median(&mut peer);
    for (what, times) in [
        ("bare true", &mut none),
        ("bwrap", &mut peer),
        ("upper on disk", &mut disk),
        ("upper in memory", &mut memory),
        ("the same, the baseline's machine", &mut fixed),
        ("the same, and its clock", &mut clock),
        ("on disk and removed", &mut whole),
    ] {
        let (middle, least) = (median(times), times.first().copied().unwrap_or_default());
        let ratio = middle.as_secs_f64() / reference.as_secs_f64();
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        println!("{what:33} {:6.2} ({:5.2})  {ratio:4.2} of bwrap", ms(middle), ms(least));
    }
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn make_root(root: &Path) {
    fs::create_dir_all(root.join("bin")).expect("a root");
    for name in ["proc", "dev"] {
        fs::create_dir(root.join(name)).expect("a root");
    }
    let program = ["/bin/true", "/usr/bin/true"].into_iter().find(|path| Path::new(path).exists());
    let program = program.expect("this machine has `true`");
    fs::copy(program, root.join("bin/true")).expect("a copy");
    let mut listed = String::new();
    let mut ldd = Program::new("ldd").arg(program).stdout(Stdio::piped()).spawn().expect("ldd");
    ldd.stdout.take().expect("piped").read_to_string(&mut listed).expect("text");
    ldd.wait().expect("ldd ends");
    for word in listed.split_whitespace().filter(|word| word.starts_with('/')) {
        let to = root.join(word.trim_start_matches('/'));
        fs::create_dir_all(to.parent().expect("it has one")).expect("a directory");
        fs::copy(word, to).expect("a copy");
    }
}

//! Tests of the sandbox on the real kernel. `start` must run before any thread, so this binary has its own
//! harness: it runs every test under the backend of whoever starts it and, if that is real root, once more in
//! children: as root with one id, and as a plain user.
//!
//! `cargo test -p reimage-sandbox --test sandbox -- [FILTER]`

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::needless_raw_string_hashes,
    reason = "a test binary with a harness of its own; perl between any quotes"
)]

mod basics;
mod capture;
mod clock;
mod entropy;
mod escape;
mod limits;
mod machine;
mod ownership;
mod stat;
mod tools;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command as Program;
use std::time::Instant;

use reimage_sandbox::{Ids, IdsSetting};
use tools::Lab;

type Test = (&'static str, fn(&Lab));

/// A plain user without a name, whom no machine knows.
const PLAIN: &str = "31337";

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let option =
        |name: &str| words.iter().find_map(|word| word.strip_prefix(name).map(str::to_owned));
    if words.iter().any(|word| word == "--list") {
        return;
    }
    if let Some(dir) = option("--hold=") {
        return limits::hold(&dir);
    }
    if let Some(root) = option("--forks=") {
        return limits::fork_much(&root);
    }
    let filter = words.iter().find(|word| !word.starts_with("--")).cloned().unwrap_or_default();
    let part = option("--part=");
    // `newuidmap` is for a user with lines in /etc/subuid and /etc/subgid, by hand.
    let setting = match part.as_deref() {
        Some("notify") => IdsSetting::Notify,
        Some("newuidmap") => IdsSetting::Mapped,
        _ => IdsSetting::Auto,
    };
    let zygote = reimage_sandbox::start(setting);
    if let Some(why) = zygote.unavailable() {
        println!("no sandbox on this machine: {}; {}", why.reason, why.advice);
        assert!(
            std::env::var_os("REIMAGE_TESTS_WITHOUT_SANDBOX").is_some(),
            "so nothing can be tested"
        );
        return;
    }
    let lab = Lab::new(zygote);
    let mut failed = run(&lab, &filter);
    if lab.zygote.ids() == Ids::Full && part.is_none() {
        let (own, copy) = (std::env::current_exe().unwrap(), lab.shared("tests"));
        std::fs::copy(own, &copy).unwrap();
        for (part, user) in [("notify", "0"), ("plain", PLAIN)] {
            let ids =
                [format!("--reuid={user}"), format!("--regid={user}"), "--clear-groups".into()];
            // A machine of less memory has less of these, and a plain user cannot change that.
            let status = Program::new("prlimit")
                .args(["--sigpending=900:900", "--memlock=65536:65536", "setpriv"])
                .args(ids)
                .arg(&copy)
                .args([format!("--part={part}"), filter.clone()])
                .env("TMPDIR", lab.shared("tmp"))
                .status()
                .unwrap();
            failed += usize::from(!status.success());
        }
        failed += usize::from(!mapped(&lab, &copy, &filter));
        failed += ownership::compare_with_root(lab, &filter);
    }
    if failed > 0 {
        println!("{failed} failed");
        std::process::exit(1);
    }
}

/// Runs the tests as root of a user namespace with subordinate ids, as `newuidmap` makes them.
fn mapped(lab: &Lab, tests: &std::path::Path, filter: &str) -> bool {
    let dir = lab.shared("mapped");
    std::fs::create_dir(&dir).unwrap();
    std::os::unix::fs::chown(&dir, Some(100_000), Some(100_000)).unwrap();
    let script = r#"pipe(R,W); pipe(S,T); if (my $p = fork) { close W; close S; <R>; for (qw(uid gid)) { open F,">","/proc/$p/${_}_map"; print F "0 100000 65536"; close F or die }
        close T; waitpid $p,0; exit($?>>8) } close T; syscall(272,0x10000000)==0 or die; close R; close W; <S>;
        syscall(119,0,0,0)==0 && syscall(117,0,0,0)==0 or die; exec @ARGV"#;
    let status = Program::new("perl")
        .args(["-e", script])
        .arg(tests)
        .args(["--part=mapped", filter])
        .env("TMPDIR", dir)
        .status()
        .unwrap();
    status.success()
}

fn run(lab: &Lab, filter: &str) -> usize {
    let tests: Vec<Test> = [
        basics::TESTS,
        limits::TESTS,
        capture::TESTS,
        escape::TESTS,
        ownership::TESTS,
        machine::TESTS,
        entropy::TESTS,
        stat::TESTS,
        clock::TESTS,
    ]
    .concat();
    let mut failed = 0;
    for (name, test) in tests.into_iter().filter(|(name, _)| name.contains(filter)) {
        let begun = Instant::now();
        let result = catch_unwind(AssertUnwindSafe(|| test(lab)));
        let word = if result.is_ok() { "ok" } else { "FAILED" };
        println!("{:?} {name} ... {word} ({} ms)", lab.zygote.ids(), begun.elapsed().as_millis());
        failed += usize::from(result.is_err());
    }
    failed
}

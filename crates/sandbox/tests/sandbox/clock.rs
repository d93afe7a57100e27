//! A clock that is the same in every run: what programs read, and what waiting does to it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command as Program;

use reimage_sandbox::{Bind, Clock, Command, Machine};

use crate::Test;
use crate::tools::Lab;

pub(crate) const TESTS: &[Test] = &[
    ("clock_is_the_step_s", is_the_step_s),
    ("clock_moves_as_programs_wait", moves_as_programs_wait),
    ("clock_of_many_threads", of_many_threads),
    ("clock_in_languages", in_languages),
    ("clock_without_a_library", without_a_library),
    ("clock_beside_random_addresses", beside_random_addresses),
];

const START: i64 = 1_793_491_200;

fn fixed(mut command: Command) -> Command {
    command.clock = Clock::Fixed { start: START };
    command
}

/// Runs a program in C at `/c`, with further programs of the test root.
fn c(lab: &Lab, source: &str) -> String {
    let mut command = fixed(lab.command(&["/c"]));
    command.lowers.push(lab.compiled(source));
    lab.run(&command).text()
}

/// Every clock, by the C library and by hand, twice.
const CLOCKS: &str = r#"
#define _GNU_SOURCE
#include <stdio.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/times.h>
#include <time.h>
#include <unistd.h>
int main(void) {
    for (int i = -6; i < 13; i++) {
        struct timespec a = {7, 7}, b = {7, 7}, r = {7, 7}, s = {7, 7};
        int x = clock_gettime(i, &a), y = syscall(SYS_clock_gettime, i, &b), z = clock_getres(i, &r);
        syscall(SYS_clock_getres, i, &s);
        printf("%d: %d %d %d, %ld.%09ld %ld.%09ld, %ld.%09ld %ld.%09ld\n", i, x, y, z, a.tv_sec, a.tv_nsec, b.tv_sec, b.tv_nsec,
               r.tv_sec, r.tv_nsec, s.tv_sec, s.tv_nsec);
    }
    struct timeval v, w; struct timezone t;
    gettimeofday(&v, 0);
    syscall(SYS_gettimeofday, &w, &t);
    printf("%ld.%06ld %ld.%06ld, zone %d\n", v.tv_sec, v.tv_usec, w.tv_sec, w.tv_usec, t.tz_minuteswest);
    time_t now;
    printf("%ld %ld", time(0), time(&now));
    printf(" %ld\n", now);
    time_t (*legacy)(time_t *) = (void *)0xffffffffff600400;
    printf("%ld %ld\n", (long)syscall(SYS_time, 0), legacy(0));
    struct tms spent; struct rusage u;
    for (volatile long i = 0; i < 30000000; i++) ;
    printf("%ld %ld", (long)times(&spent), (long)spent.tms_utime);
    getrusage(RUSAGE_SELF, &u);
    printf(" %ld %ld %ld\n", u.ru_utime.tv_usec, u.ru_minflt, u.ru_maxrss);
}
"#;

fn is_the_step_s(lab: &Lab) {
    let seen = c(lab, CLOCKS);
    for line in seen.lines() {
        let Some((number, _)) = line.split_once(": ") else { continue };
        let expected = match number.parse().unwrap() {
            0 | 8 | 11 => "1793491200.010000000",
            5 => "1793491200.010000000 1793491200.010000000, 0.004000000 0.004000000",
            1 | 4 | 7 | 9 => "1000000.000000000 1000000.000000000, 0.000000001 0.000000001",
            6 => "1000000.000000000 1000000.000000000, 0.004000000 0.004000000",
            10 | 12 => "-1 -1 -1, 7.000000007 7.000000007, 7.000000007 7.000000007",
            _ => "0 0 0, 0.001000000 0.001000000, 0.000000001 0.000000001",
        };
        assert!(line.contains(expected), "{line}");
    }
    let rest: Vec<_> = seen.lines().skip(19).collect();
    assert_eq!(
        rest,
        [
            "1793491200.010000 1793491200.010000, zone 0",
            "1793491200 1793491200 1793491200",
            "1793491200 1793491200",
            "100000000 0 0 0 0",
        ]
    );
}

/// Every call that waits, for a time and until one; signals, threads and processes in between.
const WAITS: &str = include_str!("clock/waits.c");

const SHOWN: &str = "\
nothing 0 0
nanosleep 20000001 20000001
until monotonic 30000001 30000001
until realtime 30000001 30000001
poll nothing 15000001 15000001
poll 16000001 16000001
ppoll 17000001 17000001
select 18000001 18000001
pselect 19000001 19000001
epoll_wait 21000001 21000001
sigtimedwait 22000001 22000001
sem_timedwait 23000001 23000001
late cond 24000001 24000001
late cond again 0 0
cond monotonic 26000001 26000001
timedlock 27000001 27000001
semtimedop 28000001 28000001
1793491200900000001 constant 553999986 553999986
interrupted interrupted 0 0
the rest 100000001 100000001
interrupted interrupted poll 0 0
poll at once 0 0
thread's 0 0
thread 150000001 150000001
after 0 0
sleep 0.1 100000001 100000001
two at once 100000001 100000001
killed 0 0
child 30000001 30000001
parent 30000001 30000001
timer
timerfd 1
";

/// By glibc, shared and static, and by musl: all as if waits took what was asked for and nothing else took time.
fn moves_as_programs_wait(lab: &Lab) {
    std::thread::scope(|all| {
        for compiler in [&["cc"][..], &["cc", "-static"], &["musl-gcc", "-static"]] {
            all.spawn(move || {
                let layer = lab.fresh();
                fs::write(layer.join("c.c"), WAITS).unwrap();
                built(
                    &layer,
                    &[compiler, &["-O1", "-w", "-pthread", "-o", "c", "c.c", "-lrt"]].concat(),
                );
                let mut command = fixed(lab.command(&["/c"]));
                command.lowers.push(layer);
                assert_eq!(lab.run(&command).text(), SHOWN, "{compiler:?}");
            });
        }
    });
}

/// Deadlines of many threads at once, between forks, vforks and an exec by one of them: none is missed, no clock goes
/// back and no memory is written over.
fn of_many_threads(lab: &Lab) {
    assert_eq!(c(lab, include_str!("clock/threads.c")), "bad 0\nbad 0\n");
}

/// Builds a program in a directory.
fn built(dir: &Path, words: &[&str]) {
    let mut program = Program::new(words[0]);
    let status = program.args(&words[1..]).current_dir(dir).status();
    let status = status
        .unwrap_or_else(|_| panic!("this machine lacks `{}`, which the tests need", words[0]));
    assert!(status.success(), "{words:?}");
}

/// A program of this machine, by its own interpreter and libraries.
fn of_this_machine(lab: &Lab, words: &[&str]) -> String {
    let mut command = fixed(lab.command(words));
    let links = lab.fresh();
    for name in ["bin", "lib", "lib64"] {
        symlink(Path::new("usr").join(name), links.join(name)).unwrap();
    }
    command.lowers = vec![links];
    for dir in ["/usr", "/etc", lab.shared("").to_str().unwrap()] {
        command.binds.push(Bind { source: dir.into(), target: dir.into(), read_only: false });
    }
    command.env.insert("PATH".into(), "/usr/bin:/bin".into());
    lab.run(&command).text()
}

/// Programs of every language wait, are timed out and spin; each says the same in each run.
fn in_languages(lab: &Lab) {
    // They are built with what the user who runs the tests has, and once is enough.
    if std::env::args().any(|word| word.starts_with("--part=")) {
        return;
    }
    let dir = lab.fresh();
    let sources = [
        ("main.go", include_str!("clock/main.go")),
        ("main.rs", include_str!("clock/main.rs")),
        ("Main.java", include_str!("clock/Main.java")),
        ("main.js", include_str!("clock/main.js")),
        ("main.py", include_str!("clock/main.py")),
        ("main.pl", include_str!("clock/main.pl")),
        ("main.rb", include_str!("clock/main.rb")),
        ("main.sh", include_str!("clock/main.sh")),
    ];
    for (name, source) in sources {
        fs::write(dir.join(name), source).unwrap();
    }
    built(&dir, &["go", "build", "-o", "go", "main.go"]);
    built(&dir, &["rustc", "-o", "rust", "main.rs"]);
    built(&dir, &["javac", "Main.java"]);
    let at = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    let programs: [(&[&str], &str); 8] = [
        (&[&at("go")], GO),
        (&[&at("rust")], RUST),
        (&["java", "-cp", dir.to_str().unwrap(), "Main"], JAVA),
        (&["node", &at("main.js")], NODE),
        (&["/usr/bin/python3", &at("main.py")], PYTHON),
        (&["perl", &at("main.pl")], PERL),
        (&["ruby", &at("main.rb")], RUBY),
        (&["bash", &at("main.sh")], SHELL),
    ];
    std::thread::scope(|all| {
        for (words, expected) in programs {
            all.spawn(move || assert_eq!(of_this_machine(lab, words), expected, "{words:?}"));
        }
    });
}

const GO: &str = "\
2026-11-01 00:00:00.01 +0000 UTC
1793491200210 true
1793491200410 true
context deadline exceeded
true
1793491200
<nil>
spun
";

const RUST: &str = "\
1793491200.01s
30.000001ms 30.000001ms
Err(Timeout)
70.000002ms 70.000002ms
true
120.000003ms 120.000003ms
180.000004ms 180.000004ms
380.000005ms
spun
";

const JAVA: &str = "\
1793491200010
120
sleep true
wait true
null
poll true
scheduled
true
slept
";

const NODE: &str = "\
1793491200010
timer 50 50
deadline 3 350 350
ticks 3
child 200
spun
";

const PYTHON: &str = "\
1793491200.01 1000000.0 0.001 2026-11-01 00:00:00
sleep 0.05 0.05
False
condition 0.25 0.25
queue 0.36 0.36
timeout
True
child 0.1 0.1
expired
select 0.07 0.07
timer
alarm
0.1
0.0
spun 0.0 0.0
";

const PERL: &str = "\
Sun Nov  1 00:00:00 2026
sleep 0.050000 0.050000
select 0.110000 0.110000
usleep 0.180000 0.180000
alarm
child 0.280000 0.280000
0 0 0 0
spun
";

const RUBY: &str = "\
2026-11-01 00:00:00 UTC
sleep 0.05 0.05
timeout
0.1
spun
";

const SHELL: &str = "\
1793491200.010000000
124
00:00:00
tick
tick
00:00:01

real\t0m0.100s
user\t0m0.000s
sys\t0m0.000s
0m0.000s 0m0.000s
0m0.000s 0m0.000s
1793491201.110000
1793491201.310000 1
1793491202.310000
";

/// A program that nothing of ours is in, because it never sets its thread register: by the calls alone.
fn without_a_library(lab: &Lab) {
    const SOURCE: &str = r#"
static long call(long nr, long a, long b) {
    long r; __asm__ volatile("syscall" : "=a"(r) : "a"(nr), "D"(a), "S"(b) : "rcx", "r11", "memory"); return r;
}
void _start(void) {
    long t[2], begin = call(201, 0, 0), reads = 0;
    call(228, 0, (long)t);
    if (t[0] != 1793491200 || t[1] != 10000000 || begin != t[0]) call(231, 1, 0);
    t[0] = 0; t[1] = 20000000; call(35, (long)t, 0);
    call(228, 0, (long)t);
    if (t[1] != 30000001) call(231, 2, 0);
    do { call(228, 0, (long)t); reads++; } while (t[1] == 30000001);
    call(231, reads > 16000 && reads <= 16384 ? 0 : 3, 0);
}
"#;
    let layer = lab.fresh();
    fs::write(layer.join("c.c"), SOURCE).unwrap();
    built(&layer, &["cc", "-O1", "-nostdlib", "-static", "-o", "c", "c.c"]);
    let mut command = fixed(lab.command(&["/c"]));
    command.lowers.push(layer);
    lab.expect(&command, 0);
}

/// Addresses may be the machine's own, and vary.
fn beside_random_addresses(lab: &Lab) {
    let mut command = fixed(lab.script("for i in 1 2 3; do perl -e 'print time, \"\\n\"'; done"));
    command.machine = Machine::Fixed { cpus: 4, booted: 0 };
    assert_eq!(lab.run(&command).text(), "1793491200\n".repeat(3));
}

//! Random numbers and addresses that are the same in every run.

use std::fs;

use reimage_sandbox::{Command, DEVICE_SIZE, Entropy, write_device};

use crate::Test;
use crate::tools::Lab;

pub(crate) const TESTS: &[Test] = &[
    ("entropy_of_calls", of_calls),
    ("entropy_of_processes", of_processes),
    ("entropy_of_devices", of_devices),
    ("entropy_of_a_new_program", of_a_new_program),
    ("entropy_of_threads", of_threads),
];

fn fixed(lab: &Lab, mut command: Command) -> Command {
    let device = lab.shared("random");
    if !device.exists() {
        // Put there whole: tests of other users share it.
        let mut file = tempfile::NamedTempFile::new_in(device.parent().unwrap()).unwrap();
        write_device(&mut file).unwrap();
        let kept = file.persist(&device).unwrap();
        kept.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    }
    command.entropy = Entropy::Fixed { device };
    command
}

const GETRANDOM: &str = "sub random { my ($n, $f) = @_; my $b = \"\\0\" x $n; my $r = syscall(318, $b, $n, $f // 0); \
                         $r < 0 ? 'error ' . ($! + 0) : $r . ' ' . unpack('H*', $b) } ";

fn twice(lab: &Lab, script: &str) -> (String, String) {
    let run = || lab.run(&fixed(lab, lab.perl(&format!("{GETRANDOM}{script}")))).text();
    (run(), run())
}

fn of_calls(lab: &Lab) {
    let (one, two) =
        twice(lab, "print random(16), \"\\n\", random(16, 1), \"\\n\", random(5, 2), \"\\n\"");
    assert_eq!(one, two);
    let lines: Vec<_> = one.lines().collect();
    assert!(
        lines[0].starts_with("16 ") && lines[2].starts_with("5 ") && lines[0] != lines[1],
        "{one}"
    );
    // A golden value: whoever changes it changes what steps see.
    assert_eq!(lines[0], "16 ea3a92f2ca89edf01e243e52b45deebb");
    let (errors, _) = twice(
        lab,
        "print random(4, 8), ' ', random(4, 6), ' ', random(0), ' ', length(random(1 << 20))",
    );
    assert_eq!(errors, format!("error 22 error 22 0  {}", "1048576 ".len() + (2 << 20)));
    let real = || lab.run(&lab.perl(&format!("{GETRANDOM} print random(16)"))).text();
    assert_ne!(real(), real());
}

/// Each process its own, whatever its id: also those that are forked, and those of the same command line.
fn of_processes(lab: &Lab) {
    let script = "$| = 1; print random(8), \"\\n\"; \
                  for (1..3) { if (!fork) { print random(8), \"\\n\"; exit } wait } print random(8), \"\\n\"; \
                  for (1..2) { system('perl', '-e', 'my $b = \"\\0\" x 8; syscall(318, $b, 8, 0); print unpack(\"H*\", $b), \"\\n\"') }";
    let (one, two) = twice(lab, script);
    assert_eq!(one, two);
    let mut lines: Vec<_> = one.lines().collect();
    lines.sort_unstable();
    lines.dedup();
    assert_eq!(lines.len(), 7, "{one}");
    // More processes before it change its id and nothing else.
    let child = "system('perl', '-e', 'my $b = \"\\0\" x 8; syscall(318, $b, 8, 0); print $$, \" \", unpack(\"H*\", $b)')";
    let (few, _) = twice(lab, child);
    let (many, _) = twice(lab, &format!("for (1..20) {{ system('true') }} {child}"));
    assert_ne!(few.split(' ').next(), many.split(' ').next());
    assert_eq!(few.split(' ').next_back(), many.split(' ').next_back());
}

fn of_devices(lab: &Lab) {
    let script = "dd if=/dev/urandom bs=64 count=1 2>/dev/null; dd if=/dev/random bs=64 count=1 2>/dev/null; \
                  cat /proc/sys/kernel/random/uuid; wc -c < /dev/urandom";
    let run = || lab.run(&fixed(lab, lab.script(script))).output;
    let one = run();
    assert_eq!(one, run());
    assert!(one.ends_with(&format!("{DEVICE_SIZE}\n")), "{one}");
    let device = fs::read(lab.shared("random")).unwrap();
    assert_eq!(device.len() as u64, DEVICE_SIZE);
    let pieces: std::collections::BTreeSet<_> =
        device.chunks(1 << 12).map(|piece| &piece[..16]).collect();
    assert_eq!(pieces.len(), device.len() >> 12, "nothing repeats");
}

const PROGRAM: &str = r#"
#include <stdio.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/personality.h>
#include <unistd.h>
int main(int argc, char **argv) {
    unsigned char *seed = (void *)getauxval(AT_RANDOM);
    for (int i = 0; i < 16; i++) printf("%02x", seed[i]);
    unsigned long canary; __asm__("mov %%fs:0x28, %0" : "=r"(canary));
    printf(" %lx %p %p %p %p\n", canary, (void *)&canary, malloc(10), malloc(1 << 20), (void *)main);
    printf("personality %d", personality(0xffffffff));
    printf(" %d\n", personality(0));
    fflush(stdout);
    if (argc == 1) execl(argv[0], argv[0], "again", (char *)0);
}
"#;

/// The seed in its memory, the canary of its stack, the addresses: of it, and of the program that it becomes.
fn of_a_new_program(lab: &Lab) {
    let layer = lab.compiled(PROGRAM);
    let run = |fix: bool| {
        let mut command = lab.command(&["/c"]);
        command.lowers.push(layer.clone());
        let command = if fix { fixed(lab, command) } else { command };
        lab.run(&command).text()
    };
    let one = run(true);
    assert_eq!(one, run(true));
    let seeds: Vec<_> = one
        .lines()
        .filter_map(|line| line.split(' ').next())
        .filter(|word| word.len() == 32)
        .collect();
    assert!(seeds.len() == 2 && seeds[0] == seeds[1], "{one}");
    assert!(one.contains("personality 0 0\n"), "{one}");
    assert_ne!(run(false), run(false));
}

/// Threads of a process share its stream: each number comes once.
fn of_threads(lab: &Lab) {
    let mut command = lab.command(&["/c"]);
    command.lowers.push(lab.compiled(
        r#"
#include <pthread.h>
#include <stdio.h>
#include <sys/random.h>
static unsigned long seen[8];
static void *one(void *at) { getrandom(at, 8, 0); return 0; }
int main(void) {
    pthread_t threads[8];
    for (int i = 0; i < 8; i++) pthread_create(&threads[i], 0, one, &seen[i]);
    for (int i = 0; i < 8; i++) pthread_join(threads[i], 0);
    for (int i = 0; i < 8; i++) printf("%016lx\n", seen[i]);
}
"#,
    ));
    let sorted = || {
        let text = lab.run(&fixed(lab, command_of(&command, lab))).text();
        let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines.dedup();
        lines
    };
    let lines = sorted();
    assert_eq!(lines.len(), 8);
    assert_eq!(lines, sorted());
}

/// The same command with a scratch directory of its own.
fn command_of(command: &Command, lab: &Lab) -> Command {
    Command { scratch: lab.fresh(), ..command.clone() }
}

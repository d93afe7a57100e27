//! Times, numbers and sizes of files that are the same in every run.

use std::fs;
use std::time::{Duration, UNIX_EPOCH};

use reimage_sandbox::{Command, Machine, Stat, UpperOn};

use crate::Test;
use crate::tools::Lab;

pub(crate) const TESTS: &[Test] = &[
    ("stat_is_the_same_in_every_run", is_the_same_in_every_run),
    ("stat_knows_what_was_written_last", knows_what_was_written_last),
    ("stat_of_lower_files", of_lower_files),
    ("stat_of_times_that_are_set", of_times_that_are_set),
    ("stat_of_directories", of_directories),
    ("stat_and_listings_agree", and_listings_agree),
    ("stat_by_every_call", by_every_call),
    ("stat_of_proc_and_descriptors", of_proc_and_descriptors),
    ("stat_of_files_that_move_on", of_files_that_move_on),
];

const F: i64 = 1_500_000_000;

fn fixed(mut command: Command) -> Command {
    command.stat = Stat::Fixed { file_time: F };
    command
}

fn sh(lab: &Lab, script: &str) -> String {
    lab.run(&fixed(lab.script(script))).text()
}

fn perl(lab: &Lab, script: &str) -> String {
    lab.run(&fixed(lab.perl(script))).text()
}

/// A lower layer with files that were made in this order.
fn layer(lab: &Lab, names: &[&str]) -> std::path::PathBuf {
    let layer = lab.fresh();
    fs::create_dir(layer.join("data")).unwrap();
    for name in names {
        fs::write(layer.join("data").join(name), name).unwrap();
    }
    fs::hard_link(layer.join("data/one"), layer.join("data/again")).unwrap();
    for entry in fs::read_dir(layer.join("data")).unwrap() {
        let file = fs::File::options().write(true).open(entry.unwrap().path()).unwrap();
        file.set_modified(UNIX_EPOCH + Duration::from_secs(F.cast_unsigned())).unwrap();
    }
    layer
}

const EVERYTHING: &str = "mkdir d; echo 1 > d/b; echo 2 > d/a; ln d/a d/l; ln -s a d/s; mkfifo d/p; mv d/b d/c; rm data/two; \
                          echo x >> data/three; chmod 600 data/one; mkdir -p d/e/f; cp -p data/four d/four; \
                          stat -c '%n %i %d %s %b %h %.9X %.9Y %.9Z %W %a %F' . d d/* d/e/f data data/* bin dev/null proc/1/stat \
                          /etc/hosts /dev /proc /tmp /dev/pts; ls -lai --time-style=full-iso d data; find / -xdev -ls | tail -20; \
                          find /data -printf '%p %i %D %k %b %n %T@ %C@\\n'";

fn is_the_same_in_every_run(lab: &Lab) {
    let run = |names: &[&str], upper| {
        let mut command = fixed(lab.script(EVERYTHING));
        command.lowers.push(layer(lab, names));
        command.upper = upper;
        // Directories in order.
        command.machine = Machine::Fixed { cpus: 1, booted: 0 };
        lab.run(&command).text()
    };
    let one = run(&["one", "two", "three", "four"], UpperOn::Disk);
    for (names, upper) in [
        (["one", "two", "three", "four"], UpperOn::Disk),
        (["four", "three", "two", "one"], UpperOn::Memory { spill: u64::MAX }),
    ] {
        let other = run(&names, upper);
        let differs = one.lines().zip(other.lines()).find(|(one, other)| one != other);
        assert_eq!(differs, None);
        assert_eq!(one, other);
    }
    // A golden line: whoever changes it changes what steps see.
    let line = one.lines().find(|line| line.starts_with("d/a ")).unwrap();
    assert_eq!(
        line,
        "d/a 602683191 16 2 8 2 1500000000.000000003 1500000000.000000003 1500000000.000000003 1500000000 644 regular file"
    );
}

/// Prints which is the newer.
const NEWER: &str = "newer() { if [ $1 -nt $2 ]; then echo $1; elif [ $2 -nt $1 ]; then echo $2; else echo none; fi; }; ";

fn knows_what_was_written_last(lab: &Lab) {
    let script = format!(
        "{NEWER} echo > a; echo > b; newer a b; echo >> a; newer a b; touch b; newer a b; : > c; cp -p b c; newer b c; \
         truncate -s 9 a; newer a b; mv a x; newer x b; touch y; newer x y; ln -s y z; newer x z"
    );
    assert_eq!(sh(lab, &script), "b\na\nb\nnone\na\nx\ny\nz\n");
    // By a program that writes, renames and looks without any other call in between, and one that writes two at a time.
    let script = "for my $n (qw(a b c)) { open my $f, '>', \"$n.tmp\" or die; print $f 1; close $f; rename \"$n.tmp\", $n or die; } \
                  open my $f, '>>', 'a'; open my $g, '>>', 'b'; print $f 1; close $f; print $g 1; close $g; \
                  utime undef, undef, 'c'; print join(' ', map { (stat $_)[9] } qw(a b c)), \"\\n\"; \
                  print +(-M 'a') == (-M 'b') ? 1 : 0, \"\\n\"; system \"stat -c %.9Y a b c\"";
    assert_eq!(
        perl(lab, script),
        "1500000000 1500000000 1500000000\n1\n1500000000.000000005\n1500000000.000000006\n1500000000.000000007\n"
    );
}

fn of_lower_files(lab: &Lab) {
    let script = format!(
        "{NEWER} cd data; echo > new; newer one new; newer one two; chmod 755 one; newer one two; echo >> one; newer one new; \
         stat -c '%.9Y %h' two one again"
    );
    let mut command = fixed(lab.script(&script));
    command.lowers.push(layer(lab, &["one", "two"]));
    assert_eq!(
        lab.run(&command).text(),
        "new\nnone\nnone\none\n1500000000.000000000 1\n1500000000.000000003 1\n1500000000.000000000 2\n"
    );
}

/// Earlier times stay, later ones read as F; what a program reads and sets again is the same.
fn of_times_that_are_set(lab: &Lab) {
    let script = "echo > a; touch -d @1000.5 a; stat -c %.9Y a; touch -d @1900000000 a; stat -c %.9Y a; echo > b; touch -r b a; \
                  stat -c %.9Y a b; touch -d @1500000000.5 a; stat -c '%.9Y %.9X' a; touch -a -d @77 a; stat -c '%.9Y %.9X' a";
    assert_eq!(
        sh(lab, script),
        "1000.500000000\n1500000000.000000000\n1500000000.000000005\n1500000000.000000005\n\
         1500000000.500000000 1500000000.500000000\n1500000000.500000000 1500000000.500000000\n"
    );
}

fn of_directories(lab: &Lab) {
    let script = "mkdir d; t() { stat -c '%.9Y %s %h %b' d; }; t; echo > d/b; echo > d/a; t; rm d/a; t; echo > d/a; t; mv d/a d/z; t";
    let text = sh(lab, script);
    let lines: Vec<_> = text.lines().collect();
    assert!(
        lines.iter().all(|line| line.ends_with(" 4096 1 8") && line.starts_with("1500000000."))
    );
    assert_eq!(lines[1], lines[3], "the same names");
    let mut different = lines.clone();
    different.sort_unstable();
    different.dedup();
    assert_eq!(different.len(), 4, "{text}");
    assert_eq!(text, sh(lab, script));
}

fn and_listings_agree(lab: &Lab) {
    let script = "cd data; echo > new; echo > gone; mv gone here; rm two; ls -1ai > ../tmp/listed; \
                  for f in . .. *; do stat -c '%i %n' $f; done | cat > ../tmp/seen; while read i n; do \
                  while read j m; do [ $n != $m ] || [ $i = $j ] || echo $n $i $j; done < ../tmp/seen; done < ../tmp/listed; \
                  wc -l < ../tmp/listed";
    let mut command = fixed(lab.script(script));
    command.lowers.push(layer(lab, &["one", "two", "three"]));
    assert_eq!(lab.run(&command).text(), "7\n");
}

const CALLS: &str = r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <errno.h>
static void show(const char *how, long r, struct stat *s) {
    printf("%s %ld %d %lx %lu %lx %ld %ld %ld.%ld\n", how, r, r ? errno : 0, (long)s->st_dev, (long)s->st_nlink, (long)s->st_mode,
           (long)s->st_size, (long)s->st_blksize, s->st_mtim.tv_sec, s->st_mtim.tv_nsec);
}
int main(void) {
    struct stat s; struct statx x; unsigned long ino;
    int fd = open("/tmp/f", O_CREAT | O_RDWR, 0644); write(fd, "abc", 3);
    show("stat", syscall(SYS_stat, "/tmp/f", &s), &s); ino = s.st_ino;
    show("lstat", syscall(SYS_lstat, "/tmp/f", &s), &s); printf("%d", ino == s.st_ino);
    show("fstat", syscall(SYS_fstat, fd, &s), &s); printf("%d", ino == s.st_ino);
    show("newfstatat", syscall(SYS_newfstatat, fd, "", &s, AT_EMPTY_PATH), &s); printf("%d", ino == s.st_ino);
    memset(&x, 1, sizeof x);
    printf("statx %ld", syscall(SYS_statx, fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &x));
    printf(" %x %x %lx %x %d %lld.%u %lld.%u %d %d %d\n", x.stx_mask, x.stx_blksize, (long)x.stx_attributes, x.stx_mode, x.stx_ino == ino,
           (long long)x.stx_btime.tv_sec, x.stx_btime.tv_nsec, (long long)x.stx_ctime.tv_sec, x.stx_ctime.tv_nsec, x.stx_dev_major, x.stx_dev_minor, (int)x.stx_mnt_id);
    show("none", syscall(SYS_stat, "/tmp/none", &s), &s);
    show("fault", syscall(SYS_stat, "/tmp/f", (void *)8), &s);
    show("fault", syscall(SYS_stat, (void *)8, &s), &s);
    show("bad", syscall(SYS_fstat, 99, &s), &s);
    long r = syscall(SYS_newfstatat, AT_FDCWD, "/tmp/f", &s, 0x8000); printf("flags %ld %d\n", r, errno);
    int t = open("/tmp", O_TMPFILE | O_WRONLY, 0600); write(t, "x", 1); show("tmpfile", fstat(t, &s), &s);
    unlink("/tmp/f"); show("unlinked", fstat(fd, &s), &s); printf("%d\n", ino == s.st_ino);
    close(fd); fd = open("/tmp/f", O_CREAT | O_WRONLY, 0644); fstat(fd, &s); printf("another %d\n", ino != s.st_ino);
}
"#;

fn by_every_call(lab: &Lab) {
    let run = |upper| {
        let mut command = fixed(lab.command(&["/c"]));
        command.lowers.push(lab.compiled(CALLS));
        command.upper = upper;
        lab.run(&command).text()
    };
    let one = run(UpperOn::Disk);
    assert_eq!(one, run(UpperOn::Memory { spill: u64::MAX }));
    assert_eq!(
        one,
        "stat 0 0 10 1 81a4 3 4096 1500000000.2\nlstat 0 0 10 1 81a4 3 4096 1500000000.2\n1fstat 0 0 10 1 81a4 3 4096 1500000000.2\n\
         1newfstatat 0 0 10 1 81a4 3 4096 1500000000.2\n1statx 0 fff 1000 0 81a4 1 1500000000.2 1500000000.2 0 16 0\n\
         none -1 2 10 1 81a4 3 4096 1500000000.2\nfault -1 14 10 1 81a4 3 4096 1500000000.2\nfault -1 14 10 1 81a4 3 4096 1500000000.2\n\
         bad -1 9 10 1 81a4 3 4096 1500000000.2\nflags -1 22\ntmpfile 0 0 10 0 8180 1 4096 1500000000.3\n\
         unlinked 0 0 10 0 81a4 3 4096 1500000000.2\n1\nanother 1\n"
    );
}

fn of_proc_and_descriptors(lab: &Lab) {
    let script = "stat -c '%n %F %.9Y' /proc/self /dev/fd /dev/stdin /proc /proc/self/status /proc/1 /sys /dev/null /dev/pts; \
                  stat -L -c '%n %F %.9Y %i %d' /proc/self /dev/fd /proc/self/fd/0 /dev/stdin; echo | stat -L -c '%F %i %.9Y' /dev/stdin; \
                  ls -lai --time-style=+%s.%N /proc/self/ns /proc/1 | wc -l";
    let one = sh(lab, script);
    assert_eq!(one, sh(lab, script));
    assert!(
        one.contains("/proc/self symbolic link 1500000000.000000000\n/dev/fd symbolic link"),
        "{one}"
    );
    assert!(one.contains("/proc/self/status regular empty file 1500000000.000000000\n"), "{one}");
}

/// Copied up, linked, moved, removed and made again: identities follow.
fn of_files_that_move_on(lab: &Lab) {
    let script = "i() { stat -c %i $1; }; a=$(i data/one); echo >> data/one; b=$(i data/one); mv data/one data/uno; c=$(i data/uno); \
                  ln data/uno data/due; d=$(i data/due); [ $b = $c ] && [ $c = $d ] && echo kept; rm data/uno data/due; echo > data/uno; \
                  e=$(i data/uno); [ $e != $d ] && echo new; stat -c %h data/uno; echo $a $b $c $d $e";
    let run = || {
        let mut command = fixed(lab.script(script));
        command.lowers.push(layer(lab, &["one", "two"]));
        lab.run(&command).text()
    };
    let one = run();
    assert!(one.starts_with("kept\nnew\n1\n"), "{one}");
    assert_eq!(one, run());
}

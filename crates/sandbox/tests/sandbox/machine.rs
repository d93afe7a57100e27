//! The baseline's machine in the place of this one: what programs see of it, and the order of directories.

use std::fs;

use reimage_sandbox::{Command, Machine, UPTIME};

use crate::Test;
use crate::tools::Lab;

pub(crate) const TESTS: &[Test] = &[
    ("machine_is_the_baseline_s", is_the_baseline_s),
    ("machine_by_system_calls", by_system_calls),
    ("machine_shows_nothing_of_this_one", shows_nothing_of_this_one),
    ("machine_of_file_systems", of_file_systems),
    ("directories_are_sorted", directories_are_sorted),
    ("directories_by_telldir", directories_by_telldir),
    ("directories_shared", directories_shared),
    ("directories_large", directories_large),
    ("directories_of_proc", directories_of_proc),
    ("directories_old_call", directories_old_call),
];

const FIXED: Machine = Machine::Fixed { cpus: 4, booted: 1_600_000_000 };

fn fixed(mut command: Command) -> Command {
    command.machine = FIXED;
    command
}

fn sh(lab: &Lab, script: &str) -> String {
    lab.run(&fixed(lab.script(script))).text()
}

fn is_the_baseline_s(lab: &Lab) {
    assert_eq!(sh(lab, "uname -a"), "Linux reimage 6.1.0 #1 SMP x86_64 GNU/Linux\n");
    assert_eq!(
        sh(lab, "cat /proc/sys/kernel/osrelease /proc/version"),
        "6.1.0\nLinux version 6.1.0 #1 SMP\n"
    );
    assert_eq!(
        sh(lab, "cat /sys/devices/system/cpu/online; ls -d /sys/devices/system/cpu/cpu*"),
        "0-3\n/sys/devices/system/cpu/cpu0\n/sys/devices/system/cpu/cpu1\n/sys/devices/system/cpu/cpu2\n/sys/devices/system/cpu/cpu3\n"
    );
    assert_eq!(
        sh(lab, "cat /proc/uptime /proc/loadavg"),
        "1000000.00 4000000.00\n0.00 0.00 0.00 1/1 1\n"
    );
    let stat = sh(lab, "cat /proc/stat");
    assert!(
        stat.contains("cpu3 ") && !stat.contains("cpu4 ") && stat.contains("btime 1600000000\n"),
        "{stat}"
    );
    let info = sh(lab, "cat /proc/cpuinfo /proc/meminfo");
    assert_eq!(info.matches("processor\t:").count(), 4, "{info}");
    assert!(info.contains("MemTotal:        8388608 kB\n"), "{info}");
    let mut one = fixed(lab.script("cat /sys/devices/system/cpu/online"));
    one.machine = Machine::Fixed { cpus: 1, booted: 0 };
    assert_eq!(lab.run(&one).text(), "0\n");
    // Nobody writes to it, root neither.
    lab.expect(&fixed(lab.script("echo 9 > /sys/devices/system/cpu/online")), 2);
}

/// What glibc asks the kernel, not files.
const SEEN: &str = r#"
#define _GNU_SOURCE
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/sysinfo.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <errno.h>
int main(void) {
    cpu_set_t set, one;
    if (sched_getaffinity(0, sizeof set, &set)) return 1;
    printf("affinity %d, online %ld, configured %ld\n", CPU_COUNT(&set), sysconf(_SC_NPROCESSORS_ONLN), sysconf(_SC_NPROCESSORS_CONF));
    CPU_ZERO(&one); CPU_SET(3, &one);
    printf("pinned %d\n", sched_setaffinity(0, sizeof one, &one));
    if (sched_getaffinity(0, sizeof set, &set)) return 1;
    printf("affinity %d\n", CPU_COUNT(&set));
    printf("short %ld", syscall(SYS_sched_getaffinity, 0, 4, &set)); printf(" %d\n", errno == EINVAL);
    unsigned cpu = 9, node = 9;
    if (syscall(SYS_getcpu, &cpu, &node, 0)) return 1;
    printf("cpu %u of node %u\n", cpu, node);
    struct sysinfo i;
    if (sysinfo(&i)) return 1;
    printf("up %ld, memory %lu of %lu, load %lu, processes %d, unit %u\n", i.uptime, i.freeram, i.totalram, i.loads[0], i.procs, i.mem_unit);
    printf("pages %ld of %ld\n", sysconf(_SC_AVPHYS_PAGES), sysconf(_SC_PHYS_PAGES));
    printf("bad address %d\n", sysinfo((void *)8) == -1 && errno == EFAULT);
}
"#;

fn by_system_calls(lab: &Lab) {
    let mut command = fixed(lab.command(&["/c"]));
    command.lowers.push(lab.compiled(SEEN));
    assert_eq!(
        lab.run(&command).text(),
        format!(
            "affinity 4, online 4, configured 4\npinned 0\naffinity 4\nshort -1 1\ncpu 0 of node 0\n\
             up {UPTIME}, memory {} of {}, load 0, processes 1, unit 1\npages {} of {}\nbad address 1\n",
            6_u64 << 30,
            8_u64 << 30,
            (6_u64 << 30) / 4096,
            (8_u64 << 30) / 4096,
        )
    );
}

/// As large and as full on every machine; what they are is the sandbox's.
fn of_file_systems(lab: &Lab) {
    let format = "%n %T %s %S %b %f %a %c %d %l %i";
    assert_eq!(
        sh(lab, &format!("stat -f -c '{format}' / /dev/shm < /bin/sh; stat -f /none 2>&1 || true")),
        "/ overlayfs 4096 4096 16777216 12582912 12582912 4194304 3145728 255 0\n\
         /dev/shm tmpfs 4096 4096 16777216 12582912 12582912 4194304 3145728 255 0\n\
         stat: cannot read file system information for '/none': No such file or directory\n"
    );
    let script = "open F, '<', '/bin/sh'; my $b = pack('x120'); syscall(138, fileno F, $b); print join ' ', unpack('QQQQ', $b)";
    assert_eq!(
        lab.run(&fixed(lab.perl(script))).text(),
        format!("{} 4096 16777216 12582912", 0x794c_7630)
    );
}

/// However many directories were read before: the kernel takes small positions there only.
fn directories_of_proc(lab: &Lab) {
    let script = "for (1..300) { opendir D, '/bin' or die; readdir D; closedir D } opendir D, '/proc/self/fd' or die; \
                  my @all = grep !/^\\./, readdir D; print @all > 2 ? 'all' : 'few'; opendir D, '/proc' or die; \
                  my $at; while (my $f = readdir D) { $at = telldir D if $f eq 'meminfo' } seekdir D, $at; print ' ', readdir D";
    let text = lab.run(&fixed(lab.perl(script))).text();
    let after = text.strip_prefix("all ").unwrap_or(&text);
    assert!(
        after.starts_with("misc") || after.starts_with("modules") || after.starts_with("mounts"),
        "{text}"
    );
}

/// No file of /proc that belongs to no process says what this machine's says, but for those that are empty or the
/// same on every machine.
fn shows_nothing_of_this_one(lab: &Lab) {
    let script = "cd /proc; for f in *; do case $f in [0-9]*|self|thread-self|mounts|net) ;; *) \
                  test -d $f || { echo \"== $f\"; dd if=$f bs=9999 count=1 2>/dev/null || true; }; esac; done";
    let seen = |machine| {
        let mut command = lab.script(script);
        command.machine = machine;
        lab.run(&command).output
    };
    let (ours, fixed) = (seen(Machine::Real), seen(FIXED));
    let files = |text: &str| -> Vec<(String, String)> {
        let parts = text.split("== ").skip(1);
        parts
            .filter_map(|part| part.split_once('\n').map(|(n, c)| (n.to_owned(), c.to_owned())))
            .collect()
    };
    for (name, content) in files(&fixed) {
        if content.is_empty() {
            continue;
        }
        let constants = ["cpuinfo", "loadavg", "meminfo", "stat", "uptime", "version"];
        assert!(constants.contains(&name.as_str()), "/proc/{name}: {content}");
        let real =
            files(&ours).into_iter().find(|(other, _)| *other == name).map(|(_, content)| content);
        assert_ne!(real, Some(content), "/proc/{name} tells about this machine");
    }
    let directories = "for d in /proc/[a-z]*/; do case $d in */self/|*/thread-self/|*/net/|*/sys/|*/sysvipc/) ;; \
                       *) echo $d* ;; esac; done | while read d; do case $d in *'/*') ;; *) echo $d ;; esac; done";
    let mut command = lab.script(&format!("{directories}; cd /proc/sys; cat kernel/hostname fs/file-nr; \
        (echo 1 > vm/swappiness) 2>/dev/null || echo no; (echo 1 > ../cpuinfo) 2>/dev/null || echo no"));
    command.machine = FIXED;
    assert_eq!(lab.run(&command).text(), "reimage\n0\t0\t9223372036854775807\nno\nno\n");
}

/// A layer whose directory has these entries, made in this order.
fn layer(lab: &Lab, names: &[&str]) -> std::path::PathBuf {
    let layer = lab.fresh();
    fs::create_dir(layer.join("d")).unwrap();
    for name in names {
        fs::write(layer.join("d").join(name), name).unwrap();
    }
    layer
}

const LIST: &str = "opendir(D, '/d'); print join(' ', readdir(D)), \"\n\";";

fn directories_are_sorted(lab: &Lab) {
    let run = |names: &[&str], more: &str| {
        let mut command = fixed(lab.perl(&format!("{more}{LIST}")));
        command.lowers.push(layer(lab, names));
        lab.run(&command).text()
    };
    let listed = ". .. B a b c\n";
    assert_eq!(run(&["c", "a", "B", "b"], ""), listed);
    assert_eq!(run(&["b", "B", "a", "c"], ""), listed);
    // Merged of two layers, and what the step itself makes.
    assert_eq!(run(&["c", "B"], "for (qw(b a)) { open(F, '>', \"/d/$_\") or die $! } "), listed);
    let kinds = "mkdir '/d/k'; symlink('x', '/d/l'); system('mkfifo', '/d/f'); system('find', '/d', '-type', 'd'); \
                 system('find', '/d', '-type', 'l'); system('find', '/d', '-type', 'p'); ";
    assert_eq!(run(&["c"], kinds), "/d\n/d/k\n/d/l\n/d/f\n. .. c f k l\n");
    let mut removed = fixed(lab.script("cd /d; rm -r /d/* && ls -A /d; cd /; ls -d /d"));
    removed.lowers.push(layer(lab, &["x", "y", "z"]));
    assert_eq!(lab.run(&removed).text(), "/d\n");
    // Its errors are the kernel's.
    lab.expect(&fixed(lab.perl("my $b = 'x' x 100; open(F, '<', '/bin/perl'); exit(sc(217, fileno(F), $b, 100) == -1 && $! == 20 ? 0 : 1)")), 0);
    lab.expect(
        &fixed(lab.perl("my $b = 'x' x 100; exit(sc(217, 99, $b, 100) == -1 && $! == 9 ? 0 : 1)")),
        0,
    );
    lab.expect(&fixed(lab.perl("my $b = 'x' x 8; open(D, '<', '/'); exit(sc(217, fileno(D), $b, 8) == -1 && $! == 22 ? 0 : 1)")), 0);
}

fn directories_by_telldir(lab: &Lab) {
    let script = r#"
        opendir(D, '/d') or die $!;
        my %at; my @all;
        while (1) { my $p = telldir(D); my $n = readdir(D); last unless defined $n; $at{$n} = $p; push @all, $n; }
        for my $n (reverse @all) { seekdir(D, $at{$n}); my $again = readdir(D); die "$n: $again" unless $again eq $n; }
        rewinddir(D);
        print join(' ', readdir(D)), "\n";
        open(F, '>', '/d/0'); close(F);
        rewinddir(D);
        print join(' ', readdir(D)), "\n";
    "#;
    let mut command = fixed(lab.perl(script));
    command.lowers.push(layer(lab, &["c", "a", "b"]));
    assert_eq!(lab.run(&command).text(), ". .. a b c\n. .. 0 a b c\n");
}

/// An open directory is shared with children and duplicates: each entry comes once.
fn directories_shared(lab: &Lab) {
    let mut command = fixed(lab.command(&["/c"]));
    command.lowers.push(lab.compiled(
        r#"
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
/* One entry at a time: room for just one. */
static void one(int fd) {
    char b[32];
    if (syscall(SYS_getdents64, fd, b, sizeof b) > 0) printf("%s\n", b + 19); else printf("end\n");
    fflush(stdout);
}
int main(void) {
    int fd = open("/d", O_RDONLY | O_DIRECTORY), other = dup(fd);
    one(fd); one(other);
    if (!fork()) { one(fd); _exit(0); }
    wait(0);
    one(other); one(fd); one(fd);
    lseek(other, 0, SEEK_SET);
    one(fd);
}
"#,
    ));
    command.lowers.push(layer(lab, &["c", "a", "b"]));
    assert_eq!(lab.run(&command).text(), ".\n..\na\nb\nc\nend\n.\n");
}

fn directories_large(lab: &Lab) {
    let script = r#"
        for (1..30000) { my $n = ($_ * 7919) % 30000; open(F, '>', "/d/f$n") or die $!; }
        opendir(D, '/d'); my @names = grep { /^f/ } readdir(D); my @sorted = sort @names;
        print scalar(@names), ' ', join(',', @names) eq join(',', @sorted) ? 'sorted' : 'not', "\n";
        print system('rm', '-r', '/d'), ' ', -e '/d' ? 'there' : 'gone', "\n";
    "#;
    let mut command = fixed(lab.perl(script));
    command.lowers.push(layer(lab, &[]));
    assert_eq!(lab.run(&command).text(), "30000 sorted\n0 gone\n");
}

/// `getdents`, which no C library of today calls.
fn directories_old_call(lab: &Lab) {
    let script = r#"
        open(D, '<', '/d'); my $b = "\0" x 4096; my $n = syscall(78, fileno(D), $b, 4096); die $! if $n < 0;
        for (my $at = 0; $at < $n;) {
            my ($size) = unpack('S', substr($b, $at + 16, 2));
            print unpack('Z*', substr($b, $at + 18)), ' ', ord(substr($b, $at + $size - 1, 1)), "\n";
            $at += $size;
        }
    "#;
    let mut command = fixed(lab.perl(script));
    command.lowers.push(layer(lab, &["c", "a"]));
    command.limits.timeout = Some(std::time::Duration::from_secs(10));
    assert_eq!(lab.run(&command).text(), ". 4\n.. 4\na 8\nc 8\n");
}

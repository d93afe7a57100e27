//! What a step sees of the machine that it runs on. **This text moves only together with `baseline::VERSION`**: two
//! machines that show a step different things make different images under one key.
//!
//! What is of the kernel and nothing of ours is not here: numbers of processes that others have started, /proc/PID/stat,
//! names of file systems of the host.

use insta::assert_snapshot;
use reimage_tests::TestEnv;

const PROBE: &str = r#"let re = import "reimage.ncl" in
{
  steps = {
    root | re.Copy = { from = re.local { path = "root" } },
    probe | re.Run = { from = root, command = ["/bin/busybox", "sh", "/probe"], inputs."/probe" = re.local { path = "probe" } },
  },
} | re.Spec
"#;

const SCRIPT: &str = r#"alias b=/bin/busybox
exec 2>&1
echo "== process"; b id -u; b id -g; b pwd; umask; echo "$0 $$ $PPID"
echo "== environment"; b env | b sort
echo "== host"; b hostname; b cat /etc/hosts /etc/resolv.conf
echo "== limits"; ulimit -a | b sed 's/  */ /g'
echo "== descriptors"; for n in 0 1 2; do b readlink /proc/self/fd/$n | b sed 's/[0-9][0-9]*/N/'; done; b ls /proc/self/fd | b wc -l
echo "== signals"; b grep -E '^(Sig(Blk|Ign|Cgt)|ShdPnd|NoNewPrivs|Cap|Seccomp:)' /proc/self/status
echo "== mounts"; b awk '{ i=7; while ($i != "-") i++; print $5, $6, $5 ~ /random/ ? "of the store" : $(i+1) }' /proc/self/mountinfo | b grep -v '^/proc/.' | b sort
echo "== devices"; b find /dev -type d -o -print | b sort | while read f; do b stat -c '%A %u:%g %t:%T %N' $f; done
echo "== root"; b find / -maxdepth 2 -not -path '/proc/*' -not -path '/dev/*' -not -path '/sys/*' | b sort | while read f; do b stat -c '%A %u:%g %n' $f; done
echo "== sys"; b find /sys | b sort
echo "== network"; b ip addr 2>&1
echo "== processes"; b ps | b head -2
echo "== machine"; b uname -a; b nproc; for f in version uptime loadavg swaps sys/kernel/random/boot_id sys/kernel/osrelease; do b cat /proc/$f; done
b find /proc/sys | b sort | b md5sum; b find /proc/sys -type f -exec /bin/busybox grep -H . {} + | b sort | b md5sum
for f in cpuinfo meminfo stat; do b cat /proc/$f | b md5sum; done; b free | b sed 's/  */ /g'
echo "== clock"; b date '+%F %T %Z'; b date +%s; b sleep 2; b date '+%F %T'; b cat /proc/uptime
echo "== random numbers"; b od -An -tx1 -N8 /dev/random; b od -An -tx1 -N8 /dev/urandom; b cat /proc/sys/kernel/random/uuid; b mktemp -u /tmp/XXXXXXXX
echo "== directories"; b mkdir /d; for n in c a b; do : > /d/$n; done; b ln /d/a /d/z; b mkdir /d/e; b find /d
echo "== inodes"; b stat -c '%i %h %s %b %B %d %X %Y %Z %n' / /bin /d /d/a /d/z /d/e
echo "== times of files"; b stat -c '%x %y %z %n' / /bin /bin/busybox /d/a
echo "== file systems"; for f in / /tmp /dev/shm; do b stat -f -c '%n %b %f %a %c %d %S %l' $f; done
echo "== /proc"; for f in /proc/[a-z]*; do case $f in */self | */thread-self | */net | */mounts | */sysvipc | */sys) ;; *) b cat $f/* $f 2>/dev/null | b grep -q . && echo $f ;; esac; done; true
"#;

/// Two runs show the same, and what they show has a number.
#[test]
fn baseline_2() {
    let source = include_str!("../../../crates/build/src/baseline.rs");
    assert!(source.contains("pub const VERSION: u32 = 2;"), "another baseline shows another text: name this test after it");
    let env = TestEnv::new();
    env.programs(&["busybox"]).file("spec.ncl", PROBE).file("probe", SCRIPT);
    let _ = env.reimage(["build", "steps.probe"]).expect(0);
    assert_snapshot!(env.reimage(["log", "steps.probe"]).out(), @"
    == process
    0
    0
    /
    0022
    /probe 2 1
    == environment
    GLIBC_TUNABLES=glibc.cpu.hwcaps=-FMA,-FMA4,-FMA_Usable,-FMA4_Usable,-AVX2_Usable
    HOME=/
    LC_ALL=C.UTF-8
    PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
    PWD=/
    SHLVL=1
    SOURCE_DATE_EPOCH=1793491200
    TZ=UTC
    == host
    reimage
    127.0.0.1 localhost reimage
    ::1 localhost
    == limits
    core file size (blocks) (-c) 0
    data seg size (kb) (-d) unlimited
    scheduling priority (-e) 0
    file size (blocks) (-f) unlimited
    pending signals (-i) 32768
    max locked memory (kb) (-l) 8192
    max memory size (kb) (-m) unlimited
    open files (-n) 1024
    POSIX message queues (bytes) (-q) 819200
    real-time priority (-r) 0
    stack size (kb) (-s) 8192
    cpu time (seconds) (-t) unlimited
    max user processes (-u) 32768
    virtual memory (kb) (-v) unlimited
    file locks (-x) unlimited
    == descriptors
    /dev/null
    pipe:[N]
    pipe:[N]
    4
    == signals
    ShdPnd:	0000000000000000
    SigBlk:	0000000000000000
    SigIgn:	0000000000000000
    SigCgt:	0000000000000000
    CapInh:	0000000000000000
    CapPrm:	00000000a80425fb
    CapEff:	00000000a80425fb
    CapBnd:	00000000a80425fb
    CapAmb:	0000000000000000
    NoNewPrivs:	1
    Seccomp:	2
    == mounts
    / rw,nosuid,nodev,relatime overlay
    /dev rw,nosuid,nodev,noexec,relatime tmpfs
    /dev/full ro,nosuid,noexec,relatime devtmpfs
    /dev/null ro,nosuid,noexec,relatime devtmpfs
    /dev/pts rw,nosuid,noexec,relatime devpts
    /dev/random ro,nosuid,noexec,relatime of the store
    /dev/shm rw,nosuid,nodev,relatime tmpfs
    /dev/tty ro,nosuid,noexec,relatime devtmpfs
    /dev/urandom ro,nosuid,noexec,relatime of the store
    /dev/zero ro,nosuid,noexec,relatime devtmpfs
    /etc/hostname rw,nosuid,nodev,relatime tmpfs
    /etc/hosts rw,nosuid,nodev,relatime tmpfs
    /etc/resolv.conf rw,nosuid,nodev,relatime tmpfs
    /proc rw,nosuid,nodev,noexec,relatime proc
    /sys ro,nosuid,nodev,noexec,relatime tmpfs
    == devices
    lrwxrwxrwx 0:0 0:0 '/dev/fd' -> '/proc/self/fd'
    crw-rw-rw- 0:0 1:7 /dev/full
    crw-rw-rw- 0:0 1:3 /dev/null
    lrwxrwxrwx 0:0 0:0 '/dev/ptmx' -> 'pts/ptmx'
    crw-rw-rw- 0:0 5:2 /dev/pts/ptmx
    -r--r--r-- 0:0 0:0 /dev/random
    lrwxrwxrwx 0:0 0:0 '/dev/stderr' -> '/proc/self/fd/2'
    lrwxrwxrwx 0:0 0:0 '/dev/stdin' -> '/proc/self/fd/0'
    lrwxrwxrwx 0:0 0:0 '/dev/stdout' -> '/proc/self/fd/1'
    crw-rw-rw- 0:0 5:0 /dev/tty
    -r--r--r-- 0:0 0:0 /dev/urandom
    crw-rw-rw- 0:0 1:5 /dev/zero
    == root
    drwxr-xr-x 0:0 /
    drwxr-xr-x 0:0 /bin
    -rwxr-xr-x 0:0 /bin/busybox
    drwxr-xr-x 0:0 /dev
    drwxr-xr-x 0:0 /etc
    -rw-r--r-- 0:0 /etc/hostname
    -rw-r--r-- 0:0 /etc/hosts
    -rw-r--r-- 0:0 /etc/resolv.conf
    -rw-r--r-- 0:0 /probe
    dr-xr-xr-x 0:0 /proc
    drwx------ 0:0 /root
    drwxr-xr-x 0:0 /run
    drwxr-xr-x 0:0 /sys
    drwxrwxrwt 0:0 /tmp
    drwxr-xr-x 0:0 /var
    drwxrwxrwt 0:0 /var/tmp
    == sys
    /sys
    /sys/devices
    /sys/devices/system
    /sys/devices/system/cpu
    /sys/devices/system/cpu/cpu0
    /sys/devices/system/cpu/cpu0/topology
    /sys/devices/system/cpu/cpu0/topology/core_id
    /sys/devices/system/cpu/cpu1
    /sys/devices/system/cpu/cpu1/topology
    /sys/devices/system/cpu/cpu1/topology/core_id
    /sys/devices/system/cpu/cpu2
    /sys/devices/system/cpu/cpu2/topology
    /sys/devices/system/cpu/cpu2/topology/core_id
    /sys/devices/system/cpu/cpu3
    /sys/devices/system/cpu/cpu3/topology
    /sys/devices/system/cpu/cpu3/topology/core_id
    /sys/devices/system/cpu/online
    /sys/devices/system/cpu/possible
    /sys/devices/system/cpu/present
    == network
    1: lo: <LOOPBACK,UP,LOWER_UP> mtu 65536 qdisc noqueue qlen 1000
        link/loopback 00:00:00:00:00:00 brd 00:00:00:00:00:00
        inet 127.0.0.1/8 scope host lo
           valid_lft forever preferred_lft forever
        inet6 ::1/128 scope host
           valid_lft forever preferred_lft forever
    == processes
    PID   USER     COMMAND
        1 0        reimage sandbox
    == machine
    Linux reimage 6.1.0 #1 SMP x86_64 GNU/Linux
    4
    Linux version 6.1.0 #1 SMP
    1000000.00 4000000.00
    0.00 0.00 0.00 1/1 1
    00000000-0000-4000-8000-000000000001
    6.1.0
    7a7f9b733c3296c74f4b64ffa5b03e75  -
    fd0e8b6b77a6adcc0df9fbb98e7d96e1  -
    9addb96380851cb3f1dbd6893c6d2a9f  -
    8613830869b8ccf7976139b23e9d2a48  -
    b7f2f0b62b6e1e92f97fe9885e54e44a  -
     total used free shared buff/cache available
    Mem: 8388608 2097152 6291456 0 0 6291456
    -/+ buffers/cache: 2097152 6291456
    Swap: 0 0 0
    == clock
    2026-11-01 00:00:00 UTC
    1793491200
    2026-11-01 00:00:02
    1000000.00 4000000.00
    == random numbers
     2c 84 3f e1 c1 d0 77 47
     2c 84 3f e1 c1 d0 77 47
    00000000-0000-4000-8000-000000000002
    /tmp/XXp31GmO
    == directories
    /d
    /d/a
    /d/b
    /d/c
    /d/e
    /d/z
    == inodes
    2894438194 1 4096 8 512 16 1793491200 1793491200 1793491200 /
    682177126 1 4096 8 512 16 1793491200 1793491200 1793491200 /bin
    20229654 1 4096 8 512 16 1793491200 1793491200 1793491200 /d
    602683191 2 0 0 512 16 1793491200 1793491200 1793491200 /d/a
    602683191 2 0 0 512 16 1793491200 1793491200 1793491200 /d/z
    538965927 1 4096 8 512 16 1793491200 1793491200 1793491200 /d/e
    == times of files
    2026-11-01 00:00:00.005028421 +0000 2026-11-01 00:00:00.005028421 +0000 2026-11-01 00:00:00.005028421 +0000 /
    2026-11-01 00:00:00.000000001 +0000 2026-11-01 00:00:00.000000001 +0000 2026-11-01 00:00:00.000000001 +0000 /bin
    2026-11-01 00:00:00.000000001 +0000 2026-11-01 00:00:00.000000001 +0000 2026-11-01 00:00:00.000000001 +0000 /bin/busybox
    2026-11-01 00:00:00.000000003 +0000 2026-11-01 00:00:00.000000003 +0000 2026-11-01 00:00:00.000000003 +0000 /d/a
    == file systems
    / 16777216 12582912 12582912 4194304 3145728 4096 255
    /tmp 16777216 12582912 12582912 4194304 3145728 4096 255
    /dev/shm 16777216 12582912 12582912 4194304 3145728 4096 255
    == /proc
    /proc/cpuinfo
    /proc/loadavg
    /proc/meminfo
    /proc/stat
    /proc/uptime
    /proc/version
    ");
}

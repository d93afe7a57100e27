//! What a step sees of the machine that it runs on. **This text moves only together with `baseline::VERSION`**: two
//! machines that show a step different things make different images under one key.
//!
//! Baseline 0 lets a step see the machine's clock, random numbers, directory order and kernel; none of that is here.

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
echo "== mounts"; b awk '{ i=7; while ($i != "-") i++; print $5, $6, $(i+1) }' /proc/self/mountinfo | b grep -v '^/proc/.' | b sort
echo "== devices"; b find /dev -type d -o -print | b sort | while read f; do b stat -c '%A %u:%g %t:%T %N' $f; done
echo "== root"; b find / -maxdepth 2 -not -path '/proc/*' -not -path '/dev/*' -not -path '/sys/*' | b sort | while read f; do b stat -c '%A %u:%g %n' $f; done
echo "== sys"; b find /sys | b sort
echo "== network"; b ip addr 2>&1
echo "== processes"; b ps | b head -2
echo "== times of files"; b stat -c '%y %n' / /bin /bin/busybox
"#;

#[test]
fn baseline_0() {
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
    /dev/random ro,nosuid,noexec,relatime devtmpfs
    /dev/shm rw,nosuid,nodev,relatime tmpfs
    /dev/tty ro,nosuid,noexec,relatime devtmpfs
    /dev/urandom ro,nosuid,noexec,relatime devtmpfs
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
    crw-rw-rw- 0:0 1:8 /dev/random
    lrwxrwxrwx 0:0 0:0 '/dev/stderr' -> '/proc/self/fd/2'
    lrwxrwxrwx 0:0 0:0 '/dev/stdin' -> '/proc/self/fd/0'
    lrwxrwxrwx 0:0 0:0 '/dev/stdout' -> '/proc/self/fd/1'
    crw-rw-rw- 0:0 5:0 /dev/tty
    crw-rw-rw- 0:0 1:9 /dev/urandom
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
    == times of files
    2026-11-01 00:00:00.000000001 +0000 /
    2026-11-01 00:00:00.000000001 +0000 /bin
    2026-11-01 00:00:00.000000001 +0000 /bin/busybox
    ");
}

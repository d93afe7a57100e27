//! What a hostile step tries, and what comes of it.

use std::fs;
use std::time::Duration;

use reimage_sandbox::{EntryKind, Void};

use crate::Test;
use crate::tools::Lab;

pub(crate) const TESTS: &[Test] = &[
    ("refused_calls", refused_calls),
    ("the_monitor_and_init_are_out_of_reach", the_monitor_and_init_are_out_of_reach),
    ("proc_is_protected", proc_is_protected),
    ("devices_do_not_work", devices_do_not_work),
    ("abstract_sockets_are_private", abstract_sockets_are_private),
    ("chroot_leads_nowhere", chroot_leads_nowhere),
    ("outputs_that_lie", outputs_that_lie),
    ("foreign_architectures", foreign_architectures),
    ("own_filters", own_filters),
];

/// errno of a raw system call in the sandbox, 0 if it succeeded.
fn errnos(lab: &Lab, calls: &[(&str, &str)]) -> Vec<String> {
    let tries: String =
        calls.iter().map(|(_, call)| format!("print sc({call})<0?$!+0:0,qq(\\n);")).collect();
    lab.run(&lab.perl(&tries)).text().lines().map(str::to_owned).collect()
}

fn refused_calls(lab: &Lab) {
    const PERM: &str = "1";
    const NOSYS: &str = "38";
    let calls = [
        ("mount", "165,'none','/mnt','tmpfs',0,0", PERM),
        ("umount2", "166,'/proc',2", PERM),
        ("pivot_root", "155,'/','/'", PERM),
        ("open_tree", "428,-100,'/',1", PERM),
        ("move_mount", "429,-100,'/',-100,'/',0", PERM),
        ("fsopen", "430,'tmpfs',0", PERM),
        ("setns", "308,0,0", PERM),
        ("unshare(NEWUSER)", "272,0x10000000", PERM),
        ("unshare(NEWNS)", "272,0x20000", PERM),
        ("clone(NEWUSER)", "56,0x10000011,0,0,0,0", PERM),
        ("clone3", "435,0,0", NOSYS),
        ("keyctl", "250,0,-3,0", PERM),
        ("add_key", "248,'user','x','y',1,-3", PERM),
        ("bpf", "321,0,0,0", PERM),
        ("userfaultfd", "323,0", PERM),
        ("perf_event_open", "298,0,0,-1,-1,0", PERM),
        ("io_uring_setup", "425,1,0", NOSYS),
        ("open_by_handle_at", "304,-100,0,0", PERM),
        ("reboot", "169,0,0,0,0", PERM),
        ("init_module", "175,0,0,''", PERM),
        ("kexec_load", "246,0,0,0,0", PERM),
        ("settimeofday", "164,0,0", PERM),
        ("swapon", "167,'/x',0", PERM),
        ("syslog", "103,3,0,0", PERM),
        ("sethostname", "170,'x',1", PERM),
        ("TIOCSTI", "16,0,0x5412,'x'", PERM),
        ("TIOCLINUX", "16,0,0x541c,'x'", PERM),
        ("AF_PACKET", "41,17,3,0", "97"),
        ("AF_ALG", "41,38,5,0", "97"),
        ("AF_VSOCK", "41,40,1,0", "97"),
        ("a call of the future", "1000", NOSYS),
        ("an x32 call", "0x40000027", NOSYS),
        ("setxattrat", "463,0,0,0,0,0,0", NOSYS),
    ];
    let got = errnos(lab, &calls.map(|(name, call, _)| (name, call)));
    for ((name, _, expected), got) in calls.iter().zip(got) {
        assert_eq!(got, *expected, "{name}");
    }
}

fn the_monitor_and_init_are_out_of_reach(lab: &Lab) {
    // PTRACE_ATTACH, process_vm_readv, /proc/1/mem, /proc/1/root, pidfd_getfd, kill of init and all
    let script = r#"print syscall(101,16,1,0,0)<0?1:0, open(F,'<','/proc/1/mem')?0:1, (readlink('/proc/1/root')//'')eq''?1:0,
        open(F,'<','/proc/1/fd/0')?0:1, opendir(D,'/proc/1/cwd')?0:1; my $f=syscall(434,1,0); print syscall(438,$f,0,0)<0?1:0;
        kill 9,1; kill 15,1; print "alive\n""#;
    assert_eq!(lab.run(&lab.perl(script)).text(), "111111alive\n");
    assert_eq!(lab.run(&lab.perl("print syscall(62,-1,0)<0?'nobody':'some'")).text(), "nobody");
    // Its own children it may trace.
    assert_eq!(
        lab.run(&lab.perl(
            "my $p=fork // die; if(!$p){sleep 5;exit} print syscall(101,16,$p,0,0)<0?1:0; kill 9,$p"
        ))
        .text(),
        "0"
    );
}

fn proc_is_protected(lab: &Lab) {
    let script = "for f in /proc/sys/kernel/core_pattern /proc/sysrq-trigger /proc/sys/kernel/hostname /proc/irq/default_smp_affinity; do
        [ ! -e $f ] || (echo x >$f) 2>/dev/null && [ ! -s $f ] || echo kept; done; wc -c </proc/kmsg; ls /sys/fs 2>/dev/null | wc -l";
    let told = lab.run(&lab.script(script)).output;
    assert!(told.ends_with("0\n0\n"), "{told}");
    for path in
        ["/proc/sys/kernel/core_pattern", "/proc/sys/vm/drop_caches", "/proc/sys/kernel/hostname"]
    {
        let script = format!("open F,'>','{path}' or print $!+0");
        assert_eq!(lab.run(&lab.perl(&script)).text(), "30", "{path}: a read-only file system");
    }
    for path in ["/dev/null", "/dev/zero", "/dev/tty", "/proc/kmsg"] {
        let script = format!(
            "chmod(0600,'{path}') and print 'changed'; chown(1,1,'{path}') and print 'given'"
        );
        assert_eq!(lab.run(&lab.perl(&script)).text(), "", "{path} is the host's");
    }
}

fn devices_do_not_work(lab: &Lab) {
    for dir in ["/", "/tmp", "/dev", "/dev/shm", "/run"] {
        // A null device of the step's own: whatever mknod says, opening it is not opening a device.
        let script = format!(
            "sc(133,'{dir}/n',020666,(1<<8)|5); my $r=open(F,'<','{dir}/n'); print $r && sysread(F,$x,4) ? 'works' : 'dead'"
        );
        assert_eq!(lab.run(&lab.perl(&script)).text(), "dead", "{dir}");
    }
}

fn abstract_sockets_are_private(lab: &Lab) {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixListener};
    let name = format!("reimage-test-{}", std::process::id());
    let _listener =
        UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    let script =
        format!("socket(S,1,1,0); print connect(S,pack('Sxa*',1,'{name}'))?'reached':'private'");
    assert_eq!(lab.run(&lab.perl(&script)).text(), "private");
}

fn chroot_leads_nowhere(lab: &Lab) {
    let script = r#"mkdir '/j'; mkdir '/j/in'; open(D,'<','/'); chroot '/j' or die; for(1..100){chdir '..'} chroot '.';
        print -e '/bin/perl' ? 'out' : 'in', ' ', join(',',sort map{-e "/$_"?$_:()} qw(in j work home))"#;
    assert_eq!(lab.run(&lab.perl(script)).text(), "out j");
}

fn outputs_that_lie(lab: &Lab) {
    // Links and fifos where files are expected; a writer that is still busy when the step ends.
    let script = "cd /; ln -s /etc/passwd secret; ln -s / everything; mkfifo pipe; mkdir out; ln -s ../../../../../../etc out/up;
        (setsid perl -e 'while(1){rename \"/out\",\"/x\"; symlink \"/etc\",\"/out\"; unlink \"/out\"; rename \"/x\",\"/out\"}' >/dev/null 2>&1 &);
        sleep 0.1";
    for _ in 0..5 {
        let done = lab.run(&lab.script(script));
        assert!(done.outcome.succeeded());
        for entry in done.outcome.entries(&[]).unwrap() {
            let entry = entry.unwrap();
            let path = String::from_utf8_lossy(&entry.path).into_owned();
            assert!(!matches!(entry.kind, EntryKind::File { .. }), "{path}");
            assert!(!path.contains("passwd"), "{path}");
        }
    }
}

fn foreign_architectures(lab: &Lab) {
    // mov eax,20; int 0x80: getpid of 32-bit x86. perl makes a page executable and calls it... which it cannot,
    // so the smallest ELF program does.
    let code: &[u8] =
        &[0xb8, 0x14, 0, 0, 0, 0xcd, 0x80, 0xb8, 0x3c, 0, 0, 0, 0x31, 0xff, 0x0f, 0x05];
    let mut elf =
        vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0x3e, 0, 1, 0, 0, 0];
    elf.extend(0x40_0078_u64.to_le_bytes());
    elf.extend(64_u64.to_le_bytes());
    elf.extend([0; 12]);
    elf.extend([64, 0, 56, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
    elf.extend([1, 0, 0, 0, 5, 0, 0, 0]);
    for word in [0_u64, 0x40_0000, 0x40_0000, 0x78 + 16, 0x78 + 16, 0x1000] {
        elf.extend(word.to_le_bytes());
    }
    elf.extend(code);
    let lower = lab.fresh();
    fs::write(lower.join("old"), &elf).unwrap();
    let mut command = lab.script(
        "cp /old /run/old; chmod 755 /run/old; (sleep 3; true) & /run/old; sleep 3; exit 0",
    );
    command.lowers.push(lower);
    command.limits.timeout = Some(Duration::from_secs(10));
    let done = lab.run(&command);
    assert_eq!(done.outcome.voided, [Void::ForeignArchitecture { nr: 20 }], "{}", done.output);
    assert!(done.outcome.voided[0].to_string().contains("32-bit"));
}

fn own_filters(lab: &Lab) {
    // seccomp(SET_MODE_FILTER): one that forbids chmod, then a listener of its own.
    let script = r"my @f=([0x20,0,0,0],[0x15,0,1,90],[6,0,0,0x50000|77],[6,0,0,0x7fff0000]);
        my $code=join '',map{pack 'SCCL',@$_}@f; my $prog=pack 'Sx6P',4,$code;
        print syscall(317,1,8,$prog)<0?$!+0:'listens',' '; print syscall(317,1,0,$prog)<0?$!+0:'filters',' ';
        print chmod(0600,'/bin')?'changed':$!+0,' '; print -e '/bin'?'stats':'',' '; print chown(3,3,'/bin')";
    assert_eq!(lab.run(&lab.perl(script)).text(), "16 filters 77 stats 1");
}

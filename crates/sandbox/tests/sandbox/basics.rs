//! What a step sees, and what its status is.

use std::fs;
use std::path::{Path, PathBuf};

use reimage_sandbox::{
    Bind, Command, Error, Ids, Input, Needed, Network, Status, TerminalSize, UpperOn,
};

use crate::Test;
use crate::tools::Lab;

pub(crate) const TESTS: &[Test] = &[
    ("exit_codes", exit_codes),
    ("environment_is_exact", environment_is_exact),
    ("what_it_sees", what_it_sees),
    ("limits_are_constants", limits_are_constants),
    ("bound_files", bound_files),
    ("workdir_and_inputs", workdir_and_inputs),
    ("volumes", volumes),
    ("network", network),
    ("many_lowers", many_lowers),
    ("an_empty_root", an_empty_root),
    ("the_machine_s_own_root", the_machine_s_own_root),
    ("sync_does_nothing", sync_does_nothing),
    ("holes_are_hidden", holes_are_hidden),
    ("bad_commands", bad_commands),
    ("in_parallel", in_parallel),
    ("long_scripts", long_scripts),
    ("standard_streams", standard_streams),
    ("terminal", terminal),
    ("probes", probes),
];

fn exit_codes(lab: &Lab) {
    for code in [0, 1, 7, 255] {
        lab.expect(&lab.script(&format!("exit {code}")), code);
    }
    let done = lab.run(&lab.script("kill -9 $$"));
    assert_eq!(done.outcome.status, Status::Signaled(9));
    assert!(!done.outcome.succeeded());
    let missing = lab.try_run(&lab.command(&["nothing-like-this"]));
    assert!(
        matches!(&missing, Err(Error::Start { program, source }) if program == "nothing-like-this"
        && source.raw_os_error() == Some(2)),
        "{:?}",
        missing.err()
    );
    let refused = lab.try_run(&lab.command(&["/bin"]));
    assert!(
        matches!(&refused, Err(Error::Start { source, .. }) if source.raw_os_error() == Some(13))
    );
}

fn environment_is_exact(lab: &Lab) {
    let mut command = lab.command(&["env"]);
    command.env.insert("B".into(), "2 = zwei".into());
    command.env.insert("A".into(), "1".into());
    assert_eq!(lab.run(&command).text(), "A=1\nB=2 = zwei\nPATH=/bin\n");
}

fn what_it_sees(lab: &Lab) {
    let told = lab
        .sh("hostname; umask; id -u; id -g; id -G; pwd; ls /; ls /sys | wc -l; ls /proc | wc -l");
    let lines: Vec<_> = told.lines().collect();
    assert_eq!(lines[..6], ["reimage", "0022", "0", "0", "0", "/"], "{told}");
    assert_eq!(
        lab.sh("echo $$; ls -d /proc/[0-9]*").lines().next(),
        Some("2"),
        "the step is process 2"
    );
    assert_eq!(
        lab.sh("for p in /proc/[0-9]*; do echo ${p#/proc/}; done"),
        "1\n2\n",
        "nobody else is there"
    );
    let devices = lab.sh("ls /dev");
    let expected =
        "fd\nfull\nnull\nptmx\npts\nrandom\nshm\nstderr\nstdin\nstdout\ntty\nurandom\nzero\n";
    assert_eq!(devices, expected);
    assert_eq!(
        lab.sh("stat -c %a /tmp /var/tmp /run /root /dev/shm"),
        "1777\n1777\n755\n700\n1777\n"
    );
    assert_eq!(
        lab.sh("echo x >/dev/null; dd if=/dev/zero bs=3 count=1 2>/dev/null | wc -c"),
        "3\n"
    );
    let mounts = lab.sh("cat /proc/mounts");
    assert!(!mounts.contains("reimage-sandbox-"), "no host path shows: {mounts}");
    assert_eq!(
        lab.sh(
            "cat /proc/self/status | while read a b; do [ $a = CapEff: ] && echo $b; done || true"
        ),
        "00000000a80425fb\n",
        "the same capabilities under every backend"
    );
}

fn limits_are_constants(lab: &Lab) {
    let script = r#"for (0..15) { my $l = pack 'Q2', 1, 1; my $n = $_; $_ % 2 ? syscall(97, $n, $l) : syscall(302, 0, $n, 0, $l);
        print join(':', map { $_ == ~0 ? 'inf' : $_ } unpack 'Q2', $l), ' ' }"#;
    assert_eq!(
        lab.run(&lab.perl(script)).text(),
        "inf:inf inf:inf inf:inf 8388608:inf 0:0 inf:inf 32768:32768 1024:524288 8388608:8388608 inf:inf \
         inf:inf 32768:32768 819200:819200 0:0 0:0 inf:inf "
    );
}

fn bound_files(lab: &Lab) {
    let text = lab.sh("cat /etc/hostname /etc/hosts; wc -c </etc/resolv.conf");
    assert_eq!(text, "reimage\n127.0.0.1 localhost reimage\n::1 localhost\n0\n");
    let mut command = lab.script("echo more >>/etc/motd; cat /etc/motd; echo x >/etc/hosts");
    command.files.insert("/etc/motd".into(), b"hello\n".to_vec());
    let done = lab.run(&command);
    let written: Vec<_> = done.outcome.entries(&[]).unwrap().map(|e| e.unwrap().path).collect();
    assert_eq!(written, [b""], "bound files are not captured");
    assert_eq!(done.text(), "hello\nmore\n");
}

fn workdir_and_inputs(lab: &Lab) {
    let (low, high) = (lab.fresh(), lab.fresh());
    fs::write(low.join("a"), "low").unwrap();
    fs::write(low.join("b"), "low").unwrap();
    fs::write(high.join("b"), "high").unwrap();
    let mut command =
        lab.script("pwd; cat src/a src/b; echo new >src/a; cat src/a; echo out >result");
    command.workdir = "/work/deep".into();
    command.inputs = vec![
        Input { target: "/work/deep/src".into(), lowers: vec![low.clone(), high] },
        Input { target: "/empty".into(), lowers: vec![] },
    ];
    let done = lab.run(&command);
    assert!(done.outcome.succeeded(), "{}", done.output);
    assert_eq!(done.output, "/work/deep\nlowhighnew\n");
    let written: Vec<_> = done.outcome.entries(&[]).unwrap().map(|e| e.unwrap().path).collect();
    assert_eq!(written, [b"".as_slice(), b"work", b"work/deep", b"work/deep/result"]);
    let input: Vec<_> = done.outcome.input_entries(0).unwrap().map(|e| e.unwrap().path).collect();
    assert_eq!(input, [b"".as_slice(), b"a"]);
    assert_eq!(fs::read_to_string(low.join("a")).unwrap(), "low");
}

fn volumes(lab: &Lab) {
    let (rw, ro) = (lab.fresh(), lab.fresh());
    fs::write(ro.join("x"), "x").unwrap();
    let mut command = lab.script("echo y >/data/y; cat /ro/x; echo z >/ro/z");
    command.binds = vec![
        Bind { source: rw.clone(), target: "/data".into(), read_only: false },
        Bind { source: ro.clone(), target: "/ro".into(), read_only: true },
    ];
    let done = lab.run(&command);
    assert_ne!(done.code(), 0);
    assert!(done.output.starts_with('x') && done.output.contains("Read-only"), "{}", done.output);
    assert_eq!(fs::read_to_string(rw.join("y")).unwrap(), "y\n");
}

fn network(lab: &Lab) {
    let interfaces = "cat /proc/net/dev | tail -n +3 | while read a b; do echo $a; done";
    assert_eq!(lab.sh(interfaces), "lo:\n");
    let connect = "socket(S,2,1,0) or die;
        print connect(S,pack('Sna4x8',2,PORT,pack('C4',127,0,0,1)))?'yes':'no'";
    let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let connect = connect.replace("PORT", &server.local_addr().unwrap().port().to_string());
    let mut command = lab.perl(&connect);
    assert_eq!(lab.run(&command).text(), "no");
    command = Command { scratch: lab.fresh(), network: Network::Host, ..command };
    assert_eq!(lab.run(&command).text(), "yes");
    let listens =
        "socket(S,2,1,0); bind(S,pack('Sna4x8',2,8080,pack('C4',127,0,0,1))) or die; listen(S,1);
        socket(C,2,1,0); print connect(C,getsockname(S))?'yes':'no'";
    assert_eq!(lab.run(&lab.perl(listens)).text(), "yes", "loopback is up");
}

fn many_lowers(lab: &Lab) {
    let mut command = lab.script("cat /top /n/0 /n/299; ls /n | wc -l");
    for number in 0..300 {
        let lower = lab.fresh();
        fs::create_dir(lower.join("n")).unwrap();
        fs::write(lower.join(format!("n/{number}")), format!("{number}\n")).unwrap();
        fs::write(lower.join("top"), format!("top {number}\n")).unwrap();
        command.lowers.push(lower);
    }
    assert_eq!(lab.run(&command).text(), "top 299\n0\n299\n300\n");
    command.lowers = vec![lab.root.clone(); 491];
    let refused = lab.try_run(&Command { scratch: lab.fresh(), ..command }).err();
    assert!(
        matches!(&refused, Some(Error::Invalid { reason }) if reason.contains("491")),
        "{refused:?}"
    );
}

fn an_empty_root(lab: &Lab) {
    let mut command = lab.command(&["/input/bin/sh", "-c", "echo *"]);
    command.lowers.clear();
    // The programs come as an input: their loader is sought in the root, so bind that, too.
    command.inputs = vec![
        Input { target: "/input".into(), lowers: vec![lab.root.clone()] },
        Input { target: "/lib64".into(), lowers: vec![lab.root.join("lib64")] },
        Input { target: "/lib".into(), lowers: vec![lab.root.join("lib")] },
    ];
    for upper in [UpperOn::Disk, UpperOn::Memory { spill: u64::MAX }] {
        let command = Command { upper, scratch: lab.fresh(), ..command.clone() };
        assert_eq!(lab.run(&command).text(), "dev etc input lib lib64 proc root run sys tmp var\n");
    }
}

/// Files of the host's root have an owner without a number in a plain user's namespace.
fn the_machine_s_own_root(lab: &Lab) {
    if !Path::new("/bin").is_symlink() {
        return; // its programs lie in more than one directory
    }
    let mut command = lab.script("stat -c %u:%g / /bin; echo x >/new; stat -c %u:%g /new");
    command.lowers = vec!["/usr".into()];
    // Under subordinate ids, too, they are nobody's.
    let owner = if lab.zygote.ids() == Ids::Mapped { "65534:65534" } else { "0:0" };
    let told = lab.run(&command).text();
    assert!(told.ends_with("0:0\n") && told.lines().nth(1) == Some(owner), "{told}");
}

fn sync_does_nothing(lab: &Lab) {
    let begun = std::time::Instant::now();
    lab.sh("dd if=/dev/zero of=/x bs=64k count=64 conv=fsync 2>/dev/null; sync; sync /x; true");
    assert!(begun.elapsed().as_secs() < 5);
    // On a pipe the kernel's own fsync fails with EINVAL.
    assert_eq!(lab.run(&lab.perl("pipe(R,W); print syscall(74,fileno(R))")).text(), "0");
    assert_eq!(
        lab.run(&lab.perl("print syscall(26,1,4096,1), ' ', syscall(26,0,4096,4)")).text(),
        "-1 0",
        "msync(MS_ASYNC) still tells what is mapped"
    );
}

fn holes_are_hidden(lab: &Lab) {
    let script = "open F,'+>','/x'; truncate F,1<<20; print sysseek(F,0,3)?'hole':'none', $!+0";
    assert_eq!(lab.run(&lab.perl(script)).text(), "none22");
}

fn bad_commands(lab: &Lab) {
    let mut command = lab.script("true");
    command.workdir = "relative".into();
    assert!(matches!(lab.try_run(&command), Err(Error::Invalid { .. })));
    let mut command = lab.script("true");
    command.inputs.push(Input { target: "/a/../b".into(), lowers: vec![] });
    assert!(matches!(lab.try_run(&command), Err(Error::Invalid { .. })));
    let mut command = lab.script("true");
    command.lowers.push(PathBuf::from("/nonexistent/layer"));
    let error = lab.try_run(&command).err().unwrap();
    assert!(error.to_string().contains("/nonexistent/layer"), "{error}");
    let mut command = lab.script("true");
    command.argv.clear();
    assert!(matches!(lab.try_run(&command), Err(Error::Invalid { .. })));
    let mut command = lab.script("true");
    command.scratch = Path::new("/nonexistent").into();
    command.upper = UpperOn::Disk;
    assert!(matches!(lab.try_run(&command), Err(Error::Setup { .. })));
    lab.sh("true"); // and it goes on working
}

fn in_parallel(lab: &Lab) {
    std::thread::scope(|scope| {
        for thread in 0..8 {
            scope.spawn(move || {
                for round in 0..5 {
                    let told = lab.sh(&format!("echo {thread} {round} >/x; cat /x; sleep 0.01"));
                    assert_eq!(told, format!("{thread} {round}\n"));
                }
            });
        }
    });
}

fn long_scripts(lab: &Lab) {
    // One argument may have 128 KiB; the whole command is larger than a socket's buffer.
    let word = "x".repeat(120_000);
    let mut command =
        lab.command(&["/bin/sh", "-c", "echo ${#1} ${#2} ${#3}", "sh", &word, &word, &word]);
    command.env.insert("LONG".into(), word.clone().into());
    assert_eq!(lab.run(&command).text(), "120000 120000 120000\n");
}

fn standard_streams(lab: &Lab) {
    let told = lab.sh("ls -l /proc/self/fd | wc -l; echo e >&2; cat; [ -t 0 ] || echo no terminal");
    assert_eq!(told, "5\ne\nno terminal\n", "0 1 2, the directory itself and the total");
    if lab.zygote.ids() == Ids::Notify {
        assert_eq!(
            lab.sh("echo x >/x; stat -L -c %u /dev/stdin </x; stat -L -c %u /proc/self/fd/0 </x"),
            "0\n0\n"
        );
    }
}

fn terminal(lab: &Lab) {
    let script = "[ -t 0 ] && [ -t 2 ] && readlink /proc/self/fd/0; exec perl -e 'ioctl(STDIN,0x5413,my $s=\"\\0\"x8); \
        print join(\",\",unpack \"SS\",$s),\"\\n\"; open T,q(<),q(/dev/tty) or print $!; print <T>'";
    let mut command = lab.script(script);
    command.terminal = Some(TerminalSize { rows: 11, columns: 22 });
    let (running, master) = lab.zygote.spawn_on_terminal(&command).unwrap();
    let (mut output, writer) = std::io::pipe().unwrap();
    let (input, mut typed) = std::io::pipe().unwrap();
    std::io::Write::write_all(&mut typed, b"typed\n").unwrap();
    drop(typed); // end of file reaches the command as ^D
    reimage_sandbox::relay(&master, &input, &writer).unwrap();
    drop(writer);
    let mut told = String::new();
    std::io::Read::read_to_string(&mut output, &mut told).unwrap();
    let told = told.replace('\r', "");
    assert!(running.wait().unwrap().succeeded(), "{told}");
    assert!(told.contains("/dev/pts/0\n") && told.contains("11,22\n"), "{told}");
    assert_eq!(told.matches("typed\n").count(), 2, "its echo and what was read: {told}");
    // Errors come through as elsewhere.
    command.argv = vec!["/nothing".into()];
    command.scratch = lab.fresh();
    let (running, _master) = lab.zygote.spawn_on_terminal(&command).unwrap();
    assert!(matches!(running.wait(), Err(Error::Start { .. })));
    command.workdir = "no".into();
    command.scratch = lab.fresh();
    assert!(matches!(lab.zygote.spawn_on_terminal(&command), Err(Error::Invalid { .. })));
}

fn probes(lab: &Lab) {
    let probes = lab.zygote.probe().unwrap();
    for probe in &probes {
        assert!(probe.works || probe.needed == Needed::Never, "{probe:?}");
    }
    assert!(probes.len() >= 13, "{probes:?}");
    assert_eq!(lab.zygote.lacking().unwrap(), []);
    lab.sh("true");
}

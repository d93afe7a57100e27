//! What a step has written, as the outcome shows it.

use std::fs;
use std::io::Read;
use std::process::Command as Program;

use reimage_sandbox::{Command, EntryKind, Ids, UpperOn};

use crate::Test;
use crate::tools::Lab;

pub(crate) const TESTS: &[Test] = &[
    ("every_kind_of_entry", every_kind_of_entry),
    ("whiteouts_and_opaque_directories", whiteouts_and_opaque_directories),
    ("hard_links", hard_links),
    ("what_is_not_captured", what_is_not_captured),
    ("modes_zero", modes_zero),
    ("deep_trees", deep_trees),
    ("attributes", attributes),
    ("what_could_not_be_written", what_could_not_be_written),
];

/// The entries of a command, one line each.
pub(crate) fn listing(lab: &Lab, command: &Command) -> Vec<String> {
    let done = lab.run(command);
    assert!(done.outcome.succeeded(), "{:?}: {}", done.outcome, done.output);
    let entries = done.outcome.entries(&[]).unwrap();
    let mut lines = Vec::new();
    for entry in entries {
        let entry = entry.unwrap();
        let kind = match entry.kind {
            EntryKind::File { mut file, size } => {
                let mut text = String::new();
                file.read_to_string(&mut text).unwrap();
                assert_eq!(text.len() as u64, size);
                format!("file {text:?}")
            }
            EntryKind::Directory { opaque } => {
                format!("dir{}", if opaque { " opaque" } else { "" })
            }
            EntryKind::Symlink { target } => format!("link {}", String::from_utf8_lossy(&target)),
            EntryKind::Fifo => "fifo".into(),
            EntryKind::Device { block, major, minor } => format!("device {block} {major} {minor}"),
            EntryKind::Whiteout => {
                lines.push(format!("/{} whiteout", String::from_utf8_lossy(&entry.path)));
                continue;
            }
            EntryKind::Socket => "socket".into(),
        };
        let xattrs: Vec<_> =
            entry.xattrs.keys().map(|key| String::from_utf8_lossy(key).into_owned()).collect();
        let path = String::from_utf8_lossy(&entry.path);
        let (mode, uid, gid) = (entry.mode, entry.uid, entry.gid);
        lines.push(
            format!("/{path} {kind} {mode:o} {uid}:{gid} {}", xattrs.join(","))
                .trim_end()
                .to_owned(),
        );
    }
    lines
}

fn every_kind_of_entry(lab: &Lab) {
    let script = "cd /; mkdir -m 2755 z; echo hi >z/file; chmod 4755 z/file; ln -s ../nowhere z/link; mkfifo -m 600 z/fifo;
        perl -e 'my @n=(\"/z/char\",\"/z/block\"); syscall(133,$n[0],020640,(8<<8)|3)==0 or die $!; syscall(133,$n[1],060600,7<<8)==0 or die $!';
        perl -e 'socket(S,1,1,0); bind(S,pack(\"Sa*\",1,\"/z/socket\")) or die'; chmod 755 z/socket;
        touch -h -d @1000000000 z/link z/file";
    for upper in [UpperOn::Disk, UpperOn::Memory { spill: u64::MAX }] {
        let command = Command { upper, ..lab.script(script) };
        assert_eq!(
            listing(lab, &command),
            [
                "/ dir 755 0:0",
                "/z dir 2755 0:0",
                "/z/block device true 7 0 600 0:0",
                "/z/char device false 8 3 640 0:0",
                "/z/fifo fifo 600 0:0",
                "/z/file file \"hi\\n\" 4755 0:0",
                "/z/link link ../nowhere 777 0:0",
                "/z/socket socket 755 0:0",
            ]
        );
    }
    let done = lab.run(&lab.script(script));
    for entry in done.outcome.entries(&[]).unwrap().map(Result::unwrap) {
        if entry.path == b"z/link" || entry.path == b"z/file" {
            assert_eq!(entry.mtime, (1_000_000_000, 0));
        }
    }
}

fn whiteouts_and_opaque_directories(lab: &Lab) {
    let lower = lab.fresh();
    fs::create_dir_all(lower.join("gone/deep")).unwrap();
    fs::create_dir_all(lower.join("again/deep")).unwrap();
    fs::write(lower.join("again/old"), "x").unwrap();
    fs::write(lower.join("file"), "x").unwrap();
    let mut command = lab.script("cd /; rm -r gone again file; mkdir again; echo new >again/new");
    command.lowers.push(lower);
    assert_eq!(
        listing(lab, &command),
        [
            "/ dir 755 0:0",
            "/again dir opaque 755 0:0",
            "/again/new file \"new\\n\" 644 0:0",
            "/file whiteout",
            "/gone whiteout"
        ]
    );
}

fn hard_links(lab: &Lab) {
    let done =
        lab.run(&lab.script(
            "cd /; echo x >a; ln a b; ln -s t l; ln l m 2>/dev/null || ln -P l m; echo x >c",
        ));
    let entries: Vec<_> = done.outcome.entries(&[]).unwrap().map(Result::unwrap).collect();
    let of = |path: &str| {
        let entry = entries.iter().find(|entry| entry.path == path.as_bytes()).unwrap();
        (entry.inode, entry.links)
    };
    assert_eq!((of("a"), of("a").1), (of("b"), 2));
    assert_eq!((of("l"), of("l").1), (of("m"), 2));
    assert_eq!(of("c").1, 1);
    assert_ne!(of("c").0, of("a").0);
}

fn what_is_not_captured(lab: &Lab) {
    let script = "for d in /tmp /var/tmp /run /dev /dev/shm; do echo x >$d/x; done; mkdir /tmp/sub; cat /tmp/x; echo y >/y";
    assert_eq!(
        listing(lab, &lab.script(script)),
        ["/ dir 755 0:0", "/var dir 755 0:0", "/y file \"y\\n\" 644 0:0"]
    );
    // What lies in /tmp of a lower layer is seen, and can be changed for the step's own use.
    let lower = lab.fresh();
    fs::create_dir(lower.join("tmp")).unwrap();
    fs::write(lower.join("tmp/given"), "given").unwrap();
    let mut command = lab.script("cat /tmp/given; mv /tmp/given /kept");
    command.lowers.push(lower);
    assert_eq!(listing(lab, &command), ["/ dir 755 0:0", "/kept file \"given\" 644 0:0"]);
    let done = lab.run(&lab.script("mkdir /x /xy; echo 1 >/x/1; echo 2 >/xy/2"));
    let entries = done.outcome.entries(&["/x".into()]).unwrap();
    let paths: Vec<_> = entries.map(|entry| entry.unwrap().path).collect();
    assert_eq!(paths, [b"".as_slice(), b"xy", b"xy/2"]);
}

fn modes_zero(lab: &Lab) {
    let script = "cd /; mkdir -p d/e; echo x >d/e/f; chmod 0 d/e/f d/e d";
    assert_eq!(
        listing(lab, &lab.script(script)),
        ["/ dir 755 0:0", "/d dir 0 0:0", "/d/e dir 0 0:0", "/d/e/f file \"x\\n\" 0 0:0"]
    );
}

fn deep_trees(lab: &Lab) {
    let script =
        "for (1..1200) { mkdir 'd', 0700 or die; chdir 'd' or die; } open F,'>','f' or die";
    let lines = listing(lab, &lab.perl(script));
    assert_eq!(lines.len(), 1202);
    assert_eq!(lines[1201], format!("{}/f file \"\" 644 0:0", "/d".repeat(1200)));
}

fn attributes(lab: &Lab) {
    // setxattr(2); a capability set is what setcap writes: version 2, CAP_NET_BIND_SERVICE permitted.
    let script = r#"open F,'>','/f'; close F; mkdir '/d';
        sub set { my($p,$n,$v)=@_; sc(188,$p,$n,$v,length $v,0)==0 or print "$n: $!\n" }
        set('/f','user.kept','v'); set('/d','user.kept','v'); set('/f','user.reimage.owner','7:7');
        set('/f','security.capability',pack('V5',0x02000001,0x400,0,0,0));
        my $l=' ' x 4096; my $n=syscall(194,my $f='/f',$l,4096); print join(',',sort split /\0/,substr($l,0,$n)),"\n";"#;
    let command = lab.perl(script);
    let hidden = lab.zygote.ids() != Ids::Full;
    let seen = if hidden {
        "security.capability,user.kept\n"
    } else {
        "security.capability,user.kept,user.reimage.owner\n"
    };
    assert_eq!(lab.run(&command).text(), seen);
    let command = Command { scratch: lab.fresh(), ..command };
    assert_eq!(
        listing(lab, &command),
        [
            "/ dir 755 0:0",
            "/d dir 755 0:0 user.kept",
            "/f file \"\" 644 0:0 security.capability,user.kept"
        ]
    );
}

/// A disk that fails while it writes: the program has not noticed, its result is not read.
fn what_could_not_be_written(lab: &Lab) {
    // A disk larger than the memory that it lies in; only root has one.
    let dir = lab.fresh();
    let script = "mkdir t m; mount -t tmpfs -o size=6m none t && truncate -s 64M t/disk &&
        mkfs.ext4 -q -O ^has_journal -E nodiscard t/disk && mount -o loop t/disk m && mkdir m/scratch";
    let run = |script: &str| {
        let made = Program::new("sh").current_dir(&dir).args(["-c", script]).output();
        made.unwrap().status.success()
    };
    if lab.zygote.ids() == Ids::Full && run(script) {
        let mut command = lab.script("dd if=/dev/urandom of=/x bs=1M count=20 2>/dev/null");
        command.upper = UpperOn::Disk;
        command.scratch = dir.join("m/scratch");
        let done = lab.run(&command);
        run("sync -f m"); // as the kernel does after a while
        let failed = done.outcome.entries(&[]).unwrap().find_map(Result::err);
        let (outcome, succeeded) = (format!("{:?}", done.outcome), done.outcome.succeeded());
        drop(done);
        // Before anything can fail, as other tests look for mounts; lazily, as a loop device lets go when it likes.
        run("umount -l m; umount -l t");
        assert!(succeeded, "{outcome}");
        let failed = failed.unwrap();
        assert_eq!(failed.path.as_slice(), b"x");
        // The disk says that it is broken, or what broke it: that the memory under it is full.
        assert!(matches!(failed.source.raw_os_error(), Some(5 | 28)), "{:?}", failed.source);
    }
}

//! Owners: what a plain user's monitor keeps must be what real root gets.

use reimage_sandbox::{Command, Ids, IdsSetting, Owner, UpperOn, User};

use crate::Test;
use crate::capture::listing;
use crate::tools::Lab;

pub(crate) const TESTS: &[Test] = &[
    ("owners_of_everything", owners_of_everything),
    ("made_after_setuid", made_after_setuid),
    ("ids_are_the_process_s_own", ids_are_the_process_s_own),
    ("capabilities_are_kept_until_exec", capabilities_are_kept_until_exec),
    ("setgid_directories", setgid_directories),
    ("owners_from_below", owners_from_below),
    ("as_with_a_single_id", as_with_a_single_id),
    ("paths_of_all_kinds", paths_of_all_kinds),
    ("running_as_a_user", running_as_a_user),
    ("many_threads_of_execution", many_threads_of_execution),
    ("processes_of_all_kinds", processes_of_all_kinds),
    ("inodes_that_come_again", inodes_that_come_again),
];

/// perl subroutines for system calls by number: x86-64.
const CALLS: &str = r#"
sub setids { my($u,$g,@s)=@_; my $l=pack 'L*',@s; syscall(116,scalar @s,$l)==0 or die "setgroups $!"; syscall(119,$g,$g,$g)==0 or die; syscall(117,$u,$u,$u)==0 or die }
sub as { my($u,$g,$f)=@_; my $p=fork; if(!$p){ setids($u,$g); my $r=$f->(); exit($r?0:($!+0)) } waitpid $p,0; $? >> 8 }
sub lchown { my($u,$g,$p)=@_; sc(94,$p,$u,$g)==0 }
sub mk { my($p,$m)=@_; $m//=0666; my $fd=sc(2,$p,0301,$m); $fd>=0 and do{ syscall(3,$fd); 1 } }
sub own { join ' ', map { my @s=lstat $_; "$_=$s[4]:$s[5]" } @_ }
"#;

/// Whoever we are, a command can run as if by a user with one id; owners are recorded then.
fn as_with_a_single_id(lab: &Lab) {
    assert!(lab.zygote.has_single_id(), "those who can make sandboxes can");
    let script = "cat /proc/self/uid_map; echo x >/f; ln -s f /l; perl -e '$l=\"/l\"; chown 1,2,\"/f\"; syscall(94,$l,1,2)'; stat -c '%n %u %g' /f /l";
    let mut command = lab.script(script);
    command.single_id = true;
    let done = lab.run(&command);
    assert_eq!(done.outcome.ids, Ids::Notify);
    assert!(done.outcome.owners.iter().all(|owner| (owner.uid, owner.gid) == (1, 2)));
    let text = done.text();
    let (map, owners) = text.split_once('\n').unwrap();
    assert!(map.ends_with(" 1"), "{map}");
    assert_eq!(owners, "/f 1 2\n/l 1 2\n");
}

fn perl(lab: &Lab, script: &str) -> Command {
    lab.perl(&format!("{CALLS}{script}"))
}

fn owners_of_everything(lab: &Lab) {
    let script = "cd /; echo x >f; mkdir d; ln -s f l; mkfifo p; perl -e '$c=\"/c\"; syscall(133,$c,020600,0x501)';
        perl -e 'chown 1,2,qw(/f /d /p /c); $l=\"/l\"; syscall(94,$l,7,8)'; mv f g; ln g h; mv d e; mv l m; ln -P m n; mv p q; mv c b;
        stat -c '%n %u %g %F' g h e m n q b";
    // Under subordinate ids the record is kept, but stat is the kernel's own.
    let mapped = lab.zygote.ids() == Ids::Mapped;
    let device = if mapped { "regular empty file" } else { "character special file" };
    let told = lab.run(&lab.script(script)).text();
    assert_eq!(
        told,
        format!(
            "g 1 2 regular file\nh 1 2 regular file\ne 1 2 directory\nm 7 8 symbolic link\nn 7 8 symbolic link\nq 1 2 fifo\n\
         b 1 2 {device}\n"
        )
    );
    assert_eq!(
        listing(lab, &lab.script(script)),
        [
            "/ dir 755 0:0",
            "/b device false 5 1 600 1:2",
            "/e dir opaque 755 1:2",
            "/g file \"x\\n\" 644 1:2",
            "/h file \"x\\n\" 644 1:2",
            "/m link f 777 7:8",
            "/n link f 777 7:8",
            "/q fifo 644 1:2",
        ]
    );
}

fn made_after_setuid(lab: &Lab) {
    let script = r#"mkdir '/w'; chmod 0777,'/w'; chdir '/w'; print as(33,34,sub{ mk('f') && mkdir('d') && symlink('t','l') &&
        sc(133,'p',010600,0)==0 && mk('d/deep') && sc(133,'c',020600,0x501)!=0 && mk('/no')!=1 }), ' ', own(qw(f d l p d/deep));
        as(5,6,sub{ exec '/bin/sh','-c','cd /w; echo x >g; mkdir e; (echo y >e/h &) ; cp g e/i; sleep 0.2' }); print ' ',own(qw(g e e/h e/i));"#;
    assert_eq!(
        lab.run(&perl(lab, script)).text(),
        "0 f=33:34 d=33:34 l=33:34 p=33:34 d/deep=33:34 g=5:6 e=5:6 e/h=5:6 e/i=5:6"
    );
    assert_eq!(
        listing(lab, &Command { scratch: lab.fresh(), ..perl(lab, script) })[2..],
        [
            "/w/d dir 755 33:34",
            "/w/d/deep file \"\" 644 33:34",
            "/w/e dir 755 5:6",
            "/w/e/h file \"y\\n\" 644 5:6",
            "/w/e/i file \"x\\n\" 644 5:6",
            "/w/f file \"\" 644 33:34",
            "/w/g file \"x\\n\" 644 5:6",
            "/w/l link t 777 33:34",
            "/w/p fifo 600 33:34",
        ]
    );
}

fn ids_are_the_process_s_own(lab: &Lab) {
    let script = r#"sub ids { sprintf '%d,%d,%d,%d', syscall(102),syscall(107),syscall(104),syscall(108) }
        print ids(); my $p=fork; if(!$p){ setids(33,44,7,9); print ' ',ids(); print ' ',syscall(117,0,0,0)<0?$!+0:0;
        my $g="\0"x64; my $n=syscall(115,16,$g); print ' ',join '+',unpack "L$n",$g;
        fork and exit; select undef,undef,undef,0.1; print ' ',ids(); exec '/bin/sh','-c','printf " "; id -u' } waitpid $p,0; select undef,undef,undef,0.4;
        print ids(),' ',syscall(113,-1,33)<0?$!+0:0,' ',ids(),' ',syscall(113,-1,0)<0?$!+0:0,' ',ids();
        my $r=pack 'QQ',0,0; syscall(97,10,$r); print ' ',join ',',map{$_==~0?'inf':$_}unpack 'QQ',$r"#;
    let command = perl(lab, &format!("$|=1; {script}"));
    assert_eq!(
        lab.run(&command).text(),
        "0,0,0,0 33,33,44,44 1 7+9 33,33,44,44 33\n0,0,0,0 0 0,33,0,0 0 0,0,0,0 inf,inf"
    );
}

/// As `setpriv --reuid --regid` does it: the groups change last.
fn capabilities_are_kept_until_exec(lab: &Lab) {
    let script = r#"$|=1; sub e { my $r=syscall(shift,@_); $r<0 ? $!+0 : 0 } sub caps { my $h=pack 'LL',0x20080522,0; my $d=pack 'L6',(0)x6; syscall(125,$h,$d); (unpack 'L6',$d)[0] }
        my $p=fork; if(!$p){ print e(157,8,1,0,0,0),' ',e(117,33,33,33),' ',caps(),' ',e(119,44,44,44),' ';
        my $h=pack 'LL',0x20080522,0; my $d=pack 'L6',1<<6,3<<6,0,0,0,0; print e(126,$h,$d),' ',caps(),' ',e(119,44,44,44),' ',e(116,0,0),' ',e(105,0),' ';
        exec $^X,'-e','print syscall(119,0,0,0)<0?$!+0:0; print q( ),join q(,),syscall(102),syscall(107),syscall(104),syscall(108)' } waitpid $p,0;
        $p=fork; if(!$p){ print ' ',e(117,33,33,33),' ',e(119,44,44,44); exit } waitpid $p,0;"#;
    assert_eq!(lab.run(&perl(lab, script)).text(), "0 0 0 1 0 64 0 0 1 1 33,33,44,44 0 1");
}

fn setgid_directories(lab: &Lab) {
    let script = r#"mkdir '/s'; chown 0,50,'/s'; chmod 02777,'/s'; mk('/s/f'); mkdir '/s/d'; mk('/s/d/g'); symlink 'x','/s/l';
        as(33,34,sub{ mk('/s/u') && mkdir('/s/v') }); symlink '/s/target','/dangling'; open F,'>','/dangling'; symlink 's/rel','/d2'; open F,'>>','/d2';
        print own(map{"/s/$_"}qw(f d d/g l u v target rel)); printf ' %o %o',(stat '/s/d')[2]&07777,(stat '/s/v')[2]&07777"#;
    assert_eq!(
        lab.run(&perl(lab, script)).text(),
        "/s/f=0:50 /s/d=0:50 /s/d/g=0:50 /s/l=0:50 /s/u=33:50 /s/v=33:50 /s/target=0:50 /s/rel=0:50 2755 2755"
    );
}

fn owners_from_below(lab: &Lab) {
    // A first step's output becomes the layer that a second one stands on, as the store would lay it out.
    if lab.zygote.ids() != Ids::Notify {
        return;
    }
    let lower = lab.fresh();
    std::fs::write(lower.join("f"), "x").unwrap();
    std::fs::create_dir(lower.join("d")).unwrap();
    std::fs::write(lower.join("disk"), "").unwrap();
    std::os::unix::fs::symlink("f", lower.join("l")).unwrap();
    let set = |path: &str, name: &std::ffi::CStr, value: &str| {
        rustix::fs::setxattr(
            lower.join(path),
            name,
            value.as_bytes(),
            rustix::fs::XattrFlags::empty(),
        )
        .unwrap();
    };
    set("f", reimage_sandbox::OWNER_XATTR, "1:2");
    set("d", reimage_sandbox::OWNER_XATTR, "3:4");
    set("disk", reimage_sandbox::DEVICE_XATTR, "b 7 1");
    let mut command = perl(
        lab,
        "print own('/f','/d','/l','/disk'); printf ' %o %x ',(lstat '/disk')[2,6]; \
        rename '/l','/m'; open F,'>>','/f'; print F 'y'; chmod 0700,'/d'; print own('/m','/f','/d')",
    );
    command.lowers.push(lower);
    command.owners = vec![
        Owner { path: "/l".into(), uid: 5, gid: 6 },
        Owner { path: "/not/there".into(), uid: 5, gid: 6 },
    ];
    let done = lab.run(&command);
    assert_eq!(done.outcome.owners, [Owner { path: "/m".into(), uid: 5, gid: 6 }]);
    assert_eq!(done.text(), "/f=1:2 /d=3:4 /l=5:6 /disk=0:0 60644 701 /m=5:6 /f=1:2 /d=3:4");
    assert!(!command.lowers.is_empty());
}

fn paths_of_all_kinds(lab: &Lab) {
    let script = r#"mkdir '/a'; mkdir '/a/b'; mk('/a/b/f'); chown 1,2,'/a/b/f'; symlink '/a/b','/s'; chdir '/a';
        sub st { join ',',map{ my @s=stat $_; @s?"$s[4]:$s[5]":$!+0 } @_ }
        print st('b/f','/s/f','../s/f','/a/./b/../b/f','/proc/self/cwd/b/f','/proc/self/root/s/f',"/proc/$$/cwd/b/f"),"\n";
        open F,'<','/a/b/f'; print st('/dev/fd/'.fileno F,'/proc/self/fd/'.fileno F,*F{IO}),"\n";
        print st('nothing','/a/b/f/x','x' x 300),"\n";
        open D,'<','/a/b'; my $s="\0"x144; my $f='f'; my $e=''; syscall(262,fileno D,$f,$s,0); print join(':',(unpack 'Q3L3',$s)[4,5]),"\n";
        $s="\0"x144; syscall(262,fileno F,$e,$s,0x1000); print join(':',(unpack 'Q3L3',$s)[4,5]),"\n";
        my $p=sc(257,-100,'/s/f',010000000); chown 3,4,'/a/b/f'; $s="\0"x144; syscall(262,$p,$e,$s,0x1000); print join(':',(unpack 'Q3L3',$s)[4,5]),"\n";
        my $x="\0"x256; $f='b/f'; syscall(332,-100,$f,0,0x7ff,$x); print join(':',(unpack 'LLQL3',$x)[4,5]),"\n";
        unlink '/a/b/f'; print st(*F{IO}),"\n"; chroot '/a'; chdir '/'; mk('/n'); chown 8,9,'/n'; symlink '/n','/b/l'; print st('/n','n','/b/l','b/../b/l','/b/f'),' ',own('/b/l'),"\n";"#;
    let told = lab.run(&perl(lab, script)).text();
    let expected = "1:2,1:2,1:2,1:2,1:2,1:2,1:2\n1:2,1:2,1:2\n2,20,36\n1:2\n1:2\n3:4\n3:4\n3:4\n8:9,8:9,8:9,8:9,2 /b/l=0:0\n";
    assert_eq!(told, expected);
}

fn running_as_a_user(lab: &Lab) {
    let mut command =
        lab.script("id -u; id -g; id -G; echo x >/tmp/f; stat -c %u:%g /tmp/f; stat -c %u:%g /");
    command.user = User { uid: 1000, gid: 100, groups: vec![4, 20] };
    assert_eq!(lab.run(&command).text(), "1000\n100\n100 4 20\n1000:100\n0:0\n");
}

fn many_threads_of_execution(lab: &Lab) {
    let script = r#"mkdir '/m'; for my $i (1..8) { if(!fork){ for my $j (1..60) { my $f="/m/$i-$j"; mk($f); chown $i,$j,$f; rename $f,"$f.r";
        my @s=stat "$f.r"; print "wrong $i $j @s[4,5]\n" unless $s[4]==$i && $s[5]==$j; my $v=fork; if(!$v){ setids($i,$j); exec '/bin/true' } } 1 while wait>0; exit } } 1 while wait>0; print 'done'"#;
    assert_eq!(lab.run(&perl(lab, script)).text(), "done");
    // A signal storm while calls wait for their answer. A signal that comes before the monitor has seen the call
    // interrupts it (the kernel has it so); then nothing of it must have happened, and it can be made again.
    let script = r#"mkdir '/m'; $SIG{USR1}=sub{$n++}; my $c=$$; my $k=fork; if(!$k){ while(1){ kill USR1=>$c; select undef,undef,undef,0.0003 } }
        sub again { my($what,$f)=@_; for(1..1000){ $!=0; return if $f->(); $!==4 or return print "$what $!\n" } }
        for (my $j=1; $j<=200 || ($n<20 && $j<5000); $j++) { my $f="/m/$j"; again('mk',sub{mk($f)}); again('chown',sub{chown($j,$j,$f)}); again('stat',sub{(stat $f)[4]==$j}); again('mkdir',sub{mkdir "$f.d"});
        again('as',sub{!as(0,0,sub{1})}) if $j%50==0 } kill KILL=>$k; waitpid $k,0; print $n>=20?'done':'calm'"#;
    assert_eq!(lab.run(&perl(lab, script)).text(), "done");
}

fn inodes_that_come_again(lab: &Lab) {
    // A disk gives a number to the next file as soon as it is free, within one tick of the clock of files.
    let script = r#"mkdir '/w'; my $n=0; for (1..300) { symlink 'x','/w/l'; lchown(1,2,'/w/l'); unlink '/w/l'; symlink 'y','/w/m';
        my @s=lstat '/w/m'; $n++ if $s[4]||$s[5]; unlink '/w/m' } print "$n stale""#;
    for upper in [UpperOn::Disk, UpperOn::Memory { spill: u64::MAX }] {
        let command = Command { upper, ..perl(lab, script) };
        assert_eq!(lab.run(&command).text(), "0 stale");
    }
}

fn processes_of_all_kinds(lab: &Lab) {
    let mut command = lab.script("cp /c /unreadable; chmod 0111 /unreadable; exec /c");
    command.lowers.push(lab.compiled(include_str!("processes.c")));
    let expected = "/w/vfork is 5:5\n/w/vfork 5:5\nthe parent is 0\n/w/thread is 6:6\n/w/thread 6:6\n/w/other-thread 7:7\n\
        /w/secret 8:9\n/w/secret-too 8:8\n/w/unreadable is 10:10\n/w/unreadable 10:10\n0 wrong\n";
    assert_eq!(lab.run(&command).text(), expected);
}

/// A small generator: the same sequence on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    fn pick<'a>(&mut self, list: &[&'a str]) -> &'a str {
        list[usize::try_from(self.below(list.len() as u64)).unwrap()]
    }
}

/// One random operation, as a perl statement that says whether it worked.
fn operation(random: &mut Random) -> String {
    let paths = [
        "/t/a", "/t/b", "/t/c", "/t/d", "/t/d/x", "/t/d/y", "/t/e", "/t/e/x", "/low/f", "/low/l",
        "/low/d", "/low/d/g", "/low/new",
    ];
    let (p, q) = (random.pick(&paths), random.pick(&paths));
    let (u, g) =
        (random.pick(&["-1", "0", "1", "33", "65535"]), random.pick(&["-1", "0", "2", "50"]));
    let mode =
        random.pick(&["0644", "0755", "02755", "04755", "06777", "01777", "0777", "0600", "02777"]);
    let fresh = random.pick(&["0666", "0777", "02770", "04711"]);
    let dirs = random.pick(&["/t", "/t/d", "/t/e", "/low", "/low/d"]);
    match random.below(24) {
        0 | 1 => format!("chown({u},{g},'{p}')"),
        2 | 3 => format!("lchown({u},{g},'{p}')"),
        // Directories stay searchable: what a mode forbids to a user is not kept on every path.
        4 => format!("chmod({mode}|(-d '{p}'?0111:0),'{p}')"),
        5 | 6 => format!("rename('{p}','{q}')"),
        7 | 8 => format!("link('{p}','{q}')"),
        9 => format!("symlink('{q}','{p}')"),
        10 => format!("sc(133,'{p}',010000|{fresh},0)==0"),
        11 => format!("sc(133,'{p}',{}|{fresh},0x702)==0", random.pick(&["020000", "060000"])),
        12 => format!("mkdir('{p}',{fresh})"),
        13 => format!("mk('{p}',{fresh})"),
        14 => format!("!as(33,34,sub{{mk('{dirs}/u{}',{fresh}&0777)}})", random.below(3)),
        15 => format!("!as(33,34,sub{{mkdir('{dirs}/v{}')}})", random.below(3)),
        16 => format!(
            "!as(5,50,sub{{chown(5,{g},'{p}') || symlink('x','{dirs}/w{}')}})",
            random.below(3)
        ),
        17 => format!("(-d '{p}' && !-l '{p}' ? rmdir '{p}' : unlink '{p}')"),
        // A capability, which chown and writing take away; other attributes; inodes that come again.
        18 => {
            format!("sc(188,'{p}','security.capability',pack('V5',0x02000001,0x400,0,0,0),20,0)==0")
        }
        19 => format!("sc(188,'{p}','user.kept','v',1,0)==0"),
        20 => format!(
            "sc(197,'{p}','user.{}')==0",
            random.pick(&["kept", "reimage.owner", "reimage.dev"])
        ),
        21 => format!("unlink('{p}') && mk('{p}',{fresh}) && symlink('x','{q}')"),
        22 => format!(
            "unlink('{p}') && symlink('{q}','{p}') && lchown({u},{g},'{p}') && rename('{p}','{q}')"
        ),
        // Not a setuid file: the kernel lets only root of the initial user namespace keep the bits on writing.
        _ => format!(
            "(-f '{p}' && !-u '{p}' && !-g '{p}' && !-l '{p}' && open(F,'>>','{p}') && print(F 'x') && close F)"
        ),
    }
}

/// A program of random operations that ends by describing all that there is.
fn program(seed: u64) -> String {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut script = String::from(
        "mkdir '/t'; mkdir '/t/d'; mkdir '/t/e'; chmod 0777,'/t','/t/d'; chmod 02777,'/t/e'; chown 0,50,'/t/e'; umask 027;\n",
    );
    for number in 0..60 {
        let operation = operation(&mut random);
        let said = format!("print q({number} {operation}), \" $r\\n\";");
        script = script + "$!=0; { my $r=(" + &operation + ")?'ok':$!+0; " + &said + " }\n";
    }
    script
        + r#"sub walk { my $p=shift; my @s=lstat $p; printf "%s %o %d:%d %d %x %d %s\n",$p,$s[2],$s[4],$s[5],(-d _?0:$s[3]),$s[6],(-f _?$s[7]:0),(readlink($p)//'');
        if(-d $p && !-l $p){ opendir my $d,$p; walk("$p/$_") for sort grep{!/^\.\.?$/}readdir $d } } walk('/t'); walk('/low');"#
}

/// Random sequences by real root and by one id: every return value and every path must be equal.
/// The process enters a user namespace on the way: nothing else can be tested after it.
pub(crate) fn compare_with_root(lab: Lab, filter: &str) -> usize {
    let name = "random_sequences_equal_real_root";
    if !name.contains(filter) {
        return 0;
    }
    let count: u64 =
        std::env::var("REIMAGE_SEQUENCES").ok().and_then(|text| text.parse().ok()).unwrap_or(40);
    let begun = std::time::Instant::now();
    let run = |lab: &Lab, seed: u64| {
        let lower = lab.fresh();
        std::fs::create_dir_all(lower.join("low/d")).unwrap();
        std::fs::write(lower.join("low/f"), "f").unwrap();
        std::fs::write(lower.join("low/d/g"), "g").unwrap();
        std::os::unix::fs::symlink("f", lower.join("low/l")).unwrap();
        let mut command = perl(lab, &program(seed));
        command.lowers.push(lower);
        if seed % 2 == 1 {
            command.upper = UpperOn::Disk; // where inode numbers are used again
        }
        let done = lab.run(&command);
        assert_eq!(done.outcome.voided, [], "seed {seed}: {}", done.output);
        let told = done.output;
        let command = Command { scratch: lab.fresh(), ..command };
        let captured = listing(lab, &command);
        (told, captured)
    };
    let by_root: Vec<_> = (0..count).map(|seed| run(&lab, seed)).collect();
    drop(lab); // while we can still remove files of all ids
    let zygote = reimage_sandbox::start(IdsSetting::Notify);
    assert_eq!(zygote.ids(), Ids::Notify);
    let own = Lab::new(zygote);
    let mut failed = 0;
    for (seed, (told, captured)) in by_root.iter().enumerate() {
        let (by_one, captured_by_one) = run(&own, seed as u64);
        for (expected, got) in told.lines().zip(by_one.lines()) {
            if expected != got {
                println!("seed {seed}:\n  root: {expected}\n  ours: {got}");
                failed = 1;
            }
        }
        if told.lines().count() != by_one.lines().count() || *captured != captured_by_one {
            println!("seed {seed}:\n  root: {captured:#?}\n  ours: {captured_by_one:#?}");
            failed = 1;
        }
        if failed > 0 {
            println!("{}", program(seed as u64));
            break;
        }
    }
    let word = if failed == 0 { "ok" } else { "FAILED" };
    println!(
        "Full and Notify {name} ... {word} ({count} sequences, {} ms)",
        begun.elapsed().as_millis()
    );
    failed
}

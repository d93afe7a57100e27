//! What a step demands of time, chance and the machine: `clock`, `entropy`, `stat`, `cpus`.

use std::process::Command;

use insta::assert_snapshot;
use reimage_tests::{Ran, TestEnv, binary};

use crate::build::with_steps;

/// Random numbers of every kind, an address, and an order that hangs on a seed.
const RANDOM: &str = r#"od -An -tx1 -N8 /dev/urandom; od -An -tx1 -N8 /dev/random; cat /proc/sys/kernel/random/uuid
perl -e 'print "".\1, " ", join(" ", keys %{{map { $_ => 1 } 1..9}}), "\n"'
"#;

fn env(steps: &str) -> TestEnv {
    let env = with_steps(steps);
    env.programs(&["od", "perl", "nproc", "grep", "uname", "ls", "mkdir"]);
    env
}

fn log(env: &TestEnv, step: &str) -> String {
    let _ = env.reimage(["build", "-q", step]).expect(0);
    env.reimage(["log", step]).expect(0).out()
}

#[test]
fn entropy() {
    let step = |demand: &str| {
        let env = env(&format!(
            r#"    random | re.Copy = {{ from = re.local {{ path = "random" }} }},
    step | re.Run = {{ from = root, inputs."/random" = random, env.LC_ALL = null, script = "sh /random > /out; cat /out", entropy = '{demand} }},"#
        ));
        env.file("random", RANDOM);
        env
    };
    let (one, two) = (step("fixed"), step("fixed"));
    let said = log(&one, "steps.step");
    assert_eq!(said, log(&two, "steps.step"));
    assert_snapshot!(said.lines().next().expect("a line"), @" 2c 84 3f e1 c1 d0 77 47");
    let digest = |env: &TestEnv| env.reimage(["build", "-q", "--twice", "steps.step"]).expect(0).out();
    assert_eq!(digest(&one), digest(&two));
    let (one, two) = (step("real"), step("real"));
    assert_ne!(log(&one, "steps.step"), log(&two, "steps.step"));
    let _ = one.reimage(["build", "-q", "--twice", "steps.step"]).expect(2);
}

#[test]
fn clock() {
    let env = env(
        r#"    fixed | re.Run = { from = root, script = "date '+%F %T'; sleep 3; date '+%F %T'; echo $SOURCE_DATE_EPOCH" },
    day | re.Run = { from = root, script = "date '+%F %T' > /d; cat /d; grep btime /proc/stat; stat -c %y /d", clock = "2026-01-31T12:00:00Z" },
    seconds | re.Run = { from = root, script = "date +%s", clock = 86400 },
    real | re.Run = { from = root, script = "date +%s", clock = 'real },"#,
    );
    env.programs(&["date", "sleep", "stat"]);
    assert_snapshot!(log(&env, "steps.fixed"), @"
    2026-11-01 00:00:00
    2026-11-01 00:00:03
    1793491200
    ");
    // Times of files do not follow.
    assert_snapshot!(log(&env, "steps.day"), @"
    2026-01-31 12:00:00
    btime 1768860800
    2026-11-01 00:00:00.000000002 +0000
    ");
    assert_snapshot!(log(&env, "steps.seconds"), @"86400");
    let real: u64 = log(&env, "steps.real").trim().parse().expect("a number");
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().expect("it is later").as_secs();
    assert!((now - 600..=now).contains(&real), "{real} is not about {now}");
    let said = env.reimage(["shell", "-q", "steps.day", "--", "date", "+%F"]).expect(0);
    assert_snapshot!(said.out(), @"2026-01-31");
}

#[test]
fn an_image_says_what_is_real_in_it() {
    let env = TestEnv::new();
    env.programs(&["sh", "cat"]).file(
        "spec.ncl",
        r#"let re = import "reimage.ncl" in
{
  steps = {
    root | re.Copy = { from = re.local { path = "root" } },
    key | re.Run = { from = root, script = "cat /proc/sys/kernel/random/uuid > /key", entropy = 'real, stat = 'real },
    below | re.Run = { from = [root, key], script = "echo x > /x" },
    beside | re.Run = { from = root, script = "echo y > /y", clock = 'real },
  },
  images = {
    real | re.Image = { layers = [steps.below] },
    fixed | re.Image = { layers = [steps.root], requires = [steps.beside] },
  },
} | re.Spec
"#,
    );
    let told = "warning: `images.real` is not reproducible: real in `steps.key` (entropy, stat)";
    for _ in 0..2 {
        let built = env.reimage(["build"]).expect(0).err();
        assert_eq!(built.matches("not reproducible").count(), 1, "{built}");
        assert!(built.contains(told), "{built}");
    }
    let json = env.reimage(["build", "-q", "--format", "json"]).expect(0).out();
    assert_eq!(json.matches(r#""real":{"steps.key":["entropy","stat"]}"#).count(), 1, "{json}");
    let shown = |image: &str| env.reimage(["inspect", image]).expect(0).out();
    let real = shown("images.real");
    assert!(real.contains(r#""dev.reimage.not-reproducible": "entropy, stat""#), "{real}");
    assert!(!shown("images.fixed").contains("not-reproducible"));
}

#[test]
fn inodes() {
    let script = "mkdir -p /d/e; for n in c a b; do echo $n > /d/$n; done; ln /d/a /d/e/a; ls -la --full-time /d > /list; \
                  stat -c '%n %i %h %s %b %Y %Z %W %d' / /bin /bin/sh /d /d/a /d/e /list > /stat; cat /list /stat";
    let step = |demand: &str| {
        let env = env(&format!(
            r#"    step | re.Run = {{ from = root, script = "{script}", stat = '{demand}, cpus = 2 }},"#
        ));
        env.programs(&["stat", "ln"]);
        env
    };
    let (one, two) = (step("fixed"), step("fixed"));
    let said = log(&one, "steps.step");
    assert_eq!(said, log(&two, "steps.step"));
    assert!(said.contains("2026-11-01 00:00:00."), "{said}");
    let _ = one.reimage(["build", "-q", "--twice", "steps.step"]).expect(0);
    assert_ne!(log(&step("real"), "steps.step"), log(&step("real"), "steps.step"));
}

#[test]
fn processors_and_the_machine() {
    let script = "nproc; grep -c ^processor /proc/cpuinfo; uname -rn; grep MemTotal /proc/meminfo; mkdir /d; \
                  for n in c a b; do echo > /d/$n; done; ls -U /d";
    let env = env(&format!(
        r#"    two | re.Run = {{ from = root, script = "{script}", cpus = 2 }},
    many | re.Run = {{ from = root, script = "nproc", cpus = 64 }},"#
    ));
    assert_snapshot!(log(&env, "steps.two"), @"
    2
    2
    reimage 6.1.0
    MemTotal:        8388608 kB
    a
    b
    c
    ");
    assert_snapshot!(log(&env, "steps.many"), @"64");
    let _ = env.reimage(["build", "-q", "--twice", "steps.two"]).expect(0);
    // Who stands in the step's place sees the same.
    assert_snapshot!(env.reimage(["shell", "-q", "steps.two", "--", "nproc"]), @"2");
    // A container is of this machine.
    let here = std::thread::available_parallelism().expect("a number").to_string();
    assert_eq!(env.reimage(["run", "-q", "images.tool", "--", "nproc"]).expect(0).out().trim(), here);
}

#[test]
fn processors_of_all_kinds() {
    // With fused multiplication, which a processor may have, it is ...448e+75.
    let env = env(r#"    e | re.Run = { from = root, command = ["/bin/perl", "-e", "printf '%.17g', exp(1222 / 7)"], env = { LC_ALL = "C" } },"#);
    assert_snapshot!(log(&env, "steps.e"), @"6.5374461801489456e+75");
}

/// Runs reimage where a filter of ours forbids what the monitor needs to answer for directories: `pidfd_getfd`.
pub(crate) fn without_descriptors(env: &TestEnv, arguments: &[&str]) -> Ran {
    let script = r#"$c = join "", map { pack "SCCL", @$_ } [0x20,0,0,0],[0x15,0,1,438],[6,0,0,0x50001],[6,0,0,0x7fff0000];
        $p = pack "Sx6P", 4, $c; syscall(157,38,1,0,0,0)==0 && syscall(317,1,0,$p)==0 or die $!; exec @ARGV"#;
    let own = env.command();
    let mut command = Command::new("perl");
    command
        .current_dir(env.path(""))
        .env_clear()
        .envs(own.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .args(["-e", script])
        .arg(binary())
        .args(arguments);
    env.run(&mut command)
}

#[test]
fn what_this_machine_cannot_give() {
    let env = env(
        r#"    low | re.Run = { from = root, script = "nproc > /n", cpus = 3 },
    high | re.Run = { from = [root, low], script = "cat /n", cpus = 3 },
    real | re.Run = { from = root, script = "echo real > /r", stat = 'real, cpus = 3 },"#,
    );
    let build = |arguments: &[&str]| without_descriptors(&env, &[&["build"], arguments].concat());
    assert_snapshot!(build(&["steps.low"]).expect(3), @"
    ------- stderr -------
       start steps.low
      failed steps.low
    error: Step `steps.low` demands that these are the same in every run: machine, stat; this machine cannot give them: descriptors of a step: Operation not permitted (os error 1)
    hint: allow pidfd_getfd in the container's seccomp profile
    hint: `--degraded` runs it without; what comes of it is not reproducible
    hint: it is written at spec.ncl:5:20
    [exit status: 3]
    ");
    let degraded = build(&["steps.low", "--degraded"]).expect(0).err();
    assert!(degraded.contains("warning: steps.low: It ran as if it said that these are real: machine"), "{degraded}");
    assert!(degraded.contains("warning: `steps.low` is not reproducible: real in `steps.low` (machine"), "{degraded}");
    let json = build(&["steps.low", "--degraded", "-q", "--format", "json"]).expect(0).out();
    assert!(json.contains(r#""real":{"steps.low":["machine","stat"]"#), "{json}");
    // What another machine could give is used as it is; what stands on it is degraded only itself.
    let good = env.reimage(["build", "-q", "steps.low"]).expect(0).out();
    assert_eq!(build(&["-q", "steps.low"]).expect(0).out(), good);
    assert_eq!(build(&["-q", "steps.low", "--degraded"]).expect(0).out(), good);
    let high = build(&["steps.high", "--degraded"]).expect(0);
    assert!(high.err().contains("warning: `steps.high` is not reproducible: real in `steps.high` (machine"), "{high}");
    let image = "images = { low | re.Image = { layers = [steps.low, steps.real] },";
    env.file("spec.ncl", env.read("spec.ncl").replace("images = {", image));
    let push = ["push", "images.low", "127.0.0.1:1/low:1", "--degraded"];
    let pushed = without_descriptors(&env, &push);
    assert_snapshot!(pushed.expect(3).err().lines().skip_while(|line| !line.starts_with("error")).collect::<Vec<_>>().join("\n"), @"
    error: The image was made with `--degraded`, without machine: what comes of that stays on its machine
    hint: build it on a machine that can give its steps what they demand
    ");
    let doctor = without_descriptors(&env, &["doctor"]).expect(3);
    let lines: Vec<_> = doctor.out().lines().skip_while(|line| line.starts_with("ok")).take(2).map(str::to_owned).collect();
    assert_snapshot!(lines.join("\n"), @"
    FAIL descriptors of a step Operation not permitted (os error 1); steps demand it for machine, stat
         do this: allow pidfd_getfd in the container's seccomp profile; `--degraded` does without
    ");
}

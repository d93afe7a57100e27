//! What a step demands of time, chance and the machine: `entropy`, `cpus`.

use insta::assert_snapshot;
use reimage_tests::TestEnv;

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

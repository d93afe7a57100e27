//! `reimage build --twice`: steps that make the same each time, and those that do not.

use insta::assert_snapshot;

use crate::build::with_steps;

#[test]
fn steps_that_make_the_same() {
    let env = with_steps(
        r#"    one | re.Run = { from = root, script = "echo one > /one; mkdir /d; echo x > /d/x" },
    two | re.Run = { from = [root, one], script = "cat /one > /out/two", outputs = ["/out"], workdir = "/out" },
    owners | re.Run = { from = root, script = "echo x > /x; ln -s x /l; mkfifo /p; chown -h 1:2 /x /l /p; chmod 4000 /x; ls -ln /" },"#,
    );
    env.programs(&["mkdir", "ln", "mkfifo", "chown", "chmod", "ls"]);
    let _ = env.reimage(["build", "-q", "--twice", "steps.owners"]).expect(0);
    let twice = env.reimage(["build", "-q", "--twice", "steps.two"]).expect(0);
    assert_eq!(env.reimage(["build", "-q", "steps.two"]).expect(0).out(), twice.out());
    // Also what is in the store already.
    let again = env.reimage(["build", "-j1", "--twice", "steps.two"]).expect(0);
    assert_eq!(again.out(), twice.out());
    let err = again.err();
    assert!(err.contains("start steps.one") && err.contains("start steps.two"), "{err}");
}

#[test]
fn each_kind_of_difference() {
    let env = with_steps(
        r#"    bytes | re.Run = { from = root, script = "echo same > /same; printf 'a byte ' > /out; cat /proc/sys/kernel/random/uuid >> /out", entropy = 'real },
    names | re.Run = { from = root, script = "read u < /proc/sys/kernel/random/uuid; for i in 1 2 3 4 5 6; do echo > /$i-$u; done", entropy = 'real },
    link | re.Run = { from = root, script = "read u < /proc/sys/kernel/random/uuid; ln -s $u /link", entropy = 'real },
    processors | re.Run = { from = root, script = "cat /proc/self/status > /status; grep Cpus_allowed_list /status > /cpus; rm /status" },
    user | re.Run = { from = root, script = "cat /proc/self/uid_map > /ids" },
    status | re.Run = { from = root, script = "test -e /proc/self/mem; read a b < /proc/self/stat; exit 0" },"#,
    );
    env.programs(&["ln", "grep", "rm"]);
    let error = |step: &str| {
        let ran = env.reimage(["build", "-q", "--twice", &format!("steps.{step}")]).expect(2);
        // What was random, without it.
        let text = ran.err();
        let mut shown = String::new();
        for line in text.lines() {
            let words = line.split(' ').map(|word| if word.matches('-').count() >= 2 { "RANDOM" } else { word });
            shown += &words.collect::<Vec<_>>().join(" ");
            shown.push('\n');
        }
        shown
    };
    let bytes = error("bytes");
    // Which is the first that differs is random, too.
    let from = |bytes: &str| bytes.contains("/out: from byte ") && bytes.contains(" on RANDOM then RANDOM");
    assert!(from(&bytes), "{bytes}");
    assert!(!bytes.contains("/same"), "{bytes}");
    assert_snapshot!(error("link"), @r"
    │ /link: a link to RANDOM then to RANDOM
    error: Step `steps.link` does not make the same each time
    hint: it saw what is `'real`, what a processor says of itself, or which of its processes was first
    hint: it is written at spec.ncl:7:21
    ");
    let names = error("names");
    assert!(names.contains("and 2 more paths"), "{names}");
    // The second time there is one processor, if there is more than one at all.
    if std::thread::available_parallelism().is_ok_and(|count| count.get() > 1) {
        assert!(error("processors").contains("/cpus: from byte "), "one processor");
    }
    // The second time it is somebody else, where it was root.
    if rustix::process::geteuid().is_root() {
        assert!(error("user").contains("/ids: from byte "), "another user");
    }
    let _ = env.reimage(["build", "-q", "--twice", "steps.status"]).expect(0);
    // The result of the first time stands.
    let _ = env.reimage(["build", "-q", "steps.link"]).expect(0);
}

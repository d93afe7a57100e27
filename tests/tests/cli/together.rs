//! Several `reimage` at once on one store, and killed ones.

use std::{
    io::{Read, Write},
    net::TcpListener,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use reimage_tests::TestEnv;

use crate::build::with_steps;

fn start(env: &TestEnv, arguments: &[&str]) -> Child {
    let mut command: Command = env.command();
    command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("it runs")
}

/// stdout and stderr of one that ends well.
fn end(child: Child) -> (String, String) {
    let output = child.wait_with_output().expect("it ends");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}", text(&output.stderr));
    (text(&output.stdout), text(&output.stderr))
}

/// The step writes what no second run would: two builds that want it agree only if it ran once.
#[test]
fn the_same_step_wanted_by_two_runs_runs_once() {
    let env = with_steps(
        r#"    once | re.Run = { from = root, script = "od -An -N32 -tx1 /dev/urandom > /out; i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done", outputs = ["/out"] },"#,
    );
    env.programs(&["od"]);
    for round in 0..3 {
        let store = format!("store-{round}");
        let arguments = ["build", "steps.once", "--store", &store];
        let ran: Vec<_> = [0; 4].map(|_| start(&env, &arguments)).into_iter().map(end).collect();
        let starts: usize =
            ran.iter().map(|(_, err)| err.matches("start steps.once").count()).sum();
        assert_eq!(starts, 1, "{ran:?}");
        assert!(ran.iter().all(|(out, _)| out == &ran[0].0), "{ran:?}");
    }
}

#[test]
fn prune_beside_a_build_takes_nothing_that_it_needs() {
    let env = with_steps(
        r#"    one | re.Run = { from = root, env.N = args.n, script = "echo $N > /one" },
    two | re.Run = { from = one, script = "cat /one > /two" },
    three | re.Run = { from = two, script = "cat /one /two > /three" },
  },
  args.n | String | default = "0",
  exports = { three | re.Copy = { from = steps.three, path = "/three", to = "/" },"#,
    );
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let pruning = scope.spawn(|| {
            let mut rounds = 0;
            while !done.load(Ordering::Relaxed) {
                let _ = env.reimage(["prune", "--all"]).expect(0);
                rounds += 1;
            }
            rounds
        });
        for n in 0..12 {
            let arg = format!("n={n}");
            let build = ["build", "exports.three", "images.tool", "--arg", &arg, "--output", "dist"];
            let ran = env.reimage(build);
            if ran.status != Some(0) {
                done.store(true, Ordering::Relaxed);
                panic!("{n}: {ran}");
            }
            assert_eq!(env.read("dist/three"), format!("{n}\n{n}\n"));
        }
        done.store(true, Ordering::Relaxed);
        assert!(pruning.join().expect("it goes well") > 3);
    });
}

/// Moments that are spread over a command's life, the same in every run of the test.
pub(crate) fn moment(round: u64, longest: Duration) -> Duration {
    let spread = round.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48;
    longest.mul_f64(f64::from(u32::try_from(spread).expect("16 bits")) / 65536.0)
}

/// How long `arguments` take when nobody interrupts.
pub(crate) fn time(env: &TestEnv, arguments: &[&str]) -> Duration {
    let begun = Instant::now();
    let _ = env.reimage(arguments).expect(0);
    begun.elapsed()
}

pub(crate) fn kill(env: &TestEnv, arguments: &[&str], after: Duration) {
    let mut child = start(env, arguments);
    std::thread::sleep(after);
    child.kill().expect("it is ours");
    let _ = child.wait_with_output().expect("it ends");
}

#[test]
fn killed_at_any_moment_of_a_build() {
    let env = with_steps(
        r#"    source | re.Copy = { from = re.local { path = "src" }, to = "/src" },
    one | re.Run = { from = [root, source], env.N = args.n, script = "for f in /src/*; do cat $f; done > /one; cat /bin/cat > /copy" },
    two | re.Run = { from = one, script = "cat /one /copy > /two" },
  },
  args.n | String | default = "0",
  images = { made | re.Image = { layers = [steps.two], tags = ["made:1"] },"#,
    );
    for number in 0..60 {
        env.file(format!("src/{number}"), format!("{number}\n"));
    }
    let longest = time(&env, &["build", "images.made", "--store", "aside"]);
    let mut whole = String::new();
    for round in 0..16 {
        let arg = format!("n={round}");
        // Two at once, so that what a killed one left lies in a living one's way.
        let build = ["build", "images.made", "--arg", &arg];
        std::thread::scope(|scope| {
            scope.spawn(|| kill(&env, &build, moment(round, longest)));
            scope.spawn(|| kill(&env, &build, moment(round + 100, longest)));
        });
        let ran = env.reimage(build).expect(0);
        assert!(!ran.err().contains("warning"), "{ran}");
        whole = ran.out();
    }
    let fresh = env.reimage(["build", "images.made", "--arg", "n=15", "--store", "fresh"]);
    assert_eq!(fresh.expect(0).out(), whole);
    let verified = env.reimage(["cache", "verify"]).expect(0);
    assert!(verified.out().ends_with("checked: all good"), "{verified}");
    // Nothing of the killed is left once the next has been there.
    let left = Command::new("sh")
        .args(["-c", "ls reimage/tmp reimage/leases | wc -l; ls ../data/reimage/images/.reimage/tmp | wc -l"])
        .current_dir(env.root().join("cache"))
        .output()
        .expect("it runs");
    assert_eq!(String::from_utf8_lossy(&left.stdout), "3\n0\n", "two headings and a line between");
}

#[test]
fn killed_while_saving_and_importing() {
    let env = with_steps("");
    let _ = env.reimage(["build", "images.tool"]).expect(0);
    let digest = env.reimage(["build", "-q", "images.tool"]).expect(0).out();
    let digest = digest.rsplit(' ').next().expect("a digest").to_owned();
    let save = ["save", &digest, "-o", "image.tar"];
    let longest = time(&env, &save);
    let whole = fs_err::read(env.path("image.tar")).expect("saved");
    env.file("image.tar", "old");
    for round in 0..12 {
        kill(&env, &save, moment(round, longest));
        let there = fs_err::read(env.path("image.tar")).expect("one of them");
        assert!(there == b"old" || there == whole, "neither the old one nor the new one");
        env.file("image.tar", "old");
        let directory = format!("dir-{round}");
        kill(&env, &["save", &digest, "--format", "oci-dir", "-o", &directory], moment(round, longest));
        if env.path(&directory).exists() {
            let _ = env.reimage(["import", &directory, "--store", "from-directory"]).expect(0);
        }
    }
    env.file("image.tar", &whole);
    let longest = time(&env, &["import", "image.tar", "--store", "aside"]);
    for round in 0..12 {
        let import = ["import", "image.tar", "--tag", "again:1", "--store", "imported"];
        kill(&env, &import, moment(round, longest));
        let _ = env.reimage(["images", "--store", "imported"]).expect(0);
    }
    let import = env.reimage(["import", "image.tar", "--tag", "again:1", "--store", "imported"]).expect(0);
    assert!(import.out().ends_with(&digest), "{import}");
    let verified = env.reimage(["cache", "verify", "--store", "imported"]).expect(0);
    assert!(verified.out().ends_with("checked: all good"), "{verified}");
}

#[test]
fn killed_while_locking() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}/file", listener.local_addr().expect("bound"));
    let env = TestEnv::new();
    env.file(
        "spec.ncl",
        format!(
            r#"let re = import "reimage.ncl" in
{{ exports.file | re.Copy = {{ from = re.http {{ url = "{url}" }}, to = "/" }} }} | re.Spec
"#
        ),
    );
    std::thread::spawn(move || {
        // As many requests as the rounds below can make, and no more.
        for connection in listener.incoming().take(100) {
            let Ok(mut connection) = connection else { continue };
            let _ = connection.set_read_timeout(Some(Duration::from_secs(5)));
            let _ = connection.read(&mut [0; 4096]);
            let body = [b'x'; 10_000];
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            let _ = connection.write_all(head.as_bytes()).and_then(|()| connection.write_all(&body));
        }
    });
    let longest = time(&env, &["lock"]);
    let whole = env.read("reimage.lock");
    for round in 0..12 {
        let old = if round % 2 == 0 { "version = 1\n" } else { "" };
        let lock = env.path("reimage.lock");
        if old.is_empty() { fs_err::remove_file(&lock) } else { fs_err::write(&lock, old) }.expect("ours");
        kill(&env, &["lock"], moment(round, longest));
        let there = fs_err::read_to_string(&lock).unwrap_or_default();
        assert!(there == old || there == whole, "neither the old one nor the new one: {there}");
        let _ = env.reimage(["lock"]).expect(0);
        assert_eq!(env.read("reimage.lock"), whole);
    }
    let left = Command::new("ls").arg("-A").current_dir(env.path("")).output().expect("it runs");
    let left = String::from_utf8_lossy(&left.stdout).into_owned();
    assert!(left.lines().all(|name| [".git", "reimage.lock", "spec.ncl"].contains(&name) || name.starts_with(".reimage")), "{left}");
}

//! Steps that fail, run away or are stopped, from the command line: what is said, and that nothing of them is left

use std::{
    io::{BufRead, BufReader, Read, Write},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use insta::assert_snapshot;
use reimage_tests::{Ran, TestEnv, binary};

use crate::build::with_steps;

/// A number of seconds that nobody else sleeps.
fn marker(number: u32) -> String {
    format!("8{:07}.{number}", std::process::id())
}

/// How many processes of this machine have this word in their command line.
#[expect(clippy::disallowed_methods, reason = "they are counted")]
fn alive(word: &str) -> usize {
    let processes = fs_err::read_dir("/proc").expect("it is mounted");
    let line = |entry: std::io::Result<fs_err::DirEntry>| {
        let path = entry.ok()?.path();
        path.file_name()?.to_str()?.parse::<u32>().ok()?;
        std::fs::read(path.join("cmdline")).ok()
    };
    let has = |line: &Vec<u8>| line.split(|byte| *byte == 0).any(|w| w == word.as_bytes());
    processes.filter_map(line).filter(has).count()
}

#[track_caller]
fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(20), "waited in vain: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Files that processes which are no more left in the store, after one that is has opened it.
#[expect(clippy::disallowed_methods, reason = "they are counted")]
fn left(env: &TestEnv) -> usize {
    let _ = env.reimage(["cache", "verify"]).expect(0);
    fs_err::read_dir(env.root().join("cache/reimage/tmp")).expect("a store").count()
}

/// A spec with programs of a shell's daily life in its root.
fn with_tools(steps: &str) -> TestEnv {
    let env = with_steps(steps);
    env.programs(&["sleep", "setsid", "nohup", "perl", "dd", "tty", "rm"]);
    env
}

/// The line of the error, without numbers that depend on when it was noticed.
fn error(ran: &Ran) -> String {
    let text = ran.err();
    let line = text.lines().find(|line| line.starts_with("error:")).expect("there is one");
    let mut words: Vec<_> = line.split(' ').collect();
    if let Some(verb) = words.iter().position(|word| ["used", "wrote", "had"].contains(word)) {
        words[verb + 1] = "N";
    }
    words.join(" ")
}

#[test]
fn limits() {
    let lives = marker(0);
    let env = with_tools(&format!(
        r#"    slow | re.Run = {{ from = root, script = "trap '' TERM; setsid nohup sleep {lives} & sleep {lives}", limits.timeout = "1s" }},
    memory | re.Run = {{ from = root, command = ["perl", "-e", "push @x, 'x' x 1_000_000 while 1"], limits.memory = "100m" }},
    forks | re.Run = {{ from = root, command = ["perl", "-e", "$SIG{{CHLD}} = 'IGNORE'; fork while 1"], limits.processes = 100 }},
    disk | re.Run = {{ from = root, script = "dd if=/dev/zero of=/x bs=1M count=300; sleep 3; rm /x", limits.disk = "50m" }},
    quiet | re.Run = {{ from = root, script = "(sh -c 'kill -31 $$' & ) ; sleep 0.3; exit 0" }},
    good | re.Run = {{ from = root, script = "setsid nohup sleep {lives} >/dev/null 2>&1 & echo good > /good" }},"#
    ));
    let said = |name: &str| {
        let ran = env.reimage(["build", &format!("steps.{name}")]).expect(2);
        assert!(ran.err().contains(&format!("hint: `reimage shell steps.{name}`")), "{ran}");
        error(&ran)
    };
    assert_snapshot!(said("slow"), @"error: Step `steps.slow` failed: It ran longer than its limit of 1 s");
    assert_snapshot!(said("memory"), @"error: Step `steps.memory` failed: It used N bytes of memory, more than its limit of 104857600");
    assert_snapshot!(said("forks"), @"error: Step `steps.forks` failed: It had N processes, more than its limit of 100");
    assert_snapshot!(said("disk"), @"error: Step `steps.disk` failed: It wrote N bytes, more than its limit of 52428800");
    assert_snapshot!(said("quiet"), @"error: Step `steps.quiet` failed: A refused system call ended it, or a process of it (SIGSYS)");
    let _ = env.reimage(["build", "steps.good"]).expect(0);
    assert_eq!(alive(&lives), 0);
    assert_eq!(left(&env), 0);
    // Failures are never kept: each runs again.
    let again = env.reimage(["build", "steps.quiet"]).expect(2);
    assert!(again.err().contains("start steps.quiet"), "{again}");
}

#[test]
fn signals_have_names() {
    let env = with_tools(
        r#"    bad | re.Run = { from = root, script = "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22; do echo line $i; done; kill -SEGV $$" },
    missing | re.Run = { from = root, command = ["/no/such", "program"] },"#,
    );
    let ran = env.reimage(["build", "steps.bad"]).expect(2).err();
    assert!(ran.contains("failed: its command was ended by SIGSEGV"), "{ran}");
    assert!(!ran.contains("line 2\n") && ran.contains("│ line 3\n") && ran.contains("│ line 22\n"), "the last 20: {ran}");
    assert_snapshot!(env.reimage(["build", "steps.missing"]), @"
    ------- stderr -------
       start steps.missing
      failed steps.missing
    error: Step `steps.missing` failed: Cannot start `/no/such`
      Caused by: No such file or directory (os error 2)
    hint: is the program in the root, and the library loader that it names?
    hint: `reimage shell steps.missing -- PROGRAM` stands in its place
    hint: it is written at spec.ncl:6:24
    [exit status: 2]
    ");
}

/// A build that runs until it is stopped, and says so.
fn running(env: &TestEnv) -> Child {
    let mut command = env.command();
    command.args(["build", "-v", "steps.long"]).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the binary can be run");
    let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
    let begun = lines.find(|line| line.as_ref().is_ok_and(|line| line.ends_with("│ started")));
    assert!(begun.is_some(), "the step begins");
    thread::spawn(move || lines.for_each(drop)); // so that it can go on to write
    child
}

#[test]
fn stopped_by_a_signal() {
    let lives = marker(1);
    let env = with_tools(&format!(
        r#"    long | re.Run = {{ from = root, script = "trap '' TERM INT HUP; setsid nohup sleep {lives} & echo x > /x; echo started; sleep {lives}" }},"#
    ));
    for (signal, code) in [("INT", Some(130)), ("TERM", Some(143)), ("HUP", Some(129)), ("KILL", None)] {
        let mut child = running(&env);
        wait_until("both run", || alive(&lives) == 2);
        let id = child.id().to_string();
        let sent = Command::new("kill").args(["-s", signal, &id]).status().expect("kill");
        assert!(sent.success());
        assert_eq!(child.wait().expect("it ends").code(), code, "{signal}");
        wait_until("its processes end", || alive(&lives) == 0);
        let mounts = fs_err::read_to_string("/proc/self/mountinfo").expect("readable");
        assert!(!mounts.contains(env.root().to_str().expect("plain")), "{mounts}");
        wait_until("its files go", || left(&env) == 0);
    }
    // The zygote dies, too, and nobody can clear up: the next run does.
    let mut child = running(&env);
    let zygotes = || alive_children(child.id());
    let all = zygotes();
    assert!(!all.is_empty());
    for id in all.iter().chain([&child.id().to_string()]) {
        let _gone = Command::new("kill").args(["-s", "KILL", id]).status();
    }
    child.wait().expect("it ends");
    wait_until("its processes end", || alive(&lives) == 0);
    assert_eq!(left(&env), 0);
}

/// The children of a process.
fn alive_children(id: u32) -> Vec<String> {
    let path = format!("/proc/{id}/task/{id}/children");
    let text = fs_err::read_to_string(path).expect("it lives");
    text.split_whitespace().map(str::to_owned).collect()
}

/// Runs `reimage` on a terminal of its own; types when it has said something. Returns what it said, without colours.
fn on_a_terminal(env: &TestEnv, arguments: &str, typed: &[(&str, &str)]) -> (Option<i32>, String) {
    let mut command = Command::new("script");
    let own = env.command();
    command.current_dir(env.path("")).env_clear().envs(own.get_envs().filter_map(|(k, v)| Some((k, v?))));
    command.env("TERM", "xterm").env("SHELL", "/bin/sh");
    command.args(["-qec", &format!("{} {arguments}", binary().display()), "/dev/null"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("script");
    let mut stdin = child.stdin.take().expect("piped");
    let mut stdout = child.stdout.take().expect("piped");
    let said = Arc::new(Mutex::new(Vec::new()));
    let heard = said.clone();
    let reader = thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = stdout.read(&mut buffer) {
            heard.lock().expect("no panic").extend_from_slice(&buffer[..length]);
        }
    });
    let text = || plain(&String::from_utf8_lossy(&said.lock().expect("no panic")));
    for (after, keys) in typed {
        wait_until(after, || text().contains(after));
        stdin.write_all(keys.as_bytes()).expect("it reads");
    }
    let status = child.wait().expect("it ends");
    drop(stdin);
    reader.join().expect("it reads");
    (status.code(), text())
}

/// Text without what moves the cursor and colours it.
fn plain(text: &str) -> String {
    let mut parts = text.split('\x1b');
    let first = parts.next().unwrap_or_default().to_owned();
    let rest = parts.map(|part| part.trim_start_matches(|c: char| !c.is_ascii_alphabetic()));
    let rest = rest.map(|part| part.get(1..).unwrap_or_default());
    (first + &rest.collect::<String>()).replace('\r', "")
}

#[test]
fn a_shell_on_a_terminal() {
    let env = with_tools(
        r#"    note | re.Files = { files."/note" = "a note\n" },
    step | re.Run = { from = root, inputs."/in" = note, env.NAME = "value", workdir = "/work", script = "exit 1" },"#,
    );
    let typed = "cat /in/note; echo $NAME:$PWD:$TERM; tty; echo x > /y && cat /y; exit 7\n";
    let (status, said) = on_a_terminal(&env, "shell steps.step", &[("# ", typed)]);
    assert_eq!(status, Some(7), "{said}");
    assert!(said.contains("In the place of ") && said.contains("exit 1"), "{said}");
    assert!(said.contains("a note\nvalue:/work:xterm\n/dev/pts/0\nx\n"), "{said}");
    // It is a terminal with a session of its own: Ctrl-C is the command's.
    let waits = "shell steps.step -- sh -c 'trap \"echo caught; exit 3\" INT; echo waits; sleep 20'";
    let (status, said) = on_a_terminal(&env, waits, &[("waits", "\x03")]);
    assert!(status == Some(3) && said.contains("caught"), "{said}");
}

#[test]
fn a_failed_step_runs_no_more() {
    let env = with_tools(
        r#"    bad | re.Run = { from = root, script = "echo no; exit 3" },
    worse | re.Run = { from = root, script = "exit 4" },
    slow | re.Run = { from = root, script = "sleep 1.5" },"#,
    );
    let (status, said) = on_a_terminal(&env, "build -j3 --keep-going steps.bad steps.worse steps.slow", &[]);
    assert_eq!(status, Some(2), "{said}");
    assert!(said.contains("2 failed, 1 running"), "{said}");
    assert!(said.contains("  failed steps.bad") && said.contains("  failed steps.worse"), "{said}");
    assert!(said.contains("done steps.slow"), "{said}");
    let ran = env.reimage(["build", "-j1", "--keep-going", "steps.bad", "steps.worse", "steps.slow"]).expect(2);
    assert_snapshot!(ran, @"
    ------- stderr -------
       start steps.bad
      failed steps.bad
       start steps.worse
      failed steps.worse
    │ no
    error: Step `steps.bad` failed: its command exited with status 3
    hint: `reimage log steps.bad` shows all that it wrote
    hint: `reimage shell steps.bad` stands in its place
    hint: it is written at spec.ncl:5:20
    hint: besides: Step `steps.worse` failed: its command exited with status 4
    [exit status: 2]
    ");
}

#[test]
fn nobody_reads() {
    let env = with_tools(r#"    much | re.Run = { from = root, script = "i=0; while [ $i -lt 30000 ]; do echo a line of text; i=$((i+1)); done" },"#);
    let piped = |arguments: &str| {
        let mut command = Command::new("bash");
        let own = env.command();
        command.current_dir(env.path("")).env_clear().envs(own.get_envs().filter_map(|(k, v)| Some((k, v?))));
        let script = format!("{} {arguments} | head -n 1; echo ${{PIPESTATUS[0]}}", binary().display());
        let output = command.args(["-c", &script]).output().expect("bash");
        (String::from_utf8_lossy(&output.stdout).into_owned(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (out, err) = piped("build -v steps.much 2>&1");
    assert!(out.ends_with("\n0\n") || out.ends_with("\n141\n"), "{out}{err}");
    assert_eq!(piped("log steps.much"), ("a line of text\n141\n".to_owned(), String::new()));
}

//! `reimage run` and `reimage shell`: containers and steps, without a network

use std::process::{Command, Stdio};

use insta::assert_snapshot;
use reimage_tests::{Ran, TestEnv};

use crate::build::with_steps;

fn env() -> TestEnv {
    with_steps(
        r#"    note | re.Files = { files."/note" = "a note\n" },
    step | re.Run = {
      from = root,
      inputs."/in" = note,
      env.NAME = "value",
      workdir = "/work",
      script = "exit 1",
    },"#,
    )
}

#[test]
fn entrypoint_and_cmd() {
    assert_snapshot!(env().reimage(["run", "-q", "images.tool"]), @"from cmd");
}

#[test]
fn arguments_environment_and_exit_status() {
    let env = env();
    let script = "echo $A in $PWD; exit 7";
    assert_snapshot!(
        env.reimage(["run", "-q", "images.tool", "-e", "A=b", "-w", "/tmp", "--", script]),
        @"
    b in /tmp
    [exit status: 7]
    "
    );
}

#[test]
fn a_volume() {
    let env = env();
    env.file("data/x", "from outside\n");
    let ran = env.reimage(["run", "-q", "images.tool", "--volume", "data:/data", "--", "cat /data/x; echo in > /data/y"]);
    assert_snapshot!(ran, @"from outside");
    assert_eq!(env.read("data/y"), "in\n");
    let ran = env.reimage(["run", "-q", "images.tool", "--volume", "data:/data:ro", "--", "echo no > /data/x"]);
    assert_ne!(ran.status, Some(0), "{ran}");
}

#[test]
fn in_the_place_of_a_step() {
    let ran = env().reimage(["shell", "-q", "steps.step", "--", "/bin/sh", "-c", "cat /in/note; echo $NAME $PWD"]);
    assert_snapshot!(ran, @"
    a note
    value /work
    ");
}

#[test]
fn what_is_no_image() {
    assert_snapshot!(env().reimage(["run", "steps.root"]), @"
    ------- stderr -------
    error: `steps.root` is no image
    hint: `reimage shell steps.root` stands in a step
    [exit status: 64]
    ");
}

#[test]
fn an_image_that_is_here() {
    let env = env();
    env.file("spec.ncl", env.read("spec.ncl").replace("tool | re.Image = {", "tool | re.Image = { tags = [\"tool:1\"],"));
    assert_snapshot!(env.reimage(["run", "tool:1"]), @"
    ------- stderr -------
    error: `tool:1` is neither an image that is here nor a target of a spec
    hint: `reimage images` lists what is here
    hint: a target is `images.NAME`, in another spec `DIR#images.NAME`
    [exit status: 64]
    ");
    let _ = env.reimage(["build", "-q"]).expect(0);
    let _ = env.reimage(["save", "tool:1", "-o", "tool.tar"]).expect(0);
    // Elsewhere, without the spec, its sources and its steps.
    let elsewhere = TestEnv::new();
    fs_err::copy(env.path("tool.tar"), elsewhere.path("tool.tar")).expect("writable");
    let _ = elsewhere.reimage(["import", "tool.tar"]).expect(0);
    assert_eq!(elsewhere.reimage(["run", "tool:1"]).expect(0).out(), "from cmd");
    let changed = ["run", "tool:1", "-e", "A=b", "-w", "/tmp", "--", "echo $A in $PWD; exit 7"];
    assert_eq!(elsewhere.reimage(changed).expect(7).out(), "b in /tmp");
    assert_eq!(env.reimage(changed).expect(7).out(), "b in /tmp");
    assert_snapshot!(elsewhere.reimage(["run", "tol:1"]), @"
    ------- stderr -------
    error: `tol:1` is neither an image that is here nor a target of a spec
    hint: `reimage images` lists what is here
    hint: did you mean `tool:1`?
    hint: a target is `images.NAME`, in another spec `DIR#images.NAME`
    [exit status: 64]
    ");
    assert_snapshot!(elsewhere.reimage(["run", "tool:1", "--arg", "a=b"]), @"
    ------- stderr -------
    error: `--arg`, `--set` and `--platform` go over a spec, and `tool:1` is an image
    hint: name a target: `images.NAME`
    [exit status: 64]
    ");
    assert_snapshot!(elsewhere.reimage(["run", "services/web"]), @"
    ------- stderr -------
    error: `services/web` is neither an image that is here nor a target of a spec
    hint: `reimage images` lists what is here
    hint: `services/web` looks like a file: to build all of its targets write `services/web#`, for one of them `services/web#images.web`
    [exit status: 64]
    ");
}

#[test]
fn as_docker_has_it_without_a_dash() {
    let env = env();
    let out = |arguments: &[&str]| {
        let arguments = ["run", "-q"].iter().chain(arguments);
        env.reimage(arguments).expect(0).out()
    };
    assert_eq!(out(&["--rm", "-e", "A=b", "images.tool", "-w", "/tmp", "echo $A in $PWD"]), "b in /tmp");
    assert_eq!(out(&["images.tool", "echo $0 $@", "-w", "--", "-x"]), "-w -- -x");
    assert_eq!(out(&["--entrypoint", "/bin/cat", "images.tool", "/etc/hostname"]), "reimage");
    assert_eq!(out(&["--entrypoint", "", "images.tool", "cat", "/etc/hostname"]), "reimage");
    assert_snapshot!(env.reimage(["run", "-q", "--entrypoint", "", "images.tool"]), @"
    ------- stderr -------
    error: Step `images.tool`: The image has neither `entrypoint` nor `cmd`: say what to run, `IMAGE PROGRAM ARGS`
    hint: it is written at spec.ncl:14:32
    [exit status: 1]
    ");
    assert_snapshot!(env.reimage(["run", "-q", "images.tool", "-l"]), @"
    ------- stderr -------
    error: unexpected argument '-l' found

      tip: to pass '-l' as a value, use '-- -l'

    Usage: reimage run [OPTIONS] <IMAGE> [COMMAND]...

    For more information, try '--help'.
    [exit status: 64]
    ");
    let mut passed = env.command();
    passed.args(["run", "-q", "-e", "HERE", "-e", "NOT_HERE", "images.tool", "echo ${HERE-no} ${NOT_HERE-no}"]);
    assert_eq!(env.run(passed.env("HERE", "here")).expect(0).out(), "here no");
    assert_snapshot!(env.reimage(["run", "-e", "=x", "images.tool"]), @"
    ------- stderr -------
    error: Bad `--env`: expected `NAME=VALUE` or `NAME`, got `=x`
    [exit status: 64]
    ");
    assert_snapshot!(env.reimage(["run", "-v", "a", "images.tool"]), @"
    ------- stderr -------
    error: Bad `--volume`: expected `HOST:CONTAINER` or `HOST:CONTAINER:ro`, got `a`
    [exit status: 64]
    ");
    assert_snapshot!(env.reimage(["run", "-v", "nowhere:/x", "images.tool"]), @"
    ------- stderr -------
    error: There is no `[ROOT]/work/nowhere` to show in it
    [exit status: 64]
    ");
}

#[test]
fn volumes_by_docker_s_letter() {
    let env = env();
    env.file("data/x", "from outside\n");
    let script = "echo in > /data/y; cat /data/x /data/y; echo no > /kept/x";
    let volumes = ["-v", "./data:/data", "-v", "data:/kept:ro"];
    let ran = env.reimage(["run", "-q"].iter().chain(&volumes).chain(&["images.tool", script]));
    assert_ne!(ran.status, Some(0), "{ran}");
    assert_eq!(ran.out(), "from outside\nin");
    assert!(ran.err().contains("Read-only file system"), "{ran}");
    assert_eq!((env.read("data/x"), env.read("data/y")), ("from outside\n".into(), "in\n".into()));
}

#[test]
fn users_are_the_image_s() {
    let env = env();
    env.programs(&["id"]);
    env.file("root/etc/passwd", "root:x:0:0::/root:/bin/sh\nweb:x:33:34::/srv:/bin/sh\n");
    env.file("root/etc/group", "root:x:0:\nweb:x:34:\nlogs:x:4:web\n");
    let spec = env.read("spec.ncl").replace("cmd = [", "user = \"web\", cmd = [");
    env.file("spec.ncl", spec);
    let script = "id -u; id -g; id -G; echo $HOME";
    let who = |user: &[&str]| {
        let ran = env.reimage(["run", "-q"].iter().chain(user).chain(&["images.tool", script]));
        ran.expect(0).out().replace('\n', " ")
    };
    assert_eq!(who(&[]), "33 34 34 4 /srv");
    assert_eq!(who(&["-u", "root"]), "0 0 0 /root");
    assert_eq!(who(&["-u", "web:logs"]), "33 4 4 /srv");
    assert_eq!(who(&["-u", "1000:1001"]), "1000 1001 1001 /");
    assert_snapshot!(env.reimage(["run", "-q", "-u", "nobody", "images.tool"]), @"
    ------- stderr -------
    error: Step `images.tool`: There is no user `nobody` in the /etc/passwd of the root
    hint: it is written at spec.ncl:14:32
    [exit status: 1]
    ");
}

#[test]
fn the_host_s_network_only_when_asked() {
    use std::{io::{Read as _, Write as _}, net::TcpListener};
    let env = env();
    env.programs(&["python3"]).python();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    let server = std::thread::spawn(move || {
        let (mut connection, _) = listener.accept().expect("one comes");
        connection.write_all(b"from here").expect("it listens");
        let mut said = String::new();
        connection.read_to_string(&mut said).expect("it says something");
        said
    });
    let script = format!(
        "import socket; s = socket.create_connection(('localhost', {port}), 10); print(s.recv(100).decode()); s.sendall(b'from there')"
    );
    let run = ["run", "-q", "--entrypoint", "/bin/python3"];
    let alone = env.reimage(run.iter().chain(&["images.tool", "-c", &script]));
    assert_eq!(alone.status, Some(64), "a dash begins a flag: {alone}");
    let alone = env.reimage(run.iter().chain(&["images.tool", "--", "-c", &script])).expect(1);
    assert!(alone.err().contains("Connection refused"), "{alone}");
    let host = ["--network", "host", "images.tool", "--", "-c", &script];
    assert_eq!(env.reimage(run.iter().chain(&host)).expect(0).out(), "from here");
    assert_eq!(server.join().expect("it goes well"), "from there");
}

/// Runs `script`, sends these signals to `reimage` when it has said that it is ready, and gives what came of it.
fn signalled(env: &TestEnv, image: &str, script: &str, signals: &[&str]) -> Ran {
    use std::io::{BufRead as _, BufReader, Read as _};
    let mut command = env.command();
    command.args(["run", "-q", image, script]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it runs");
    let mut out = BufReader::new(child.stdout.take().expect("piped"));
    let mut stdout = Vec::new();
    out.read_until(b'\n', &mut stdout).expect("readable");
    for signal in signals {
        let kill = Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]).status();
        assert!(kill.expect("it can be run").success());
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    out.read_to_end(&mut stdout).expect("readable");
    let mut output = child.wait_with_output().expect("it ends");
    output.stdout = stdout;
    env.ran(output)
}

#[test]
fn signals_go_to_the_program() {
    let env = env();
    let spec = env.read("spec.ncl").replace(
        "images = {",
        "images = { polite | re.Image = { layers = [steps.root], entrypoint = [\"/bin/sh\", \"-c\"], stop_signal = \"SIGUSR1\" },",
    );
    env.file("spec.ncl", spec);
    let waits = "echo ready; while :; do :; done";
    let traps = |signal: &str| format!("trap 'echo got {signal}; exit 5' {signal}; {waits}");
    for signal in ["TERM", "INT", "HUP", "QUIT", "USR1", "USR2"] {
        let ran = signalled(&env, "images.tool", &traps(signal), &[signal]).expect(5);
        assert_eq!(ran.out(), format!("ready\ngot {signal}"), "{ran}");
    }
    assert_eq!(signalled(&env, "images.tool", waits, &["TERM"]).expect(143).out(), "ready");
    assert_eq!(signalled(&env, "images.polite", &traps("USR1"), &["TERM"]).expect(5).out(), "ready\ngot USR1");
    // Who asks three times means it.
    let deaf = format!("trap '' TERM INT; {waits}");
    let ran = signalled(&env, "images.tool", &deaf, &["TERM", "INT", "TERM"]).expect(143);
    assert_eq!((ran.out().as_str(), ran.err().as_str()), ("ready", "Interrupted"));
    assert_eq!(env.reimage(["run", "-q", "images.tool", "kill -KILL $$"]).status, Some(137));
}

#[test]
fn on_a_terminal() {
    use std::io::Write as _;
    let env = env();
    env.programs(&["stty"]);
    let template = env.command();
    let run = "stty rows 33 cols 99; \"$REIMAGE\" run -q -it images.tool 'test -t 0 && test -t 1 && stty size; read line; echo \"got $line\"; read line'; echo \"returned $?\"";
    let mut script = Command::new("script");
    script.args(["--quiet", "--return", "--command", run, "/dev/null"]);
    script.env_clear().env("REIMAGE", reimage_tests::binary()).env("TERM", "xterm").current_dir(env.path(""));
    script.envs(template.get_envs().filter_map(|(name, value)| Some((name, value?))));
    script.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let _ = env.reimage(["build", "-q", "images.tool"]).expect(0);
    let mut child = script.spawn().expect("it runs");
    let mut keys = child.stdin.take().expect("piped");
    keys.write_all(b"a line\n").expect("it reads");
    // Ctrl-C goes through the terminal to the program, not to `reimage`.
    std::thread::sleep(std::time::Duration::from_secs(2));
    keys.write_all(b"\x03").expect("it reads");
    let out = child.wait_with_output().expect("it ends");
    let out = String::from_utf8_lossy(&out.stdout).replace('\r', "");
    assert!(out.contains("33 99\n") && out.contains("got a line\n") && out.contains("returned 130\n"), "{out}");
    assert_snapshot!(env.reimage(["run", "-it", "images.tool"]), @"
    ------- stderr -------
    error: There is no terminal to give it: stdin is none
    [exit status: 64]
    ");
}

#[test]
fn a_layer_is_unpacked_once() {
    let env = env();
    let _ = env.reimage(["build", "-q", "images.tool"]).expect(0);
    let _ = env.reimage(["save", "images.tool", "-o", "tool.tar"]).expect(0);
    let elsewhere = TestEnv::new();
    fs_err::copy(env.path("tool.tar"), elsewhere.path("tool.tar")).expect("writable");
    let _ = elsewhere.reimage(["import", "tool.tar", "--tag", "tool:1"]).expect(0);
    assert_eq!(elsewhere.reimage(["run", "tool:1"]).expect(0).out(), "from cmd");
    // Gone where it was packed; it is still unpacked.
    let blobs = elsewhere.root().join("data/reimage/images/blobs/sha256");
    let largest = reimage_castore::read_dir_sorted(blobs).expect("there").into_iter().max_by_key(|blob| {
        blob.metadata().expect("readable").len()
    });
    fs_err::remove_file(largest.expect("a layer").path()).expect("ours");
    assert_eq!(elsewhere.reimage(["run", "tool:1"]).expect(0).out(), "from cmd");
}

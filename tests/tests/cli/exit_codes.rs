//! docs/exit-codes.md: one command for each code but 70, which no command asks for: a panic of a test gives that.

use crate::build::with_steps;

#[test]
fn each_code_is_returned() {
    let env = with_steps(
        r#"    good | re.Files = { files."/a" = "" },
    bad | re.Run = { from = root, script = "exit 7" },"#,
    );
    let cases: [(i32, &[&str], &str); 6] = [
        (0, &["build", "steps.good"], ""),
        (1, &["build", "steps.god"], "error: no target `steps.god`"),
        (2, &["build", "steps.bad"], "error: Step `steps.bad` failed: its command exited with status 7"),
        (3, &["build", "steps.good", "--store", "spec.ncl/store"], "error: Cannot make the store"),
        (64, &["build", "--jobs", "none"], "error: invalid value 'none' for '--jobs <N>'"),
        (64, &["build", "services/web"], "error: `services/web` looks like a file"),
    ];
    for (code, arguments, error) in cases {
        let ran = env.reimage(arguments).expect(code);
        assert!(ran.err().contains(error), "{ran}");
    }
    env.config("[bild]\n");
    let _ = env.reimage(["config"]).expect(64);
}

#[test]
fn signals_that_end_it() {
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        let env = with_steps(r#"    long | re.Run = { from = root, script = "echo started; exec cat /dev/zero > /dev/null" },"#);
        let mut command = env.command();
        let mut child = command
            .args(["build", "-v", "steps.long"])
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .expect("it runs");
        let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stderr.take().expect("piped")));
        assert!(lines.any(|line| line.is_ok_and(|line| line.contains("│ started"))), "it runs");
        let kill = std::process::Command::new("kill").args(["-s", signal, &child.id().to_string()]).status();
        assert!(kill.expect("it runs").success());
        let rest: Vec<_> = lines.map_while(Result::ok).collect();
        let status = child.wait().expect("it ends");
        assert_eq!(status.code(), Some(code), "{signal}: {rest:?}");
    }
}

//! What the tests need besides Rust: independent readers of images, and programs for steps.

use std::process::{Command, Stdio};

use crate::command::run;

/// Programs that the tests need, each with the Debian package that has it.
pub(crate) const TESTS: [(&str, &str); 22] = [
    ("bwrap", "bubblewrap"),
    ("buildah", "buildah"),
    ("busybox", "busybox-static"),
    ("crun", "crun"),
    ("ctr", "containerd"),
    ("docker-registry", "docker-registry"),
    ("dockerd", "docker.io"),
    ("go", "golang-go"),
    ("javac", "default-jdk-headless"),
    ("make", "make"),
    ("mmdebstrap", "mmdebstrap"),
    ("musl-gcc", "musl-tools"),
    ("newuidmap", "uidmap"),
    ("node", "nodejs"),
    ("openssl", "openssl"),
    ("podman", "podman"),
    ("python3", "python3"),
    ("ruby", "ruby"),
    ("setcap", "libcap2-bin"),
    ("skopeo", "skopeo"),
    ("umoci", "umoci"),
    ("xz", "xz-utils"),
];

/// Installs the programs that are missing; without root it names the command instead.
pub(crate) fn install(programs: &[(&str, &str)]) -> Result<(), String> {
    let missing: Vec<_> = programs
        .iter()
        .filter(|(program, _)| !there(program))
        .map(|(_, package)| *package)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let command = format!("apt-get install -y {}", missing.join(" "));
    if !is_root() {
        return Err(format!("Programs are missing that this needs; run as root: {command}"));
    }
    run("apt-get", &["update", "-qq"])?;
    let mut arguments = vec!["install", "-y", "-qq", "--no-install-recommends"];
    arguments.extend(missing);
    run("apt-get", &arguments)
}

fn there(program: &str) -> bool {
    let script = format!("command -v {program}");
    let status = Command::new("sh").args(["-c", &script]).stdout(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

pub(crate) fn is_root() -> bool {
    let output = Command::new("id").arg("-u").output();
    output.is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

//! What the tests need besides Rust: independent readers of images, and programs for steps.

use std::process::{Command, Stdio};

use crate::command::run;

/// Programs that the tests need, each with the Debian package that has it.
const TESTS: [(&str, &str); 23] = [
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
    ("zstd", "zstd"),
];

/// Programs that the tests need and the suite does not have, each with its Go package: one that its Go can build.
const GO: [(&str, &str); 1] =
    [("crane", "github.com/google/go-containerregistry/cmd/crane@v0.19.2")];

/// Where Go puts them: with what else this machine's owner installed.
const GO_BIN: &str = "GOBIN=/usr/local/bin";

/// Installs what the tests need.
pub(crate) fn tests() -> Result<(), String> {
    install(&TESTS)?;
    for (program, package) in GO.iter().filter(|(program, _)| !there(program)) {
        if !is_root() {
            return Err(format!(
                "`{program}` is missing, which tests need; run as root: {GO_BIN} go install {package}"
            ));
        }
        let installed = run("env", &[GO_BIN, "go", "install", package]);
        installed.map_err(|error| format!("{error}\nIt takes Go 1.18 or later"))?;
    }
    Ok(())
}

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

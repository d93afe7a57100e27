//! Every example builds, runs, and has one digest whoever builds it.
//!
//! All but `hello` take packages from the mirrors that this machine's apt uses.

#![expect(clippy::disallowed_methods, reason = "the order of files is what must not matter")]

use std::{
    os::unix::fs::{MetadataExt, chown},
    path::{Path, PathBuf},
    process::Command,
};

use reimage_tests::{Ran, TestEnv, binary};

/// A user that need not exist: nothing looks it up.
const PLAIN: u32 = 54_321;

/// The digest of `hello` in this baseline: it depends on nothing but this program.
const HELLO: &str = "sha256:430774b80a0e706809f0785f2b1ac236a119048fef1adc7f509b9e3921118a1b";

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(name)
}

fn copy(from: &Path, to: &Path) {
    fs_err::create_dir_all(to).expect("writable");
    let entries = fs_err::read_dir(from);
    for entry in entries.expect("an example can be read") {
        let entry = entry.expect("an entry can be read");
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs_err::copy(&path, &target).expect("a file can be copied");
        }
    }
}

fn own(path: &Path) {
    if path.is_dir() {
        for entry in fs_err::read_dir(path).expect("ours") {
            own(&entry.expect("ours").path());
        }
    }
    chown(path, Some(PLAIN), Some(PLAIN)).expect("root may give away");
}

fn is_root() -> bool {
    fs_err::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

/// A machine with this example as its project, and a lock if one was made elsewhere.
fn machine(name: &str, lock: Option<&str>) -> TestEnv {
    let env = TestEnv::new();
    copy(&example(name), &env.path(""));
    if let Some(lock) = lock {
        env.file("reimage.lock", lock);
    }
    env
}

/// Builds as a plain user: the same machine, if this is not root.
fn as_plain_user(env: &TestEnv, arguments: &[&str]) -> Ran {
    if !is_root() {
        return env.reimage(arguments);
    }
    own(env.root());
    // The binary may lie where only root may look.
    let open = tempfile::Builder::new().prefix("reimage-bin-").tempdir().expect("a directory");
    let reimage = open.path().join("reimage");
    fs_err::copy(binary(), &reimage).expect("a file can be copied");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs_err::set_permissions(open.path(), mode).expect("ours");
    let template = env.command();
    let mut command = Command::new("setpriv");
    command.arg(format!("--reuid={PLAIN}")).arg(format!("--regid={PLAIN}")).arg("--clear-groups");
    command.arg(&reimage).args(arguments).env_clear().current_dir(env.path(""));
    command.envs(template.get_envs().filter_map(|(name, value)| Some((name, value?))));
    env.run(&mut command)
}

/// Builds an example twice, by two users on two machines; gives the first machine.
fn one_digest(name: &str) -> TestEnv {
    let first = machine(name, None);
    let built = first.reimage(["build"]).expect(0).out();
    assert!(!built.is_empty());
    let lock = first.path("reimage.lock").exists().then(|| first.read("reimage.lock"));
    let second = machine(name, lock.as_deref());
    let again = as_plain_user(&second, &["build", "-j1"]).expect(0).out();
    assert_eq!(built, again, "{name}");
    assert_eq!(built, first.reimage(["build"]).expect(0).out(), "{name}, again");
    first
}

#[test]
fn hello() {
    let env = one_digest("hello");
    assert_eq!(env.reimage(["build"]).expect(0).out().trim(), format!("images.hello {HELLO}"));
}

#[test]
fn distroless() {
    let env = one_digest("distroless");
    assert!(!env.reimage(["run", "images.clock"]).expect(0).out().is_empty());
}

#[test]
fn c_multistage() {
    let env = one_digest("c-multistage");
    assert!(env.reimage(["run", "images.greet"]).expect(0).out().starts_with("Hello"));
    env.reimage(["build", "exports.greet", "--output", "dist"]).expect(0).out();
    assert!(env.path("dist/greet").exists());
}

#[test]
fn monorepo() {
    one_digest("monorepo");
}

#[test]
fn python_web_answers_and_others_can_read_it() {
    let env = one_digest("python-web");
    let script = "gunicorn --bind=127.0.0.1:8000 main:app 2>/dev/null & \
        for i in 1 2 3 4 5 6 7 8 9 10; do sleep 1; \
        python3 -c 'import urllib.request as r; print(r.urlopen(\"http://127.0.0.1:8000/healthz\").read())' 2>/dev/null \
        && exit 0; done; exit 1";
    let answer = env.reimage(["run", "images.web", "--", "sh", "-c", script]).expect(0).out();
    assert!(answer.contains("\"status\":\"ok\""), "{answer}");
    // What dpkg and a step compiled is what Python takes: times in the image are those that they saw.
    let script = "python3 -v -c 'import main' 2>&1 | python3 -c 'import sys; t = sys.stdin.read(); \
        print(*[t.count(w) > 0 for w in (\"matches /usr/lib/python3/dist-packages/flask/\", \"matches /opt/app/main.py\", \"# wrote\", \"stale\")])'";
    let compiled =
        env.reimage(["run", "-q", "images.web", "--", "sh", "-c", script]).expect(0).out();
    assert_eq!(compiled, "True True False False");

    let built = env.reimage(["build", "images.web"]).expect(0).out();
    let digest = built.trim().rsplit(' ').next().expect("a digest").to_owned();
    let archive = env.path("web.tar");
    let archive = archive.to_str().expect("a temporary path is text");
    env.reimage(["save", "images.web", "--format", "oci", "-o", archive]).expect(0).out();
    let inspected = output(
        Command::new("skopeo")
            .args(["inspect", "--format", "{{.Digest}}"])
            .arg(format!("oci-archive:{archive}")),
    );
    assert_eq!(inspected.trim(), digest, "skopeo sees the digest that we print");

    // umoci keeps owners only as root; as anybody else it maps them away.
    let layout = format!("{}:web", env.path("layout").display());
    output(
        Command::new("skopeo")
            .args(["copy", "--quiet"])
            .arg(format!("oci-archive:{archive}"))
            .arg(format!("oci:{layout}")),
    );
    let bundle = env.path("bundle");
    let mut unpack = Command::new("umoci");
    unpack.args(["unpack", "--image", &layout]).arg(&bundle);
    if !is_root() {
        unpack.arg("--rootless");
    }
    output(&mut unpack);
    let tmp = fs_err::metadata(bundle.join("rootfs/tmp")).expect("every Debian has it");
    assert_eq!(tmp.mode() & 0o7777, 0o1777);
    assert!(bundle.join("rootfs/opt/app/main.py").exists());
    assert!(bundle.join("rootfs/opt/app/__pycache__").exists(), "the step compiled it");
}

fn output(command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}: `cargo xtask test` installs it"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

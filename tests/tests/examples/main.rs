//! Every example builds, runs, and has one digest whoever builds it.
//!
//! All but `hello` take packages from the mirrors that this machine's apt uses.

#![expect(clippy::disallowed_methods, reason = "the order of files is what must not matter")]

mod container;
mod shared;

use std::path::{Path, PathBuf};

use crate::shared::Caches;
use reimage_tests::{TestEnv, answer, assert_same_files, files, free_port, is_root, tool};

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

/// A machine with this example as its project, and a lock if one was made elsewhere.
fn machine(name: &str, lock: Option<&str>) -> TestEnv {
    let env = TestEnv::new();
    copy(&example(name), &env.path(""));
    if let Some(lock) = lock {
        env.file("reimage.lock", lock);
    }
    env
}

/// Builds an example twice, by two users on two machines; gives the first machine.
fn one_digest(name: &str) -> TestEnv {
    one_digest_of(name, machine(name, None))
}

/// The same, and a third and a fourth time from what the first machine gave to caches.
fn one_digest_and_shared(name: &str) -> TestEnv {
    let (first, caches) = (machine(name, None), Caches::new());
    caches.written_by(&first);
    let first = one_digest_of(name, first);
    let built = first.reimage(["build", "--no-cache"]).expect(0).out();
    caches.check(&built, || machine(name, Some(&first.read("reimage.lock"))));
    first
}

fn one_digest_of(name: &str, first: TestEnv) -> TestEnv {
    let built = first.reimage(["build"]).expect(0).out();
    assert!(!built.is_empty());
    let lock = first.path("reimage.lock").exists().then(|| first.read("reimage.lock"));
    let second = machine(name, lock.as_deref());
    let again = second.as_plain_user(["build", "-j1"]).expect(0).out();
    assert_eq!(built, again, "{name}");
    assert_eq!(built, first.reimage(["build"]).expect(0).out(), "{name}, again");
    first
}

#[test]
fn hello() {
    let env = one_digest("hello");
    assert_eq!(env.reimage(["build"]).expect(0).out().trim(), format!("images.hello {HELLO}"));
}

/// The file system of an image, as a directory.
fn root(env: &TestEnv, image: &str) -> PathBuf {
    let _ = env.reimage(["save", image, "--format", "rootfs-dir", "-o", "root"]).expect(0);
    env.path("root")
}

#[test]
fn distroless() {
    let env = one_digest("distroless");
    assert!(!env.reimage(["run", "images.clock"]).expect(0).out().is_empty());
    let root = root(&env, "images.clock");
    assert!(root.join("usr/bin/clock").exists());
    for missing in ["bin/sh", "usr/bin/sh", "usr/bin/dpkg", "usr/share/doc"] {
        assert!(!root.join(missing).exists(), "{missing}");
    }
}

#[test]
fn c_multistage() {
    let env = one_digest("c-multistage");
    assert_eq!(env.reimage(["run", "images.greet"]).expect(0).out(), "Hello, world!");
    let _ = env.reimage(["build", "exports.greet", "--output", "dist"]).expect(0);
    assert!(env.path("dist/greet").exists());
    let root = root(&env, "images.greet");
    let programs: Vec<_> = files(&root)
        .into_keys()
        .filter(|path| path.starts_with("usr/bin") || path.starts_with("usr/local/bin"))
        .collect();
    assert!(programs.iter().any(|path| path.ends_with("greet")), "{programs:?}");
    assert!(!programs.iter().any(|path| path.ends_with("gcc")), "the compiler stays behind");
}

#[test]
fn monorepo() {
    let env = one_digest_and_shared("monorepo");
    // One lock for all: a service alone is the same image.
    let all = env.reimage(["build"]).expect(0).out();
    let web = env.reimage(["build", "services/web#images.web"]).expect(0).out();
    assert!(all.lines().any(|line| line == web), "{web} is not in {all}");
    assert!(!env.path("services/web/reimage.lock").exists());
    // Checks gate: the image of a service whose test fails is not made, and the others are.
    let test = "services/web/src/test_main.py";
    let failing = format!("{}\n    def test_never(self):\n        self.fail()\n", env.read(test));
    env.file(test, failing);
    let ran = env.reimage(["build", "images.web"]).expect(2);
    assert!(ran.err().contains("test_never") && ran.out().is_empty(), "{ran}");
    let ran = env.reimage(["build", "images.accounts", "images.billing"]).expect(0);
    assert_eq!(ran.out().lines().count(), 2, "{ran}");
}

#[test]
fn python_web_answers_wherever_it_runs() {
    let env = one_digest_and_shared("python-web");
    let port = free_port();
    let bind = format!("--bind=127.0.0.1:{port}");
    let server = ["gunicorn", &bind, "main:app"];
    let mut run = env.command();
    run.args(["run", "images.web", "--network", "host", "--"]).args(server);
    let answered = answer(&mut run, port, "/healthz");
    assert!(answered.contains("\"status\":\"ok\""), "{answered}");
    // What dpkg and a step compiled is what Python takes: times in the image are those that they saw.
    let script = "python3 -v -c 'import main' 2>&1 | python3 -c 'import sys; t = sys.stdin.read(); \
        print(*[t.count(w) > 0 for w in (\"matches /usr/lib/python3/dist-packages/flask/\", \"matches /opt/app/main.py\", \"# wrote\", \"stale\")])'";
    let compiled =
        env.reimage(["run", "-q", "images.web", "--", "sh", "-c", script]).expect(0).out();
    assert_eq!(compiled, "True True False False");

    let digest = env.reimage(["build", "images.web"]).expect(0).out();
    let digest = digest.rsplit(' ').next().expect("a digest");
    let _ = env.reimage(["save", "images.web", "--format", "oci", "-o", "web.tar"]).expect(0);
    let archive = format!("oci-archive:{}", env.path("web.tar").display());
    let inspected = tool("skopeo", ["inspect", "--format", "{{.Digest}}", &archive]);
    assert_eq!(inspected.trim(), digest, "skopeo sees the digest that we print");
    let layout = format!("{}:web", env.path("layout").display());
    tool("skopeo", ["copy", "--quiet", &archive, &format!("oci:{layout}")]);
    let bundle = env.path("bundle");
    let bundle = bundle.to_str().expect("temporary directories have UTF-8 names");
    if !is_root() {
        // Without root umoci keeps no owners, and crun needs a control group that it may use.
        tool("umoci", ["unpack", "--rootless", "--image", &layout, bundle]);
        return;
    }
    tool("umoci", ["unpack", "--image", &layout, bundle]);
    assert_same_files(&Path::new(bundle).join("rootfs"), &root(&env, "images.web"));
    let port = free_port();
    let bind = format!("--bind=127.0.0.1:{port}");
    let answered = container::answer(Path::new(bundle), &["gunicorn", &bind, "main:app"], port);
    assert!(answered.contains("\"status\":\"ok\""), "{answered}");
}

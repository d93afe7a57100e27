//! docker and containerd, each with a daemon of its own in a directory of its own; only root can start them.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use tempfile::TempDir;

use crate::TestEnv;

/// A daemon; it ends with the value.
#[derive(Debug)]
pub struct Daemon {
    directory: TempDir,
    child: Child,
}

impl Daemon {
    /// docker's, with a containerd of its own below it; none where a machine does not let it run.
    pub fn docker() -> Option<Self> {
        Self::start("dockerd", |at| {
            let socket = format!("unix://{}", at("socket"));
            let places = [
                ("--host", socket),
                ("--data-root", at("root")),
                ("--exec-root", at("exec")),
                ("--pidfile", at("pid")),
                ("--config-file", at("config")),
                ("--storage-driver", "vfs".to_owned()),
                ("--bridge", "none".to_owned()),
            ];
            let mut arguments = vec!["--iptables=false".to_owned(), "--ip6tables=false".to_owned()];
            arguments.extend(places.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]));
            arguments
        })
    }

    /// containerd; none where a machine does not let it run.
    pub fn containerd() -> Option<Self> {
        Self::start("containerd", |at| {
            let (root, state, socket) = (at("root"), at("state"), at("socket"));
            let config = format!(
                "version = 2\nroot = \"{root}\"\nstate = \"{state}\"\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n\
                 [grpc]\naddress = \"{socket}\"\n"
            );
            fs_err::write(at("config"), config).expect("writable");
            vec!["--config".to_owned(), at("config")]
        })
    }

    #[expect(clippy::print_stderr, reason = "a test says what it does not test")]
    fn start(
        program: &str,
        arguments: impl Fn(&dyn Fn(&str) -> String) -> Vec<String>,
    ) -> Option<Self> {
        // Paths of sockets are short.
        let directory = tempfile::Builder::new().prefix("reimage-").tempdir().expect("a directory");
        let root = directory.path().to_owned();
        let at = |name: &str| root.join(name).to_str().expect("a plain name").to_owned();
        let arguments = arguments(&at);
        if !Path::new(&at("config")).exists() {
            fs_err::write(at("config"), "{}").expect("writable");
        }
        let log = fs_err::File::create(at("log")).expect("writable").into_file();
        let mut command = Command::new(program);
        command.args(&arguments).env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = command.spawn().unwrap_or_else(|error| {
            panic!("{command:?}: {error}: `cargo xtask test` installs what the tests need")
        });
        let mut daemon = Self { directory, child };
        for _ in 0..300 {
            if std::os::unix::net::UnixStream::connect(at("socket")).is_ok() {
                return Some(daemon);
            }
            if daemon.child.try_wait().is_ok_and(|ended| ended.is_some()) {
                break;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        let log = fs_err::read_to_string(at("log")).unwrap_or_default();
        let last = log.lines().last().unwrap_or_default();
        let lacking = ["cgroup", "operation not permitted", "permission denied"];
        if lacking.iter().any(|what| last.to_lowercase().contains(what)) {
            // Within a container nobody may run another engine.
            eprintln!("{program} does not run on this machine: {last}");
            return None;
        }
        panic!("{log}");
    }

    /// Where it listens.
    pub fn socket(&self) -> String {
        self.directory.path().join("socket").to_str().expect("a plain name").to_owned()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It has children and mounts of its own, which only it can put in order.
        let _ = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        for _ in 0..100 {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl TestEnv {
    /// Has podman keep its images in this environment: what sets it.
    pub fn podman(&self) -> (&'static str, String) {
        let place = |name: &str| self.root().join(name).to_str().expect("plain").to_owned();
        let (root, run) = (place("podman"), place("podman-run"));
        let config =
            format!("[storage]\ndriver = \"vfs\"\ngraphroot = \"{root}\"\nrunroot = \"{run}\"\n");
        let path = place("storage.conf");
        fs_err::write(&path, config).expect("writable");
        ("CONTAINERS_STORAGE_CONF", path)
    }
}

//! A container of crun from a bundle that umoci unpacked.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

/// The state of containers, of which there is one; it ends with the value.
struct State(PathBuf);

impl Drop for State {
    fn drop(&mut self) {
        let mut crun = Command::new("crun");
        crun.arg("--root").arg(&self.0).args([
            "--cgroup-manager=disabled",
            "delete",
            "--force",
            "web",
        ]);
        let _ = crun.status();
    }
}

/// Starts `arguments` in the container on this machine's network, asks it for `/healthz`, and ends it.
pub(crate) fn answer(bundle: &Path, arguments: &[&str], port: u16) -> String {
    configure(&bundle.join("config.json"), arguments);
    let state = State(bundle.with_extension("state"));
    // crun does not take the hybrid hierarchy of control groups that some machines have: it gets one of its own.
    let mut server = Command::new("unshare");
    server.args(["--mount", "sh", "-e", "-c"]).arg(
        "umount -R /sys/fs/cgroup 2>/dev/null || true
        mount -t cgroup2 none /sys/fs/cgroup
        exec crun --root \"$0\" --cgroup-manager=disabled run --bundle \"$1\" web",
    );
    reimage_tests::answer(server.arg(&state.0).arg(bundle), port, "/healthz")
}

/// What umoci wrote, for another command, without a terminal and without limits of our machine.
fn configure(path: &Path, arguments: &[&str]) {
    let config = fs_err::read(path).expect("umoci wrote it");
    let mut config: Value = serde_json::from_slice(&config).expect("JSON");
    assert_eq!(config["process"]["cwd"], "/opt/app");
    let www_data = 33;
    assert_eq!(config["process"]["user"]["uid"], www_data);
    config["process"]["terminal"] = Value::Bool(false);
    config["process"]["args"] = arguments.iter().copied().map(Value::from).collect();
    config["process"]["rlimits"] = Value::Array(Vec::new());
    let linux = config["linux"].as_object_mut().expect("a container of Linux");
    linux.remove("resources");
    let namespaces = linux["namespaces"].as_array_mut().expect("a list");
    namespaces.retain(|namespace| namespace["type"] != "network" && namespace["type"] != "cgroup");
    let mounts = config["mounts"].as_array_mut().expect("a list");
    mounts.retain(|mount| mount["destination"] != "/sys/fs/cgroup");
    fs_err::write(path, config.to_string()).expect("it is ours");
}

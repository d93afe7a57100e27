//! BuildKit, where it is installed: a daemon of our own, for the time of a benchmark.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use super::remove;
use crate::command::{output, status};

/// How often the new daemon is asked whether it is there, and how long it is waited for in between.
const TRIES: (u32, Duration) = (100, Duration::from_millis(100));

/// A running daemon; it goes with this.
pub(super) struct Buildkit {
    daemon: Child,
    directory: PathBuf,
}

/// An image in an OCI layout to build on.
pub(super) struct Base {
    layout: PathBuf,
    digest: String,
}

impl Base {
    /// The only image of a layout.
    pub(super) fn open(layout: &Path) -> Result<Self, String> {
        let path = layout.join("index.json");
        let text = fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        let index: serde_json::Value = serde_json::from_str(&text).map_err(|e| e.to_string())?;
        let digest = index["manifests"][0]["digest"].as_str().ok_or("A layout without image")?;
        Ok(Self { layout: layout.to_owned(), digest: digest.to_owned() })
    }

    /// What says that `base` in a Dockerfile is this.
    pub(super) fn arguments(&self) -> Vec<String> {
        vec![
            format!("--oci-layout=base={}", self.layout.display()),
            format!("--opt=context:base=oci-layout://base@{}", self.digest),
        ]
    }
}

impl Buildkit {
    /// Its version, if it can run here.
    pub(super) fn version() -> Option<String> {
        ["buildctl", "runc"].iter().try_for_each(|p| output(p, &["--version"]).map(drop)).ok()?;
        output("buildkitd", &["--version"]).ok()
    }

    /// Starts one that keeps everything in `directory`, if this machine has it. It speaks to `registry` without
    /// encryption.
    pub(super) fn start(directory: &Path, registry: Option<&str>) -> Result<Option<Self>, String> {
        if Self::version().is_none() {
            println!("No BuildKit here (buildkitd, buildctl, runc): its rows are left out");
            return Ok(None);
        }
        remove(directory)?;
        fs::create_dir_all(directory).map_err(|e| format!("{}: {e}", directory.display()))?;
        let config = directory.join("buildkitd.toml");
        let plain = registry.map(|host| format!("[registry.\"{host}\"]\nhttp = true\n"));
        fs::write(&config, plain.unwrap_or_default()).map_err(|e| e.to_string())?;
        // In mounts of its own, which go with it.
        let daemon = Command::new("unshare")
            .args(["--mount", "--propagation=private", "buildkitd", "--root"])
            .arg(directory.join("state"))
            .arg("--config")
            .arg(config)
            .args(["--oci-worker-net=host", "--oci-worker-snapshotter=overlayfs"])
            .args(["--oci-worker-gc=false", "--containerd-worker=false", "--addr"])
            .arg(address(directory))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|e| format!("Cannot start buildkitd: {e}"))?;
        let this = Self { daemon, directory: directory.to_owned() };
        for _ in 0..TRIES.0 {
            if status(this.control().args(["debug", "workers"])).is_ok() {
                return Ok(Some(this));
            }
            thread::sleep(TRIES.1);
        }
        Err("buildkitd does not answer".to_owned())
    }

    fn control(&self) -> Command {
        let mut command = Command::new("buildctl");
        command.arg("--addr").arg(address(&self.directory));
        command
    }

    /// Builds the Dockerfile in `dockerfile`; what was said.
    pub(super) fn build(
        &self,
        dockerfile: &Path,
        context: &Path,
        arguments: &[String],
    ) -> Result<String, String> {
        let mut command = self.control();
        command.args(["build", "--progress=plain", "--frontend=dockerfile.v0"]);
        command.arg(format!("--local=dockerfile={}", dockerfile.display()));
        command.arg(format!("--local=context={}", context.display()));
        command.args(arguments);
        let output = command.output().map_err(|e| format!("Cannot start buildctl: {e}"))?;
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() { Ok(log) } else { Err(format!("buildctl failed:\n{log}")) }
    }
}

impl Drop for Buildkit {
    fn drop(&mut self) {
        // Nothing runs in it any more, and what it keeps goes with it.
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
        let _ = remove(&self.directory);
    }
}

fn address(directory: &Path) -> String {
    format!("unix://{}", directory.join("socket").display())
}

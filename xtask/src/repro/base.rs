//! An application on a base image as one more example: the image lies in a registry on this machine, which the first
//! build asks what it is.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{command::status, registry::Registry, setup};

/// The registry with the image, and a machine of its own that pushed it.
pub(super) struct Base {
    reimage: PathBuf,
    directory: PathBuf,
    registry: Registry,
}

impl Base {
    /// Builds the image and pushes it to a registry that lives as long as this.
    pub(super) fn new(root: &Path, reimage: &Path) -> Result<Self, String> {
        setup::install(&[("docker-registry", "docker-registry"), ("skopeo", "skopeo")])?;
        let directory = std::env::temp_dir().join(format!("reimage-base-{}", std::process::id()));
        let example = directory.join("example");
        let shown = directory.display().to_string();
        let io = |e: std::io::Error| format!("{shown}: {e}");
        fs::create_dir_all(&directory).map_err(io)?;
        status(Command::new("cp").arg("-r").arg(root.join("xtask/src/repro/base")).arg(&example))?;
        let registry = Registry::start(&directory.join("registry"))?;
        let base = Self { reimage: reimage.to_owned(), directory, registry };
        status(base.command(&["push", "below.ncl#images.python"]).arg(base.name("base")))?;
        for other in ["below.ncl", "reimage.lock"] {
            fs::remove_file(example.join(other)).map_err(io)?;
        }
        let spec = fs::read_to_string(example.join("spec.ncl")).map_err(io)?;
        let spec = spec.replace("@IMAGE@", &base.name("base"));
        fs::write(example.join("spec.ncl"), spec).map_err(io)?;
        Ok(base)
    }

    /// Where the example lies.
    pub(super) fn example(&self) -> PathBuf {
        self.directory.join("example")
    }

    /// Fails unless the application's image has the base image's layers as they are, and a registry the digest that
    /// all builds have.
    pub(super) fn check(&self, digests: &str, lock: &str) -> Result<(), String> {
        fs::write(self.example().join("reimage.lock"), lock).map_err(|e| e.to_string())?;
        status(self.command(&["push", "images.app"]).arg(self.name("app")))?;
        let below = self.manifest("base")?;
        let above = self.manifest("app")?;
        let layers = |manifest: &serde_json::Value| {
            manifest["layers"].as_array().cloned().unwrap_or_default()
        };
        let (below, above) = (layers(&below), layers(&above));
        if below.is_empty() || above.len() != below.len() + 2 || !above.starts_with(&below) {
            return Err(format!("The base image's layers are others:\n{below:#?}\n{above:#?}"));
        }
        let remote = format!("docker://{}", self.name("app"));
        let arguments = ["inspect", "--tls-verify=false", "--format", "{{.Digest}}", &remote];
        let digest = crate::command::output("skopeo", &arguments)?;
        if digests.lines().any(|line| line == format!("images.app {}", digest.trim())) {
            return Ok(());
        }
        Err(format!("The registry has {digest}, and was built:\n{digests}"))
    }

    fn name(&self, name: &str) -> String {
        format!("{}/{name}:1", self.registry.host())
    }

    fn manifest(&self, name: &str) -> Result<serde_json::Value, String> {
        let remote = format!("docker://{}", self.name(name));
        let raw =
            crate::command::output("skopeo", &["inspect", "--tls-verify=false", "--raw", &remote])?;
        serde_json::from_str(&raw).map_err(|e| e.to_string())
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.reimage);
        command.args(arguments).current_dir(self.example()).env_clear();
        command
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("HOME", self.directory.join("home"));
        command
    }
}

impl Drop for Base {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

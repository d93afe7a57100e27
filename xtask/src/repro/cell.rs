//! One example built in one way, in a scratch directory of its own.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use super::{
    checkout,
    way::{Way, Who},
};

/// What a build printed, and the lock that it stands on.
pub(crate) struct Got {
    pub(crate) digests: String,
    pub(crate) lock: Option<String>,
}

/// One example, ready to be built in one way.
pub(crate) struct Cell<'a> {
    reimage: &'a Path,
    way: &'a Way,
    /// Whom it is built as; nobody to stay who we are.
    ids: Option<(u32, u32)>,
    scratch: PathBuf,
    checkout: PathBuf,
}

impl<'a> Cell<'a> {
    pub(crate) fn new(
        reimage: &'a Path,
        source: &Path,
        way: &'a Way,
        ids: Option<(u32, u32)>,
        lock: Option<&str>,
    ) -> Result<Self, String> {
        let base = if way.memory { PathBuf::from("/dev/shm") } else { std::env::temp_dir() };
        let scratch = base.join(format!("reimage-repro-{}", std::process::id()));
        let checkout = scratch.join(way.checkout);
        let cell = Self { reimage, way, ids, scratch, checkout };
        cell.prepare(source, lock)
            .map_err(|e| format!("Cannot prepare {}: {e}", cell.scratch.display()))?;
        Ok(cell)
    }

    fn prepare(&self, source: &Path, lock: Option<&str>) -> std::io::Result<()> {
        fs::create_dir_all(&self.checkout)?;
        checkout::make(source, &self.checkout, self.way)?;
        if let Some(lock) = lock {
            fs::write(self.checkout.join("reimage.lock"), lock)?;
        }
        let config = self.home().join(".config/reimage");
        fs::create_dir_all(&config)?;
        fs::create_dir_all(self.scratch.join("tmp"))?;
        if self.way.who == Who::Mapped {
            fs::write(config.join("config.toml"), "[sandbox]\nids = \"newuidmap\"\n")?;
        }
        self.ids.map_or(Ok(()), |ids| checkout::own(&self.scratch, ids))
    }

    fn home(&self) -> PathBuf {
        self.scratch.join(self.way.home)
    }

    pub(crate) fn build(&mut self) -> Result<Got, String> {
        let mut digests = if self.way.killed { self.killed()? } else { self.output()? };
        if self.way.touched {
            checkout::touch_all(&self.checkout, 1).map_err(|e| e.to_string())?;
            let again = self.output()?;
            if again != digests {
                return Err(format!("Touched, it is another:\n{digests}{again}"));
            }
        }
        if self.way.moved {
            let other = Way { days: 77, umask: "077", ..*self.way };
            let to = self.scratch.join("another/checkout");
            fs::create_dir_all(&to)
                .and_then(|()| checkout::make(&self.checkout, &to, &other))
                .map_err(|e| format!("Cannot copy to {}: {e}", to.display()))?;
            self.checkout = to;
            digests = self.output()?;
        }
        let lock = fs::read_to_string(self.checkout.join("reimage.lock")).ok();
        Ok(Got { digests, lock })
    }

    fn output(&self) -> Result<String, String> {
        let mut command = self.command();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().map_err(|e| e.to_string())?;
        if self.way.date.is_some() && !believes(child.id()) {
            return Err(format!("{}: faketime does not reach reimage", self.way.name));
        }
        let output = child.wait_with_output().map_err(|e| e.to_string())?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        Err(format!("{}: the build failed:\n{error}", self.way.name))
    }

    /// Ends the build by SIGKILL after 5, 10, 20 .. ms, whatever it is doing, and lets the last one go on.
    fn killed(&self) -> Result<String, String> {
        for shift in 0..14 {
            let mut command = self.command();
            command.stdout(Stdio::null()).stderr(Stdio::null());
            let mut child = command.spawn().map_err(|e| e.to_string())?;
            std::thread::sleep(Duration::from_millis(5 << shift));
            let ended = child.try_wait().map_err(|e| e.to_string())?.is_some();
            let _ = child.kill();
            let _ = child.wait();
            if ended {
                break;
            }
        }
        self.output()
    }

    fn command(&self) -> Command {
        let Way { umask, hostname, jobs, date, .. } = self.way;
        let rename = hostname.map_or(String::new(), |name| format!("hostname {name};"));
        let become_user = self.ids.map_or(String::new(), |(uid, gid)| {
            format!("setpriv --reuid={uid} --regid={gid} --clear-groups")
        });
        // Not by the program `faketime`: it stays in between, and a kill would hit it instead.
        let date = date.map_or(String::new(), |date| {
            format!("env LD_PRELOAD='/usr/$LIB/faketime/libfaketime.so.1' FAKETIME='@{date}'")
        });
        let line =
            format!("{rename} umask {umask}; exec {become_user} {date} \"$0\" build -j {jobs}");
        let mut command =
            if hostname.is_some() { Command::new("unshare") } else { Command::new("sh") };
        if hostname.is_some() {
            command.args(["--uts", "sh"]);
        }
        let env: BTreeMap<&str, &str> = self.way.env.iter().copied().collect();
        command.arg("-c").arg(line).arg(self.reimage).current_dir(&self.checkout);
        command
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
            .env("HOME", self.home())
            .env("TMPDIR", self.scratch.join("tmp"))
            .envs(env);
        command
    }
}

/// Whether the process, once it is reimage, has the library loaded that tells it another date.
fn believes(process: u32) -> bool {
    let proc = PathBuf::from(format!("/proc/{process}"));
    for _ in 0..1000 {
        let program = fs::read_link(proc.join("exe")).unwrap_or_default();
        let name = program.file_name().unwrap_or_default().to_string_lossy();
        let maps = fs::read_to_string(proc.join("maps")).unwrap_or_default();
        if name.starts_with("reimage") && maps.contains("libfaketime") {
            return true;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    false
}

impl Drop for Cell<'_> {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.scratch);
    }
}

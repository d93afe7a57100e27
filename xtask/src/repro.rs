//! The reproducibility matrix: each example, built under everything that must not matter, has one digest.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, SystemTime},
};

use crate::command::run;

/// Examples that need nothing but the machine's Debian mirrors; the first needs no network at all.
const QUICK: [&str; 2] = ["hello", "distroless"];
const FULL: [&str; 5] = ["hello", "distroless", "c-multistage", "python-web", "monorepo"];

/// A plain user that need not exist: nothing looks it up.
const PLAIN: u32 = 54_321;

const DAY: Duration = Duration::from_hours(24);

/// F, from 1970 on.
const F: Duration = Duration::from_hours(498_192);

/// One way to build.
#[expect(clippy::struct_excessive_bools, reason = "each is a thing that happens or does not")]
struct Way {
    name: &'static str,
    /// Where the checkout lies, below the scratch directory.
    checkout: &'static str,
    /// Environment over the plain one.
    env: &'static [(&'static str, &'static str)],
    umask: &'static str,
    user: u32,
    jobs: &'static str,
    /// Days from F that the files of the checkout have as their time.
    days: i64,
    /// Files are made in reverse order.
    reversed: bool,
    hostname: Option<&'static str>,
    /// The store lies in memory.
    memory: bool,
    /// Killed on the way and started again.
    killed: bool,
    /// Built, touched, built again in the same store.
    touched: bool,
}

const PLAINLY: Way = Way {
    name: "plainly",
    checkout: "a",
    env: &[],
    umask: "022",
    user: 0,
    jobs: "2",
    days: -30,
    reversed: false,
    hostname: None,
    memory: false,
    killed: false,
    touched: false,
};

const WAYS: [Way; 11] = [
    PLAINLY,
    Way { name: "as a plain user", user: PLAIN, ..PLAINLY },
    Way {
        name: "in a directory of another length",
        checkout: "a/longer/path/to/the/same/thing",
        ..PLAINLY
    },
    Way {
        name: "with another time zone, language and home",
        env: &[
            ("TZ", "Pacific/Kiritimati"),
            ("LANG", "de_DE.UTF-8"),
            ("LC_ALL", "tr_TR.UTF-8"),
            ("SOURCE_DATE_EPOCH", "1"),
        ],
        ..PLAINLY
    },
    Way { name: "umask 077", umask: "077", user: PLAIN, ..PLAINLY },
    Way { name: "a checkout newer than F", days: 400, ..PLAINLY },
    Way { name: "-j8, files made in reverse order", jobs: "8", reversed: true, ..PLAINLY },
    Way { name: "-j1, another host name", jobs: "1", hostname: Some("elsewhere"), ..PLAINLY },
    Way { name: "a store in memory", memory: true, ..PLAINLY },
    Way { name: "killed and started again", killed: true, ..PLAINLY },
    Way { name: "touched and built again", touched: true, user: PLAIN, ..PLAINLY },
];

/// Builds every example in every way and compares.
pub(crate) fn repro(full: bool) -> Result<(), String> {
    run("cargo", &["build", "--release", "--package", "reimage"])?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let reimage = root
        .join("target/release/reimage")
        .canonicalize()
        .map_err(|e| format!("No reimage: {e}"))?;
    let is_root =
        fs::metadata("/proc/self").is_ok_and(|m| std::os::unix::fs::MetadataExt::uid(&m) == 0);
    let mut bad = Vec::new();
    let mut cells = 0;
    for example in if full { &FULL[..] } else { &QUICK[..] } {
        let source = root.join("examples").join(example);
        let mut lock = None;
        let mut expected: Option<String> = None;
        for way in &WAYS {
            if !is_root && (way.user != 0 || way.hostname.is_some()) {
                println!("{example}: {}: skipped, it needs root", way.name);
                continue;
            }
            let got = Cell::new(&reimage, &source, way, lock.as_deref())?.build()?;
            cells += 1;
            lock = lock.or(got.lock);
            let same = expected.get_or_insert_with(|| got.digests.clone()) == &got.digests;
            println!("{example}: {}: {}", way.name, if same { "same" } else { "DIFFERENT" });
            if !same {
                bad.push(format!("{example}: {}\n{}", way.name, got.digests));
            }
        }
    }
    println!("{} passed, {} failed", cells - bad.len(), bad.len());
    if bad.is_empty() { Ok(()) } else { Err(format!("Different digests:\n{}", bad.join("\n"))) }
}

/// One example built in one way.
struct Cell<'a> {
    reimage: &'a Path,
    way: &'a Way,
    scratch: PathBuf,
    checkout: PathBuf,
}

struct Got {
    digests: String,
    lock: Option<String>,
}

impl<'a> Cell<'a> {
    fn new(
        reimage: &'a Path,
        source: &Path,
        way: &'a Way,
        lock: Option<&str>,
    ) -> Result<Self, String> {
        let base = if way.memory { PathBuf::from("/dev/shm") } else { std::env::temp_dir() };
        let scratch = base.join(format!("reimage-repro-{}", std::process::id()));
        let _ = fs::remove_dir_all(&scratch);
        let checkout = scratch.join(way.checkout);
        let error = |e: std::io::Error| format!("Cannot prepare {}: {e}", scratch.display());
        fs::create_dir_all(&checkout).map_err(error)?;
        copy(source, &checkout, way).map_err(error)?;
        if let Some(lock) = lock {
            fs::write(checkout.join("reimage.lock"), lock).map_err(error)?;
        }
        fs::create_dir_all(scratch.join("home")).map_err(error)?;
        own(&scratch, way.user).map_err(error)?;
        Ok(Self { reimage, way, scratch, checkout })
    }

    fn build(&self) -> Result<Got, String> {
        if self.way.killed {
            let mut child = self
                .command()
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .map_err(|e| e.to_string())?;
            std::thread::sleep(Duration::from_millis(1500));
            let _ = child.kill();
            let _ = child.wait();
        }
        if self.way.touched {
            self.output()?;
            copy(&self.checkout.clone(), &self.checkout, &Way { days: 1, ..PLAINLY })
                .map_err(|e| e.to_string())?;
            own(&self.scratch, self.way.user).map_err(|e| e.to_string())?;
        }
        let digests = self.output()?;
        let lock = fs::read_to_string(self.checkout.join("reimage.lock")).ok();
        Ok(Got { digests, lock })
    }

    fn output(&self) -> Result<String, String> {
        let output = self.command().output().map_err(|e| e.to_string())?;
        if !output.status.success() {
            let error = String::from_utf8_lossy(&output.stderr).into_owned();
            return Err(format!("{}: the build failed:\n{error}", self.way.name));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn command(&self) -> Command {
        let Way { umask, user, hostname, jobs, .. } = self.way;
        let rename = hostname.map_or(String::new(), |name| format!("hostname {name};"));
        let become_user = if *user == 0 {
            String::new()
        } else {
            format!("setpriv --reuid={user} --regid={user} --clear-groups")
        };
        let line = format!("{rename} umask {umask}; exec {become_user} \"$0\" build -j {jobs}");
        let mut command =
            if hostname.is_some() { Command::new("unshare") } else { Command::new("sh") };
        if hostname.is_some() {
            command.args(["--uts", "sh"]);
        }
        let home = self.scratch.join("home");
        let env: BTreeMap<&str, &str> = self.way.env.iter().copied().collect();
        command.arg("-c").arg(line).arg(self.reimage).current_dir(&self.checkout);
        command
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
            .env("HOME", home)
            .envs(env);
        command
    }
}

impl Drop for Cell<'_> {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.scratch);
    }
}

/// Copies a checkout, or touches it where it lies, as `way` says.
fn copy(from: &Path, to: &Path, way: &Way) -> std::io::Result<()> {
    let mut entries: Vec<_> = fs::read_dir(from)?.collect::<Result<_, _>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    if way.reversed {
        entries.reverse();
    }
    let mask = u32::from_str_radix(way.umask, 8).unwrap_or(0o022);
    for entry in entries {
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type()?.is_dir() {
            fs::create_dir_all(&target)?;
            copy(&path, &target, way)?;
            fs::set_permissions(&target, fs::Permissions::from_mode(0o777 & !mask))?;
            continue;
        }
        if path != target {
            fs::copy(&path, &target)?;
        }
        let executable = entry.metadata()?.permissions().mode() & 0o100;
        let mode = if executable == 0 { 0o666 } else { 0o777 };
        fs::set_permissions(&target, fs::Permissions::from_mode(mode & !mask))?;
        let days = DAY * u32::try_from(way.days.unsigned_abs()).unwrap_or(0);
        let f = SystemTime::UNIX_EPOCH + F;
        let time = if way.days < 0 { f - days } else { f + days };
        fs::OpenOptions::new().write(true).open(&target)?.set_modified(time)?;
    }
    Ok(())
}

fn own(path: &Path, user: u32) -> std::io::Result<()> {
    if user == 0 {
        return Ok(());
    }
    // What a build left behind may not be ours to look into: only what a checkout is made of is handed over.
    if path.is_dir() && !path.ends_with("home/.cache") {
        for entry in fs::read_dir(path)? {
            own(&entry?.path(), user)?;
        }
    }
    chown(path, Some(user), Some(user))
}

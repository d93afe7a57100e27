//! How fast it is, beside the field's tools doing the same work in the same run: ratios for docs/benchmarks.md.

mod app;
mod buildkit;
mod chain;
mod debian;
mod determinism;
mod layer;
pub(crate) mod packages;
mod push;
mod timing;

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use crate::{
    command::{output, run},
    machine::remove,
    setup,
};

/// Programs that are measured beside ours, each with the Debian package that has it.
const PEERS: [(&str, &str); 5] = [
    ("buildah", "buildah"),
    ("bwrap", "bubblewrap"),
    ("docker-registry", "docker-registry"),
    ("mmdebstrap", "mmdebstrap"),
    ("skopeo", "skopeo"),
];

/// The suite that the benchmarks build of: the machine's own, as its apt has the packages.
pub(crate) const SUITE: &str = "bookworm";

/// One benchmark.
type Measure = fn(&Bench) -> Result<Vec<Row>, String>;

/// Measures what is named, or everything.
pub(crate) fn bench(names: &[String]) -> Result<(), String> {
    setup::install(&PEERS)?;
    let bench = Bench::new()?;
    let all: [(&str, Measure); 6] = [
        ("app", app::app),
        ("debian", debian::debian),
        ("chain", chain::chain),
        ("layer", layer::layer),
        ("push", push::push),
        ("determinism", determinism::determinism),
    ];
    for name in names {
        if name != "start" && all.iter().all(|(known, _)| known != name) {
            return Err(format!(
                "No benchmark `{name}`: app, debian, chain, layer, push, determinism, start"
            ));
        }
    }
    let wanted = |name: &str| names.is_empty() || names.iter().any(|other| other == name);
    let mut rows = Vec::new();
    for (name, measure) in all {
        if wanted(name) {
            rows.extend(measure(&bench)?);
        }
    }
    if wanted("start") {
        run("cargo", &["bench", "--quiet", "--package", "reimage-sandbox", "--bench", "start"])?;
    }
    println!("\n| work | beside it | took | ours | took | ratio |\n|---|---|---|---|---|---|");
    for row in rows {
        println!("{row}");
    }
    for (program, flag) in
        [("mmdebstrap", "--version"), ("skopeo", "--version"), ("bwrap", "--version")]
    {
        print!("{}", output(program, &[flag])?);
    }
    print!("{}", buildkit::Buildkit::version().unwrap_or_default());
    Ok(())
}

/// What was measured: a peer's time and ours, in seconds.
pub(crate) struct Row {
    work: &'static str,
    peer: &'static str,
    theirs: f64,
    what: &'static str,
    ours: f64,
}

impl std::fmt::Display for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { work, peer, theirs, what, ours } = self;
        let ratio = ours / theirs;
        write!(f, "| {work} | {peer} | {theirs:.4} s | {what} | {ours:.4} s | {ratio:.2} |")
    }
}

/// Where benchmarks work, and with what.
pub(crate) struct Bench {
    /// Kept between runs: packages are fetched once.
    directory: PathBuf,
    reimage: PathBuf,
}

impl Bench {
    fn new() -> Result<Self, String> {
        run("cargo", &["build", "--quiet", "--release", "--package", "reimage"])?;
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target");
        let root = root.canonicalize().map_err(|e| format!("No target directory: {e}"))?;
        let directory = root.join("bench");
        fs::create_dir_all(&directory).map_err(|e| format!("{}: {e}", directory.display()))?;
        Ok(Self { reimage: root.join("release/reimage"), directory })
    }

    /// A directory of a benchmark.
    fn at(&self, name: &str) -> Result<PathBuf, String> {
        let path = self.directory.join(name);
        fs::create_dir_all(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        Ok(path)
    }

    /// `reimage` in the project `at`, with the store `store`; returns what it wrote to stdout and to stderr.
    fn reimage<A: AsRef<OsStr>>(
        &self,
        at: &Path,
        store: &Path,
        arguments: &[A],
    ) -> Result<(String, String), String> {
        let mut command = Command::new(&self.reimage);
        command.args(arguments).arg("--store").arg(store).current_dir(at);
        let output = command.output().map_err(|e| format!("reimage: {e}"))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() {
            return Ok((text(&output.stdout), text(&output.stderr)));
        }
        Err(format!("reimage failed in {}:\n{}", at.display(), text(&output.stderr)))
    }
}

/// New stores of one benchmark, one a round: what was just deleted makes ext4 slow to create files (it does not use an
/// inode again for five seconds, and looks for another), so they go together, when all is measured.
struct Stores {
    directory: PathBuf,
    count: usize,
}

impl Stores {
    fn new(directory: PathBuf) -> Result<Self, String> {
        remove(&directory)?;
        fs::create_dir_all(&directory).map_err(|e| format!("{}: {e}", directory.display()))?;
        settle();
        Ok(Self { directory, count: 0 })
    }

    /// The path of one more, at which nothing lies.
    fn next(&mut self) -> PathBuf {
        self.count += 1;
        self.directory.join(self.count.to_string())
    }
}

impl Drop for Stores {
    fn drop(&mut self) {
        // What stays goes before the next run.
        let _ = remove(&self.directory);
        settle();
    }
}

/// Waits until what was written and deleted before is done with, so that nobody pays for the work of another.
fn settle() {
    rustix::fs::sync();
    thread::sleep(Duration::from_secs(6));
}

/// Writes a file of a benchmark's project; one that is as it should be stays.
fn write(path: &Path, content: &str) -> Result<(), String> {
    if fs::read_to_string(path).is_ok_and(|there| there == content) {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(|e| format!("{}: {e}", parent.display()))?;
    }
    fs::write(path, content).map_err(|e| format!("{}: {e}", path.display()))
}

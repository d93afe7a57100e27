//! A Python application of 5,000 files on Debian: nothing changed, and one file changed. Beside us a walk that only
//! looks at the files, and BuildKit if this machine has it.

use std::{
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

use super::{
    Bench, Row, SUITE,
    buildkit::{self, Buildkit},
    timing::{median, pair, seconds},
    write,
};

const FILES: usize = 5000;

/// The step's command, which says itself how long it takes: what a builder adds to it is the rest.
const COMMAND: &str =
    "s=$(date +%s%N); python3 -m compileall -q /opt/app; e=$(date +%s%N); echo took $((e - s)) ns";

pub(super) fn app(bench: &Bench) -> Result<Vec<Row>, String> {
    let project = bench.at("app")?;
    let spec = format!(
        r#"let re = import "reimage.ncl" in
{{
  steps = {{
    base | re.Debian = {{ suite = "{SUITE}", packages = ["python3", "ca-certificates"] }},
    source | re.Copy = {{ from = re.local {{ path = "app" }}, to = "/opt/app" }},
    app | re.Run = {{ from = [base, source], script = "{COMMAND}" }},
  }},
  images = {{
    app | re.Image = {{ layers = [steps.app], tags = ["app:1"] }},
    base | re.Image = {{ layers = [steps.base] }},
  }},
}} | re.Spec
"#
    );
    write(&project.join("spec.ncl"), &spec)?;
    application(&project.join("app"))?;
    let us = Us { bench, store: bench.at("stores/app")?, project };
    let peer = Peer::start(&us)?;
    let mut rows = no_op(&us, peer.as_ref())?;
    for (made, work) in [
        (Made::Step, "one file of them changed, beyond the step's own command"),
        (Made::Image, "the same, with the image packed"),
    ] {
        rows.extend(one_changed(&us, peer.as_ref(), made, work)?);
    }
    Ok(rows)
}

/// What is built.
#[derive(Clone, Copy)]
enum Made {
    /// The step that compiles, in the builder's own store.
    Step,
    /// The image of it, with gzip.
    Image,
}

fn no_op(us: &Us<'_>, peer: Option<&Peer>) -> Result<Vec<Row>, String> {
    let row = |peer, theirs, ours| Row {
        work: "no-op build, 5,000 files",
        peer,
        theirs,
        what: "reimage build",
        ours,
    };
    let app = us.project.join("app");
    us.build(Made::Image)?;
    let ours = || seconds(|| us.build(Made::Image));
    let (walk, time) =
        pair(25, || seconds(|| walk(&app).map_err(|e| format!("{}: {e}", app.display()))), ours)?;
    let mut rows = vec![row("one stat a file", walk, time)];
    if let Some(peer) = peer {
        peer.build(Made::Step)?;
        let (theirs, time) = pair(9, || seconds(|| peer.build(Made::Step)), ours)?;
        rows.push(row("BuildKit", theirs, time));
    }
    Ok(rows)
}

/// One module gets another constant; what counts is what comes on top of the step's own command.
fn one_changed(
    us: &Us<'_>,
    peer: Option<&Peer>,
    made: Made,
    work: &'static str,
) -> Result<Vec<Row>, String> {
    const ROUNDS: usize = 7;
    let (name, text) = file(0);
    let module = us.project.join("app").join(name);
    let run = std::process::id();
    let change = |round: usize| {
        // As no build before it, of this run or another.
        let line = format!("ROUND = \"{run} {made} {round}\"\n", made = made as u8);
        fs::write(&module, text.clone() + &line).map_err(|e| e.to_string())
    };
    let (mut command, mut ours, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        change(round)?;
        let (whole, step) = beyond(|| us.build(made))?;
        println!("{whole:9.4} s, of which the command {step:9.4} s");
        command.push(step);
        ours.push(whole - step);
        if let Some(peer) = peer {
            let (whole, step) = beyond(|| peer.build(made))?;
            println!("{whole:9.4} s, of which the command {step:9.4} s, by BuildKit");
            theirs.push(whole - step);
        }
    }
    write(&module, &text)?;
    let ours = median(ours);
    let row = |peer, theirs| Row { work, peer, theirs, what: "reimage build", ours };
    let mut rows = vec![row("the command itself", median(command))];
    if !theirs.is_empty() {
        rows.push(row("BuildKit", median(theirs)));
    }
    Ok(rows)
}

/// Seconds that a build takes, and those that its command says of itself.
fn beyond(build: impl FnOnce() -> Result<String, String>) -> Result<(f64, f64), String> {
    let mut log = String::new();
    let whole = seconds(|| {
        log = build()?;
        Ok(())
    })?;
    // BuildKit shows the command, too, in which no number stands there.
    let said = log.split("took ").find_map(|rest| rest.split(' ').next()?.parse().ok());
    let nanoseconds: f64 = said.ok_or_else(|| format!("The step did not run:\n{log}"))?;
    Ok((whole, nanoseconds / 1e9))
}

/// We, building the project.
struct Us<'a> {
    bench: &'a Bench,
    store: PathBuf,
    project: PathBuf,
}

impl Us<'_> {
    /// Builds the application; what its steps said.
    fn build(&self, made: Made) -> Result<String, String> {
        let target = match made {
            Made::Step => "steps.app",
            Made::Image => "images.app",
        };
        let arguments = ["build", target, "--verbose"];
        Ok(self.bench.reimage(&self.project, &self.store, &arguments)?.1)
    }
}

/// BuildKit, building the same on the same base.
struct Peer {
    daemon: Buildkit,
    context: PathBuf,
    base: buildkit::Base,
}

impl Peer {
    fn start(us: &Us<'_>) -> Result<Option<Self>, String> {
        let Some(daemon) = Buildkit::start(&us.bench.directory.join("buildkit"), None)? else {
            return Ok(None);
        };
        let base = us.project.join("base");
        super::remove(&base)?;
        let to = base.display().to_string();
        let arguments = ["save", "images.base", "--format", "oci-dir", "-o", &to];
        us.bench.reimage(&us.project, &us.store, &arguments)?;
        let dockerfile = format!("FROM base\nCOPY . /opt/app\nRUN {COMMAND}\n");
        write(&us.project.join("docker/Dockerfile"), &dockerfile)?;
        let context = us.project.join("app");
        Ok(Some(Self { daemon, context, base: buildkit::Base::open(&base)? }))
    }

    fn build(&self, made: Made) -> Result<String, String> {
        let dockerfile = self.context.with_file_name("docker");
        let archive = self.context.with_file_name("docker.tar");
        let mut arguments = self.base.arguments();
        if matches!(made, Made::Image) {
            arguments.push(format!("--output=type=oci,dest={}", archive.display()));
        }
        self.daemon.build(&dockerfile, &self.context, &arguments)
    }
}

/// Writes all the files.
pub(super) fn application(directory: &Path) -> Result<(), String> {
    (0..FILES).map(file).try_for_each(|(name, text)| write(&directory.join(name), &text))
}

/// The file of this number: one in five a module of Python, the others data, 8 kB each.
fn file(number: usize) -> (String, String) {
    let directory = number % 50;
    let mut text = String::new();
    // A generator of numbers that needs no crate and is the same everywhere.
    let mut state = number as u64 * 2 + 1;
    let mut next = |below: u64| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let module = number.is_multiple_of(5);
    let mut function = 0;
    while text.len() < 8000 {
        function += 1;
        if module {
            let (a, b) = (next(999), next(99));
            let _ = write!(
                text,
                "def f{function}(a, b={a}):\n    c = a * {b} + b\n    return [x for x in range(c)]\n\n"
            );
        } else {
            let _ = write!(text, "w{:x} ", next(1 << 20));
        }
    }
    let suffix = if module { "py" } else { "txt" };
    (format!("pkg{directory:02}/m{number:04}.{suffix}"), text)
}

/// Looks at everything below `directory` once, on one thread, and at no content.
fn walk(directory: &Path) -> std::io::Result<u64> {
    let mut size = 0;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        // One stat, by its directory: not by the whole path, which costs more.
        let metadata = entry.metadata()?;
        size += if metadata.is_dir() { walk(&entry.path())? } else { metadata.len() };
    }
    Ok(size)
}

//! Debian's minbase with Python and certificates, from packages that are at hand, beside mmdebstrap in memory.

use std::{
    collections::BTreeSet,
    fmt::Write,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::{
    Bench, Row, SUITE, remove,
    timing::{pair, seconds},
    write,
};
use crate::command::{output, status};

/// Names that make the root which `mmdebstrap --variant=minbase` makes: the required packages are asked of apt's lists.
const ADDED: [&str; 3] = ["apt", "ca-certificates", "python3"];

pub(super) fn debian(bench: &Bench) -> Result<Vec<Row>, String> {
    let project = bench.at("debian")?;
    let mut names: BTreeSet<String> = required()?;
    names.extend(ADDED.map(str::to_owned));
    let names: Vec<_> = names.iter().map(|name| format!("\"{name}\"")).collect();
    let names = names.join(", ");
    let spec = format!(
        r#"let re = import "reimage.ncl" in
let names = [{names}] in
{{
  steps = {{
    base | re.Debian = {{ suite = "{SUITE}", packages = names }},
    unpacked | re.Debian = {{ suite = "{SUITE}", packages = names, scripts = 'skip, essential = true }},
  }},
}} | re.Spec
"#
    );
    write(&project.join("spec.ncl"), &spec)?;
    let memory = PathBuf::from("/dev/shm").join(format!("reimage-bench-{}", std::process::id()));
    fs::create_dir_all(&memory).map_err(|e| format!("{}: {e}", memory.display()))?;
    let measured = measure(bench, &project, &memory);
    let removed = remove(&memory);
    measured.and_then(|rows| removed.map(|()| rows))
}

fn measure(bench: &Bench, project: &Path, memory: &Path) -> Result<Vec<Row>, String> {
    let seed = bench.at("stores/debian")?;
    bench.reimage(project, &seed, &["build", "steps.unpacked"])?;
    let mirror = mirror(&project.join("mirror"), &project.join("reimage.lock"))?;
    let line = format!("deb [trusted=yes] file:{} {SUITE} main", mirror.display());
    let include = format!("--include={}", ADDED.join(","));
    let mmdebstrap = || {
        // In mounts of its own: if it fails, the one of its hook goes with them.
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation=private", "mmdebstrap"]);
        command.args(["-q", "--mode=root", "--variant=minbase", &include]);
        command.arg("--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr");
        command.args(["--hook-dir=/usr/share/mmdebstrap/hooks/file-mirror-automount", SUITE]);
        command.arg(memory.join("root.tar")).arg(&line).env("TMPDIR", memory);
        seconds(|| status(&mut command))
    };
    let ours = |at: &Path| {
        let store = at.to_owned();
        let seed = seed.clone();
        move || {
            remove(&store)?;
            status(Command::new("cp").arg("-a").arg(&seed).arg(&store))?;
            seconds(|| bench.reimage(project, &store, &["build", "steps.base"]))
        }
    };
    let (theirs, trees) = pair(3, mmdebstrap, ours(&bench.directory.join("stores/debian-copy")))?;
    let (again, in_memory) = pair(3, mmdebstrap, ours(&memory.join("store")))?;
    let row = |what, theirs, ours| Row {
        work: "Debian minbase, python3, ca-certificates",
        peer: "mmdebstrap, in memory",
        theirs,
        what,
        ours,
    };
    Ok(vec![
        row("reimage, packages' trees at hand, on disk", theirs, trees),
        row("the same, store in memory", again, in_memory),
    ])
}

/// Names of the required packages of the machine's suite.
fn required() -> Result<BTreeSet<String>, String> {
    let text = output("apt-cache", &["dumpavail"])?;
    let mut names = BTreeSet::new();
    for paragraph in text.split("\n\n") {
        let field = |name: &str| paragraph.lines().find_map(|line| line.strip_prefix(name));
        if field("Priority: ") == Some("required") {
            names.extend(field("Package: ").map(str::to_owned));
        }
    }
    if names.is_empty() {
        return Err("apt knows no required package: run `apt-get update`".to_owned());
    }
    Ok(names)
}

/// A mirror in a directory, of exactly the packages of the lock.
fn mirror(at: &Path, lock: &Path) -> Result<PathBuf, String> {
    let at = at.to_owned();
    let pool = at.join("pool");
    let lists = at.join(format!("dists/{SUITE}/main/binary-amd64"));
    for directory in [&pool, &lists] {
        fs::create_dir_all(directory).map_err(|e| format!("{}: {e}", directory.display()))?;
    }
    let lock = fs::read_to_string(lock).map_err(|e| format!("{}: {e}", lock.display()))?;
    let mut wanted = BTreeSet::new();
    for line in lock.lines().filter(|line| line.contains(" sha256:")) {
        let words: Vec<_> = line.trim().trim_matches(|c| c == '"' || c == ',').split(' ').collect();
        if let [_, name, version, ..] = words[..] {
            wanted.insert(format!("{name}={version}"));
        }
    }
    let mut command = Command::new("apt-get");
    status(command.args(["download", "-q"]).args(&wanted).current_dir(&pool))?;
    let mut packages = String::new();
    let mut files: Vec<_> = fs::read_dir(&pool)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|e| format!("{}: {e}", pool.display()))?;
    files.sort_by_key(fs::DirEntry::file_name);
    for file in files {
        let path = file.path();
        let text = path.display().to_string();
        let sum = output("sha256sum", &[&text])?;
        let size = file.metadata().map_err(|e| e.to_string())?.len();
        packages += output("dpkg-deb", &["-f", &text])?.trim_end();
        let name = file.file_name();
        let _ = write!(
            packages,
            "\nFilename: pool/{}\nSize: {size}\nSHA256: {}\n\n",
            name.to_string_lossy(),
            sum.split(' ').next().unwrap_or_default()
        );
    }
    write(&lists.join("Packages"), &packages)?;
    let path = lists.join("Packages").display().to_string();
    let sum = output("sha256sum", &[&path])?;
    let release = format!(
        "Suite: {SUITE}\nCodename: {SUITE}\nArchitectures: amd64\nComponents: main\n\
         Date: Sun, 01 Nov 2026 00:00:00 UTC\nSHA256:\n {} {} main/binary-amd64/Packages\n",
        sum.split(' ').next().unwrap_or_default(),
        packages.len()
    );
    write(&at.join(format!("dists/{SUITE}/Release")), &release)?;
    Ok(at)
}

//! Debian's minbase with Python and certificates, from packages that are at hand, beside mmdebstrap in memory.

use std::{
    fmt::Write,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::{
    Bench, Row, SUITE, Stores,
    packages::{of_lock, repository, urls},
    remove,
    timing::{pair, seconds},
    write,
};
use crate::{command::status, machine::required};

/// Names that make the root which `mmdebstrap --variant=minbase` makes: the required packages are asked of apt's lists.
const ADDED: [&str; 3] = ["apt", "ca-certificates", "python3"];

pub(super) fn debian(bench: &Bench) -> Result<Vec<Row>, String> {
    let project = bench.at("debian")?;
    let names = names()?;
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
    let trees = bench.at("stores/debian")?;
    bench.reimage(project, &trees, &["build", "steps.unpacked"])?;
    let debs = of_lock(&project.join("reimage.lock"))?;
    let archives = only_archives(bench, &debs)?;
    let mirror = repository(&project.join("mirror"), &debs)?;
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
    let mut rows = Vec::new();
    for (what, seed, at) in [
        ("reimage, packages' trees at hand", &trees, bench.directory.join("stores/trees")),
        ("reimage, only the .debs at hand", &archives, bench.directory.join("stores/debs")),
        ("reimage, trees at hand, store in memory", &trees, memory.join("stores")),
    ] {
        let mut stores = Stores::new(at)?;
        let ours = || {
            let at = stores.next();
            status(Command::new("cp").arg("-a").arg(seed).arg(&at))?;
            rustix::fs::sync();
            seconds(|| bench.reimage(project, &at, &["build", "steps.base"]))
        };
        let (theirs, ours) = pair(3, mmdebstrap, ours)?;
        let work = "Debian minbase, python3, ca-certificates";
        rows.push(Row { work, peer: "mmdebstrap, in memory", theirs, what, ours });
    }
    Ok(rows)
}

/// A store that holds the archives of packages and nothing that was made of them: an archive is known by its content,
/// whichever step wanted it.
fn only_archives(bench: &Bench, debs: &[String]) -> Result<PathBuf, String> {
    let project = bench.at("archives")?;
    let mut spec = "let re = import \"reimage.ncl\" in\n{ steps = {\n".to_owned();
    for (number, url) in urls(debs)?.iter().enumerate() {
        let _ = writeln!(spec, "d{number} | re.Http = {{ url = \"{url}\" }},");
    }
    spec += "} } | re.Spec\n";
    write(&project.join("spec.ncl"), &spec)?;
    let store = bench.at("stores/archives")?;
    bench.reimage(&project, &store, &["build", "steps.*"])?;
    Ok(store)
}

/// The names of the root's packages as a spec lists them: the required ones of the machine's suite, and [`ADDED`].
pub(super) fn names() -> Result<String, String> {
    let mut names = required()?;
    names.extend(ADDED.map(str::to_owned));
    let names: Vec<_> = names.iter().map(|name| format!("\"{name}\"")).collect();
    Ok(names.join(", "))
}

//! Debian's own tools as oracles: roots and packages file by file, choices of packages name by name.

mod compare;
mod differences;
mod packages;
mod tree;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    bench::{
        SUITE,
        packages::{of_lock, repository},
    },
    command::{run, status},
    machine::{remove, required},
    setup,
};

use compare::compare;
use differences::{KNOWN, is_random};
use packages::GROUPS;

/// A user that need not exist: nothing looks it up.
const PLAIN: &str = "54321";

/// The file time of a build, in seconds since 1970: programs that ask for it, or the time zone, must be told the same.
const FILE_TIME: &str = "1793491200";

/// Compares what is named, or everything.
pub(crate) fn oracle(arguments: &[String]) -> Result<(), String> {
    let (flags, parts): (Vec<_>, Vec<_>) = arguments.iter().partition(|one| one.starts_with("--"));
    let flag = |name: &str| flags.iter().any(|flag| *flag == name);
    let full = flag("--full");
    let asked = |part: &str| parts.iter().any(|name| *name == part);
    let wants = |part: &str| parts.is_empty() || asked(part);
    if wants("choices") {
        choices(full)?;
    }
    let mut cases = Vec::new();
    if wants("roots") {
        let mut minbase = required()?;
        minbase.insert("apt".to_owned());
        cases.push(Case { name: "essential", names: BTreeSet::new(), variant: "essential" });
        cases.push(Case { name: "minbase", names: minbase, variant: "minbase" });
    }
    for (name, names) in GROUPS {
        if full || asked(name) {
            let mut names: BTreeSet<_> = names.split_whitespace().map(str::to_owned).collect();
            names.extend(required()?);
            names.insert("apt".to_owned());
            cases.push(Case { name, names, variant: "minbase" });
        }
    }
    if cases.is_empty() {
        return Ok(());
    }
    if !setup::is_root() {
        return Err("Real root makes the roots to compare with: run it as root".to_owned());
    }
    setup::install(&[("mmdebstrap", "mmdebstrap")])?;
    let bad = Oracle::new(flag("--verbose"))?.compare(&cases, full)?;
    if bad.is_empty() { Ok(()) } else { Err(format!("Different:\n{}", bad.join("\n"))) }
}

/// Asks our resolver and apt for the same.
fn choices(full: bool) -> Result<(), String> {
    // apt takes a relative directory for one of its own.
    let (lists, requests) =
        (kept()?.join("apt"), at("crates/fetch/examples/apt_oracle/requests.txt"));
    let (lists, requests) = (lists.display().to_string(), requests.display().to_string());
    let ask = |flags: &[&str]| {
        let mut arguments = vec![
            "run",
            "--quiet",
            "--release",
            "--package",
            "reimage-fetch",
            "--example",
            "apt_oracle",
            "--",
        ];
        arguments.extend(flags);
        arguments.extend([&*lists, &*requests]);
        run("cargo", &arguments)
    };
    ask(&[])?;
    if full {
        ask(&["--recommends"])?;
        ask(&["--essential"])?;
    }
    Ok(())
}

/// A path of the workspace.
fn at(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// Where things are kept between runs: packages are fetched once.
fn kept() -> Result<PathBuf, String> {
    let path = at("target/oracle");
    fs::create_dir_all(&path)
        .and_then(|()| path.canonicalize())
        .map_err(|e| format!("{}: {e}", path.display()))
}

/// A root to be made in several ways.
struct Case {
    name: &'static str,
    /// What is installed besides the essential packages.
    names: BTreeSet<String>,
    /// What mmdebstrap calls the root without those that are special to it.
    variant: &'static str,
}

/// Where roots are made, and by what.
struct Oracle {
    reimage: PathBuf,
    directory: PathBuf,
    verbose: bool,
}

impl Oracle {
    fn new(verbose: bool) -> Result<Self, String> {
        run("cargo", &["build", "--quiet", "--release", "--package", "reimage"])?;
        Ok(Self { reimage: at("target/release/reimage"), directory: kept()?, verbose })
    }

    /// Makes each root in all ways; returns what differs without a reason. With `full` everything that is known to
    /// differ must differ somewhere.
    fn compare(&self, cases: &[Case], full: bool) -> Result<Vec<String>, String> {
        let mut bad = Vec::new();
        let mut explained = vec![0; KNOWN.len()];
        for case in cases {
            let compared = self.one(case, &mut bad)?;
            for (sum, count) in explained.iter_mut().zip(compared) {
                *sum += count;
            }
        }
        println!();
        for (known, count) in KNOWN.iter().zip(explained) {
            println!("{count:>5} {}: {}", known.path, known.reason);
            if full && count == 0 {
                bad.push(format!("`{}` is listed, and nothing there differs", known.path));
            }
        }
        Ok(bad)
    }

    /// Makes one root; returns how many differences each known one explains.
    fn one(&self, case: &Case, bad: &mut Vec<String>) -> Result<Vec<usize>, String> {
        let kept = self.directory.join(case.name);
        let project = kept.join("project");
        for path in [&project.join(".git"), &kept] {
            fs::create_dir_all(path).map_err(|e| format!("{}: {e}", path.display()))?;
        }
        fs::write(project.join("spec.ncl"), spec(case)).map_err(|e| e.to_string())?;
        // The packages' trees are made once; what is compared is made from them each time.
        let packages = kept.join("packages");
        self.reimage(None, &project, &packages, &["lock"])?;
        self.reimage(None, &project, &packages, &["build", "steps.unpacked"])?;
        let mirror = kept.join("mirror");
        remove(&mirror)?;
        let mirror = repository(&mirror, &of_lock(&project.join("reimage.lock"))?)?;

        let work = Work::new()?;
        let (ours, theirs, store) =
            (work.0.join("ours"), work.0.join("theirs"), work.0.join("store"));
        copy(&packages, &store)?;
        let digest = self.reimage(None, &project, &store, &["build", "images.root"])?;
        let path = ours.display().to_string();
        let save = ["save", "images.root", "--format", "rootfs-dir", "-o", &path];
        self.reimage(None, &project, &store, &save)?;
        mmdebstrap(case, &theirs, &mirror)?;
        let compared = compare(&ours, &theirs, KNOWN, self.verbose)?;
        println!(
            "{}: {} paths, {} known differences, {} others; {}",
            case.name,
            compared.paths,
            compared.explained.iter().sum::<usize>(),
            compared.unexplained.len(),
            digest.trim()
        );
        bad.extend(compared.unexplained.iter().map(|line| format!("{}: {line}", case.name)));
        remove(&theirs)?;
        remove(&store)?;

        copy(&packages, &store)?;
        let plain = work.0.join("project");
        copy(&project, &plain)?;
        let binary = work.0.join("reimage");
        copy(&self.reimage, &binary)?;
        let owner = format!("{PLAIN}:{PLAIN}");
        status(Command::new("chown").args(["-R", &owner]).args([&store, &plain, &binary]))?;
        let again = self.reimage(Some(&binary), &plain, &store, &["build", "images.root"])?;
        if again == digest {
            println!("{}: as a plain user the same", case.name);
            return Ok(compared.explained);
        }
        // Programs that make a secret or a database make another one in each run: all else must be the same.
        let mine = work.0.join("plain");
        let path = mine.display().to_string();
        let save = ["save", "images.root", "--format", "rootfs-dir", "-o", &path];
        self.reimage(None, &plain, &store, &save)?;
        let mut differ = compare(&ours, &mine, &[], self.verbose)?.unexplained;
        let all = differ.len();
        differ.retain(|line| !is_random(line.split(": ").next().unwrap_or_default()));
        println!(
            "{}: as a plain user {all} paths differ, {} of them not by random numbers",
            case.name,
            differ.len()
        );
        bad.extend(differ.iter().map(|line| format!("{}, plain user: {line}", case.name)));
        Ok(compared.explained)
    }

    /// Runs `reimage`, as a plain user if a program that one can read is given; returns what it wrote to stdout.
    fn reimage(
        &self,
        plain: Option<&Path>,
        project: &Path,
        store: &Path,
        arguments: &[&str],
    ) -> Result<String, String> {
        let mut command = match plain {
            None => Command::new(&self.reimage),
            Some(program) => {
                let mut command = Command::new("setpriv");
                let (uid, gid) = (format!("--reuid={PLAIN}"), format!("--regid={PLAIN}"));
                command.args([&uid, &gid, "--clear-groups"]).arg(program);
                command.env("HOME", project);
                command
            }
        };
        command.args(arguments).arg("--store").arg(store).current_dir(project);
        let output = command.output().map_err(|e| format!("Cannot start reimage: {e}"))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        Err(format!("reimage {} failed:\n{error}", arguments.join(" ")))
    }
}

/// Packages that divert another's file, which their scripts must say first.
const DIVERTING: &[&str] = &["moreutils"];

fn spec(case: &Case) -> String {
    let list = |keep: &dyn Fn(&str) -> bool| {
        let names = case.names.iter().filter(|name| keep(name));
        names.map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ")
    };
    let (all, unpacked) = (list(&|_| true), list(&|name| !DIVERTING.contains(&name)));
    format!(
        r#"let re = import "reimage.ncl" in
{{
  steps = {{
    unpacked | re.Debian =
      {{ suite = "{SUITE}", packages = [{unpacked}], scripts = 'skip, essential = true }},
    root | re.Debian = {{ suite = "{SUITE}", packages = [{all}] }},
  }},
  images.root | re.Image = {{ layers = [steps.root], compression = 'none }},
}} | re.Spec
"#
    )
}

/// Lets apt and dpkg make the root, as root.
fn mmdebstrap(case: &Case, at: &Path, mirror: &Path) -> Result<(), String> {
    // The mirror's priorities are the packages' own, not the archive's, so all are named.
    let include: Vec<_> = case.names.iter().map(String::as_str).collect();
    // In mounts of its own: if it fails, those of its hooks go with them.
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation=private", "mmdebstrap", "-q", "--mode=root"]);
    command.arg(format!("--variant={}", case.variant));
    if !include.is_empty() {
        command.arg(format!("--include={}", include.join(",")));
    }
    command.arg("--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr");
    command.args(["--hook-dir=/usr/share/mmdebstrap/hooks/file-mirror-automount", SUITE]);
    let line = format!("deb [trusted=yes] file:{} {SUITE} main", mirror.display());
    command.arg(at).arg(line);
    command.env("SOURCE_DATE_EPOCH", FILE_TIME).env("TZ", "UTC");
    status(&mut command)?;
    // The hook mounts the mirror in the root and leaves the directories: the way down to it, if nothing else is there.
    for path in mirror.ancestors().filter_map(|path| path.strip_prefix("/").ok()) {
        let _ = fs::remove_dir(at.join(path));
    }
    Ok(())
}

/// A directory that anybody may look into; it goes with the value.
struct Work(PathBuf);

impl Work {
    fn new() -> Result<Self, String> {
        let path = std::env::temp_dir().join(format!("reimage-oracle-{}", std::process::id()));
        fs::create_dir(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn copy(from: &Path, to: &Path) -> Result<(), String> {
    status(Command::new("cp").args(["-a", "--reflink=auto"]).args([from, to]))
}

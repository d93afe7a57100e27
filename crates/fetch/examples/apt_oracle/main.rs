//! Compares the resolver with `apt-get --simulate` on a private state directory.
//!
//! `apt_oracle STATE REQUESTS [--recommends] [--essential] [--verbose]`: STATE is a directory for apt's lists, filled by
//! `apt-get update` from this machine's sources if it is not there; each line of REQUESTS is one request
//! (`requests.txt` beside this file: packages that many people install). If STATE has a file `status`, it is taken as
//! the dpkg status of the root. Prints a line for each difference and the number of requests that agree; fails if
//! any does not.

#![expect(clippy::print_stdout, reason = "what it prints is its purpose")]

use reimage_fetch::debian::{IndexOrigin, Request, Universe, resolve};
use std::{collections::BTreeSet, error::Error, fs, path::Path, process::Command};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    let mut flag =
        |name: &str| args.iter().position(|arg| arg == name).map(|at| args.remove(at)).is_some();
    let (recommends, essential, verbose) =
        (flag("--recommends"), flag("--essential"), flag("--verbose"));
    let [state, requests] = &args[..] else {
        return Err("Usage: apt_oracle STATE REQUESTS [--recommends]".into());
    };
    if !Path::new(state).exists() {
        update(state)?;
    }
    let universe = universe(Path::new(state))?;
    let (mut agree, mut total) = (0, 0);
    for line in fs::read_to_string(requests)?.lines().filter(|line| !line.trim().is_empty()) {
        let packages: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let theirs = apt(state, &packages, recommends, essential)?;
        let ours =
            resolve(&universe, &Request { packages, recommends, essential, ..Request::default() });
        let reason = ours.as_ref().err().map(ToString::to_string);
        let ours: Option<BTreeSet<String>> = ours.ok().map(|chosen| {
            chosen.iter().map(|one| format!("{}={}", one.name, one.version)).collect()
        });
        total += 1;
        if ours == theirs {
            agree += 1;
            if verbose {
                println!(
                    "{line}: {:?}",
                    ours.map_or(reason.unwrap_or_default(), |set| set.len().to_string())
                );
            }
            continue;
        }
        let (ours, theirs) = (ours.unwrap_or_default(), theirs.unwrap_or_default());
        let only = |a: &BTreeSet<String>, b: &BTreeSet<String>| {
            a.difference(b).cloned().collect::<Vec<_>>().join(" ")
        };
        println!(
            "{line}: only apt: [{}]; only reimage: [{}] {}",
            only(&theirs, &ours),
            only(&ours, &theirs),
            reason.unwrap_or_default()
        );
    }
    println!("{agree} of {total} requests agree");
    if agree == total { Ok(()) } else { Err("The resolvers differ".into()) }
}

/// Reads the lists in apt's order: the suite, its updates, security.
fn universe(state: &Path) -> Result<Universe, Box<dyn Error>> {
    #[expect(clippy::disallowed_methods, reason = "the names are sorted below")]
    let entries = fs::read_dir(state.join("lists"))?;
    let mut lists: Vec<_> =
        entries.collect::<Result<Vec<_>, _>>()?.into_iter().map(|entry| entry.path()).collect();
    lists.retain(|path| path.to_string_lossy().ends_with("_Packages"));
    lists.sort_by_key(|path| {
        let name = path.to_string_lossy().into_owned();
        (name.contains("-security"), name.contains("-updates"), name)
    });
    let mut universe = Universe::new("amd64");
    for path in lists {
        let origin = IndexOrigin { suite: path.display().to_string(), priority: 500 };
        universe.add_index(&path.display().to_string(), origin, &fs::read_to_string(&path)?)?;
    }
    universe.add_status("status", &fs::read_to_string(state.join("status")).unwrap_or_default())?;
    Ok(universe)
}

/// Makes the state directory and lets apt fill it.
fn update(state: &str) -> Result<(), Box<dyn Error>> {
    for directory in ["lists/partial", "cache/archives/partial"] {
        fs::create_dir_all(Path::new(state).join(directory))?;
    }
    let mut command = Command::new("apt-get");
    command.args(["--quiet=2", "update"]).args(options(state));
    command.args(["-o", "Acquire::GzipIndexes=false", "-o", "APT::Sandbox::User=root"]);
    if command.status()?.success() { Ok(()) } else { Err("`apt-get update` failed".into()) }
}

/// Returns the options that keep apt away from the machine's own state and preferences.
fn options(state: &str) -> Vec<String> {
    let status = Path::new(state).join("status");
    let status =
        if status.exists() { status.display().to_string() } else { "/dev/null".to_owned() };
    let options = [
        format!("Dir::State={state}"),
        format!("Dir::State::Lists={state}/lists"),
        format!("Dir::State::status={status}"),
        format!("Dir::Cache={state}/cache"),
        "Dir::Cache::pkgcache=pkgcache.bin".to_owned(),
        "Dir::Cache::srcpkgcache=srcpkgcache.bin".to_owned(),
        "Dir::Etc::Preferences=/dev/null".to_owned(),
        "Dir::Etc::PreferencesParts=/dev/null".to_owned(),
        "APT::Architectures=amd64".to_owned(),
        // apt holds itself essential, Debian does not.
        "pkgCacheGen::ForceEssential=,".to_owned(),
        "APT::Get::AutomaticRemove=false".to_owned(),
    ];
    options.into_iter().flat_map(|option| ["-o".to_owned(), option]).collect()
}

/// Returns what apt would install, or nothing if it cannot.
fn apt(
    state: &str,
    packages: &[String],
    recommends: bool,
    essential: bool,
) -> Result<Option<BTreeSet<String>>, Box<dyn Error>> {
    let mut command = Command::new("apt-get");
    command.args(["--simulate", "--quiet=2", "install"]).args(options(state));
    command.args(["-o", &format!("APT::Install-Recommends={recommends}")]);
    if essential {
        command.arg("?essential");
    }
    let output = command.args(packages).arg("usrmerge-").env("LC_ALL", "C.UTF-8").output()?;
    if !output.status.success() {
        return Ok(None);
    }
    let installs = String::from_utf8(output.stdout)?;
    let parse = |line: &str| {
        let mut words = line.strip_prefix("Inst ")?.split_whitespace();
        let name = words.next()?;
        let version = words.find(|word| word.starts_with('('))?;
        Some(format!("{name}={}", version.trim_start_matches('(')))
    };
    Ok(Some(installs.lines().filter_map(parse).collect()))
}

//! The packages of a lock, from the archives that apt is configured to, and a repository of exactly them.

use std::{
    collections::BTreeSet,
    fmt::Write,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::{SUITE, write};
use crate::command::{output, status};

/// Packages in one call of apt: far below what fits into a command line.
const MANY: usize = 200;

/// The packages of a lock, by name, as apt calls them: `name=version`.
pub(crate) fn of_lock(lock: &Path) -> Result<Vec<String>, String> {
    let text = fs::read_to_string(lock).map_err(|e| format!("{}: {e}", lock.display()))?;
    let mut pins = BTreeSet::new();
    for line in text.lines() {
        let words: Vec<_> = line.trim().trim_matches(|c| c == '"' || c == ',').split(' ').collect();
        if let [_, name, version, ..] = words[..]
            && line.contains(" sha256:")
        {
            pins.insert(format!("{name}={version}"));
        }
    }
    Ok(pins.into_iter().collect())
}

/// Where apt has these packages from.
pub(super) fn urls(packages: &[String]) -> Result<Vec<String>, String> {
    let mut arguments = vec!["download", "--print-uris", "-qq"];
    arguments.extend(packages.iter().map(String::as_str));
    let said = output("apt-get", &arguments)?;
    Ok(said.lines().filter_map(|line| Some(line.split('\'').nth(1)?.to_owned())).collect())
}

/// A repository in the directory `at`, of exactly these packages.
pub(crate) fn repository(at: &Path, wanted: &[String]) -> Result<PathBuf, String> {
    let pool = at.join("pool");
    let lists = at.join(format!("dists/{SUITE}/main/binary-amd64"));
    for directory in [&pool, &lists] {
        fs::create_dir_all(directory).map_err(|e| format!("{}: {e}", directory.display()))?;
    }
    for wanted in wanted.chunks(MANY) {
        status(Command::new("apt-get").args(["download", "-q"]).args(wanted).current_dir(&pool))?;
    }
    let mut packages = String::new();
    let mut files: Vec<_> = fs::read_dir(&pool)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|e| format!("{}: {e}", pool.display()))?;
    files.sort_by_key(fs::DirEntry::file_name);
    for file in files {
        let path = file.path();
        let text = path.display().to_string();
        let size = file.metadata().map_err(|e| e.to_string())?.len();
        packages += output("dpkg-deb", &["-f", &text])?.trim_end();
        let name = file.file_name();
        let _ = write!(
            packages,
            "\nFilename: pool/{}\nSize: {size}\nSHA256: {}\n\n",
            name.to_string_lossy(),
            sha256(&path)?
        );
    }
    write(&lists.join("Packages"), &packages)?;
    let release = format!(
        "Suite: {SUITE}\nCodename: {SUITE}\nArchitectures: amd64\nComponents: main\n\
         Date: Sun, 01 Nov 2026 00:00:00 UTC\nSHA256:\n {} {} main/binary-amd64/Packages\n",
        sha256(&lists.join("Packages"))?,
        packages.len()
    );
    write(&at.join(format!("dists/{SUITE}/Release")), &release)?;
    Ok(at.to_owned())
}

fn sha256(path: &Path) -> Result<String, String> {
    let sum = output("sha256sum", &[&path.display().to_string()])?;
    Ok(sum.split(' ').next().unwrap_or_default().to_owned())
}

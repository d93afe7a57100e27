//! What more than one verb wants of this machine: its directories, and what its apt knows.

use std::{collections::BTreeSet, fs, io::ErrorKind, path::Path};

use crate::command::output;

/// Removes a directory, if it is there.
pub(crate) fn remove(path: &Path) -> Result<(), String> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(format!("{}: {error}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Names of the required packages of the suite.
pub(crate) fn required() -> Result<BTreeSet<String>, String> {
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

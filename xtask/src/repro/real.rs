//! Real builds as one more example: programs by autoconf, make, cmake, setuptools, npm, Go, cargo and javac, whose whole
//! build directories are exports. Their sources are Debian's source packages, fetched by this machine's apt.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::command::status;

/// Debian's source packages whose upstream archives are built.
const SOURCES: [&str; 4] = ["hello", "lua5.4", "cjson", "markupsafe"];

/// Puts the example together below `target` and returns where it is.
pub(super) fn prepare(root: &Path) -> Result<PathBuf, String> {
    let at = root.join("target/real");
    let sources = at.join("sources");
    let io = |e: std::io::Error| format!("{}: {e}", at.display());
    fs::create_dir_all(&sources).map_err(io)?;
    let own = root.join("xtask/src/repro/real/.");
    status(Command::new("cp").arg("-r").args([&own, &at]))?;
    if SOURCES.iter().all(|name| sources.join(format!("{name}.tar")).exists()) {
        return Ok(at);
    }
    let apt = at.join("apt");
    for directory in ["lists/partial", "cache/archives/partial", "sources.d"] {
        fs::create_dir_all(apt.join(directory)).map_err(io)?;
    }
    // The machine's own mirrors, asked for sources.
    let script = "for f in /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources; do \
                  [ -e \"$f\" ] || continue; case $f in *.sources) n=$(basename $f);; *) n=$(basename $f .list).list;; esac; \
                  sed -e 's/^deb /deb-src /' -e 's/^Types: .*/Types: deb-src/' $f > \"$0/sources.d/$n\"; done";
    status(Command::new("sh").args(["-ec", script]).arg(&apt))?;
    let options = |command: &mut Command| {
        for (name, path) in [
            ("Dir::State::lists", "lists"),
            ("Dir::Cache", "cache"),
            ("Dir::Etc::sourceparts", "sources.d"),
        ] {
            command.arg("-o").arg(format!("{name}={}", apt.join(path).display()));
        }
        command.args([
            "-o",
            "Dir::Etc::sourcelist=/dev/null",
            "-o",
            "APT::Sandbox::User=root",
            "-qq",
        ]);
    };
    let mut update = Command::new("apt-get");
    options(&mut update);
    status(update.arg("update"))?;
    for name in SOURCES {
        let to = at.join("fetched").join(name);
        fs::create_dir_all(&to).map_err(io)?;
        let mut fetch = Command::new("apt-get");
        options(&mut fetch);
        status(fetch.args(["source", "--download-only", "--tar-only", name]).current_dir(&to))?;
        let upstream =
            fs::read_dir(&to).map_err(io)?.filter_map(Result::ok).map(|entry| entry.path());
        let is_upstream = |path: &PathBuf| {
            path.to_string_lossy().contains(".orig.tar")
                && path.extension().is_some_and(|e| e != "asc")
        };
        let found = upstream.into_iter().find(is_upstream);
        let found = found.ok_or_else(|| format!("{name} has no upstream archive"))?;
        fs::rename(found, sources.join(format!("{name}.tar"))).map_err(io)?;
    }
    fs::remove_dir_all(at.join("fetched")).and_then(|()| fs::remove_dir_all(&apt)).map_err(io)?;
    Ok(at)
}

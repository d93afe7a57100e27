//! A directory as a map of what is in it, to be compared with another.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// What lies below `root`, by path: kind, mode, owner, time, link group, attributes and content of each, in a line.
/// Times of directories are left out: whoever writes into one changes it.
pub fn files(root: &Path) -> BTreeMap<PathBuf, String> {
    let mut paths = Vec::new();
    walk(root, &mut paths);
    paths.sort();
    let mut first: BTreeMap<u64, &Path> = BTreeMap::new();
    let mut found = BTreeMap::new();
    for path in &paths {
        let below = path.strip_prefix(root).expect("it lies below");
        found.insert(below.to_owned(), line(path, below, &mut first));
    }
    found
}

fn line<'a>(path: &Path, below: &'a Path, first: &mut BTreeMap<u64, &'a Path>) -> String {
    let is = fs_err::symlink_metadata(path).expect("it was just listed");
    let mut line = format!("{:o} {}:{} {:x}", is.mode(), is.uid(), is.gid(), is.rdev());
    if !is.is_dir() {
        write!(line, " {} of {}", is.mtime(), is.nlink()).expect("a string");
        if is.nlink() > 1 {
            let name = first.entry(is.ino()).or_insert(below);
            write!(line, " as {}", name.display()).expect("a string");
        }
    }
    if is.is_symlink() {
        let target = fs_err::read_link(path).expect("a link");
        write!(line, " -> {}", target.display()).expect("a string");
    }
    if is.is_file() {
        let content = fs_err::read(path).expect("a file");
        write!(line, " {} {:016x}", content.len(), fnv(&content)).expect("a string");
    }
    let mut names = vec![0; 4096];
    let length = rustix::fs::llistxattr(path, &mut names[..]).unwrap_or(0);
    let mut names: Vec<_> = names[..length].split(|byte| *byte == 0).collect();
    names.sort_unstable();
    for name in names.into_iter().filter(|name| !name.is_empty()) {
        let mut value = vec![0; 4096];
        let length = rustix::fs::lgetxattr(path, name, &mut value[..]).expect("it was listed");
        let value = value[..length].escape_ascii();
        write!(line, " {}={value}", name.escape_ascii()).expect("a string");
    }
    line
}

/// A number that tells different contents from each other: FNV-1a.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[expect(clippy::disallowed_methods, reason = "the paths are sorted afterwards")]
fn walk(directory: &Path, paths: &mut Vec<PathBuf>) {
    for entry in fs_err::read_dir(directory).expect("readable") {
        let entry = entry.expect("readable");
        paths.push(entry.path());
        if entry.file_type().expect("readable").is_dir() {
            walk(&entry.path(), paths);
        }
    }
}

/// Panics, naming each path that differs.
#[track_caller]
pub fn assert_same_files(found: &Path, expected: &Path) {
    let (found, expected) = (files(found), files(expected));
    let mut wrong = String::new();
    for (path, line) in &expected {
        match found.get(path) {
            Some(there) if there == line => {}
            there => writeln!(wrong, "{}: {there:?}, expected {line:?}", path.display())
                .expect("a string"),
        }
    }
    for path in found.keys().filter(|path| !expected.contains_key(*path)) {
        writeln!(wrong, "{}: too much", path.display()).expect("a string");
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

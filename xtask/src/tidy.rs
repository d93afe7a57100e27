//! The architecture as tests: arrows, where `unsafe`, sockets and Nickel may be, and how files begin and end.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// Which crates of ours each crate may use. A new arrow is a line here, to be reviewed.
const ARROWS: [(&str, &[&str]); 11] = [
    ("castore", &[]),
    ("sandbox", &[]),
    ("plan", &["castore"]),
    ("oci", &["castore"]),
    ("spec", &["plan", "castore"]),
    ("http", &["castore"]),
    ("registry", &["http", "oci", "castore"]),
    ("fetch", &["http", "plan", "registry", "castore"]),
    ("remote", &["http", "oci", "registry", "castore"]),
    ("build", &["fetch", "http", "remote", "oci", "plan", "registry", "sandbox", "castore"]),
    (
        "reimage",
        &[
            "build", "fetch", "http", "oci", "plan", "registry", "remote", "sandbox", "spec",
            "castore",
        ],
    ),
];

/// Lines of a file before its tests, at most.
const MAX_LINES: usize = 600;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn sources(below: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut todo = vec![below.to_owned()];
    while let Some(directory) = todo.pop() {
        for entry in fs::read_dir(&directory).expect("a directory of the project can be read") {
            let path = entry.expect("an entry can be read").path();
            if path.is_dir() && !path.ends_with("target") {
                todo.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = fs::read_to_string(&path).expect("a source can be read");
                found.push((path, text));
            }
        }
    }
    found.sort();
    found
}

fn dependencies(krate: &str) -> toml::Table {
    let path = root().join("crates").join(krate).join("Cargo.toml");
    let manifest: toml::Table =
        fs::read_to_string(path).expect("each crate has a manifest").parse().expect("it is TOML");
    manifest.get("dependencies").and_then(toml::Value::as_table).cloned().unwrap_or_default()
}

#[test]
fn arrows_go_down() {
    let crates: Vec<_> = fs::read_dir(root().join("crates")).expect("crates").collect();
    assert_eq!(
        crates.len(),
        ARROWS.len(),
        "a crate without a row in ARROWS, or a row without a crate"
    );
    for (krate, allowed) in ARROWS {
        for name in dependencies(krate).keys() {
            if let Some(ours) = name.strip_prefix("reimage-") {
                assert!(allowed.contains(&ours), "`{krate}` may not use `{ours}`");
            }
        }
    }
}

#[test]
fn nickel_only_in_spec_and_sockets_only_in_http() {
    let only: BTreeMap<&str, &str> = [
        ("nickel-lang-core", "spec"),
        ("ureq", "http"),
        ("pgp", "fetch"),
        ("clap", "reimage"),
        ("indicatif", "reimage"),
    ]
    .into();
    for (krate, _) in ARROWS {
        for name in dependencies(krate).keys() {
            let place = only.get(name.as_str());
            assert!(place.is_none_or(|place| *place == krate), "`{krate}` may not use `{name}`");
        }
    }
}

#[test]
fn every_file_says_what_it_is() {
    for (path, text) in
        sources(&root().join("crates")).into_iter().chain(sources(&root().join("xtask")))
    {
        assert!(
            text.lines().take(12).any(|line| line.starts_with("//!")),
            "{} does not begin with `//!`",
            path.display()
        );
        let body = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        let lines = body.lines().count();
        assert!(lines <= MAX_LINES, "{} has {lines} lines, more than {MAX_LINES}", path.display());
    }
}

#[test]
fn unsafe_only_in_the_sandbox_s_sys() {
    for (path, text) in sources(&root().join("crates")) {
        let allowed = path.components().any(|c| c.as_os_str() == "sandbox")
            && path.components().any(|c| c.as_os_str() == "sys" || c.as_os_str() == "sys.rs");
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        let uses = code
            .filter(|l| {
                l.contains("unsafe {") || l.contains("unsafe fn") || l.contains("unsafe impl")
            })
            .count();
        assert!(allowed || uses == 0, "{} uses unsafe", path.display());
    }
}

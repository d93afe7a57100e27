//! The reproducibility matrix: each example, built under everything that must not matter, has one digest.

mod cell;
mod checkout;
mod way;

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    command::{output, run},
    setup,
};

use cell::Cell;
use way::WAYS;

/// Examples that need little; the first needs no network at all.
const QUICK: [&str; 2] = ["hello", "distroless"];
const FULL: [&str; 5] = ["hello", "distroless", "c-multistage", "python-web", "monorepo"];

/// The user with subordinate ids, made for the matrix and removed after it.
const MAPPED: &str = "reimage-repro";

/// Builds every example in every way and compares.
pub(crate) fn repro(full: bool) -> Result<(), String> {
    setup::install(&[("faketime", "faketime"), ("newuidmap", "uidmap")])?;
    run("cargo", &["build", "--release", "--package", "reimage"])?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let reimage = Binary::new(&root.join("target/release/reimage"))?;
    let mapped = setup::is_root().then(Mapped::new).transpose()?;
    let mut bad = Vec::new();
    let (mut cells, mut skipped) = (0, 0);
    for example in if full { &FULL[..] } else { &QUICK[..] } {
        let source = root.join("examples").join(example);
        let mut lock = None;
        let mut expected: Option<String> = None;
        for way in &WAYS {
            if mapped.is_none() && (way.who.needs_root() || way.hostname.is_some()) {
                println!("{example}: {}: skipped, it needs root", way.name);
                skipped += 1;
                continue;
            }
            let ids = way.who.ids(mapped.as_ref().map(|user| user.ids));
            let got = Cell::new(&reimage.0, &source, way, ids, lock.as_deref())?.build()?;
            cells += 1;
            lock = lock.or(got.lock);
            let same = expected.get_or_insert_with(|| got.digests.clone()) == &got.digests;
            println!("{example}: {}: {}", way.name, if same { "same" } else { "DIFFERENT" });
            if !same {
                bad.push(format!("{example}: {}\n{}", way.name, got.digests));
            }
        }
        println!("{}", expected.unwrap_or_default().trim_end());
    }
    println!("{} passed, {} failed, {skipped} skipped", cells - bad.len(), bad.len());
    if bad.is_empty() { Ok(()) } else { Err(format!("Different digests:\n{}", bad.join("\n"))) }
}

/// The program as it was when the matrix began: it takes long enough for somebody to build another.
struct Binary(PathBuf);

impl Binary {
    fn new(built: &Path) -> Result<Self, String> {
        let copy = Self(std::env::temp_dir().join(format!("reimage-{}", std::process::id())));
        fs::copy(built, &copy.0).map_err(|e| format!("Cannot copy {}: {e}", built.display()))?;
        Ok(copy)
    }
}

impl Drop for Binary {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// A user whom /etc/subuid knows, as long as this lives.
struct Mapped {
    ids: (u32, u32),
}

impl Mapped {
    fn new() -> Result<Self, String> {
        let _ = output("userdel", &[MAPPED]);
        run("useradd", &["--system", "--add-subids-for-system", MAPPED])?;
        let id = |flag| {
            let id = output("id", &[flag, MAPPED])?;
            id.trim().parse::<u32>().map_err(|e| format!("`id {flag} {MAPPED}`: {e}"))
        };
        Ok(Self { ids: (id("-u")?, id("-g")?) })
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        let _ = output("userdel", &[MAPPED]);
    }
}

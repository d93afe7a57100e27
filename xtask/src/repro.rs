//! The reproducibility matrix: each example, built under everything that must not matter, has one digest.

mod base;
mod cell;
mod checkout;
mod real;
mod way;

use std::{
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

use crate::{
    command::{output, run},
    setup,
};

use base::Base;
use cell::Cell;
use way::{EACH, TOGETHER};

/// Builds what people build; only when it is named, for it takes long.
const REAL: &str = "real";

/// In how many ways that is built.
const OF_REAL: usize = 3;

/// An application on an image of a registry.
const BASE: &str = "base";

const EXAMPLES: [&str; 6] = ["hello", "distroless", "c-multistage", "python-web", "monorepo", BASE];

/// Builds the examples named, else all of them, in every way, and compares.
pub(crate) fn repro(arguments: &[String]) -> Result<(), String> {
    let each = arguments.iter().any(|argument| argument == "--full");
    let named: Vec<_> = arguments.iter().map(String::as_str).filter(|a| *a != "--full").collect();
    if named.iter().any(|name| !EXAMPLES.contains(name) && *name != REAL) {
        return Err(format!("The examples are: {} {REAL}", EXAMPLES.join(" ")));
    }
    let examples = if named.is_empty() { &EXAMPLES[..] } else { &named[..] };
    let ways = if each { &EACH[..] } else { &TOGETHER[..] };
    setup::install(&[("faketime", "faketime"), ("newuidmap", "uidmap")])?;
    run("cargo", &["build", "--release", "--package", "reimage"])?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let reimage = Binary::new(&root.join("target/release/reimage"))?;
    let mapped = setup::is_root().then(Mapped::new).transpose()?;
    let mut bad = Vec::new();
    let (mut cells, mut skipped) = (0, 0);
    for example in examples {
        let base = (*example == BASE).then(|| Base::new(&root, &reimage.0)).transpose()?;
        let (source, ways) = match &base {
            Some(base) => (base.example(), ways),
            None if *example == REAL => (real::prepare(&root)?, &TOGETHER[..OF_REAL]),
            None => (root.join("examples").join(example), ways),
        };
        let mut lock = None;
        let mut expected: Option<String> = None;
        for way in ways {
            if mapped.is_none() && (way.who.needs_root() || way.hostname.is_some()) {
                println!("{example}: {}: skipped, it needs root", way.name);
                skipped += 1;
                continue;
            }
            let ids = way.who.ids(mapped.as_ref().map(|user| user.ids));
            let began = Instant::now();
            let got = Cell::new(&reimage.0, &source, way, ids, lock.as_deref())?.build();
            cells += 1;
            let took = began.elapsed().as_secs_f64();
            let got = match got {
                Ok(got) => got,
                Err(error) => {
                    println!("{example}: {}: FAILED ({took:.1} s)\n{error}", way.name);
                    bad.push(format!("{example}: {}: failed", way.name));
                    continue;
                }
            };
            lock = lock.or(got.lock);
            let same = expected.get_or_insert_with(|| got.digests.clone()) == &got.digests;
            let word = if same { "same" } else { "DIFFERENT" };
            println!("{example}: {}: {word} ({took:.1} s)", way.name);
            if !same {
                bad.push(format!("{example}: {}\n{}", way.name, got.digests));
            }
        }
        let expected = expected.unwrap_or_default();
        println!("{}", expected.trim_end());
        if let (Some(base), Some(lock)) = (&base, &lock)
            && let Err(error) = base.check(&expected, lock)
        {
            bad.push(format!("{example}: {error}"));
        }
    }
    println!("{} passed, {} failed, {skipped} skipped", cells - bad.len(), bad.len());
    if bad.is_empty() { Ok(()) } else { Err(bad.join("\n")) }
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

/// A user whom /etc/subuid knows, made for the matrix, as long as this lives.
struct Mapped {
    name: String,
    ids: (u32, u32),
}

impl Mapped {
    fn new() -> Result<Self, String> {
        let name = format!("reimage-{}", std::process::id());
        run("useradd", &["--system", "--add-subids-for-system", &name])?;
        let mut user = Self { name, ids: (0, 0) };
        user.ids = (user.id("-u")?, user.id("-g")?);
        Ok(user)
    }

    fn id(&self, flag: &str) -> Result<u32, String> {
        let id = output("id", &[flag, &self.name])?;
        id.trim().parse().map_err(|e| format!("`id {flag} {}`: {e}", self.name))
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        let _ = output("userdel", &[&self.name]);
    }
}

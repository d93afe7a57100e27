//! libFuzzer around one parser: `$REIMAGE_FUZZ` names it, `$REIMAGE_FUZZ_SEEDS` the directory to put its seeds into.
#![no_main]

#[path = "../../../tests/tests/fuzz/seeds/mod.rs"]
mod seeds;

// The parsers of the crate `spec` without the crate: compiling Nickel with counters takes longer than fuzzing.
#[path = "../../../crates/spec/src/fuzz.rs"]
mod fuzz;
#[path = "../../../crates/spec/src/name.rs"]
#[allow(dead_code, reason = "the crate uses more of it")]
mod name;

use std::{path::PathBuf, sync::OnceLock};

use libfuzzer_sys::fuzz_target;
use name::{FieldPath, Name, parse_arg, parse_set};

static TARGET: OnceLock<fn(&[u8])> = OnceLock::new();

fn choose() {
    let wanted = std::env::var("REIMAGE_FUZZ").unwrap_or_default();
    let targets = seeds::targets(fuzz::FUZZ_TARGETS);
    let found = targets.iter().find(|(name, _)| *name == wanted);
    let (name, target) = found.unwrap_or_else(|| {
        let names: Vec<_> = targets.iter().map(|(name, _)| *name).collect();
        println!("{}", names.join("\n"));
        std::process::exit(0);
    });
    if let Some(directory) = std::env::var_os("REIMAGE_FUZZ_SEEDS") {
        for (number, seed) in seeds::seeds(name).iter().enumerate() {
            let path = PathBuf::from(&directory).join(format!("seed-{number}"));
            std::fs::write(path, seed).expect("the directory can be written");
        }
    }
    TARGET.set(*target).expect("it is set once");
}

fuzz_target!(init: choose(), |bytes: &[u8]| {
    TARGET.get().expect("it is set before the first input")(bytes);
});

//! The encoder of a profile alone, on all processors, over an archive in memory: what packing is measured against.
//!
//! `cargo bench --package reimage-oci --bench encoder -- PROFILE FILE` prints the seconds that it takes.

#![expect(clippy::print_stdout, reason = "its output is what it is for")]

use std::{cell::RefCell, env, fs, time::Instant};

use rayon::prelude::*;
use reimage_oci::Profile;

thread_local! {
    static ENCODED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

fn main() {
    let arguments: Vec<_> = env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let [profile, file] = arguments.as_slice() else {
        println!("Nothing to encode: name a profile and a file");
        return;
    };
    let profile = Profile::ALL.into_iter().find(|known| known.name() == profile);
    let profile = profile.expect("a profile: gzip-1, zstd-1, none");
    let content = fs::read(file).expect("a file that can be read");
    let begun = Instant::now();
    content.par_chunks(profile.frame()).for_each(|frame| {
        ENCODED.with_borrow_mut(|encoded| profile.encode(frame, encoded));
    });
    println!("{:.4}", begun.elapsed().as_secs_f64());
}

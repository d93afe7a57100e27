//! Every parser of foreign bytes, for some seconds: inputs that are read well, changed at random, always the same.
//!
//! `cargo xtask fuzz` looks longer, guided by what is covered; its results are in docs/fuzzing.md.

mod seeds;

use seeds::{seeds, targets};

/// Inputs that each target gets, by how long one takes.
const ROUNDS: [(&str, usize); 3] = [("image-archive", 150), ("packages", 500), ("inrelease", 300)];
const ROUNDS_ELSE: usize = 4000;

#[test]
fn every_parser_answers_any_bytes() {
    std::thread::scope(|scope| {
        for (number, (name, target)) in (1..).zip(targets(reimage_spec::FUZZ_TARGETS)) {
            let looks = move || fuzz(number, name, target);
            let thread = std::thread::Builder::new().name(name.to_owned());
            thread.spawn_scoped(scope, looks).expect("there is room for a thread");
        }
    });
}

fn fuzz(number: u64, name: &str, target: fn(&[u8])) {
    let seeds = seeds(name);
    for seed in &seeds {
        target(seed);
    }
    let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ number);
    let rounds = ROUNDS.iter().find(|(slow, _)| *slow == name).map_or(ROUNDS_ELSE, |slow| slow.1);
    for _ in 0..rounds {
        let mut input = seeds[random.below(seeds.len())].clone();
        let other = &seeds[random.below(seeds.len())];
        random.mutate(&mut input, other);
        target(&input);
    }
}

/// A small generator (xorshift*).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from((self.next() >> 8) % end.max(1) as u64).expect("below a usize")
    }

    /// Changes that parsers stumble over: bits, numbers, lengths, parts of other inputs.
    fn mutate(&mut self, input: &mut Vec<u8>, other: &[u8]) {
        for _ in 0..=self.below(4) {
            let at = self.below(input.len());
            let with = self.below(other.len());
            match self.below(9) {
                0 if !input.is_empty() => input[at] ^= 1 << self.below(8),
                1 if !input.is_empty() => input[at] = self.next().to_le_bytes()[0],
                2 if !input.is_empty() => {
                    input[at] = [0, 1, 0x7f, 0x80, 0xff, b'/', b'.'][self.below(7)];
                }
                3 => input.truncate(at),
                4 if !input.is_empty() => {
                    let end = (at + self.below(40)).min(input.len());
                    input.drain(at..end);
                }
                5 => input.insert(at, self.next().to_le_bytes()[0]),
                6 => drop(input.splice(at..at, [0xff; 9])),
                7 => drop(input.splice(at.., other[with..].iter().copied())),
                _ => {
                    let end = (at + self.below(600)).min(input.len());
                    let part = input[at..end].to_vec();
                    let to = self.below(input.len());
                    input.splice(to..to, part);
                }
            }
        }
    }
}

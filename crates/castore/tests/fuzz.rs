//! Bounded fuzzing of every decoder, from seeds that decode; `--ignored` goes on for a minute each.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use reimage_castore::{
    Action, ActionResult, Attrs, Change, Clock, CopyAction, Demands, Diff, Digest, Entry,
    FUZZ_TARGETS, Node, Output, RunAction, Sha256, Source, Tree, TreePath,
};

/// A small generator, so that every run tries the same (xorshift*).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end.max(1) as u64).expect("below a usize")
    }
}

fn path(text: &str) -> TreePath {
    TreePath::new(text).expect("a good path")
}

fn tree() -> Tree {
    let mut tree = Tree::default();
    let mut file = Entry::file(Digest::of(b"x"), 1);
    file.attrs = Attrs { mtime: Some(-300), ..Attrs::mode(0o4711).owned(1000, 70_000) };
    file.attrs.set_xattr(b"user.a", b"value").expect("allowed");
    file.attrs.set_xattr(b"security.capability", &[2; 20]).expect("allowed");
    for (at, entry) in [
        ("usr/bin/a", file.clone()),
        ("usr/bin/b", file.clone()),
        ("usr/lib/x.y/c", file),
        ("bin", Entry::symlink("usr/bin")),
        ("dev", Entry::directory()),
        (
            "dev/null",
            Entry { node: Node::CharDevice { major: 1, minor: 3 }, attrs: Attrs::mode(0o666) },
        ),
        ("dev/pipe", Entry { node: Node::Fifo, attrs: Attrs::file() }),
        ("dev/sda", Entry { node: Node::BlockDevice { major: 8, minor: 0 }, attrs: Attrs::file() }),
    ] {
        tree.insert_deep(path(at), entry).expect("fits");
    }
    tree.link(vec![path("usr/bin/a"), path("usr/bin/b")]).expect("equal");
    tree
}

/// Values that decode, for the fuzzer to start from.
fn seeds(target: &str) -> Vec<Vec<u8>> {
    match target {
        "tree" => vec![tree().encode(), Tree::default().encode()],
        "diff" => {
            let mut diff = Diff::between(&Tree::default(), &tree());
            diff.insert(path("gone/below"), Change::Remove);
            vec![diff.encode(), Diff::new().encode()]
        }
        "action" => {
            let run = RunAction {
                root: vec![Digest::EMPTY; 2],
                inputs: BTreeMap::from([(path("src"), Digest::EMPTY)]),
                argv: vec!["sh".to_owned(), "-c".to_owned()],
                env: BTreeMap::from([("A".to_owned(), "ä".to_owned())]),
                workdir: path("src"),
                user: "0:0".to_owned(),
                outputs: Some(vec![path("out")]),
                exclude: vec!["**/*.o".to_owned()],
                platform: "linux/amd64".to_owned(),
                baseline: 0,
                demands: Demands { clock: Clock::At(-1), ..Demands::REAL },
                cpus: Some(4),
                recorded: Some(Digest::EMPTY),
            };
            let copy = CopyAction {
                from: vec![Source::Tree(Digest::EMPTY), Source::Diff(Digest::EMPTY)],
                path: path("a"),
                to: path("b"),
                include: Some(vec!["x".to_owned()]),
                exclude: vec![],
                chown: Some((1, 2)),
                chmod: Some("u=rwX".to_owned()),
                mtime: Some(0),
            };
            let actions = [Action::Run(run), Action::Copy(copy), Action::Fetch(Sha256::of(b""))];
            actions.iter().map(Action::encode).collect()
        }
        "result" => {
            let mut result = ActionResult::new(Output::Diff(Digest::EMPTY));
            result.log = Some(Digest::EMPTY);
            result.notes = vec!["a note".to_owned()];
            result.millis = 70_000;
            vec![result.encode(), ActionResult::new(Output::Tree(Digest::EMPTY)).encode()]
        }
        "patterns" => [
            "**/*.py\na/b.py",
            "/src/[a-c]?\nsrc/ab/c",
            "{a,b}\\*\n{a,b}*",
            "a/**/b\na/x/b",
            "./a/\na",
        ]
        .map(|text| text.as_bytes().to_vec())
        .to_vec(),
        other => panic!("no seeds for {other}"),
    }
}

/// Changes that parsers stumble over: bits, numbers, lengths, parts of other inputs.
fn mutate(input: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    for _ in 0..=random.below(4) {
        let at = random.below(input.len());
        let with = random.below(other.len());
        match random.below(9) {
            0 if !input.is_empty() => input[at] ^= 1 << random.below(8),
            1 if !input.is_empty() => input[at] = random.next().to_le_bytes()[0],
            2 if !input.is_empty() => {
                input[at] = [0, 1, 0x7f, 0x80, 0xff, b'/', b'.'][random.below(7)];
            }
            3 => input.truncate(at),
            4 if !input.is_empty() => drop(input.remove(at)),
            5 => input.insert(at, random.next().to_le_bytes()[0]),
            6 => drop(input.splice(at..at, [0xff; 9])),
            7 => drop(input.splice(at.., other[with..].iter().copied())),
            _ => {
                let end = (at + random.below(40)).min(input.len());
                let part = input[at..end].to_vec();
                input.splice(at..at, part);
            }
        }
    }
}

fn fuzz(mut go_on: impl FnMut(u64) -> bool) {
    for (number, (name, target)) in (1..).zip(FUZZ_TARGETS) {
        let seeds = seeds(name);
        for seed in &seeds {
            target(seed);
        }
        let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ number);
        let mut round = 0;
        while go_on(round) {
            let mut input = seeds[random.below(seeds.len())].clone();
            let other = &seeds[random.below(seeds.len())];
            mutate(&mut input, other, &mut random);
            target(&input);
            round += 1;
        }
    }
}

#[test]
fn decoders_take_only_what_they_would_write() {
    fuzz(|round| round < 20_000);
}

#[test]
#[ignore = "a minute for each decoder"]
fn decoders_for_minutes() {
    let mut began = Instant::now();
    fuzz(|round| {
        if round == 0 {
            began = Instant::now();
        }
        began.elapsed() < Duration::from_mins(1)
    });
}

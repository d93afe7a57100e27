//! Trees, diffs, actions, results and patterns.

use std::collections::BTreeMap;

use reimage_castore::{
    Action, ActionResult, Attrs, Change, Clock, CopyAction, Demands, Diff, Digest, Entry, Node,
    Output, RunAction, Sha256, Source, Tree, TreePath,
};

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
pub(crate) fn seeds(target: &str) -> Option<Vec<Vec<u8>>> {
    Some(match target {
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
        _ => return None,
    })
}

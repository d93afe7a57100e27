//! The vectors of `docs/encoding.md` are what the encoders write: another implementation can rely on them.

use std::collections::BTreeMap;

use reimage_castore::{
    Action, ActionResult, Attrs, Change, CopyAction, Diff, Digest, Entry, Output, Sha256, Source,
    Tree, TreePath,
};

const PAGE: &str = include_str!("../../../docs/encoding.md");

fn path(text: &str) -> TreePath {
    TreePath::new(text).expect("a good path")
}

/// The values of the page, by the headings above their vectors.
fn vectors() -> BTreeMap<&'static str, Vec<u8>> {
    let mut tree = Tree::default();
    let mut file = Entry::file(Digest::of(b"hello\n"), 6);
    file.attrs = Attrs { mtime: Some(-1), ..Attrs::mode(0o4755).owned(0, 33) };
    file.attrs.set_xattr(b"user.a", b"b").expect("allowed");
    tree.insert_deep(path("bin/a"), file.clone()).expect("fits");
    tree.insert(path("bin/b"), file).expect("fits");
    tree.link(vec![path("bin/a"), path("bin/b")]).expect("equal");
    tree.insert(path("sh"), Entry::symlink("bin/a")).expect("fits");

    let mut diff = Diff::new();
    diff.insert(path("etc"), Change::Put(Entry::directory()));
    diff.insert(path("tmp/x"), Change::Remove);

    let copy = CopyAction {
        from: vec![Source::Tree(Digest::EMPTY)],
        path: TreePath::root(),
        to: path("opt/app"),
        include: None,
        exclude: vec!["*.o".to_owned()],
        chown: Some((1000, 1000)),
        chmod: None,
        mtime: None,
    };
    let mut result = ActionResult::new(Output::Tree(Digest::EMPTY));
    result.log = Some(Digest::EMPTY);
    result.notes = vec!["a note".to_owned()];
    result.secrets = vec![(TreePath::new("etc/key").expect("a good path"), Digest::EMPTY)];
    result.millis = 300;
    BTreeMap::from([
        ("empty tree", Tree::default().encode()),
        ("tree", tree.encode()),
        ("diff", diff.encode()),
        ("fetch", Action::Fetch(Sha256::of(b"")).encode()),
        ("copy", Action::Copy(copy).encode()),
        ("result", result.encode()),
    ])
}

/// `vector: name` and then, indented, hexadecimal digits with remarks after `;`, and `= digest`.
fn parse(page: &str) -> BTreeMap<&str, (Vec<u8>, &str)> {
    let mut parsed = BTreeMap::new();
    for part in page.split("```text\nvector: ").skip(1) {
        let part = part.split("```").next().expect("it has an end");
        let (name, rest) = part.split_once('\n').expect("a name");
        let (lines, digest) = rest.split_once("= ").expect("a digest");
        let mut bytes = Vec::new();
        for line in lines.lines() {
            let line = line.split(';').next().expect("a line");
            for item in line.split_whitespace() {
                match item.strip_prefix('"').and_then(|t| t.strip_suffix('"')) {
                    Some(text) => bytes.extend_from_slice(text.replace('_', " ").as_bytes()),
                    None => bytes.extend((0..item.len()).step_by(2).map(|at| {
                        u8::from_str_radix(&item[at..at + 2], 16).expect("hexadecimal digits")
                    })),
                }
            }
        }
        parsed.insert(name, (bytes, digest.trim()));
    }
    parsed
}

#[test]
fn the_page_is_right() {
    let page = parse(PAGE);
    let vectors = vectors();
    for (name, bytes) in &vectors {
        let (written, digest) =
            page.get(name).unwrap_or_else(|| panic!("no `{name}`: {bytes:02x?}"));
        assert_eq!(written, bytes, "{name}: {bytes:02x?}");
        assert_eq!(*digest, Digest::of(bytes).to_string(), "{name}");
    }
    assert_eq!(page.len(), vectors.len());
}

//! Layers: the directories above come along, what hides nothing goes, what cannot be said is refused.

use std::sync::Arc;

use reimage_castore::Attrs;

use super::*;

const F: i64 = 1_793_491_200;

fn path(text: &str) -> TreePath {
    TreePath::new(text).expect("a good path")
}

fn diff(changes: &[(&str, Option<Entry>)]) -> Diff {
    let mut diff = Diff::new();
    for (at, entry) in changes {
        diff.insert(path(at), entry.clone().map_or(Change::Remove, Change::Put));
    }
    diff
}

fn file() -> Entry {
    Entry::file(Digest::EMPTY, 0)
}

fn dir(mode: u32) -> Entry {
    Entry { node: Node::Directory, attrs: Attrs::mode(mode) }
}

fn beneath() -> View {
    View::new(vec![
        Arc::new(diff(&[
            ("tmp", Some(dir(0o1777))),
            ("tmp/old", Some(file())),
            ("usr", Some(dir(0o755))),
            ("usr/bin", Some(dir(0o755))),
            ("bin", Some(Entry::symlink("usr/bin"))),
        ])),
        Arc::new(diff(&[("usr", Some(dir(0o700)))])),
    ])
}

fn shown(content: &LayerContent) -> Vec<String> {
    let show = |(path, change): (&TreePath, &Change)| match change {
        Change::Put(entry) => format!("{path} {:o}", entry.attrs.mode),
        Change::Remove => format!("{path} gone"),
    };
    content.entries().iter().map(show).collect()
}

#[test]
fn directories_above_come_with_their_merged_attributes() {
    let diff = diff(&[("tmp/x", Some(file())), ("usr/bin/y", Some(file())), ("tmp/old", None)]);
    let content = LayerContent::new(&beneath(), &diff).expect("a good layer");
    let expected =
        ["/tmp 1777", "/tmp/old gone", "/tmp/x 644", "/usr 700", "/usr/bin 755", "/usr/bin/y 644"];
    assert_eq!(shown(&content), expected);
}

#[test]
fn what_hides_nothing_leaves_no_trace() {
    let content = LayerContent::new(&beneath(), &diff(&[("tmp/none", None), ("none/x", None)]));
    assert!(content.expect("a good layer").entries().is_empty());
}

#[test]
fn the_root_is_there_only_if_it_says_something() {
    let plain = LayerContent::new(&View::default(), &diff(&[("x", Some(file()))]));
    assert_eq!(shown(&plain.expect("a good layer")), ["/x 644"]);
    let closed = View::new(vec![Arc::new(diff(&[("/", Some(dir(0o700)))]))]);
    let above = LayerContent::new(&closed, &diff(&[("x", Some(file()))]));
    assert_eq!(shown(&above.expect("a good layer")), ["/ 700", "/x 644"]);
}

#[test]
fn refuses_what_no_layer_can_say() {
    let error = |diff: &Diff| LayerContent::new(&beneath(), diff).expect_err("refused").to_string();
    assert_eq!(
        error(&diff(&[("tmp/.wh.x", Some(file()))])),
        "`/tmp/.wh.x` cannot be in an image: names that begin with `.wh.` mean deletions in a layer"
    );
    assert_eq!(
        error(&diff(&[("bin/x", Some(file()))])),
        "`/bin/x` cannot be in a layer here: `/bin` is a symbolic link, not a directory"
    );
    assert_eq!(
        error(&diff(&[("opt/x", Some(file()))])),
        "`/opt/x` cannot be in a layer here: nothing below or in it makes the directory `/opt`"
    );
    let device =
        Entry { node: Node::BlockDevice { major: 1, minor: 1 << 21 }, attrs: Attrs::mode(0o600) };
    assert_eq!(
        error(&diff(&[("x", Some(device))])),
        "The device `/x` cannot be in an image: 1:2097152 is beyond 2097151"
    );
    let mut entry = file();
    entry.attrs.set_xattr(b"user.a=b", b"").expect("allowed in a tree");
    assert_eq!(
        error(&diff(&[("x", Some(entry))])),
        "The extended attribute `user.a=b` of `/x` cannot be in an image: its name contains `=`"
    );
}

#[test]
fn a_key_is_of_entries_profile_and_time() {
    let content = |mode| {
        let entry = Entry { attrs: Attrs::mode(mode), ..file() };
        LayerContent::new(&View::default(), &diff(&[("x", Some(entry))])).expect("a good layer")
    };
    let key = content(0o644).key(Profile::Gzip1, F);
    assert_eq!(content(0o644).key(Profile::Gzip1, F), key);
    assert_ne!(content(0o600).key(Profile::Gzip1, F), key);
    assert_ne!(content(0o644).key(Profile::Zstd1, F), key);
    assert_ne!(content(0o644).key(Profile::Gzip1, F + 1), key);
    assert_eq!(key.to_string(), "f70ea80a151f556898fb20a63fac237fb429826e8526340bc1c330cc4973530c");
}

//! Users of a root, and memos of targets.

use reimage_castore::{Change, Diff, Digest, Encoder, Entry, TreePath};

use super::texts;

const USERS: &str = "www:tty\0root:x:0:0:root:/root:/bin/bash\nwww:x:33:33::/var/www:/bin/sh\n\0root:x:0:\nwww:x:33:\ntty:x:5:other,www\n";

pub(crate) fn seeds(target: &str) -> Option<Vec<Vec<u8>>> {
    Some(match target {
        "passwd" => texts(&[USERS, "1000:5\0\0", "33\0www:x:33:33::/var/www:/bin/sh\0"]),
        "memo" => texts(&[
            "\"Passed\"",
            r#"{"Image":{"digest":"sha256:ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb","manifest_size":500,"size":9000,"tags":["web:1"]}}"#,
            r#"{"Tree":"ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"}"#,
        ]),
        "skeleton" => {
            let path = |path: &str| TreePath::new(path).expect("a good path");
            let (mut lower, mut upper) = (Diff::new(), Diff::new());
            lower.insert(path("etc"), Change::Put(Entry::directory()));
            lower.insert(path("etc/a"), Change::Put(Entry::file(Digest::of(b"text"), 4)));
            upper.insert(path("etc/a"), Change::Remove);
            upper.insert(path("etc/b"), Change::Put(Entry::symlink("a")));
            let mut encoder = Encoder::new("reimage skeleton 1\n");
            encoder.list([lower, upper].iter(), |e, diff| {
                e.bytes(&diff.encode());
            });
            encoder.list([b"text"].iter(), |e, content| {
                e.bytes(*content);
            });
            vec![encoder.finish()]
        }
        _ => return None,
    })
}

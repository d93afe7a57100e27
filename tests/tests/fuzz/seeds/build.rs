//! Users of a root, and memos of targets.

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
        _ => return None,
    })
}

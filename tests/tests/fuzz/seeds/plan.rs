//! Locks, and words of specs.

use super::texts;

const LOCK: &str = r#"version = 1

[[http]]
url = "https://example.org/a"
sha256 = "sha256:ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"
size = 1

[[oci]]
image = "debian:12-slim"
platform = "linux/amd64"
digest = "sha256:3e23e8160039594a33894f6564e1b1348bbd7a0088d42c4acb73eeaed59c009d"
size = 529
blobs = [
  "1469 sha256:2e7d2c03a9507ae265ecf5b5356885a53393a2029d241394997265a1a25aefc6",
]
skeleton = "oci-unpack-1 1204115 sha256:3f79bb7b435b05321651daefd374cdc681dc06faa65e374e38337b88ca046dea"

[[debian]]
suite = "bookworm"
packages = ["hello"]
components = ["main", "contrib"]
essential = false
recommends = true
repositories = ["https://example.org/debian stable main"]
platform = "linux/amd64"
installed = "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"
pins = [
  "bookworm hello 1:2.10-3+b1 amd64 pool/main/h/hello/hello_2.10-3_amd64.deb 53080 sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
]
"#;

pub(crate) fn seeds(target: &str) -> Option<Vec<Vec<u8>>> {
    Some(match target {
        "lock" => texts(&[LOCK, "version = 1\n", "version = 2\n", "<<<<<<< ours\n"]),
        "words" => texts(&["0755", "u=rwX,go=rX", "a+st,o-w", "512m", "2g", "1", "linux/arm64/v8"]),
        _ => return None,
    })
}

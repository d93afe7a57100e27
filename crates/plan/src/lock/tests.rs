//! The lock: one text for one value, and a clear word on everything else.

use proptest::prelude::*;

use super::*;

fn lock() -> Lock {
    let mut lock = Lock::default();
    lock.http.insert("https://example.org/a".into(), HttpPin { sha256: Sha256::of(b"a"), size: 1 });
    let request = DebianRequest {
        suite: "bookworm".into(),
        packages: vec!["hello".into()],
        components: main(),
        essential: false,
        recommends: false,
        repositories: Vec::new(),
        platform: "linux/amd64".into(),
        installed: None,
    };
    let hello = PackagePin {
        name: "hello".into(),
        architecture: "amd64".into(),
        version: "1:2.10-3+b1".into(),
        suite: "bookworm".into(),
        path: "pool/main/h/hello/hello_2.10-3_amd64.deb".into(),
        size: 53_080,
        sha256: Sha256::of(b"hello"),
    };
    lock.debian.insert(request, DebianPin { packages: vec![hello] });
    let request = OciRequest { image: "debian:12-slim".into(), platform: "linux/amd64".into() };
    let blobs = vec![(Sha256::of(b"c"), 1469), (Sha256::of(b"d"), 28_227_259)];
    let unpacker = "oci-unpack-1".into();
    let skeleton = Some(SkeletonPin { unpacker, sha256: Sha256::of(b"e"), size: 1_204_115 });
    lock.oci.insert(request, OciPin { digest: Sha256::of(b"b"), size: 529, blobs, skeleton });
    lock
}

#[test]
fn reads_as_a_person_would_write_it() {
    let text = lock().render();
    assert_eq!(
        text,
        "\
# Made by `reimage lock`: what each remote source is, by digest. Commit it, and read its diffs.
version = 1

[[http]]
url = \"https://example.org/a\"
sha256 = \"sha256:ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb\"
size = 1

[[oci]]
image = \"debian:12-slim\"
platform = \"linux/amd64\"
digest = \"sha256:3e23e8160039594a33894f6564e1b1348bbd7a0088d42c4acb73eeaed59c009d\"
size = 529
blobs = [
  \"1469 sha256:2e7d2c03a9507ae265ecf5b5356885a53393a2029d241394997265a1a25aefc6\",
  \"28227259 sha256:18ac3e7343f016890c510e93f935261169d9e3f565436429830faf0934f4f8e4\",
]
skeleton = \"oci-unpack-1 1204115 sha256:3f79bb7b435b05321651daefd374cdc681dc06faa65e374e38337b88ca046dea\"

[[debian]]
suite = \"bookworm\"
packages = [\"hello\"]
essential = false
platform = \"linux/amd64\"
pins = [
  \"bookworm hello 1:2.10-3+b1 amd64 pool/main/h/hello/hello_2.10-3_amd64.deb 53080 sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824\",
]
"
    );
    assert_eq!(Lock::parse(&text), Ok(lock()));
    assert_eq!(Lock::parse("\n"), Ok(Lock::default()));
}

#[test]
fn says_what_is_wrong() {
    let error = |text: &str| Lock::parse(text).expect_err("a bad lock").to_string();
    assert_eq!(error("version = 1\n<<<<<<< HEAD\n"), "Line 2 is the mark of an unresolved merge");
    assert_eq!(
        error("version = 9\nfuture = 1\n"),
        "It has version 9, and this reimage reads version 1"
    );
    assert!(error("garbage").contains("line 1"), "{}", error("garbage"));
    assert!(error("version = 1\nhttps = 3\n").contains("unknown field `https`"));
    let text = lock().render();
    let twice = text.clone() + &text[text.find("\n[[debian]]").expect("it has one")..];
    assert_eq!(error(&twice), "The request `bookworm: hello` is pinned twice");
    for bad in ["", "oci-unpack-1", "oci-unpack-1 x sha256:00", "1204115 sha256:3f79bb"] {
        let at = text.find("oci-unpack-1 1204115").expect("it has one");
        let end = at + text[at..].find('"').expect("it ends");
        let text = [&text[..at], bad, &text[end..]].concat();
        assert!(matches!(Lock::parse(&text), Err(LockError::Skeleton { .. })), "{bad}");
    }
    let without = text.split_inclusive('\n').filter(|line| !line.starts_with("skeleton"));
    let without: String = without.collect();
    assert_eq!(Lock::parse(&without).expect("an older one").render(), without);
    for bad in ["pool/../../etc", "/pool/x", "pool//x"] {
        let text = text.replace("pool/main/h/hello/hello_2.10-3_amd64.deb", bad);
        assert!(matches!(Lock::parse(&text), Err(LockError::Package { .. })), "{bad}");
    }
}

#[test]
fn the_example_of_the_docs_is_one() {
    let page = include_str!("../../../../docs/lock.md");
    let (_, rest) = page.split_once("```toml\n").expect("it has an example");
    let (example, _) = rest.split_once("```").expect("it ends");
    assert_eq!(Lock::parse(example).expect("a good lock").render(), example);
}

#[test]
fn two_who_lock_at_once_keep_each_other_s_pins() {
    let lock = |pins: &[(&str, u64)]| {
        let pin = |size| HttpPin { sha256: Sha256::of(b""), size };
        let http = pins.iter().map(|(url, size)| ((*url).to_owned(), pin(*size))).collect();
        Lock { http, ..Lock::default() }
    };
    let old = lock(&[("gone", 1), ("moved", 1), ("same", 1)]);
    let new = lock(&[("moved", 2), ("new", 1), ("same", 1)]);
    let mut other = lock(&[("gone", 1), ("moved", 1), ("same", 7), ("theirs", 1)]);
    other.apply(&old, &new);
    assert_eq!(other, lock(&[("moved", 2), ("new", 1), ("same", 7), ("theirs", 1)]));
}

proptest! {
    #[test]
    fn any_request_survives(suite in ".{1,20}", packages in proptest::collection::vec(".{0,20}", 0..4), url in ".{0,40}") {
        let mut before = lock();
        let (request, pin) = before.debian.pop_first().expect("it has one");
        before.debian.insert(DebianRequest { suite, packages, ..request }, pin);
        before.http.insert(url, HttpPin { sha256: Sha256::of(b""), size: 0 });
        prop_assert_eq!(Lock::parse(&before.render()), Ok(before));
    }

    #[test]
    fn garbage_is_an_error_and_no_panic(text in ".{0,200}") {
        let _ = Lock::parse(&text);
    }
}

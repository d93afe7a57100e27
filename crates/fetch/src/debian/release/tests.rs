//! Signed Release files of our own making, good and bad.

use super::*;
use proptest::prelude::*;
use reimage_tests::Signer;

const TEXT: &str = "Origin: Test
Suite: stable
Codename: anvil
Date: Sun, 01 Nov 2026 00:00:00 UTC
Valid-Until: Sun, 08 Nov 2026 00:00:00 UTC
Acquire-By-Hash: yes
Architectures: all amd64
No-Support-for-Architecture-all: Packages
Components: main
SHA256:
 e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 0 main/binary-amd64/Packages
 ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad 3 main/binary-amd64/Packages.xz
- odd line
";

fn at(text: &str) -> SystemTime {
    date(text).expect("the tests write dates that are dates")
}

fn check() -> ReleaseCheck {
    ReleaseCheck { now: at("Mon, 02 Nov 2026 00:00:00 UTC"), valid_until: true, newest_seen: None }
}

fn verify(signer: &Signer, message: &str, check: &ReleaseCheck) -> Result<Release, String> {
    let mut keyring = Keyring::default();
    keyring.add("test.gpg", signer.armored().as_bytes()).expect("the key is one");
    Release::verify("InRelease", message.as_bytes(), "anvil", &keyring, check)
        .map_err(|e| e.to_string())
}

fn text() -> String {
    TEXT.replace("- odd line\n", "")
}

#[test]
fn reads_what_is_signed() {
    let signer = Signer::new(1);
    let release = verify(&signer, &signer.sign(&text()), &check()).unwrap();
    assert_eq!((release.by_hash, release.separate_all, release.priority), (true, false, 500));
    let index = release.index("main", "amd64");
    assert_eq!(
        index.iter().map(|(path, _, size)| (path.as_str(), *size)).collect::<Vec<_>>(),
        [("main/binary-amd64/Packages.xz", 3), ("main/binary-amd64/Packages", 0),]
    );
    let (path, digest, _) = &index[0];
    let hex = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(release.location(path, digest), format!("main/binary-amd64/by-hash/SHA256/{hex}"));
}

#[test]
fn refuses_changed_text_and_foreign_keys() {
    let (signer, other) = (Signer::new(1), Signer::new(2));
    let message = signer.sign(&text());
    let changed = message.replace("Origin: Test", "Origin: Best");
    let error = verify(&signer, &changed, &check()).unwrap_err();
    assert_eq!(
        error,
        format!(
            "InRelease is signed by key {}, and the signature does not fit the text: it was changed on its way or where it lies",
            signer.fingerprint()
        )
    );
    let error = verify(&other, &message, &check()).unwrap_err();
    assert_eq!(
        error,
        format!(
            "InRelease is signed by {}, and none of these keys is in test.gpg",
            signer.fingerprint()
        )
    );
    let error = verify(&signer, &text(), &check()).unwrap_err();
    assert!(error.starts_with("InRelease is not signed text"), "{error}");
    let appended = format!("{message}\nOrigin: Evil\n");
    assert!(verify(&signer, &appended, &check()).is_err());
    assert!(verify(&signer, &format!("Origin: Evil\n{message}"), &check()).is_err());
}

#[test]
fn refuses_what_is_over_rolled_back_or_another_suite() {
    let signer = Signer::new(1);
    let message = signer.sign(&text());
    let late = ReleaseCheck { now: at("Mon, 09 Nov 2026 00:00:00 UTC"), ..check() };
    let error = verify(&signer, &message, &late).unwrap_err();
    assert!(error.starts_with("InRelease expired on Sun, 08 Nov 2026 00:00:00 UTC"), "{error}");
    assert!(verify(&signer, &message, &ReleaseCheck { valid_until: false, ..late }).is_ok());
    let seen = ReleaseCheck { newest_seen: Some(at("Sun, 01 Nov 2026 00:00:01 UTC")), ..check() };
    let error = verify(&signer, &message, &seen).unwrap_err();
    assert!(error.contains("went back in time"), "{error}");
    let seen = ReleaseCheck { newest_seen: Some(at("Sun, 01 Nov 2026 00:00:00 UTC")), ..check() };
    assert!(verify(&signer, &message, &seen).is_ok());
    let other = signer.sign(&text().replace("anvil", "hammer"));
    let error = verify(&signer, &other, &check()).unwrap_err();
    assert_eq!(error, "InRelease is of suite `stable` (codename `hammer`), not `anvil`");
}

#[test]
fn names_the_field_that_is_wrong() {
    let signer = Signer::new(1);
    let error = verify(&signer, &signer.sign(TEXT), &check()).unwrap_err();
    assert!(error.contains("Release file") || error.contains("SHA256"), "{error}");
    let error = verify(&signer, &signer.sign(&text().replace("Date: Sun", "Date: Tag")), &check())
        .unwrap_err();
    assert_eq!(error, "InRelease has no valid field `Date`");
}

#[test]
fn dates_may_have_offsets() {
    let utc = at("Sun, 01 Nov 2026 12:00:00 UTC");
    assert_eq!(date("Sun, 01 Nov 2026 12:00:00 +0000"), Some(utc));
    assert_eq!(date("Sun, 01 Nov 2026 14:30:00 +0230"), Some(utc));
    assert_eq!(date("yesterday"), None);
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,200}") {
        let _ = Release::parse("Release", &text, "x", String::new());
    }

    #[test]
    fn any_bytes_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let keyring = Keyring::default();
        prop_assert!(keyring.verify("InRelease", &bytes, SystemTime::UNIX_EPOCH).is_err());
    }
}

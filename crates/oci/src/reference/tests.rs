//! References: docker's rules, held against another parser of them.

use proptest::prelude::*;

use super::*;

fn reference(text: &str) -> Reference {
    text.parse().expect("a good reference")
}

#[test]
fn short_names_mean_what_docker_means() {
    for (written, full, familiar) in [
        ("web", "docker.io/library/web", "web"),
        ("web:1.0", "docker.io/library/web:1.0", "web:1.0"),
        ("somebody/web", "docker.io/somebody/web", "somebody/web"),
        ("docker.io/web", "docker.io/library/web", "web"),
        ("index.docker.io/library/web:x", "docker.io/library/web:x", "web:x"),
        ("localhost/web", "localhost/web", "localhost/web"),
        ("localhost:5000/a/b:t", "localhost:5000/a/b:t", "localhost:5000/a/b:t"),
        ("example.org/web", "example.org/web", "example.org/web"),
        ("Example/web", "Example/web", "Example/web"),
        ("docker.io/library/a/b", "docker.io/library/a/b", "library/a/b"),
        ("a--b__c.d_e", "docker.io/library/a--b__c.d_e", "a--b__c.d_e"),
    ] {
        let reference = reference(written);
        assert_eq!((reference.full().as_str(), reference.familiar().as_str()), (full, familiar));
        assert_eq!(familiar.parse(), Ok(reference.clone()));
        assert_eq!(full.parse(), Ok(reference));
    }
}

#[test]
fn digests_and_latest() {
    let digest = Sha256::of(b"x");
    let both = reference(&format!("example.org/web:1@{digest}"));
    assert_eq!((both.tag(), both.digest()), (Some("1"), Some(digest)));
    assert_eq!(both.clone().or_latest(), both);
    assert_eq!(reference("web").or_latest().tag(), Some("latest"));
    assert_eq!(reference(&format!("web@{digest}")).or_latest().tag(), None);
    assert_eq!((both.registry(), both.path()), ("example.org", "web"));
}

#[test]
fn refuses_with_a_reason() {
    for (text, why) in [
        ("", "it is empty"),
        ("Web", "names of repositories are lower-case"),
        ("a//b", "a part of the name is empty"),
        ("web:", "the tag is empty"),
        ("web:.x", "a tag does not begin with `.` or `-`"),
        ("web:a b", "a tag has only letters, digits, `_`, `.` and `-`"),
        (
            "web@sha256:12",
            "what follows `@` is no digest: `sha256:` and 64 lower-case hexadecimal digits",
        ),
        (
            "a___b",
            "a name has only lower-case letters and digits, separated by `/`, `.`, `_`, `__` or `-`",
        ),
        (
            "-web",
            "a name has only lower-case letters and digits, separated by `/`, `.`, `_`, `__` or `-`",
        ),
        ("host.:x/web", "its first part is no host name"),
        ("host:x/web", "the registry's port is no number"),
        ("https://host/web", "the registry's port is no number"),
        (&"a".repeat(300), "a name has at most 255 characters"),
        (&format!("web:{}", "a".repeat(129)), "a tag has at most 128 characters"),
        (&"a".repeat(64), "64 hexadecimal digits are a digest: write `sha256:` before them"),
    ] {
        let error = text.parse::<Reference>().expect_err(text);
        assert_eq!(error.why, why, "{text}");
        assert!(error.to_string().starts_with('`'));
    }
}

proptest! {
    /// The same references are good to OCI's own parser, and mean the same; but it takes no upper-case host.
    #[test]
    fn as_another_parser(text in "([a-b.:-]{0,5}/)?[a-b0._/-]{1,8}(:[a-zA-Z._-]{0,3})?") {
        let ours = text.parse::<Reference>();
        let theirs = text.parse::<oci_spec::distribution::Reference>();
        prop_assert_eq!(ours.is_ok(), theirs.is_ok(), "{} {:?} {:?}", text, ours, theirs);
        if let (Ok(ours), Ok(theirs)) = (ours, theirs) {
            prop_assert_eq!(ours.registry(), theirs.registry());
            prop_assert_eq!(ours.path(), theirs.repository());
            let ours = ours.or_latest();
            prop_assert_eq!(ours.tag(), theirs.tag());
        }
    }

    #[test]
    fn any_text_is_an_answer(text in "\\PC{0,40}") {
        if let Ok(reference) = text.parse::<Reference>() {
            prop_assert_eq!(reference.full().parse::<Reference>(), Ok(reference));
        }
    }
}

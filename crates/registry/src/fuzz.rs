//! The readers of what registries, token servers and files of credentials say, one entry point each, for fuzzers.
//!
//! The answer to any bytes is a value or an error: no panic, nothing that leads elsewhere than it says.

use std::path::Path;

use reimage_castore::{FuzzTarget, Sha256};
use reimage_http::origin;
use reimage_oci::{Descriptor, INDEX, Index, Platform};

use crate::{
    Found, Platforms,
    auth::{Answered, Challenge},
    credentials::file::{File, keys},
    error::detail,
    platforms::{flat, narrow},
};

/// All readers of this crate.
pub const FUZZ_TARGETS: &[FuzzTarget] = &[
    ("registry-index", index),
    ("registry-challenge", challenge),
    ("registry-token", token),
    ("registry-error", error),
    ("docker-config", config),
];

/// The parts of an index that are meant are in it, and what names them reads back.
fn index(bytes: &[u8]) {
    let digest = Sha256::of(bytes);
    let Ok(index) = Index::parse(digest, bytes) else { return };
    let _ = flat(digest, &index);
    let platform = |architecture: &str, variant: Option<&str>| Platform {
        architecture: architecture.into(),
        os: "linux".into(),
        variant: variant.map(str::to_owned),
    };
    let (amd64, arm64) = (platform("amd64", None), platform("arm64", Some("v8")));
    let some = Platforms::Some(vec![amd64.clone(), arm64]);
    for platforms in [Platforms::All, Platforms::One(amd64), some] {
        let descriptor = Descriptor::new(INDEX, digest, bytes.len() as u64);
        let top = Found { descriptor, bytes: bytes.to_vec() };
        let Ok(narrowed) = narrow(top, &index, &platforms) else { continue };
        assert!(narrowed.manifests.iter().all(|manifest| index.manifests.contains(manifest)));
        if let Some(Found { descriptor, bytes }) = narrowed.index {
            assert_eq!(descriptor.digest, Sha256::of(&bytes));
            let read = Index::parse(descriptor.digest, &bytes).expect("it was one");
            assert_eq!(read.manifests, narrowed.manifests);
        }
    }
}

/// Header values, one a line.
fn challenge(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let url = "https://registry.example/v2/";
    if let Some(Challenge::Bearer { realm, .. }) = Challenge::parse(text.lines().map(Some), url) {
        let (scheme, host, _) = origin(&realm).expect("it is a URL");
        assert!(matches!(&*scheme, "http" | "https") && !host.is_empty(), "{realm}");
    }
}

fn token(bytes: &[u8]) {
    if let Some((token, life)) = Answered::parse(bytes) {
        assert!(!token.reveal().is_empty() && life.as_secs() <= 86_400);
    }
}

/// What is shown is short and one line.
fn error(bytes: &[u8]) {
    let detail = detail(bytes);
    assert!(detail.chars().count() <= 300 && !detail.contains(char::is_control), "{detail:?}");
}

/// No helper is run.
fn config(bytes: &[u8]) {
    let path = Path::new("config.json");
    let Ok(file) = File::parse(path, bytes) else { return };
    for (registry, repository) in [("docker.io", "library/x"), ("registry.example", "team/app/web")]
    {
        let _ = file.helper(registry);
        let _ = file.held(path, &keys(registry, repository));
    }
}

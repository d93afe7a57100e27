//! The readers of what Debian's repositories say, one entry point each, for fuzzers.

use std::{
    cmp::Ordering,
    path::Path,
    time::{Duration, SystemTime},
};

use super::{
    Keyring, Release, ReleaseCheck, Universe, relation, resolve, resolve::Request, sources,
    universe::IndexOrigin, version::DebVersion,
};

/// An index, and what is chosen from it.
pub(crate) fn packages(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut universe = Universe::new("amd64");
    let origin = IndexOrigin { suite: "bookworm".into(), priority: 500 };
    if universe.add_index("Packages", origin, &text).is_err() {
        return;
    }
    let names = text.lines().filter_map(|line| line.strip_prefix("Package:"));
    let packages = names.take(3).map(|name| name.trim().to_owned()).collect();
    let request = Request { packages, essential: true, recommends: true, ..Request::default() };
    if let Ok(pins) = resolve(&universe, &request) {
        assert!(pins.is_sorted_by(|a, b| a.name <= b.name), "{pins:?}");
    }
}

/// What a root has installed, in its own words.
pub(crate) fn status(bytes: &[u8]) {
    let mut universe = Universe::new("amd64");
    let _ = universe.add_status("status", &String::from_utf8_lossy(bytes));
}

pub(crate) fn relation(bytes: &[u8]) {
    for group in relation::groups(&String::from_utf8_lossy(bytes)).flatten() {
        assert!(group.iter().all(|one| !one.name.contains(char::is_whitespace)), "{group:?}");
    }
}

/// Three lines: they are in one order.
pub(crate) fn version(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut lines = text.lines().map(DebVersion::new);
    let (Some(a), Some(b)) = (lines.next(), lines.next()) else { return };
    assert_eq!(a.cmp(&b), b.cmp(&a).reverse());
    if let Some(c) = lines.next()
        && a <= b
        && b <= c
    {
        assert_ne!(a.cmp(&c), Ordering::Greater);
    }
}

pub(crate) fn release(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(release) = Release::parse("Release", &text, "bookworm", String::new()) {
        let _ = (release.components("amd64"), release.index("main", "amd64"));
        let _ = release.check("Release", &text, &check());
    }
}

/// A keyring, a NUL, and what it may have signed.
pub(crate) fn inrelease(bytes: &[u8]) {
    let Some(end) = bytes.iter().position(|byte| *byte == 0) else { return };
    let mut keyring = Keyring::default();
    let _ = keyring.add("test.gpg", &bytes[..end]);
    let _ = Release::verify("InRelease", &bytes[end + 1..], "bookworm", &keyring, &check());
}

pub(crate) fn keyring(bytes: &[u8]) {
    let mut keyring = Keyring::default();
    let added = keyring.add("test.gpg", bytes).is_ok();
    assert_eq!(added, !keyring.is_empty());
}

/// The machine's own sources and settings.
pub(crate) fn sources(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let path = Path::new("sources");
    let _ = (sources::parse_list(path, &text), sources::parse_sources(path, &text));
    sources::settings(&text, &mut std::collections::BTreeMap::new());
}

/// On the first day of 2024.
fn check() -> ReleaseCheck {
    let now = SystemTime::UNIX_EPOCH + Duration::from_hours(473_352);
    ReleaseCheck { now, valid_until: true, newest_seen: None }
}

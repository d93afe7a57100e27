//! Bundles, whole and damaged.

use std::{io::Seek as _, os::unix::fs::PermissionsExt as _};

use super::*;

fn bundle() -> (Bundle, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    (Bundle::of_lock(&directory.path().join("reimage.lock")), directory)
}

fn put(bundle: &Bundle, contents: &[&[u8]]) -> (usize, usize) {
    let writer = bundle.writer().unwrap();
    let write = |bytes: &&[u8]| {
        let sha256 = Sha256::of(bytes);
        let lacks = !writer.has_intact(&sha256);
        if lacks {
            writer.put(&sha256, *bytes).unwrap();
        }
        usize::from(lacks)
    };
    let written = contents.iter().map(write).sum();
    (written, writer.keep(&contents.iter().map(|bytes| Sha256::of(bytes)).collect()).unwrap())
}

fn copy(bundle: &Bundle, content: &[u8]) -> Result<Option<Vec<u8>>, String> {
    let mut file = tempfile::tempfile().unwrap();
    let found = bundle.copy(&Sha256::of(content), &mut file).map_err(|e| e.to_string());
    let mut bytes = Vec::new();
    file.rewind().unwrap();
    file.read_to_end(&mut bytes).unwrap();
    assert!(found == Ok(true) || bytes.is_empty(), "nothing wrong is served");
    found.map(|found| found.then_some(bytes))
}

#[test]
fn what_is_put_is_there_and_nothing_else_of_ours() {
    let (bundle, directory) = bundle();
    assert!(!bundle.exists());
    assert_eq!(copy(&bundle, b"one"), Ok(None));
    assert_eq!(put(&bundle, &[b"one", b"two"]), (2, 0));
    assert!(bundle.exists() && bundle.has(&Sha256::of(b"one"), 3));
    assert!(!bundle.has(&Sha256::of(b"one"), 4));
    assert_eq!(copy(&bundle, b"one"), Ok(Some(b"one".to_vec())));
    assert_eq!(put(&bundle, &[b"one", b"two"]), (0, 0), "a second time changes nothing");
    let files = directory.path().join("reimage.lock.d/sha256");
    std::fs::write(files.join("README"), "not ours").unwrap();
    std::fs::write(files.join(".tmp-killed"), "left behind").unwrap();
    assert_eq!(put(&bundle, &[b"two", b"three"]), (1, 1));
    assert_eq!(copy(&bundle, b"one"), Ok(None));
    let names: Vec<_> = read_dir_sorted(&files).unwrap();
    assert_eq!(names.len(), 3, "two files and the README: {names:?}");
    let mode = files.join(Sha256::of(b"two").hex()).metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o644);
    let attributes = directory.path().join("reimage.lock.d/.gitattributes");
    assert_eq!(std::fs::read_to_string(attributes).unwrap(), "sha256/* binary\n");
}

#[test]
fn damage_is_found_and_repaired() {
    let (bundle, _directory) = bundle();
    put(&bundle, &[b"good"]);
    let path = bundle.path(&Sha256::of(b"good"));
    std::fs::write(&path, "gooe").unwrap();
    let (shown, got) = (path.display(), Sha256::of(b"gooe"));
    assert_eq!(
        copy(&bundle, b"good"),
        Err(format!(
            "`{shown}` is damaged: it has digest {got}; `reimage lock --vendor` repairs it"
        ))
    );
    assert_eq!(put(&bundle, &[b"good"]), (1, 0));
    assert_eq!(copy(&bundle, b"good"), Ok(Some(b"good".to_vec())));

    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    assert_eq!(copy(&bundle, b"good"), Err(format!("Cannot read `{shown}` of the lock bundle")));
}

#[test]
fn nothing_wrong_is_written() {
    let (bundle, _directory) = bundle();
    let writer = bundle.writer().unwrap();
    let wrong = writer.put(&Sha256::of(b"good"), &b"bad"[..]);
    assert!(matches!(wrong, Err(BundleError::Damaged { .. })));
    assert!(!bundle.has(&Sha256::of(b"good"), 3));
}

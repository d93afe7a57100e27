//! A full disk, a read-only one, a missing permission: an error that names it, and nothing lost.
//!
//! Each fault is made by a mount or a user of its own, in which this very binary runs one ignored test.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use reimage_castore::{Digest, LocalOptions, Store, StoreError, ingest, read_dir_sorted};

/// The victims do nothing but where this file says so.
const PLACE: &str = "reimage-fault-test";

/// Runs the ignored test `victim` in `dir`, after `setup`, within `wrapper`; not at all if there is no such wrapper.
fn suffer(dir: &Path, wrapper: &[&str], setup: &str, victim: &str) {
    let works = |args: &[&str]| {
        let run = Command::new(args[0]).args(&args[1..]).arg("true").output();
        run.is_ok_and(|output| output.status.success())
    };
    if !works(wrapper) {
        return;
    }
    std::fs::write(dir.join(PLACE), "").expect("ours");
    let exe = std::fs::read_link("/proc/self/exe").expect("we run");
    let script = format!("{setup} && exec {} --exact {victim} --ignored", exe.display());
    let output = Command::new(wrapper[0])
        .args(&wrapper[1..])
        .args(["sh", "-c", &script])
        .current_dir(dir)
        .output()
        .expect("it ran before");
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}{errors}");
}

fn place() -> Option<PathBuf> {
    let dir = PathBuf::from(".").canonicalize().expect("a working directory");
    dir.join(PLACE).exists().then_some(dir)
}

#[test]
fn a_full_disk() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let setup = "mkdir store && mount -t tmpfs -o size=400k tmpfs store";
    suffer(dir.path(), &["unshare", "-rm"], setup, "full");
}

#[test]
#[ignore = "run by `a_full_disk`"]
fn full() {
    let Some(dir) = place() else { return };
    let store = Store::open(dir.join("store")).expect("there is room");
    let small = store.put(b"small").expect("there is room");
    let large = vec![1; 1 << 20];
    for _ in 0..2 {
        let error = store.put(&large).expect_err("no room");
        assert!(matches!(error, StoreError::Full { .. }), "{error:?}");
        assert!(error.to_string().starts_with("No space left to write"), "{error}");
        assert!(store.put_reader(&large[..]).is_err());
    }
    assert!(!store.has(&Digest::of(&large)));
    assert!(read_dir_sorted(store.tmp_dir()).expect("there").is_empty(), "no part is left");
    assert_eq!(store.read(&small).expect("there"), b"small");
    let more = store.put(&vec![2; 100_000]).expect("there is room again");
    // Records, too, until nothing fits any more; what was there stays.
    let error = (0_u32..)
        .find_map(|n| store.put_memo(&Digest::of(&n.to_le_bytes()), &[7; 4000]).err())
        .expect("it ends");
    assert!(matches!(error, StoreError::Full { .. }), "{error:?}");
    let found = store.verify(true).expect("works");
    assert!(found.is_good() && found.blobs == 2, "{found:?}");
    assert_eq!(store.read(&more).expect("there").len(), 100_000);
}

#[test]
fn a_read_only_disk() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let setup = "mkdir store && mount -t tmpfs tmpfs store && mount -o remount,bind,ro store";
    suffer(dir.path(), &["unshare", "-rm"], setup, "read_only");
}

#[test]
#[ignore = "run by `a_read_only_disk`"]
fn read_only() {
    let Some(dir) = place() else { return };
    let error = Store::open(dir.join("store")).expect_err("nothing can be written");
    assert!(matches!(error, StoreError::ReadOnly { .. }), "{error:?}");
    assert!(error.to_string().contains("the file system is read-only"), "{error}");
}

#[test]
fn no_permission() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(dir.path(), open).expect("ours");
    std::fs::create_dir(dir.path().join("foreign")).expect("ours");
    std::fs::write(dir.path().join("secret"), "").expect("ours");
    let shut = || std::os::unix::fs::PermissionsExt::from_mode(0o000);
    std::fs::set_permissions(dir.path().join("secret"), shut()).expect("ours");
    std::fs::set_permissions(dir.path().join("foreign"), shut()).expect("ours");
    let wrapper: &[&str] = if rustix::process::geteuid().is_root() {
        &["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
    } else {
        &["env"]
    };
    suffer(dir.path(), wrapper, "true", "shut_out");
}

#[test]
#[ignore = "run by `no_permission`"]
fn shut_out() {
    let Some(dir) = place() else { return };
    let error = Store::open(dir.join("foreign/store")).expect_err("it is not ours");
    assert!(matches!(error, StoreError::Permission { .. }), "{error:?}");
    assert!(error.to_string().starts_with("No permission to"), "{error}");
    let store = Store::open(dir.join("store")).expect("this is ours");
    let options = LocalOptions { project: dir.clone(), ..LocalOptions::default() };
    for path in ["secret", "foreign"] {
        let error = ingest(&store, &dir.join(path), &options).expect_err("not readable");
        let text = error.to_string();
        assert!(text.contains("Cannot read") && text.contains(path), "{text}");
    }
}

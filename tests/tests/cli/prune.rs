//! `reimage prune`: what goes, what stays, and that all of it comes again.

use std::{path::Path, time::Duration};

use insta::assert_snapshot;
use reimage_castore::{disk_size, read_dir_sorted};
use reimage_tests::{
    TestEnv,
    loopback::{Reply, Server},
};
use serde_json::Value;

use crate::{build::with_steps, together};

/// An image of a step that writes, and the digest that it has.
fn built() -> (TestEnv, String) {
    let env = with_steps(
        r#"    one | re.Run = { from = root, script = "for i in 1 2 3 4 5 6 7 8; do cat /bin/sh; done > /one" },
  },
  images = { made | re.Image = { layers = [steps.one], tags = ["made:1"] },"#,
    );
    let digest = env.reimage(["build", "-q", "images.made"]).expect(0).out();
    (env, digest)
}

fn json(env: &TestEnv, arguments: &[&str]) -> Value {
    let arguments = ["prune", "--format", "json"].iter().chain(arguments);
    let ran = env.reimage(arguments).expect(0);
    serde_json::from_str(&ran.out()).expect("one value")
}

/// Bytes on disk of all files below.
fn on_disk(path: &Path) -> u64 {
    let entries = read_dir_sorted(path).expect("readable");
    let size = |entry: &fs_err::DirEntry| {
        let metadata = entry.metadata().expect("readable");
        if metadata.is_dir() { on_disk(&entry.path()) } else { disk_size(&metadata) }
    };
    entries.iter().map(size).sum()
}

#[test]
fn a_dry_run_says_what_a_run_then_frees() {
    let (env, digest) = built();
    let _ = env.reimage(["remove", "made:1"]).expect(0);
    let dry = json(&env, &["--all", "--dry-run"]);
    assert_eq!(env.reimage(["cache", "verify"]).expect(0).err(), "");
    for kind in ["results", "roots", "blobs", "images", "memos"] {
        assert!(dry["removed"][kind]["count"].as_u64() > Some(0), "{kind}: {dry}");
    }
    let places = ["cache", "data"].map(|name| env.root().join(name));
    let on_disk = || places.iter().map(|place| on_disk(place)).sum::<u64>();
    let before = on_disk();
    let wet = json(&env, &["--all"]);
    assert_eq!(wet["removed"], dry["removed"]);
    let (freed, gone) = (wet["freed"].as_u64().expect("a number"), before - on_disk());
    // Directories take room, too; so does the note of what went.
    assert!(freed > 1_000_000 && freed.abs_diff(gone) < 100_000, "{freed} and {gone}");
    assert_eq!(json(&env, &["--all"])["freed"], 0);
    assert_eq!(env.reimage(["build", "-q", "images.made"]).expect(0).out(), digest);
}

#[test]
fn what_a_tag_needs_stays() {
    let (env, _) = built();
    let before = env.reimage(["save", "made:1"]).expect(0).stdout;
    let _ = env.reimage(["prune", "--all"]).expect(0);
    assert!(env.reimage(["save", "made:1"]).expect(0).stdout == before);
}

#[test]
fn by_kind() {
    let env = with_steps("");
    let _ = env.reimage(["build", "-q", "images.tool"]).expect(0);
    assert_snapshot!(env.reimage(["prune", "--dry-run"]).out().split(';').next().expect("text"), @"Would free 0 B");
    let all = env.reimage(["prune", "--all"]).expect(0).out();
    let words: Vec<_> = all.lines().map(|line| line.split("  ").next().expect("text")).collect();
    assert_eq!(words[..3], ["WHAT", "Results of steps", "Blobs of results"]);
    assert!(words.last().is_some_and(|last| last.starts_with("Freed ")), "{all}");
}

#[test]
fn what_a_lock_pins_stays() {
    let server = Server::new(|_, _| Reply::ok(b"source"));
    let env = TestEnv::new();
    let url = server.url("/file");
    env.file(
        "spec.ncl",
        format!("let re = import \"reimage.ncl\" in\n{{ exports.file | re.Copy = {{ from = re.http {{ url = \"{url}\" }}, to = \"/\" }} }} | re.Spec\n"),
    );
    let offline = ["build", "-q", "--offline"];
    let digest = env.reimage(["build", "-q"]).expect(0).out();
    let _ = env.reimage(["prune", "--all"]).expect(0);
    assert_eq!(env.reimage(offline).expect(0).out(), digest);
    let lock = env.read("reimage.lock");
    env.file("reimage.lock", "<<<<<<< ours\n");
    assert_snapshot!(env.reimage(["prune", "--all"]), @"
    ------- stderr -------
    error: The lock `[ROOT]/work/reimage.lock` cannot be read
      Caused by: Line 1 is the mark of an unresolved merge
    hint: take one side of the merge as it is, then run `reimage lock`: it adds what is missing
    hint: what it pins is not known: repair or remove it, or say `--pinned`
    [exit status: 1]
    ");
    env.file("reimage.lock", &lock);
    assert_eq!(env.reimage(offline).expect(0).out(), digest);
    let _ = env.reimage(["prune", "--all", "--pinned"]).expect(0);
    let _ = env.reimage(offline).expect(3);
    // Without its lock it is pinned by nobody.
    assert_eq!(env.reimage(["build", "-q"]).expect(0).out(), digest);
    fs_err::remove_file(env.path("reimage.lock")).expect("there");
    let _ = env.reimage(["prune", "--all"]).expect(0);
    env.file("reimage.lock", &lock);
    let _ = env.reimage(offline).expect(3);
    assert_eq!(env.reimage(["build", "-q"]).expect(0).out(), digest);
}

#[test]
fn killed_at_any_moment() {
    let (env, digest) = built();
    let longest = together::time(&env, &["prune", "--all"]).max(Duration::from_millis(20));
    for round in 0..16 {
        assert_eq!(env.reimage(["build", "-q", "images.made"]).expect(0).out(), digest);
        together::kill(&env, &["prune", "--all"], together::moment(round, longest));
    }
    let ran = env.reimage(["build", "images.made"]).expect(0);
    assert_eq!(ran.out(), digest);
    assert!(!ran.err().contains("warning"), "{ran}");
    let verified = env.reimage(["cache", "verify"]).expect(0);
    assert!(verified.out().ends_with("checked: all good"), "{verified}");
}

#[test]
fn sizes_and_ages() {
    let (env, _) = built();
    assert_snapshot!(env.reimage(["prune", "--keep-storage", "10"]), @"
    ------- stderr -------
    error: invalid value '10' for '--keep-storage <SIZE>': expected a number and a unit, such as `500MB` or `10GB`

    For more information, try '--help'.
    [exit status: 64]
    ");
    assert_eq!(json(&env, &["--older-than", "1d"])["freed"], 0);
    assert_eq!(json(&env, &["--min-free", "1b"])["freed"], 0);
    let some = json(&env, &["--keep-storage", "500kB"]);
    assert!(some["kept"].as_u64() <= Some(500_000), "{some}");
    assert!(some["freed"].as_u64() > Some(1_000_000), "{some}");
    let _ = env.reimage(["build", "-q", "images.made"]).expect(0);
    assert!(json(&env, &["--min-free", "9000TB"])["freed"].as_u64() > Some(1_000_000));
}

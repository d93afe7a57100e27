//! Files that are no sources, specs that do not end, names that would steer a terminal: what is said of each.

use std::{
    ffi::OsStr,
    os::unix::{
        ffi::OsStrExt,
        fs::symlink,
        net::UnixListener,
    },
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use insta::assert_snapshot;
use reimage_tests::TestEnv;

const SOURCE: &str = r#"let re = import "reimage.ncl" in
{
  images = { a | re.Image = { layers = [re.copy { from = re.local { path = "src" }, to = "/src" }] } },
} | re.Spec
"#;

const LFS: &str = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n";

/// A project whose image is the directory `src`.
fn source() -> TestEnv {
    let env = TestEnv::new();
    env.file("spec.ncl", SOURCE).file("src/x", "x");
    env
}

fn mkfifo(env: &TestEnv, path: &str) {
    assert!(Command::new("mkfifo").arg(env.path(path)).status().expect("it is there").success());
}

#[test]
fn a_named_pipe() {
    let env = source();
    mkfifo(&env, "src/pipe");
    assert_snapshot!(env.reimage(["build"]), @"
    ------- stderr -------
    error: Step `spec.ncl:3 local`: `[ROOT]/work/src/pipe` is a named pipe: only files, directories and symbolic links can be in a tree; `exclude` it
    hint: it is written at spec.ncl:3:67
    [exit status: 1]
    ");
}

#[test]
fn a_socket() {
    let env = source();
    let _socket = UnixListener::bind(env.path("src/socket")).expect("it is short enough");
    assert_snapshot!(env.reimage(["build"]), @"
    ------- stderr -------
    error: Step `spec.ncl:3 local`: `[ROOT]/work/src/socket` is a socket: only files, directories and symbolic links can be in a tree; `exclude` it
    hint: it is written at spec.ncl:3:67
    [exit status: 1]
    ");
}

#[test]
fn a_pointer_of_git_lfs_with_a_name_of_control_characters() {
    let env = source();
    env.file("src/a\nerror: b\u{1b}[31m", LFS);
    assert_snapshot!(env.reimage(["build"]), @r"
    ------- stderr -------
    error: Step `spec.ncl:3 local`: `[ROOT]/work/src/a\nerror: b\u{1b}[31m` is a git-lfs pointer, not the file itself: run `git lfs pull`, or `exclude` it
    hint: it is written at spec.ncl:3:67
    [exit status: 1]
    ");
}

#[test]
fn names_of_any_bytes_are_names() {
    let env = source();
    env.file("src/a\n\u{1b}[31m", "").file(OsStr::from_bytes(b"src/\xff\xfe"), "");
    symlink("loop", env.path("src/loop")).expect("linked");
    symlink("nowhere", env.path("src/dangling")).expect("linked");
    assert!(env.reimage(["build"]).expect(0).out().starts_with("images.a sha256:"));
}

#[test]
fn paths_longer_than_any_tree_has() {
    let env = source();
    // One directory in another, as no single path could name the last.
    let script = "d=$(printf '%0200d' 0); cd src; for i in $(seq 30); do mkdir $d; cd $d; done; echo x > x";
    let status = Command::new("sh").args(["-c", script]).current_dir(env.path("")).status();
    assert!(status.expect("it runs").success());
    let ran = env.reimage(["build"]).expect(1);
    let first = ran.err().lines().next().expect("a line").to_owned();
    assert!(first.ends_with("0000` cannot be in a tree") && first.contains('…') && first.len() < 400, "{ran}");
    assert!(ran.err().contains("is too long: names have at most 255 bytes, paths 4095"), "{ran}");
    // Removing it takes some steps, too: a temporary directory's own way goes by whole paths.
    let status = Command::new("rm").args(["-rf", "src"]).current_dir(env.path("")).status();
    assert!(status.expect("it runs").success());
}

#[test]
fn links_that_lead_in_a_circle() {
    let env = source();
    fs_err::remove_dir_all(env.path("src")).expect("ours");
    symlink("src", env.path("src")).expect("linked");
    assert_snapshot!(env.reimage(["build"]), @r#"
    ------- stderr -------
    error: cannot read `[ROOT]/work/src`: failed to canonicalize path `[ROOT]/work/src`: Too many levels of symbolic links (os error 40)
      ┌─ spec.ncl:3:76
      │
    3 │   images = { a | re.Image = { layers = [re.copy { from = re.local { path = "src" }, to = "/src" }] } },
      │                                                                            ^^^^^
    [exit status: 1]
    "#);
    fs_err::remove_file(env.path("spec.ncl")).expect("ours");
    symlink("spec.ncl", env.path("spec.ncl")).expect("linked");
    assert_snapshot!(env.reimage(["build"]), @"
    ------- stderr -------
    error: Cannot reach the spec `[ROOT]/work/spec.ncl`
      Caused by: failed to query resolved metadata `[ROOT]/work/spec.ncl`: Too many levels of symbolic links (os error 40)
    [exit status: 3]
    ");
}

#[test]
fn a_spec_that_is_no_file() {
    let env = TestEnv::new();
    fs_err::create_dir(env.path("spec.ncl")).expect("ours");
    assert_snapshot!(env.reimage(["build"]), @"
    ------- stderr -------
    error: `[ROOT]/work/spec.ncl` is a directory, not a spec
    [exit status: 64]
    ");
    fs_err::remove_dir(env.path("spec.ncl")).expect("ours");
    mkfifo(&env, "spec.ncl");
    assert_snapshot!(env.reimage(["build"]), @"
    ------- stderr -------
    error: No spec at `[ROOT]/work/spec.ncl`: `reimage init` writes one
    [exit status: 64]
    ");
}

#[test]
fn a_spec_of_control_characters() {
    let env = TestEnv::new();
    env.file("spec.ncl", "{ a = \u{1b}[31m\u{9b}\0 }\r\n");
    assert_snapshot!(env.reimage(["build"]), @"
    ------- stderr -------
    error: unexpected token
      ┌─ spec.ncl:1:7
      │
    1 │ { a = ?[31m¿? }
      │       ^
    [exit status: 1]
    ");
    env.file("spec.ncl", SOURCE).file("src/x", "");
    assert_snapshot!(env.reimage(["build", "images.a\u{1b}[31m"]), @r#"
    ------- stderr -------
    error: no target `images."a?[31m"`
     = known: images.a
    [exit status: 1]
    "#);
}

#[test]
fn a_spec_without_end() {
    let env = TestEnv::new();
    env.file("spec.ncl", "let rec f = fun s => f (s ++ s) in { images.app = f \"bomb\" }");
    let ran = env.reimage(["build"]).expect(1);
    assert!(ran.err().starts_with("error: evaluating the spec takes too much memory: it was stopped after"), "{ran}");
    assert!(ran.err().ends_with("= look for a function that calls itself without end, or for a list that grows without end"));
}

#[test]
fn a_file_that_changes_while_it_is_read() {
    let env = source();
    // Not while somebody writes: it may have to be compiled.
    let _ = reimage_tests::binary();
    let file = env.path("src/busy");
    fs_err::write(&file, vec![0; 8 << 20]).expect("ours");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut round = 0_u8;
            let deadline = Instant::now() + Duration::from_mins(2);
            while !stop.load(Ordering::Relaxed) && Instant::now() < deadline {
                round = round.wrapping_add(1);
                let busy = fs_err::OpenOptions::new().write(true).open(&file).expect("ours");
                let _ = std::os::unix::fs::FileExt::write_all_at(busy.file(), &[round], 100);
            }
        });
        let ran = env.reimage(["build"]);
        stop.store(true, Ordering::Relaxed);
        assert_snapshot!(ran, @"
        ------- stderr -------
        error: Step `spec.ncl:3 local`: `[ROOT]/work/src/busy` changes while it is read: stop what writes to it, or `exclude` it
        hint: it is written at spec.ncl:3:67
        [exit status: 1]
        ");
    });
    assert!(env.reimage(["build"]).expect(0).out().starts_with("images.a sha256:"), "it has come to rest");
}

#[test]
fn a_configuration_that_is_none() {
    let env = source();
    let build = |text: &str| env.config(text).reimage(["build"]).expect(64).err();
    assert_snapshot!(build("[build"), @"
    error: [ROOT]/config/reimage/config.toml:1:7: unclosed table, expected `]`
    hint: `reimage config` prints every key and its value
    ");
    assert_snapshot!(build("[build]\njobs = 99999999999"), @"
    error: [ROOT]/config/reimage/config.toml:2:8: invalid value: integer `99999999999`, expected a nonzero u16
    hint: `reimage config` prints every key and its value
    ");
    assert_snapshot!(build("[build]\njobs = 0"), @"
    error: [ROOT]/config/reimage/config.toml:2:8: invalid value: integer `0`, expected a nonzero u16
    hint: `reimage config` prints every key and its value
    ");
}

//! A store that is full, read-only, foreign, newer or damaged: told, mended, never served.

use std::{path::PathBuf, process::Command};

use insta::assert_snapshot;
use reimage_tests::{Ran, TestEnv, binary, is_root};

use crate::build::with_steps;

/// Runs `reimage` after `setup`, a script, in a mount namespace of its own: root's, or a mapped one.
fn after(env: &TestEnv, setup: &str, arguments: &[&str]) -> Ran {
    let how = if is_root() { "-m" } else { "-rm" };
    let template = env.command();
    let mut command = Command::new("unshare");
    command.args([how, "sh", "-ec", &format!("{setup}; exec \"$0\" \"$@\"")]).arg(binary());
    command.args(arguments).env_clear().current_dir(env.path(""));
    command.envs(template.get_envs().filter_map(|(name, value)| Some((name, value?))));
    env.run(&mut command)
}

fn step() -> TestEnv {
    with_steps(r#"    a | re.Run = { from = root, script = "cat /bin/cat > /a" },"#)
}

#[test]
fn a_full_disk_at_every_moment() {
    let env = step();
    let whole = env.reimage(["build", "steps.a"]).expect(0).out();
    let mut failed = 0;
    for size in ["64k", "256k", "1m", "4m", "32m", "63m", "66m", "70m", "128m"] {
        let store = env.path(format!("store-{size}"));
        fs_err::create_dir(&store).expect("ours");
        let mount = format!("mount -t tmpfs -o mode=700,size={size} none {}", store.display());
        let store = store.to_str().expect("plain");
        let ran = after(&env, &mount, &["build", "steps.a", "--store", store]);
        if ran.status == Some(0) {
            assert_eq!(ran.out(), whole, "{size}");
            continue;
        }
        failed += 1;
        assert_eq!(ran.status, Some(3), "{size}: {ran}");
        assert!(ran.err().contains("No space left"), "{size}: {ran}");
        let hint = "hint: `reimage prune` makes room; `--store DIR` uses another disk";
        assert!(ran.err().contains(hint), "{size}: {ran}");
        // With room again, what lies there is good enough to go on from.
        let room = format!(
            "{mount}; \"$0\" build -q steps.a --store {store} || true; mount -o remount,size=128m none {store}"
        );
        let ran = after(&env, &room, &["build", "steps.a", "--store", store]).expect(0);
        assert!(ran.out().ends_with(&whole), "{size}: {ran}");
    }
    assert!((3..9).contains(&failed), "{failed} sizes were too small");
}

#[test]
fn a_read_only_disk() {
    let env = step();
    let _ = env.reimage(["build", "--store", "store"]).expect(0);
    let only = "mount --bind store store; mount -o remount,bind,ro store";
    let ran = after(&env, only, &["build", "--store", "store"]).expect(3);
    let first = ran.err().lines().next().expect("a line").to_owned();
    assert!(first.starts_with("error: Cannot lock `[ROOT]/work/store/leases/"), "{ran}");
    assert!(first.ends_with("`: the file system is read-only"), "{ran}");
    let hint = "hint: `--store DIR`, or `[store] path` in config.toml, keeps results elsewhere";
    assert!(ran.err().ends_with(hint), "{ran}");
    assert!(after(&env, only, &["images", "--store", "store"]).expect(0).err().is_empty());
}

#[test]
fn no_permission() {
    let env = step();
    assert_snapshot!(env.as_plain_user(["build", "--store", "/reimage-store"]), @"
    ------- stderr -------
    error: No permission to make the store `/reimage-store`
      Caused by: Permission denied (os error 13)
    hint: `--store DIR`, or `[store] path` in config.toml, keeps results elsewhere
    [exit status: 3]
    ");
}

#[test]
fn a_store_of_a_newer_version_and_what_is_none() {
    let env = step();
    env.file("store/version", "reimage store 9\n");
    assert_snapshot!(env.reimage(["build", "--store", "store"]), @"
    ------- stderr -------
    error: The store `[ROOT]/work/store` is of version 9, and this reimage knows version 1: use a newer reimage or another store
    [exit status: 3]
    ");
    env.file("app/main.py", "");
    assert_snapshot!(env.reimage(["build", "--store", "app"]), @"
    ------- stderr -------
    error: `[ROOT]/work/app` is not a store: there are files in it, and none is `[ROOT]/work/app/version` that begins with `reimage store`
    hint: name an empty directory, or one that reimage made
    [exit status: 64]
    ");
    assert_eq!(env.read("app/main.py"), "");
}

/// All files below `directory`, sorted.
fn files(directory: &std::path::Path) -> Vec<PathBuf> {
    let output = Command::new("find").arg(directory).args(["-type", "f"]).output().expect("it runs");
    let text = String::from_utf8(output.stdout).expect("names of stores are plain");
    let mut files: Vec<_> = text.lines().map(PathBuf::from).collect();
    files.sort();
    files
}

/// Ways in which a file goes bad.
const DAMAGES: [&str; 4] = ["flipped", "shortened", "emptied", "removed"];

fn damage(file: &std::path::Path, how: &str) {
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    fs_err::set_permissions(file, mode).expect("ours");
    let mut bytes = fs_err::read(file).expect("ours");
    match how {
        "flipped" if !bytes.is_empty() => {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0x20;
        }
        "shortened" => bytes.truncate(bytes.len().saturating_sub(1)),
        "emptied" => bytes.clear(),
        _ => return fs_err::remove_file(file).expect("ours"),
    }
    fs_err::write(file, bytes).expect("ours");
}

/// Every file of the store, one after the other, in every way: a new step upon the same root sees the right bytes, the
/// image has its digest and is saved as before, and in the end all of it is good again.
#[test]
fn any_file_of_the_store_may_go_bad() {
    let env = TestEnv::new();
    env.programs(&["sh", "cat"]).file("data/text", "the data\n").file(
        "spec.ncl",
        r#"let re = import "reimage.ncl" in
{
  args.n | String | default = "0",
  steps = {
    root | re.Copy = { from = re.local { path = "root" } },
    made | re.Run = { from = root, script = "echo made > /made; cat /bin/cat > /copy" },
    probe | re.Run = {
      from = made,
      inputs."/in" = re.local { path = "data" },
      env.N = args.n,
      script = "cat /made /in/text /copy /bin/cat > /out; echo $N >> /out",
      outputs = ["/out"],
    },
  },
  images.a | re.Image = { layers = [steps.made], tags = ["a:1"] },
  exports.out | re.Copy = { from = steps.probe, path = "/out", to = "/" },
} | re.Spec
"#,
    );
    let image = env.reimage(["build", "-q", "images.a"]).expect(0).out();
    let _ = env.reimage(["save", "-q", "images.a", "-o", "first.tar"]).expect(0);
    let first = fs_err::read(env.path("first.tar")).expect("saved");
    let program = fs_err::read(env.path("root/bin/cat")).expect("copied");
    let mut number = 0;
    // Twice: a step that runs anew, and the same again, which is all there.
    let mut probe = |what: &str| {
        number += 1;
        let arg = format!("n={number}");
        let want = [b"made\nthe data\n", &program[..], &program, format!("{number}\n").as_bytes()].concat();
        for _ in 0..2 {
            let _ = fs_err::remove_file(env.path("dist/out"));
            let ran = env.reimage(["build", "exports.out", "--arg", &arg, "--output", "dist"]);
            assert_eq!(ran.status, Some(0), "{what}: {ran}");
            assert!(fs_err::read(env.path("dist/out")).expect("exported") == want, "{what}: other bytes");
        }
    };
    probe("nothing");
    let root = env.root().to_owned();
    let stores = [root.join("cache/reimage"), root.join("data/reimage/images")];
    // What may be of use again once it is bad; the index and the mark of the layout have a test of their own.
    let kept = |path: &PathBuf| {
        let path = path.strip_prefix(&root).expect("it is below").to_string_lossy();
        !["/version", "/leases/", "/locks/", "/tmp/", "/quarantine/", "/tombstones/", ".lock", "/generation",
          "/index.json", "/oci-layout", "/damaged-"].iter().any(|part| path.contains(part))
    };
    let paths: Vec<_> = stores.iter().flat_map(|store| files(store)).filter(kept).collect();
    let kinds: std::collections::BTreeSet<_> = paths
        .iter()
        .filter_map(|path| path.strip_prefix(&root).ok()?.components().nth(2))
        .map(|kind| kind.as_os_str().to_string_lossy().into_owned())
        .collect();
    assert_eq!(
        kinds.iter().map(String::as_str).collect::<Vec<_>>(),
        ["actions-v1", "devices-v1", "images", "memos-v1", "objects-v1", "pinned-v1", "roots-v1", "stat-v1"]
    );
    for (turn, path) in paths.iter().enumerate() {
        // One way a file, each kind in all of them: a store has enough of each.
        let how = DAMAGES[turn % DAMAGES.len()];
        if !path.exists() {
            continue; // It went with a root that was laid out again.
        }
        damage(path, how);
        let what = format!("{how}: {}", path.display());
        probe(&what);
        let ran = env.reimage(["build", "-q", "images.a"]);
        assert_eq!((ran.status, ran.out()), (Some(0), image.clone()), "{what}: {ran}");
        let saved = env.reimage(["save", "images.a", "-o", "again.tar"]);
        if saved.status != Some(0) {
            assert!(saved.status == Some(3) && saved.err().contains("is damaged: build or import the image again"), "{what}: {saved}");
            let _ = env.reimage(["save", "images.a", "-o", "again.tar"]).expect(0);
        }
        assert!(fs_err::read(env.path("again.tar")).expect("saved") == first, "{what}: another archive");
    }
    let _ = env.reimage(["cache", "verify"]);
    let verified = env.reimage(["cache", "verify"]).expect(0);
    assert!(verified.out().contains("checked: all good"), "{verified}");
    assert_eq!(env.reimage(["build", "-q", "images.a"]).expect(0).out(), image);
}

/// `cache verify` finds each kind of damage without anybody needing what is damaged.
#[test]
fn verify_finds_all_of_it() {
    let env = step();
    let _ = env.reimage(["build"]).expect(0);
    let _ = env.reimage(["build", "steps.a"]).expect(0);
    let good = env.reimage(["cache", "verify"]).expect(0);
    assert!(good.out().ends_with("checked: all good"), "{good}");
    let store = env.root().join("cache/reimage");
    let images = env.root().join("data/reimage/images");
    for (place, said) in [
        (store.join("objects-v1"), "Damaged blob "),
        (store.join("actions-v1"), "Damaged result "),
        (store.join("memos-v1"), "Damaged record "),
        (store.join("stat-v1"), "Damaged record "),
        (store.join("roots-v1"), "Damaged root "),
        (images.join("blobs"), "Damaged image blob "),
    ] {
        let file = files(&place).into_iter().find(|file| {
            !file.ends_with("generation") && file.metadata().is_ok_and(|metadata| metadata.len() > 0)
        });
        damage(&file.unwrap_or_else(|| panic!("a file in {}", place.display())), "flipped");
        let found = env.reimage(["cache", "verify"]).expect(3);
        assert!(found.out().starts_with(said) && found.out().contains(" damaged"), "{}: {found}", place.display());
        let _ = env.reimage(["build"]).expect(0);
        let _ = env.reimage(["build", "steps.a"]).expect(0);
        let good = env.reimage(["cache", "verify"]).expect(0);
        assert!(good.out().ends_with("checked: all good"), "{}: {good}", place.display());
    }
}

#[test]
fn an_index_of_images_that_is_none() {
    let env = step();
    let built = env.reimage(["build", "-q"]).expect(0).out();
    let index = env.root().join("data/reimage/images/index.json");
    fs_err::write(&index, "<<<<<<< ours").expect("ours");
    assert_snapshot!(env.reimage(["images"]), @"
    ------- stderr -------
    error: [ROOT]/data/reimage/images/index.json is not valid
      Caused by: expected value at line 1 column 1
    hint: move it away: blobs stay, and each image is listed again once it is built or imported
    [exit status: 3]
    ");
    fs_err::remove_file(&index).expect("ours");
    assert_eq!(env.reimage(["build", "-q"]).expect(0).out(), built);
    assert_eq!(env.reimage(["images"]).expect(0).out().lines().count(), 2);
}

#[test]
fn a_damaged_image_does_not_hide_the_others() {
    let env = step();
    let _ = env.reimage(["build"]).expect(0);
    let _ = env.reimage(["tag", "images.tool", "good:1"]);
    let built = env.reimage(["build", "images.tool"]).expect(0).out();
    let digest = built.rsplit(':').next().expect("a digest").trim().to_owned();
    let image = env.root().join("data/reimage/images/blobs/sha256").join(&digest);
    damage(&image, "flipped");
    let listed = env.reimage(["images"]).expect(0);
    assert!(listed.err().starts_with("warning: "), "{listed}");
    assert!(listed.err().contains(&format!("The blob sha256:{digest} in the image layout")), "{listed}");
}

#[test]
fn what_cannot_be_written_whole_is_not_written() {
    let env = step();
    let _ = env.reimage(["build", "images.tool"]).expect(0);
    let _ = env.reimage(["save", "images.tool", "-o", "whole.tar"]).expect(0);
    let small = "mkdir small; mount -t tmpfs -o size=64k none small; echo old > small/image.tar";
    let look = "; find small | sort; cat small/image.tar";
    for format in ["docker", "oci", "rootfs", "oci-dir", "rootfs-dir"] {
        let output = if format.ends_with("dir") { "small/new" } else { "small/image.tar" };
        let _ = fs_err::remove_dir(env.path("small"));
        let save = format!("{small}; ! \"$0\" save images.tool --format {format} -o {output} {look}; exec true");
        let ran = after(&env, &save, &[]).expect(0);
        assert_eq!(ran.out(), "small\nsmall/image.tar\nold", "{format}");
        assert!(ran.err().contains("No space left on device"), "{format}: {ran}");
    }
}

//! What skopeo, umoci, crun and podman see in our images, and what we see in theirs.

use std::path::Path;

use reimage_tests::{TestEnv, assert_same_files, is_root, tool};

use crate::everything::{digest, everything};

fn text(path: &Path) -> &str {
    path.to_str().expect("temporary directories have UTF-8 names")
}

/// Saves an image of the store; gives the path.
fn save(env: &TestEnv, name: &str, format: &str, to: &str) -> String {
    let _ = env.reimage(["save", name, "--format", format, "-o", to]).expect(0);
    text(&env.path(to)).to_owned()
}

fn skopeo_digest(image: &str) -> String {
    tool("skopeo", ["inspect", "--format", "{{.Digest}}", image]).trim().to_owned()
}

/// The digest of the configuration: the same whatever the layers are packed with.
fn skopeo_config(image: &str) -> serde_json::Value {
    let manifest = tool("skopeo", ["inspect", "--raw", image]);
    let manifest: serde_json::Value = serde_json::from_str(&manifest).expect("JSON");
    manifest["config"]["digest"].clone()
}

#[test]
fn a_user_with_one_id_gets_a_tree_of_his_own() {
    let env = everything(false);
    let _ = env.as_plain_user(["build", "images.all"]).expect(0);
    let saved = ["save", "all:gzip", "--format", "rootfs-dir", "-o", "root"];
    let saved = env.as_plain_user(saved).expect(0);
    assert!(saved.err().contains(" paths are yours, "), "{saved}");
}

#[test]
fn one_image_through_every_exporter() {
    let env = everything(false);
    let built = env.reimage(["build"]).expect(0).out();
    let _ = save(&env, "all:gzip", "rootfs-dir", "root");
    let mut configs = Vec::new();
    for profile in ["gzip", "zstd", "plain"] {
        let image = format!("images.{}", if profile == "gzip" { "all" } else { profile });
        let (name, expected) = (format!("all:{profile}"), digest(&built, &image));
        let directory = save(&env, &name, "oci-dir", &format!("{profile}-dir"));
        let archive = save(&env, &name, "oci", &format!("{profile}-oci.tar"));
        let docker = save(&env, &name, "docker", &format!("{profile}-docker.tar"));
        assert_eq!(skopeo_digest(&format!("oci:{directory}:{name}")), expected);
        assert_eq!(skopeo_digest(&format!("oci-archive:{archive}")), expected);
        for image in [format!("oci:{directory}:{name}"), format!("oci-archive:{archive}")] {
            configs.push(skopeo_config(&image));
        }
        configs.push(skopeo_config(&format!("docker-archive:{docker}")));
        // There and back.
        for archive in [archive, docker] {
            let _ = env.reimage(["remove", &name]).expect(0);
            let imported = env.reimage(["import", &archive]).expect(0).out();
            assert_eq!(imported, format!("{name} {expected}"));
        }
        // The file system is the same, as a directory and as an archive.
        let out = format!("{profile}-root");
        let directory = save(&env, &name, "rootfs-dir", &out);
        assert_same_files(Path::new(&directory), &env.path("root"));
        let archive = save(&env, &name, "rootfs", &format!("{profile}-root.tar"));
        assert_eq!(
            fs_err::read(archive).expect("written"),
            fs_err::read(save(&env, "all:gzip", "rootfs", "root.tar")).expect("written")
        );
    }
    assert_eq!(configs.len(), 9);
    assert!(
        configs.iter().all(|config| config.is_string() && *config == configs[0]),
        "{configs:?}"
    );
}

#[test]
fn umoci_unpacks_the_same_files() {
    let env = everything(false);
    let _ = env.reimage(["build", "images.all"]).expect(0);
    let layout = save(&env, "all:gzip", "oci-dir", "layout");
    let ours = save(&env, "all:gzip", "rootfs-dir", "ours");
    let (image, bundle) = (format!("{layout}:all:gzip"), env.path("bundle"));
    let mut arguments = vec!["unpack", "--image", &image, text(&bundle)];
    if !is_root() {
        arguments.push("--rootless");
    }
    tool("umoci", arguments);
    let theirs = bundle.join("rootfs");
    if !is_root() {
        // umoci writes down in attributes of its own what it cannot keep.
        let _ = (
            fs_err::remove_file(theirs.join("srv/fifo")),
            fs_err::remove_file(format!("{ours}/srv/fifo")),
        );
    }
    if is_root() {
        assert_same_files(&theirs, Path::new(&ours));
        let root = env.path("tar");
        fs_err::create_dir(&root).expect("it is new");
        let archive = save(&env, "all:gzip", "rootfs", "root.tar");
        let keep = ["--numeric-owner", "--xattrs", "--xattrs-include=*", "-p", "-xf", &archive];
        tool("tar", [&["-C", text(&root)], &keep[..]].concat());
        assert_same_files(&root, Path::new(&ours));
    }
}

#[test]
fn images_of_others_are_imported() {
    let env = everything(false);
    let _ = env.reimage(["build", "images.all", "images.zstd"]).expect(0);
    let config = env.reimage(["inspect", "all:gzip"]).expect(0).out();
    let root = save(&env, "all:gzip", "rootfs", "root.tar");
    let root = fs_err::read(root).expect("written");
    let from = save(&env, "all:zstd", "oci", "zstd.tar");
    let from = format!("oci-archive:{from}");
    let to = |kind: &str, path: &str| format!("{kind}:{}:other:1", text(&env.path(path)));
    // skopeo has no docker archive of zstd layers.
    let gzip = format!("oci-archive:{}", save(&env, "all:gzip", "oci", "gzip.tar"));
    tool("skopeo", ["copy", "--quiet", &gzip, &to("docker-archive", "skopeo-docker.tar")]);
    tool("skopeo", ["copy", "--quiet", &from, &to("oci-archive", "skopeo-oci.tar")]);
    tool("skopeo", ["copy", "--quiet", &from, &to("oci", "skopeo-layout")]);
    for made in ["skopeo-docker.tar", "skopeo-oci.tar", "skopeo-layout"] {
        let imported = env.reimage(["import", made]).expect(0).out();
        assert!(imported.starts_with("other:1 sha256:"), "{made}: {imported}");
        let again = save(&env, "other:1", "rootfs", "again.tar");
        assert!(fs_err::read(again).expect("written") == root, "{made}: another file system");
        let _ = env.reimage(["remove", "other:1"]).expect(0);
    }
    assert_eq!(env.reimage(["inspect", "all:gzip"]).expect(0).out(), config);
    // umoci changes an image; what it made is taken with its change.
    let layout = save(&env, "all:gzip", "oci-dir", "umoci");
    let image = format!("{layout}:all:gzip");
    tool("umoci", ["config", "--image", &image, "--tag", "changed:2", "--config.user", "nobody"]);
    let imported = env.reimage(["import", "umoci"]).expect(0).out();
    assert!(imported.contains("changed:2 sha256:"), "{imported}");
    let changed = env.reimage(["inspect", "changed:2"]).expect(0).out();
    assert!(changed.contains("\"nobody\""), "{changed}");
}

/// podman loads what `docker load` would, and saves what we take.
#[test]
fn podman_loads_and_saves() {
    if !is_root() {
        // Without subordinate ids podman keeps no owners; the user who runs the tests may have none.
        return;
    }
    let env = everything(false);
    let _ = env.reimage(["build", "images.all"]).expect(0);
    let archive = save(&env, "all:gzip", "docker", "docker.tar");
    let (root, run) = (env.path("podman"), env.path("podman-run"));
    let podman = |arguments: &[&str]| {
        let place = ["--root", text(&root), "--runroot", text(&run), "--storage-driver", "vfs"];
        let quiet = ["--cgroup-manager", "cgroupfs", "--events-backend", "none"];
        tool("podman", [&place[..], &quiet[..], arguments].concat())
    };
    let loaded = podman(&["load", "--quiet", "-i", &archive]);
    assert!(loaded.ends_with("all:gzip\n"), "{loaded}");
    let id = podman(&["images", "--no-trunc", "--format", "{{.ID}}"]);
    let config = skopeo_config(&format!("docker-archive:{archive}"));
    assert_eq!(id.trim(), config.as_str().expect("a digest"), "podman's id is our configuration's");
    let expected = save(&env, "all:gzip", "rootfs", "root.tar");
    let expected = fs_err::read(expected).expect("written");
    for format in ["docker-archive", "oci-archive"] {
        let saved = env.path(format!("{format}.tar"));
        podman(&["save", "--quiet", "--format", format, "-o", text(&saved), "all:gzip"]);
        let imported = env.reimage(["import", text(&saved), "--tag", "back:1"]).expect(0).out();
        assert!(imported.contains("back:1"), "{imported}");
        let again = save(&env, "back:1", "rootfs", "again.tar");
        assert!(fs_err::read(again).expect("written") == expected, "{format}: another file system");
    }
}

//! Real registries, and what skopeo, podman and buildah see of what we push there, and we of what they push.

use std::path::Path;

use reimage_tests::{Closed, DockerRegistry, TestEnv, assert_same_files, is_root, tool};

use crate::everything::{digest, everything};

fn text(path: &Path) -> &str {
    path.to_str().expect("temporary directories have UTF-8 names")
}

fn skopeo(arguments: &[&str]) -> String {
    let (verb, rest) = arguments.split_first().expect("a verb");
    let policy = ["--insecure-policy", verb];
    let plain = if *verb == "copy" {
        vec!["--quiet", "--src-tls-verify=false", "--dest-tls-verify=false"]
    } else {
        vec!["--tls-verify=false"]
    };
    tool("skopeo", [&policy[..], &plain, rest].concat())
}

/// The merged files of an image, in a directory.
fn files(env: &TestEnv, name: &str, to: &str) {
    let _ = env.reimage(["save", name, "--format", "rootfs-dir", "-o", to]).expect(0);
}

#[test]
fn every_profile_goes_there_and_comes_back() {
    let registry = DockerRegistry::open();
    let host = registry.host();
    let env = everything(false);
    let built = env.reimage(["build"]).expect(0).out();
    files(&env, "all:gzip", "ours");
    for profile in ["gzip", "zstd", "plain"] {
        let target = format!("images.{}", if profile == "gzip" { "all" } else { profile });
        let expected = digest(&built, &target);
        let names = [format!("{host}/team/all:{profile}"), format!("{host}/team/all:{profile}-2")];
        let pushed = env.reimage(["push", &target, &names[0], &names[1]]).expect(0);
        assert_eq!(String::from_utf8_lossy(&pushed.stdout).lines().count(), 2);
        let remote = format!("docker://{}", names[1]);
        assert_eq!(skopeo(&["inspect", "--format", "{{.Digest}}", &remote]).trim(), expected);
        // crane looks at every digest and size, and into the layers if they are gzip, for it knows no others there.
        tool("crane", ["validate", "--fast", "--remote", &names[1]]);
        if profile == "gzip" {
            tool("crane", ["validate", "--remote", &names[1]]);
        }
        let archive = text(&env.path("crane.tar")).to_owned();
        tool("crane", ["export", &names[1], &archive]);
        let root = env.path(format!("crane-{profile}"));
        fs_err::create_dir(&root).expect("it is new");
        tool("tar", ["-C", text(&root), "-xf", &archive]);
        assert!(root.join("srv/setuid").exists());
        assert_eq!(tool("crane", ["digest", &names[1]]).trim(), expected);
        let archive = text(&env.path(format!("{profile}.tar"))).to_owned();
        let _ = env.reimage(["save", &target, "--format", "docker", "-o", &archive]).expect(0);
        if profile != "zstd" {
            tool("crane", ["validate", "--tarball", &archive]);
        }
        // Whoever has nothing gets all of it back, bit for bit.
        let other = TestEnv::new();
        let pulled = other.reimage(["pull", &names[0]]).expect(0);
        assert!(pulled.out().ends_with(&expected), "{pulled}");
        files(&other, &names[0], "theirs");
        assert_same_files(&other.path("theirs"), &env.path("ours"));
        let _ = other.reimage(["cache", "verify"]).expect(0);
        // And skopeo finds every blob of it.
        let to = format!("oci:{}:all", text(&other.path("skopeo")));
        skopeo(&["copy", "--preserve-digests", &remote, &to]);
        let imported = other.reimage(["import", "skopeo"]).expect(0).out();
        assert!(imported.ends_with(&expected), "{imported}");
    }
}

#[test]
fn only_what_changed_is_sent() {
    let registry = DockerRegistry::open();
    let name = format!("{}/app:1", registry.host());
    let env = TestEnv::new();
    let spec = |text: &str| {
        let big = "x".repeat(100_000);
        env.file(
            "spec.ncl",
            format!(
                "let re = import \"reimage.ncl\" in\n{{\n  steps = {{\n    base | re.Files = {{ files.\"/base\" = \"{big}\" }},\n    \
                 app | re.Files = {{ files.\"/app\" = \"{text}\" }},\n  }},\n  images.app | re.Image = {{ layers = [steps.base, steps.app], \
                 tags = [\"{name}\"], compression = 'none }},\n}} | re.Spec\n"
            ),
        );
    };
    let push = || {
        let err = env.reimage(["push", "images.app"]).expect(0).err();
        err.lines().last().expect("a line").to_owned()
    };
    spec("one");
    assert!(push().contains(": 3 blobs, "), "{}", push());
    let size = registry.size();
    assert!(push().ends_with(": nothing new"));
    assert_eq!(registry.size(), size);
    spec("two");
    assert!(push().contains(": 2 blobs, "));
    assert!(registry.size() - size < 10_000, "the base is there already");
    // Another repository of the registry takes what it has from this one.
    let other = format!("docker://{}/shop/app:1", registry.host());
    let copied = env.reimage(["copy", &format!("docker://{name}"), &other]).expect(0).err();
    assert!(copied.ends_with(": nothing new, 3 taken from there"), "{copied}");
}

#[test]
fn who_may_and_who_may_not() {
    let closed = Closed { password: true, tls: true, client: false };
    let registry = DockerRegistry::new(closed);
    let host = registry.host();
    let name = format!("{host}/team/all:1");
    let env = everything(false);
    let _ = env.reimage(["build", "images.all"]).expect(0);
    let push = || env.reimage(["push", "images.all", &name]);
    // Nobody here knows who signed for it.
    let unknown = push().expect(3).err();
    assert!(unknown.contains("invalid peer certificate: UnknownIssuer"), "{unknown}");
    assert!(unknown.contains(".config/containers/certs.d/127.0.0.1:[PORT]/ca.crt"), "{unknown}");
    let certs = env.root().join("config/containers/certs.d").join(&host);
    fs_err::create_dir_all(&certs).expect("writable");
    fs_err::copy(registry.path("ca.crt"), certs.join("ca.crt")).expect("it is there");
    let denied = push().expect(3).err();
    assert!(denied.contains("hint: `reimage login 127.0.0.1:[PORT]` says who we are"), "{denied}");
    let login = |password: &str| {
        env.file("password", password);
        let mut command = env.command();
        command.args(["login", &host, "--username", "ci", "--password-stdin"]);
        command.stdin(fs_err::File::open(env.path("password")).expect("written").into_file());
        env.run(&mut command)
    };
    let wrong = login("wrong\n").expect(3).err();
    assert!(wrong.contains("denies a login"), "{wrong}");
    assert!(!env.root().join("home/.docker").exists());
    let right = login("secret\n").expect(0);
    assert_eq!(right.out(), "Logged in to 127.0.0.1:[PORT]");
    let _ = push().expect(0);
    // Others find it where we keep it, and we find it where they do.
    let file = env.root().join("home/.docker/config.json");
    let arguments = ["--authfile", text(&file), "--cert-dir", text(&certs)];
    let remote = format!("docker://{name}");
    tool("skopeo", [&["inspect"][..], &arguments, &[&remote]].concat());
    assert_eq!(env.reimage(["logout", &host]).expect(0).out(), "Logged out of 127.0.0.1:[PORT]");
    let _ = env.reimage(["pull", &name]).expect(3);
    let auth = env.root().join("auth.json");
    let login = ["login", "--authfile", text(&auth), "--cert-dir", text(&certs), "-u", "ci"];
    tool("skopeo", [&login[..], &["-p", "secret", &host]].concat());
    let mut pull = env.command();
    pull.args(["pull", &name]).env("REGISTRY_AUTH_FILE", &auth);
    let _ = env.run(&mut pull).expect(0);
}

#[test]
fn certificates_of_clients() {
    let registry = DockerRegistry::new(Closed { password: false, tls: true, client: true });
    let host = registry.host();
    let env = everything(false);
    let certs = env.root().join("config/docker/certs.d").join(&host);
    fs_err::create_dir_all(&certs).expect("writable");
    fs_err::copy(registry.path("ca.crt"), certs.join("ca.crt")).expect("it is there");
    let name = format!("{host}/all:1");
    let refused = env.reimage(["push", "images.all", &name]).expect(3).err();
    assert!(refused.contains("127.0.0.1:[PORT]"), "{refused}");
    for (from, to) in [("client.crt", "client.cert"), ("client.key", "client.key")] {
        fs_err::copy(registry.path(from), certs.join(to)).expect("it is there");
    }
    let _ = env.reimage(["push", "images.all", &name]).expect(0);
}

#[test]
fn podman_and_buildah_read_and_write() {
    if !is_root() {
        // Without subordinate ids they keep no owners; the user who runs the tests may have none.
        return;
    }
    let registry = DockerRegistry::open();
    let host = registry.host();
    let env = everything(false);
    let ours = format!("{host}/ours:1");
    let _ = env.reimage(["push", "images.all", &ours]).expect(0);
    let (root, run) = (env.path("podman"), env.path("podman-run"));
    let place = ["--root", text(&root), "--runroot", text(&run), "--storage-driver", "vfs"];
    let podman = |arguments: &[&str]| {
        let quiet = ["--cgroup-manager", "cgroupfs", "--events-backend", "none"];
        tool("podman", [&place[..], &quiet, arguments].concat())
    };
    let buildah = |arguments: &[&str]| tool("buildah", [&place[..], arguments].concat());
    podman(&["pull", "--quiet", "--tls-verify=false", &ours]);
    let container = buildah(&["from", "--tls-verify=false", &ours]);
    let container = container.trim();
    files(&env, "all:gzip", "before");
    buildah(&["config", "--env", "THEIRS=1", "--user", "nobody", container]);
    for (format, extra) in [("oci", &[][..]), ("docker", &[]), ("oci", &["--squash"])] {
        let name = format!("{host}/theirs:{format}{}", extra.len());
        buildah(&[&["commit", "--quiet", "--format", format], extra, &[container, &name]].concat());
        buildah(&["push", "--quiet", "--tls-verify=false", &name]);
        let other = TestEnv::new();
        let _ = other.reimage(["pull", &name]).expect(0);
        let inspected = other.reimage(["inspect", &name]).expect(0).out();
        assert!(inspected.contains("THEIRS=1") && inspected.contains("nobody"), "{inspected}");
        files(&other, &name, "files");
        assert_same_files(&other.path("files"), &env.path("before"));
    }
    podman(&[
        "push",
        "--quiet",
        "--tls-verify=false",
        "--format",
        "v2s2",
        &ours,
        &format!("{host}/v2s2:1"),
    ]);
    let other = TestEnv::new();
    let _ = other.reimage(["pull", &format!("{host}/v2s2:1")]).expect(0);
    files(&other, &format!("{host}/v2s2:1"), "files");
    assert_same_files(&other.path("files"), &env.path("before"));
}

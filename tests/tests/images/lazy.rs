//! Base images are lazy: what stands on one is made of its skeleton, and a layer comes when somebody reads it.

use std::{collections::BTreeSet, path::PathBuf};

use reimage_castore::read_dir_sorted;
use reimage_tests::{
    Deb, DockerRegistry, Mirror, TestEnv, assert_same_files, is_root, registry::Registry, tool,
};
use serde_json::Value;

/// A base image of three layers; the uppermost links to a file of the lowest.
const BASE: &str = r#"let re = import "reimage.ncl" in
{
  steps = {
    root | re.Copy = { from = re.local { path = "root" } },
    more | re.Files = { files."/etc/base.conf" = "base\n", files."/old/gone" = "", files."/old/stays" = "stays\n" },
    less | re.Run = { from = [root, more], script = "rm /old/gone; ln /etc/base.conf /etc/again" },
  },
  images.base | re.Image = { layers = [steps.less], entrypoint = ["/bin/sh", "-c"] },
} | re.Spec
"#;

/// What stands on it: files alone, and a step.
fn app(image: &str) -> String {
    format!(
        r#"let re = import "reimage.ncl" in
{{
  steps = {{
    base | re.Oci = {{ image = "{image}" }},
    files | re.Files = {{ files."/app/text" = "one\n", files."/etc/app.conf" = "" }},
    ran | re.Run = {{ from = base, script = "cat /etc/again > /ran" }},
  }},
  images.app | re.Image = {{ layers = [steps.base, steps.files], cmd = ["cat /app/text /etc/again"], tags = ["app:1"] }},
  images.ran | re.Image = {{ layers = [steps.ran, steps.files], tags = ["ran:1"] }},
  exports.old | re.Copy = {{ from = [steps.base, steps.files], path = "/old" }},
}} | re.Spec
"#
    )
}

/// Pushes the base image under this name.
fn push_base(name: &str) {
    let env = TestEnv::new();
    env.programs(&["sh", "cat", "rm", "ln"]).file("spec.ncl", BASE);
    let _ = env.reimage(["push", "images.base", name]).expect(0);
}

fn machine(image: &str) -> TestEnv {
    let env = TestEnv::new();
    env.file("spec.ncl", app(image));
    env
}

/// A machine that has locked and vendored what it takes to build upon the base image, and what it built.
fn first(image: &str) -> (TestEnv, String) {
    let env = machine(image);
    let _ = env.reimage(["lock", "--skeletons"]).expect(0);
    let built = env.reimage(["build"]).expect(0).out();
    (env, built)
}

/// The skeleton that a lock pins: its size and digest as hexadecimal digits.
fn pinned(lock: &str) -> (u64, String) {
    let line = lock.lines().find_map(|line| line.strip_prefix("skeleton = \"oci-unpack-1 "));
    let (size, digest) = line.expect("it is pinned").split_once(" sha256:").expect("both");
    (size.parse().expect("a number"), digest.trim_end_matches('"').to_owned())
}

fn without_skeleton(lock: &str) -> String {
    lock.split_inclusive('\n').filter(|line| !line.starts_with("skeleton = ")).collect()
}

/// Another machine with a clone of the first one's project.
fn second(first: &TestEnv, image: &str) -> TestEnv {
    let env = machine(image);
    let lock = first.read("reimage.lock");
    let (_, digest) = pinned(&lock);
    let files = read_dir_sorted(first.path("reimage.lock.d/sha256")).expect("it is there");
    let names: Vec<_> = files.iter().map(fs_err::DirEntry::file_name).collect();
    assert_eq!(names, [digest.as_str()]);
    let path = format!("reimage.lock.d/sha256/{digest}");
    env.file(&path, fs_err::read(first.path(&path)).expect("vendored"));
    env.file("reimage.lock", lock);
    env
}

/// How often layers of the base image were fetched from a registry.
fn fetched(registry: &Registry) -> usize {
    let layers: Vec<String> = {
        let state = registry.state();
        let (_, manifest) = state.tagged("team/base", "1").expect("pushed");
        digests(&serde_json::from_slice(manifest).expect("JSON"))
    };
    let requests = registry.requests();
    let of_layer = |request: &&String| {
        request.starts_with("GET ") && layers.iter().any(|layer| request.contains(layer))
    };
    requests.iter().filter(of_layer).count()
}

fn digests(manifest: &Value) -> Vec<String> {
    let layers = manifest["layers"].as_array().expect("a list");
    layers.iter().map(|layer| layer["digest"].as_str().expect("text").to_owned()).collect()
}

/// Where docker-registry has the bytes of a blob.
fn data(registry: &DockerRegistry, digest: &str) -> PathBuf {
    let hex = digest.strip_prefix("sha256:").expect("a digest");
    registry.path(&format!("data/docker/registry/v2/blobs/sha256/{}/{hex}/data", &hex[..2]))
}

#[test]
fn what_lies_upon_it_needs_its_skeleton() {
    let registry = DockerRegistry::open();
    let name = format!("{}/team/base:1", registry.host());
    push_base(&name);
    let (one, built) = first(&name);
    assert!(built.contains("images.app ") && built.contains("images.ran "), "{built}");
    let raw =
        tool("skopeo", ["inspect", "--raw", "--tls-verify=false", &format!("docker://{name}")]);
    let layers = digests(&serde_json::from_str(&raw).expect("JSON"));
    let two = second(&one, &name);
    // For as long as no layer is to be had.
    let aside = |digest: &String| data(&registry, digest).with_extension("aside");
    for layer in &layers {
        fs_err::rename(data(&registry, layer), aside(layer)).expect("it is there");
    }
    let app = two.reimage(["build", "images.app"]).expect(0).out();
    assert!(built.contains(&app), "{app}");
    let verdicts = two.reimage(["plan", "images.app"]).expect(0);
    assert!(!verdicts.out().contains("fetch"), "{verdicts}");
    let _ = two.reimage(["cache", "verify"]).expect(0);
    let _ = two.reimage(["prune", "--all"]).expect(0);
    assert_eq!(two.reimage(["build", "--offline", "images.app"]).expect(0).out(), app);
    let error = two.reimage(["save", "app:1", "-o", "app.tar"]).expect(3).err();
    assert!(
        error.contains(" of the base image `127.0.0.1:[PORT]/team/base:1` is needed"),
        "{error}"
    );
    assert!(!two.path("app.tar").exists());
    let error = two.reimage(["build", "images.ran"]);
    let wanted = " of the base image `127.0.0.1:[PORT]/team/base:1` is needed now";
    assert!(error.status != Some(0) && error.err().contains("Step `steps.base`: "), "{error}");
    assert!(error.err().contains(wanted), "{error}");
    for layer in &layers {
        fs_err::rename(aside(layer), data(&registry, layer)).expect("it is there");
    }

    // The registry takes the layers from where it has them.
    let pushed = format!("{}/team/app:1", registry.host());
    let told = two.reimage(["push", "app:1", &pushed]).expect(0).err();
    assert!(told.contains("taken from there"), "{told}");
    let images = two.root().join("data/reimage/images/blobs/sha256");
    let here = |layer: &String| images.join(&layer["sha256:".len()..]).exists();
    assert!(!layers.iter().any(here), "none was brought for that");
    tool(
        "skopeo",
        [
            "copy",
            "-q",
            "--src-tls-verify=false",
            &format!("docker://{pushed}"),
            &format!("dir:{}", two.path("pushed").display()),
        ],
    );

    // Whoever reads it gets the same.
    for (env, to) in [(&one, "one"), (&two, "two")] {
        let _ = env.reimage(["save", "app:1", "--format", "oci-dir", "-o", to]).expect(0);
        let _ = env.reimage(["save", "app:1", "--format", "rootfs-dir", "-o", "files"]).expect(0);
    }
    assert!(layers.iter().all(here));
    let blobs = |layout: PathBuf| -> Vec<_> {
        let blobs = read_dir_sorted(layout.join("blobs/sha256")).expect("it is there");
        blobs
            .iter()
            .map(|blob| (blob.file_name(), fs_err::read(blob.path()).expect("ours")))
            .collect()
    };
    assert!(blobs(two.path("two")) == blobs(one.path("one")), "byte for byte");
    assert_same_files(&two.path("files"), &one.path("files"));
    tool(
        "umoci",
        [
            "unpack",
            "--rootless",
            "--image",
            &format!("{}:app:1", two.path("two").display()),
            two.path("umoci").to_str().expect("plain"),
        ],
    );
    assert_eq!(two.read("umoci/rootfs/etc/again"), "base\n");
    assert_eq!(two.reimage(["run", "app:1"]).expect(0).out(), "one\nbase");
    assert_eq!(two.reimage(["build"]).expect(0).out(), built);
    let verified = two.reimage(["verify", "app:1", "images.app"]).expect(0).out();
    assert!(verified.starts_with("identical"), "{verified}");
}

#[test]
fn each_verb_brings_what_it_reads() {
    let (registry, other) = (Registry::open(), Registry::open());
    let name = format!("{}/team/base:1", registry.host());
    push_base(&name);
    let (one, built) = first(&name);
    let mut at = fetched(&registry);
    let lazy = || {
        let env = second(&one, &name);
        let _ = env.reimage(["build", "images.app"]).expect(0);
        env
    };
    let elsewhere = format!("{}/app:1", other.host());
    let here = format!("docker://{}/copied:1", registry.host());
    let verbs: [(&[&str], usize); 9] = [
        (&["run", "app:1"], 3),
        (&["copy", "app:1", "oci:layout:app:1"], 3),
        (&["copy", "app:1", &here], 0),
        (&["copy", "app:1", "app:2"], 0),
        (&["push", "app:1", &elsewhere], 3),
        // The uppermost only links to what is below it.
        (&["build", "images.ran"], 2),
        (&["run", "images.app"], 2),
        (&["build", "exports.old", "--output", "out"], 1),
        (&["save", "app:1", "--format", "rootfs", "-o", "files.tar"], 3),
    ];
    for (verb, layers) in verbs {
        let env = lazy();
        assert_eq!(fetched(&registry), at, "a build needs none");
        let ran = env.reimage(verb).expect(0);
        assert_eq!(fetched(&registry), at + layers, "{verb:?}: {ran}");
        if verb[0] == "build" {
            assert!(built.contains(&ran.out()), "{ran}");
        }
        // Each comes once.
        let _ = env.reimage(["save", "app:1", "-o", "app.tar"]).expect(0);
        let _ = env.reimage(["build", "images.ran"]).expect(0);
        at += 3;
        assert_eq!(fetched(&registry), at, "{verb:?}");
    }
    // A lock that was made before there were skeletons is as good.
    let old = machine(&name);
    let lock = one.read("reimage.lock");
    old.file("reimage.lock", without_skeleton(&lock));
    assert_eq!(old.reimage(["build", "--locked"]).expect(0).out(), built);
    let added = old.reimage(["lock"]).expect(0).out();
    assert!(added.contains("~ 127.0.0.1:[PORT]/team/base:1: skeleton\n"), "{added}");
    assert_eq!(old.read("reimage.lock"), lock);
    assert_eq!(old.reimage(["lock"]).expect(0).out(), "reimage.lock: nothing moved");
    // A bundle of skeletons alone is as it is meant to be.
    let told = one.reimage(["lock"]).expect(0);
    assert_eq!((told.out().as_str(), told.err().as_str()), ("reimage.lock: nothing moved", ""));
    // Nobody has the layers any more.
    let (gone, bare) = (lazy(), lazy());
    old.file("reimage.lock", old.read("reimage.lock").replace("oci-unpack-1", "oci-unpack-0"));
    drop(registry);
    let error = gone.reimage(["save", "app:1", "-o", "app.tar"]).expect(3).err();
    assert!(
        error.contains(" of the base image `127.0.0.1:[PORT]/team/base:1` is needed"),
        "{error}"
    );
    let error = bare.reimage(["save", "--offline", "app:1", "-o", "app.tar"]).expect(3).err();
    assert!(error.contains("team/base:1") && error.contains("--offline"), "{error}");
    // What it has unpacked is enough for a new skeleton, and what is not there for a word.
    let _ = old.reimage(["lock"]).expect(0);
    assert_eq!(old.read("reimage.lock"), lock);
    let without = lock.replace("oci-unpack-1", "oci-unpack-0");
    bare.file("reimage.lock", &without);
    let told = bare.reimage(["lock"]).expect(0).err();
    assert!(told.contains("its skeleton is not pinned: "), "{told}");
    assert_eq!(bare.read("reimage.lock"), without);
}

#[test]
fn an_engine_that_has_the_layers_gets_what_is_new() {
    if !is_root() {
        // Without subordinate ids podman keeps no owners; the user who runs the tests may have none.
        return;
    }
    let registry = Registry::open();
    let name = format!("{}/team/base:1", registry.host());
    push_base(&name);
    let (one, _) = first(&name);
    let (variable, value) = one.podman();
    let load = |env: &TestEnv| {
        let _ = env.reimage(["build", "images.app"]).expect(0);
        let mut command = env.command();
        env.run(command.args(["load", "--to", "podman", "app:1"]).env(variable, &value)).expect(0)
    };
    let before = fetched(&registry);
    let _ = load(&second(&one, &name));
    assert_eq!(fetched(&registry), before + 3, "podman has nothing yet");
    let changed = second(&one, &name);
    changed.file("spec.ncl", app(&name).replace("one\\n", "two\\n"));
    let loaded = load(&changed);
    assert_eq!(fetched(&registry), before + 3, "{loaded}");
    let _ = changed.reimage(["save", "app:1", "-o", "app.tar"]).expect(0);
    assert_eq!(fetched(&registry), before + 6, "they were not here");
}

#[test]
fn a_cache_has_skeletons_and_results_upon_them() {
    for shared in [true, false] {
        let (registry, caches) = (Registry::open(), Registry::open());
        let name = format!("{}/team/base:1", registry.host());
        push_base(&name);
        let one = machine(&name);
        let directory = one.root().join("shared");
        fs_err::create_dir(&directory).expect("new");
        let url = if shared {
            format!("file://{}", directory.display())
        } else {
            format!("oci://{}/cache", caches.host())
        };
        let trust = ["--cache-trust", "server"];
        let writes = [&["build", "--cache-write", &url], &trust[..]].concat();
        let built = one.reimage(&writes).expect(0).out();
        let asked = registry.requests().len();
        let other = |spec: String| {
            let env = machine(&name);
            env.file("reimage.lock", one.read("reimage.lock"));
            env.file("spec.ncl", spec);
            env
        };
        // The step is found, and what is new lies upon it: nobody needs what lies below.
        let changed = || other(app(&name).replace("one\\n", "two\\n"));
        let reads = [&["build", "--cache", &url], &trust[..]].concat();
        let two = changed();
        let _ = two.reimage(&reads).expect(0);
        let notes = two.root().join("data/reimage/images/.reimage/away");
        assert_eq!(read_dir_sorted(&notes).expect("there are some").len(), 3);
        // What it made goes on with notes instead of layers; a third machine needs no more.
        let two = changed();
        let three = changed();
        let told = two.reimage(&writes).expect(0).out();
        assert_eq!(three.reimage(&reads).expect(0).out(), told);
        let from = registry.requests().len();
        assert_eq!(from, asked, "{:#?}", &registry.requests()[asked..]);
        // The layers come from the cache, too, where the first machine has put them.
        three.config(&format!("[cache]\nurls = [\"{url}\"]\ntrust = \"server\"\n"));
        let _ = three.reimage(["save", "ran:1", "--format", "rootfs-dir", "-o", "files"]).expect(0);
        assert_eq!(three.read("files/ran"), "base\n");
        assert_eq!(three.read("files/app/text"), "two\n");
        assert_eq!(registry.requests().len(), asked, "{:#?}", &registry.requests()[asked..]);
        assert_eq!(other(app(&name)).reimage(&reads).expect(0).out(), built);
    }
}

#[test]
fn the_list_of_packages_is_in_the_skeleton() {
    let (mirror, registry, caches) = (Mirror::new(1), Registry::open(), Registry::open());
    let name = format!("{}/team/base:1", registry.host());
    let deb = |name: &str| Deb::new(name, "1").file(name, 0o644, (0, 0), name.as_bytes());
    let packages = vec![deb("common"), deb("tool").field("Depends: common")];
    mirror.publish("unstable", "Date: Wed, 01 Nov 2023 00:00:00 UTC", packages);
    let status =
        "Package: common\\nStatus: install ok installed\\nVersion: 1\\nArchitecture: all\\n";
    let below = TestEnv::new();
    below.file("spec.ncl", format!("let re = import \"reimage.ncl\" in\n{{ steps.a | re.Files = {{ files.\"/var/lib/dpkg/status\" = \"{status}\" }}, images.image | re.Image = {{ layers = [steps.a] }} }} | re.Spec\n"));
    let _ = below.reimage(["push", "images.image", &name]).expect(0);
    let spec = |text: &str| {
        format!(
            r#"let re = import "reimage.ncl" in
{{
  steps = {{
    base | re.Oci = {{ image = "{name}" }},
    tool | re.Debian = {{ from = base, suite = "unstable", packages = ["tool"], scripts = 'skip }},
    files | re.Files = {{ files."/text" = "{text}" }},
  }},
  images.app | re.Image = {{ layers = [steps.tool, steps.files] }},
}} | re.Spec
"#
        )
    };
    let build = |text: &str, lock: Option<String>| {
        let env = TestEnv::new();
        mirror.use_in(&env);
        env.file("spec.ncl", spec(text));
        if let Some(lock) = lock {
            env.file("reimage.lock", lock);
        }
        let url = format!("oci://{}/cache", caches.host());
        let _ = env.reimage(["build", "--cache-write", &url, "--cache-trust", "server"]).expect(0);
        env
    };
    let one = build("one", None);
    let layers: BTreeSet<String> = {
        let state = registry.state();
        let (_, manifest) = state.tagged("team/base", "1").expect("pushed");
        digests(&serde_json::from_slice(manifest).expect("JSON")).into_iter().collect()
    };
    let before = caches.requests().len();
    let _two = build("two", Some(one.read("reimage.lock")));
    let requests = caches.requests().split_off(before);
    let got = requests.iter().filter(|request| request.starts_with("GET "));
    let mut got = got.filter(|request| layers.iter().any(|layer| request.contains(layer)));
    assert_eq!(got.next(), None);
    assert_eq!(fetched(&registry), 1, "by the first machine");
}

#[test]
fn a_skeleton_of_other_layers_is_found_out() {
    let registry = Registry::open();
    let name = format!("{}/team/base:1", registry.host());
    push_base(&name);
    let (one, _) = first(&name);
    let lock = one.read("reimage.lock");
    let (size, digest) = pinned(&lock);
    let right =
        fs_err::read(one.path(format!("reimage.lock.d/sha256/{digest}"))).expect("vendored");
    assert_eq!(right.len() as u64, size);
    let with = |bytes: &[u8]| {
        let env = machine(&name);
        let new = reimage_castore::Sha256::of(bytes);
        env.file(format!("reimage.lock.d/sha256/{}", new.hex()), bytes);
        let line = format!("oci-unpack-1 {} {new}", bytes.len());
        env.file(
            "reimage.lock",
            lock.replace(&format!("oci-unpack-1 {size} sha256:{digest}"), &line),
        );
        env
    };
    let wrong = "The lock's skeleton of `127.0.0.1:[PORT]/team/base:1` is not that of its layers";
    // Another content of one file: nobody knows before the layer is here.
    let content = reimage_castore::Digest::of(b"base\n");
    let at = right.windows(32).position(|window| window == content.as_bytes()).expect("listed");
    let mut forged = right.clone();
    forged[at] ^= 1;
    let env = with(&forged);
    let _ = env.reimage(["build", "images.app"]).expect(0);
    let error = env.reimage(["build", "images.ran"]).expect(1).err();
    assert!(error.contains(wrong) && error.contains("reimage lock"), "{error}");
    let error = env.reimage(["verify", "app:1", "images.app"]).expect(1).err();
    assert!(error.contains(wrong), "{error}");
    // What is none is as not there, and the layers tell.
    for bytes in [&right[..right.len() / 2], b"", b"reimage skeleton 1\n\0\0"] {
        let error = with(bytes).reimage(["build", "images.app"]).expect(1).err();
        assert!(error.contains(wrong), "{error}");
    }
    // As the error says.
    let env = with(&forged);
    env.file("reimage.lock", without_skeleton(&env.read("reimage.lock")));
    let _ = env.reimage(["lock"]).expect(0);
    assert_eq!(env.read("reimage.lock"), one.read("reimage.lock"));
    let _ = env.reimage(["build"]).expect(0);
}

//! `re.Oci`: images of a registry to stand on, in the forms in which others write them.

use reimage_tests::{
    Deb, DockerRegistry, Mirror, TestEnv, assert_same_files, registry::Registry, tool,
};
use serde_json::{Value, json};

const BASE: &str = r#"let re = import "reimage.ncl" in
{
  steps = {
    root | re.Copy = { from = re.local { path = "root" } },
    more | re.Files = { files."/etc/base.conf" = "base\n", files."/old/gone" = "", files."/old/stays" = "" },
    less | re.Run = { from = [root, more], script = "rm /old/gone; ln /etc/base.conf /etc/again" },
  },
  images.base | re.Image = {
    layers = [steps.less],
    env.FROM_BASE = "yes",
    entrypoint = ["/bin/sh", "-c"],
    cmd = ["cat /etc/base.conf"],
    workdir = "/etc",
  },
} | re.Spec
"#;

/// A machine whose registry has a base image under this name.
fn base(name: &str) -> TestEnv {
    let env = TestEnv::new();
    env.programs(&["sh", "cat", "rm", "ln", "stat", "touch"]).file("spec.ncl", BASE);
    let _ = env.reimage(["push", "images.base", name]).expect(0);
    env
}

fn app(image: &str) -> String {
    format!(
        r#"let re = import "reimage.ncl" in
{{
  steps = {{
    base | re.Oci = {{ image = "{image}" }},
    app | re.Run = {{ from = base, script = "cat /etc/base.conf > /app; test ! -e /old/gone; stat -c %Y /old/stays > /time; echo $FROM_BASE >> /app" }},
  }},
  images.app | re.Image = {{ layers = [steps.app], cmd = ["cat /app"], tags = ["app:1"] }},
  images.bare | re.Image = {{ layers = [steps.base] }},
  exports.files | re.Copy = {{ from = steps.base, path = "/etc" }},
}} | re.Spec
"#
    )
}

/// A second machine that builds upon it.
fn user(image: &str) -> TestEnv {
    let env = TestEnv::new();
    env.file("spec.ncl", app(image));
    env
}

/// The manifest of an image of the store.
fn manifest(env: &TestEnv, name: &str, to: &str) -> Value {
    let _ = env.reimage(["save", name, "--format", "oci-dir", "-o", to]).expect(0);
    let image = format!("oci:{}", env.path(to).display());
    serde_json::from_str(&tool("skopeo", ["inspect", "--raw", &image])).expect("JSON")
}

fn config(env: &TestEnv, name: &str) -> Value {
    let inspected = env.reimage(["inspect", name]).expect(0).out();
    serde_json::from_str::<Value>(&inspected).expect("JSON")["config"].take()
}

#[test]
fn layers_configuration_and_history_come_along() {
    let registry = DockerRegistry::open();
    let name = format!("{}/team/base:1", registry.host());
    let of_base = base(&name);
    let theirs = manifest(&of_base, "images.base", "base");
    let env = user(&name);
    let built = env.reimage(["build", "images.app", "images.bare"]).expect(0).out();
    let lock = env.read("reimage.lock");
    assert!(lock.contains("[[oci]]\nimage = \"127.0.0.1:"), "{lock}");
    let ours = manifest(&env, "app:1", "app");
    let (theirs, ours) = (&theirs["layers"], &ours["layers"]);
    let count = theirs.as_array().expect("a list").len();
    assert_eq!(ours.as_array().expect("a list").len(), count + 1);
    for at in 0..count {
        assert_eq!(theirs[at], ours[at], "layer {at} is carried as it is");
    }
    let (below, above) = (config(&of_base, "images.base"), config(&env, "app:1"));
    for field in ["Env", "Entrypoint", "WorkingDir"] {
        assert!(!below["config"][field].is_null(), "{field}");
        assert_eq!(above["config"][field], below["config"][field], "{field}");
    }
    assert_eq!(above["config"]["Cmd"], json!(["cat /app"]));
    let history = |config: &Value| config["history"].as_array().expect("a list").clone();
    assert_eq!(history(&above)[..count], history(&below)[..]);
    assert!(history(&above)[count]["created_by"].as_str().expect("text").starts_with("RUN cat"));
    assert_eq!(env.reimage(["run", "app:1"]).expect(0).out(), "base\nyes");

    // The same for somebody else, with the lock, whatever the tag names by then.
    of_base.file("spec.ncl", BASE.replace("base\\n", "changed\\n"));
    let _ = of_base.reimage(["push", "images.base", &name]).expect(0);
    let other = user(&name);
    other.file("reimage.lock", &lock);
    assert_eq!(other.reimage(["build", "images.app", "images.bare"]).expect(0).out(), built);
    assert_eq!(
        other.reimage(["build", "--offline", "images.app", "images.bare"]).expect(0).out(),
        built
    );
    let moved = other.reimage(["lock", "--update", "steps.base"]).expect(0);
    assert!(moved.to_string().contains("~ 127.0.0.1:[PORT]/team/base:1"), "{moved}");
    let _ = other.reimage(["build", "images.app"]).expect(0);
    assert_eq!(other.reimage(["run", "app:1"]).expect(0).out(), "changed\nyes");
    // Vendored, it needs no registry.
    let _ = env.reimage(["lock", "--vendor"]).expect(0);
    let clone = user(&name);
    clone.file("reimage.lock", &lock);
    tool(
        "cp",
        [
            "-r",
            env.path("reimage.lock.d").to_str().expect("plain"),
            clone.path("").to_str().expect("plain"),
        ],
    );
    drop(registry);
    let offline = clone.reimage(["build", "--offline", "images.app", "images.bare"]).expect(0);
    assert_eq!(offline.out(), built);
}

#[test]
fn with_a_cache_nobody_needs_the_base_s_registry() {
    for shared in [true, false] {
        let (registry, caches) = (Registry::open(), Registry::open());
        let name = format!("{}/team/base:1", registry.host());
        let _ = base(&name);
        let env = user(&name);
        let directory = env.root().join("shared");
        fs_err::create_dir(&directory).expect("new");
        let url = if shared {
            format!("file://{}", directory.display())
        } else {
            format!("oci://{}/cache", caches.host())
        };
        let flags = ["images.app", "--cache-trust", "server", "--cache-write", &url];
        let built = env.reimage([&["build"], &flags[..]].concat()).expect(0).out();
        let asked = registry.requests().len();
        // Another machine has the lock, and builds something else upon it.
        let other = user(&name);
        other.file("reimage.lock", env.read("reimage.lock"));
        let spec = other.read("spec.ncl");
        other.file(
            "spec.ncl",
            spec.replace("cat /etc/base.conf", "cat /etc/base.conf /etc/base.conf"),
        );
        let flags = ["build", "images.app", "--cache-trust", "server", "--cache", &url];
        let run = ["run", "--cache-trust", "server", "--cache", &url, "app:1"];
        let changed = other.reimage(flags).expect(0);
        assert!(changed.err().contains("done steps.app") && changed.out() != built, "{changed}");
        assert_eq!(other.reimage(run).expect(0).out(), "base\nbase\nyes");
        other.file("spec.ncl", spec);
        assert_eq!(other.reimage(flags).expect(0).out(), built);
        assert_eq!(registry.requests().len(), asked, "{:#?}", registry.requests());
        // All of it hangs on a record.
        if !shared {
            let state = caches.state();
            let named: String = state
                .manifests
                .values()
                .map(|(_, bytes)| String::from_utf8_lossy(bytes).into_owned())
                .collect();
            for (_, digest) in state.blobs.keys() {
                assert!(named.contains(digest), "no record names {digest}");
            }
        }
    }
}

#[test]
fn every_form_has_the_same_files() {
    let registry = DockerRegistry::open();
    let name = format!("{}/base:1", registry.host());
    let _ = base(&name);
    let from = format!("docker://{name}");
    let forms = [
        ("v2s2", &["--format", "v2s2"][..]),
        (
            "zstd",
            &["--format", "oci", "--dest-compress-format", "zstd", "--dest-force-compress-format"],
        ),
    ];
    let mut first: Option<TestEnv> = None;
    for form in [None].into_iter().chain(forms.into_iter().map(Some)) {
        let image = match form {
            None => name.clone(),
            Some((tag, arguments)) => {
                let image = format!("{}/base:{tag}", registry.host());
                let to = format!("docker://{image}");
                let copy = ["copy", "-q", "--src-tls-verify=false", "--dest-tls-verify=false"];
                let output = std::process::Command::new("skopeo")
                    .args([&copy[..], arguments, &[&from, &to]].concat())
                    .output()
                    .expect("it is installed");
                // An old skopeo cannot recompress.
                if !output.status.success() && tag == "zstd" {
                    continue;
                }
                assert!(output.status.success(), "{output:?}");
                image
            }
        };
        let env = user(&image);
        let _ = env.reimage(["build", "images.app", "exports.files", "--output", "out"]).expect(0);
        let _ = env.reimage(["save", "app:1", "--format", "rootfs-dir", "-o", "files"]).expect(0);
        let raw = manifest(&env, "app:1", "layout");
        for layer in raw["layers"].as_array().expect("a list") {
            let kind = layer["mediaType"].as_str().expect("text");
            assert!(kind.starts_with("application/vnd.oci.image.layer.v1.tar"), "{kind}");
        }
        match &first {
            None => first = Some(env),
            Some(first) => {
                assert_same_files(&env.path("files"), &first.path("files"));
                assert_same_files(&env.path("out"), &first.path("out"));
            }
        }
    }
}

#[test]
fn the_platform_is_chosen_from_an_index() {
    let registry = Registry::open();
    let name = format!("{}/base:1", registry.host());
    let _ = base(&name);
    let (kind, bytes) = registry.state().tagged("base", "1").expect("pushed").clone();
    let digest = registry.state().tags[&("base".to_owned(), "1".to_owned())].clone();
    let entry = |architecture: &str, digest: &str| {
        json!({
            "mediaType": kind, "digest": digest, "size": bytes.len(),
            "platform": { "os": "linux", "architecture": architecture },
        })
    };
    let elsewhere = format!("sha256:{}", "1".repeat(64));
    let put = |tag: &str, manifests: Vec<Value>| {
        let index = json!({ "schemaVersion": 2, "manifests": manifests }).to_string().into_bytes();
        let key = |what: &str| ("base".to_owned(), what.to_owned());
        let name = digest_of(&index);
        let kind = "application/vnd.oci.image.index.v1+json".to_owned();
        registry.state().manifests.insert(key(&name), (kind, index));
        registry.state().tags.insert(key(tag), name);
    };
    put("several", vec![entry("arm64", &elsewhere), entry("amd64", &digest)]);
    put("foreign", vec![entry("arm64", &elsewhere)]);
    let inner = json!({
        "mediaType": "application/vnd.oci.image.index.v1+json", "digest": elsewhere, "size": 2,
        "platform": { "os": "linux", "architecture": "amd64" },
    });
    put("nested", vec![inner]);
    let env = user(&format!("{}/base:several", registry.host()));
    let _ = env.reimage(["build", "images.app"]).expect(0);
    assert!(env.read("reimage.lock").contains(&digest));
    let env = user(&format!("{}/base:foreign", registry.host()));
    let error = env.reimage(["build", "images.app"]).expect(1).err();
    assert!(
        error.contains("There is nothing for linux/amd64 in it: it is for linux/arm64"),
        "{error}"
    );
    let env = user(&format!("{}/base:nested", registry.host()));
    let error = env.reimage(["build", "images.app"]).expect(1).err();
    assert!(error.contains("index") && error.contains(&elsewhere), "{error}");
    let env = user(&format!("{}/base:none", registry.host()));
    let error = env.reimage(["build", "images.app"]).expect(1).err();
    assert!(error.contains("does not have `base:none`"), "{error}");
    let env = user("not a name");
    let error = env.reimage(["build", "images.app"]).expect(1).err();
    assert!(error.contains("expected `NAME[:TAG][@sha256:..]`, got `not a name`"), "{error}");
    let env = user(&name);
    let error = env.reimage(["build", "--locked", "images.app"]).expect(1).err();
    assert!(error.contains("reimage.lock"), "{error}");
}

#[test]
fn packages_go_upon_a_base_image() {
    let (mirror, registry) = (Mirror::new(1), Registry::open());
    let name = format!("{}/base:1", registry.host());
    let deb = |name: &str| {
        Deb::new(name, "1").directory("usr", 0o755, (0, 0)).file(
            &format!("usr/{name}"),
            0o644,
            (0, 0),
            name.as_bytes(),
        )
    };
    let packages = vec![deb("common"), deb("tool").field("Depends: common")];
    mirror.publish("unstable", "Date: Wed, 01 Nov 2023 00:00:00 UTC", packages);
    let machine = |steps: &str, image: &str| {
        let env = TestEnv::new();
        mirror.use_in(&env);
        env.file(
            "spec.ncl",
            format!(
                r#"let re = import "reimage.ncl" in
{{
  steps = {{ {steps} }},
  images.image | re.Image = {{ layers = [{image}] }},
}} | re.Spec
"#
            ),
        );
        env
    };
    // What a root says that dpkg has made.
    let status =
        "Package: common\\nStatus: install ok installed\\nVersion: 1\\nArchitecture: all\\n";
    let root = format!("a | re.Files = {{ files.\"/var/lib/dpkg/status\" = \"{status}\" }},");
    let below = machine(&root, "steps.a");
    let _ = below.reimage(["push", "images.image", &name]).expect(0);
    let base = format!("base | re.Oci = {{ image = \"{name}\" }},");
    let above = "a | re.Debian = { from = base, suite = \"unstable\", packages = [\"tool\"], scripts = 'skip },";
    let upon = machine(&format!("{base} {above}"), "steps.a");
    let _ = upon.reimage(["save", "images.image", "--format", "rootfs-dir", "-o", "all"]).expect(0);
    // What the base image has installed is not installed again.
    let lock = upon.read("reimage.lock");
    let pins: Vec<_> = lock.lines().filter(|line| line.contains("pool/")).collect();
    assert!(pins.len() == 1 && pins[0].contains("tool"), "{lock}");
    assert_eq!(upon.read("all/usr/tool"), "tool");
}

#[test]
fn byte_code_of_the_base_stays_as_it_is() {
    let (registry, theirs) = (DockerRegistry::open(), TestEnv::new());
    theirs.programs(&["sh", "python3"]).python();
    let root = theirs.path("root");
    let root = root.to_str().expect("plain");
    let import = "import json, email.message";
    // What it compiles has the times of the sources in it, which are theirs.
    tool("env", ["-i", &format!("PYTHONHOME={root}/usr"), "/usr/bin/python3", "-c", import]);
    let app = |tag: &str| {
        let (archive, name) = (format!("{root}.tar"), format!("{}/python:{tag}", registry.host()));
        tool("tar", ["-C", root, "--owner=0", "--group=0", "-cf", &archive, "."]);
        tool("crane", ["append", "--new_layer", &archive, "--new_tag", &name]);
        let env = TestEnv::new();
        env.file(
            "spec.ncl",
            format!(
                r#"let re = import "reimage.ncl" in
{{
  steps.base | re.Oci = {{ image = "{name}" }},
  steps.app | re.Run = {{ from = steps.base, script = "python3 -c '{import}; open(\"/app\", \"w\").write(json.__cached__)'" }},
  images.app | re.Image = {{ layers = [steps.app], tags = ["app:1"] }},
}} | re.Spec
"#
            ),
        );
        let _ = env.reimage(["build"]).expect(0);
        let raw = manifest(&env, "app:1", "app");
        let digest = raw["layers"][1]["digest"].as_str().expect("a second layer").to_owned();
        let layer = env.path("app/blobs/sha256").join(digest.trim_start_matches("sha256:"));
        tool("tar", ["-tzf", layer.to_str().expect("plain")])
    };
    let files = app("1");
    assert_eq!(files, "app\n");
    // Where the sources are younger than it, Python compiles them again.
    tool(
        "find",
        [root, "-type", "f", "-name", "*.py", "-exec", "touch", "-d", "2030-01-01", "{}", "+"],
    );
    let files = app("2");
    assert!(files.contains("json/__pycache__/"), "{files}");
}

/// `sha256:HEX` of some bytes.
fn digest_of(bytes: &[u8]) -> String {
    reimage_castore::Sha256::of(bytes).to_string()
}

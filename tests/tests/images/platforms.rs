//! Images for several platforms: one index, of images that are put together without running anything of theirs.

use std::collections::BTreeMap;

use reimage_tests::{Deb, DockerRegistry, Mirror, TestEnv, tool};
use serde_json::Value;

use crate::everything::digest;

const SPEC: &str = r#"let re = import "reimage.ncl" in
{
  target | re.Platform,
  steps = {
    root | re.Copy = { from = re.local { path = "root" } },
    machine | re.Files = { files."/etc/machine" = "%{target.os} %{target.arch} %{target.variant} %{target.machine}\n" },
    tool | re.Run = { from = root, script = "cat /etc/name > /tool", platform = "linux/amd64", outputs = ["/tool"] },
    native | re.Run = { from = [root, machine], script = "cat /etc/machine > /native" },
  },
  images.web | re.Image = {
    layers = [steps.root, steps.machine, steps.tool],
    cmd = ["cat", "/etc/machine"],
    platforms = ["linux/arm64", "linux/amd64", "linux/arm/v7"],
    annotations = { all = "yes", machine = target.arch },
    tags = ["web:1"],
  },
  images.native | re.Image = { layers = [steps.native], platforms = ["linux/amd64", "linux/arm64"] },
} | re.Spec
"#;

fn machine() -> TestEnv {
    let env = TestEnv::new();
    env.programs(&["sh", "cat"]).file("root/etc/name", "a tool\n").file("spec.ncl", SPEC);
    env
}

/// Digests of the manifests of `images.web`, and last of its index.
fn built(env: &TestEnv) -> (BTreeMap<String, String>, String) {
    let out = env.reimage(["build", "images.web", "--format", "json"]).expect(0).out();
    let value: Value = serde_json::from_str(&out).expect("JSON");
    let platforms = serde_json::from_value(value["platforms"].clone()).expect("digests");
    (platforms, value["digest"].as_str().expect("a digest").to_owned())
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

#[test]
fn one_index_for_several_platforms() {
    let env = machine();
    let (platforms, index) = built(&env);
    assert_eq!(platforms.len(), 3);
    for (platform, manifest) in &platforms {
        let one = ["build", "images.web", "--platform", platform];
        let alone = env.reimage(one).expect(0).out();
        assert_eq!(&digest(&alone, "images.web"), manifest, "{platform}");
    }
    let two = ["build", "images.web", "--platform", "linux/arm64,linux/amd64"];
    assert_ne!(digest(&env.reimage(two).expect(0).out(), "images.web"), index);
    // Another user, in another place, gets the same.
    let other = machine();
    let there = other.as_plain_user(["build", "images.web"]).expect(0).out();
    assert_eq!(digest(&there, "images.web"), index);
    // A step that does not ask for whom is one.
    let plan = env.reimage(["graph", "images.web"]).expect(0).out();
    assert_eq!(plan.matches("steps.root (copy /)").count(), 1, "{plan}");
    assert!(plan.contains("steps.machine (linux/arm/v7)"), "{plan}");
    // It is run as what this machine is, and verified as a whole and each for itself.
    let _ = env.reimage(["build", "images.web"]).expect(0);
    for name in ["web:1", "images.web"] {
        assert_eq!(env.reimage(["run", name]).expect(0).out(), "linux amd64  x86_64");
    }
    for name in ["web:1", &platforms["linux/arm64"]] {
        let verified = env.reimage(["verify", name, "images.web"]).expect(0).out();
        assert!(verified.starts_with("identical"), "{verified}");
    }
}

#[test]
fn other_tools_read_it_and_carry_it() {
    let registry = DockerRegistry::open();
    let env = machine();
    let (platforms, index) = built(&env);
    let _ = env.reimage(["save", "web:1", "--format", "oci-dir", "-o", "layout"]).expect(0);
    let layout = format!("oci:{}", env.path("layout").display());
    let raw = json(&tool("skopeo", ["inspect", "--raw", &layout]));
    assert_eq!(raw["mediaType"], "application/vnd.oci.image.index.v1+json");
    assert_eq!(raw["annotations"], serde_json::json!({ "all": "yes" }));
    let named = |platform: &Value| {
        let word = |name: &str| platform[name].as_str().map(str::to_owned);
        [word("os"), word("architecture"), word("variant")]
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
    };
    let of: Vec<_> = raw["manifests"].as_array().expect("a list").iter().collect();
    let there: Vec<_> = of.iter().map(|m| named(&m["platform"]).join("/")).collect();
    assert_eq!(there, ["linux/arm64", "linux/amd64", "linux/arm/v7"]);
    for (platform, manifest) in there.iter().zip(&of) {
        assert_eq!(manifest["digest"].as_str(), Some(&*platforms[platform]));
    }
    // A registry has all of it, and gives each.
    let name = format!("{}/team/web:1", registry.host());
    let pushed = env.reimage(["push", "web:1", &name]).expect(0).out();
    assert!(pushed.ends_with(&index), "{pushed}");
    for extra in [&[][..], &["--fast"], &["--platform", "linux/arm/v7"]] {
        tool("crane", [&["validate", "--remote", &name], extra].concat());
    }
    assert_eq!(tool("crane", ["digest", &name]).trim(), index);
    let remote = format!("docker://{name}");
    let of_arm = ["--override-arch", "arm", "--override-variant", "v7", "inspect", "--config"];
    let config = [&of_arm[..], &["--tls-verify=false", &remote]].concat();
    let config = json(&tool("skopeo", config));
    assert_eq!((&config["architecture"], &config["variant"]), (&"arm".into(), &"v7".into()));
    let other = TestEnv::new();
    let one = other.reimage(["pull", &name, "--platform", "linux/arm64"]).expect(0).out();
    assert!(one.ends_with(&platforms["linux/arm64"]), "{one}");
    let all = other.reimage(["pull", &name, "--all-platforms"]).expect(0).out();
    assert!(all.ends_with(&index), "{all}");
    // An image upon it is for each of them what it is for whom it is built.
    other.file(
        "spec.ncl",
        format!(
            r#"let re = import "reimage.ncl" in
{{
  steps.base | re.Oci = {{ image = "{name}" }},
  steps.app | re.Files = {{ files."/app" = "app" }},
  images.app | re.Image = {{ layers = [steps.base, steps.app], platforms = ["linux/arm64", "linux/amd64"] }},
}} | re.Spec
"#
        ),
    );
    let out = other.reimage(["build", "--format", "json"]).expect(0).out();
    let lock = other.read("reimage.lock");
    for platform in ["linux/arm64", "linux/amd64"] {
        assert!(lock.contains(&format!("platform = \"{platform}\"")), "{lock}");
        assert!(lock.contains(&platforms[platform]), "{lock}");
        let manifest = json(&out)["platforms"][platform].as_str().expect("a digest").to_owned();
        let dir = format!("app-{}", manifest.trim_start_matches("sha256:"));
        let _ = other.reimage(["save", &manifest, "--format", "oci-dir", "-o", &dir]).expect(0);
        let image = format!("oci:{}", other.path(&dir).display());
        let raw = json(&tool("skopeo", ["inspect", "--raw", &image]));
        let layers = raw["layers"].as_array().expect("a list");
        let mine = of.iter().find(|m| m["digest"] == platforms[platform]).expect("it is there");
        let base = env.path("layout/blobs/sha256");
        let base = base.join(mine["digest"].as_str().expect("text").trim_start_matches("sha256:"));
        let base = json(&fs_err::read_to_string(base).expect("a manifest"));
        assert_eq!(layers[..layers.len() - 1], base["layers"].as_array().expect("a list")[..]);
    }
}

#[test]
fn what_would_run_elsewhere_is_refused() {
    let env = machine();
    let _ = env.reimage(["check"]).expect(0);
    let error = env.reimage(["build", "images.native"]).expect(3).err();
    let error = error.lines().skip_while(|line| !line.starts_with("error")).collect::<Vec<_>>();
    insta::assert_snapshot!(error.join("\n"), @r#"
    error: Step `steps.native (linux/arm64)` runs on `linux/arm64`, and this machine is `linux/amd64`
    hint: its result can come from a shared cache that such a machine writes: `--cache`
    hint: a step that must run here says so: `platform = "linux/amd64"`
    hint: `--platform linux/amd64` builds for this machine alone
    hint: it is written at spec.ncl:8:23
    "#);
    let _ = env.reimage(["build", "images.native", "--platform", "linux/amd64"]).expect(0);
    // What runs only here is no matter of the image's.
    let error = env.reimage(["build", "steps.native", "--platform", "linux/s390x"]).expect(3).err();
    assert!(error.contains("runs on `linux/s390x`"), "{error}");
    let _ = env.reimage(["run", "images.native", "--", "cat", "/native"]).expect(0);
}

#[test]
fn packages_are_those_of_the_platform() {
    let (mirror, env) = (Mirror::new(1), TestEnv::new());
    let tool = |architecture: &str| {
        let name = format!("usr/bin/{architecture}");
        Deb::new("tool", "1")
            .architecture(architecture)
            .field("Depends: data")
            .directory("usr", 0o755, (0, 0))
            .directory("usr/bin", 0o755, (0, 0))
            .file(&name, 0o755, (0, 0), architecture.as_bytes())
    };
    let common = Deb::new("data", "1").file("data", 0o644, (0, 0), b"data");
    let date = "Date: Wed, 01 Nov 2023 00:00:00 UTC";
    mirror.publish("unstable", date, vec![tool("amd64"), tool("arm64"), common]).use_in(&env);
    env.file(
        "spec.ncl",
        r#"let re = import "reimage.ncl" in
{
  steps.tool | re.Debian = { suite = "unstable", packages = ["tool"], scripts = 'skip },
  images.tool | re.Image = { layers = steps.tool, platforms = ["linux/amd64", "linux/arm64"] },
  images.none | re.Image = { layers = steps.tool, platforms = ["linux/wasm"] },
} | re.Spec
"#,
    );
    let out = json(&env.reimage(["build", "images.tool", "--format", "json"]).expect(0).out());
    let lock = env.read("reimage.lock");
    for architecture in ["amd64", "arm64"] {
        assert!(lock.contains(&format!("platform = \"linux/{architecture}\"")), "{lock}");
        let manifest = out["platforms"][format!("linux/{architecture}")].as_str().expect("one");
        let _ =
            env.reimage(["save", manifest, "--format", "rootfs-dir", "-o", architecture]).expect(0);
        let file = env.read(format!("{architecture}/usr/bin/{architecture}"));
        assert_eq!(file, architecture);
        assert_eq!(env.read(format!("{architecture}/data")), "data");
    }
    let error = env.reimage(["lock", "images.none"]).expect(1).err();
    assert!(error.contains("Debian has no packages for `linux/wasm`"), "{error}");
}

//! Images as other builders push them: each is stood upon, built with a file on top and pushed, and then skopeo and
//! umoci find in it what they find in the image below. What is no image to stand on is refused, and it is said why.

mod table;

use std::{
    path::Path,
    process::{Command, Stdio},
};

use reimage_tests::{Daemon, DockerRegistry, TestEnv, assert_same_files, is_root, tool};
use serde_json::Value;

use table::{IMAGES, Image, REFUSED, ZSTD};

/// What the scripts call.
const PRELUDE: &str = include_str!("builders/prelude.sh");

fn text(path: &Path) -> &str {
    path.to_str().expect("temporary directories have UTF-8 names")
}

/// Has somebody's tools push an image, in a directory of its own.
fn push(env: &TestEnv, host: &str, docker: Option<&Daemon>, image: &Image) {
    let (name, odd, script) = image;
    let directory = env.path(name);
    fs_err::create_dir(&directory).expect("each has another name");
    let mut command = Command::new("bash");
    command.args(["-c", &format!("{PRELUDE}\n{script}")]).current_dir(directory);
    command.env("IMAGE", format!("{host}/{name}:1")).env("ROOT", env.root());
    command.env("LC_ALL", "C.UTF-8").env("HOME", env.root().join("home")).stdin(Stdio::null());
    if let Some(docker) = docker {
        command.env("DOCKER_HOST", format!("unix://{}", docker.socket()));
    }
    let output = command.output().expect("bash is there");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}, {odd}: {error}");
}

/// What umoci unpacks of an image in the registry.
fn unpacked(env: &TestEnv, image: &str, to: &str) {
    let layout = format!("oci:{}:it", text(&env.path(format!("{to}.layout"))));
    let remote = format!("docker://{image}");
    let copy = ["--insecure-policy", "copy", "--quiet", "--src-tls-verify=false"];
    tool("skopeo", [&copy[..], &[&remote, &layout]].concat());
    umoci(env, &layout["oci:".len()..], to);
}

fn umoci(env: &TestEnv, image: &str, to: &str) {
    tool("umoci", ["raw", "unpack", "--image", image, text(&env.path(to))]);
}

/// The manifest for this platform.
fn manifest(image: &str) -> Value {
    let arguments = ["manifest", "--platform", "linux/amd64", image];
    let mut found: Value = serde_json::from_str(&tool("crane", arguments)).expect("JSON");
    if let Some(manifests) = found["manifests"].as_array() {
        let is_ours = |m: &&Value| m["platform"]["architecture"] == "amd64";
        let digest = manifests.iter().find(is_ours).expect("one is")["digest"].clone();
        let (name, _) = image.rsplit_once(':').expect("it has a tag");
        let one = format!("{name}@{}", digest.as_str().expect("text"));
        found = serde_json::from_str(&tool("crane", ["manifest", &one])).expect("JSON");
    }
    found
}

/// A spec with these images, each with a file on top.
fn spec(host: &str, names: &[&str]) -> String {
    let step = |name: &&str| format!("    {name} | re.Oci = {{ image = \"{host}/{name}:1\" }},\n");
    let image = |name: &&str| {
        format!("  images.{name} | re.Image = {{ layers = [steps.{name}, steps.app] }},\n")
    };
    let steps: String = names.iter().map(step).collect();
    let images: String = names.iter().map(image).collect();
    format!(
        "let re = import \"reimage.ncl\" in\n{{\n  steps = {{\n    app | re.Files = {{ files.\"/app\" = \"app\\n\" }},\n{steps}  }},\n{images}}} | re.Spec\n"
    )
}

#[test]
fn images_of_others_are_stood_on() {
    if !is_root() {
        // Without subordinate ids the tools keep no owners; the user who runs the tests may have none.
        return;
    }
    let (registry, docker, env) = (DockerRegistry::open(), Daemon::docker(), TestEnv::new());
    let host = registry.host();
    let here = IMAGES.iter().filter(|(name, ..)| docker.is_some() || !name.starts_with("docker_"));
    let here: Vec<_> = here.collect();
    for image in &here {
        push(&env, &host, docker.as_ref(), image);
    }
    let names: Vec<_> = here.iter().map(|(name, ..)| *name).collect();
    env.file("spec.ncl", spec(&host, &names));
    let _ = env.reimage(["build"]).expect(0);
    for (name, odd, _) in here {
        let (below, above) = (format!("{host}/{name}:1"), format!("{host}/app/{name}:1"));
        let target = format!("images.{name}");
        let _ = env.reimage(["push", &target, &above]).expect(0);
        // Layers of theirs and of ours; all of each crane reads only if it is gzip and names nothing twice.
        tool("crane", ["validate", "--fast", "--remote", &above]);
        let (lower, upper) = (manifest(&below), manifest(&above));
        let layers = |manifest: &Value| manifest["layers"].as_array().expect("a list").clone();
        let (lower, upper) = (layers(&lower), layers(&upper));
        assert_eq!(upper.len(), lower.len() + 1, "{name}, {odd}");
        for (lower, upper) in lower.iter().zip(&upper) {
            for field in ["digest", "size", "annotations"] {
                assert_eq!(lower[field], upper[field], "{name}, {odd}");
            }
        }
        let [expected, ours, theirs] =
            ["expected", "ours", "theirs"].map(|what| format!("{name}/files-{what}"));
        let same = env.path(format!("{name}/expected"));
        if same.exists() {
            umoci(&env, &format!("{}:it", text(&same)), &expected);
        } else {
            unpacked(&env, &below, &expected);
        }
        if ZSTD.contains(name) {
            let archive = env.path(format!("{name}/all.tar"));
            tool("crane", ["export", &above, text(&archive)]);
            fs_err::create_dir(env.path(&theirs)).expect("it is new");
            let keep = ["--numeric-owner", "--xattrs", "--xattrs-include=*", "-p", "-xf"];
            tool("tar", [&["-C", text(&env.path(&theirs))], &keep[..], &[text(&archive)]].concat());
        } else {
            unpacked(&env, &above, &theirs);
        }
        let app = env.path(format!("{expected}/app"));
        fs_err::write(&app, "app\n").expect("root may");
        tool("touch", ["-d", "2026-11-01T00:00:00Z", text(&app)]);
        let _ = env.reimage(["save", &target, "--format", "rootfs-dir", "-o", &ours]).expect(0);
        for found in [ours, theirs] {
            let same = || assert_same_files(&env.path(&found), &env.path(&expected));
            let same = std::panic::catch_unwind(std::panic::AssertUnwindSafe(same));
            assert!(same.is_ok(), "{name}, {odd}: {found}");
        }
    }
}

#[test]
fn what_is_no_image_is_refused() {
    let (registry, env) = (DockerRegistry::open(), TestEnv::new());
    let host = registry.host();
    for (image, says) in &REFUSED {
        let (name, odd, _) = image;
        push(&env, &host, None, image);
        env.file("spec.ncl", spec(&host, &[name]));
        let error = env.reimage(["build"]).expect(1).err();
        assert!(error.contains(says) && error.contains(&format!("steps.{name}")), "{odd}: {error}");
        fs_err::remove_file(env.path("reimage.lock")).unwrap_or_default();
    }
}

//! `reimage load`: docker, podman and containerd get what they do not have, and have what we have.

use std::process::Command;

use reimage_tests::{Daemon, Ran, TestEnv, is_root};

/// Two versions of an image that share a layer of a megabyte that cannot be compressed.
fn project() -> TestEnv {
    let env = TestEnv::new();
    let noise: Vec<u8> = (0..40_000_u32).flat_map(|n| reimage_castore::Digest::of(&n.to_le_bytes()).as_bytes()[..25].to_vec()).collect();
    env.file("noise/noise", noise);
    env.file(
        "spec.ncl",
        r#"let re = import "reimage.ncl" in
{
  args.version | String | default = "1",
  steps = {
    noise | re.Copy = { from = re.local { path = "noise" }, to = "/" },
    version | re.Files = { files."/version" = args.version },
  },
  images.app | re.Image = {
    layers = [steps.noise, steps.version],
    cmd = ["/app"],
    tags = ["app:%{args.version}", "registry.example/team/app:%{args.version}"],
  },
} | re.Spec
"#,
    );
    env
}

/// The lines of a load: name, digest, and what the engine calls it.
fn lines(ran: &Ran) -> Vec<Vec<String>> {
    let out = ran.out();
    out.lines().map(|line| line.split(' ').map(str::to_owned).collect()).collect()
}

/// Bytes that were moved, as the note says it.
fn moved(ran: &Ran) -> f64 {
    let err = ran.err();
    let note = err.lines().find(|line| line.contains("loaded into")).expect("a note");
    let (number, unit) = note.rsplit(", ").next().and_then(|size| size.split_once(' ')).expect("a size");
    let factor = match unit {
        "B" => 1.0,
        "kB" => 1e3,
        "MB" => 1e6,
        other => panic!("{other}"),
    };
    number.parse::<f64>().expect("a number") * factor
}

/// The files of the second version, as an archive.
fn rootfs(env: &TestEnv) -> Vec<u8> {
    env.reimage(["save", "app:2", "--format", "rootfs"]).expect(0).stdout
}

struct Here<'a> {
    env: &'a TestEnv,
    engine: &'static str,
    variable: (&'static str, String),
}

impl Here<'_> {
    fn load(&self, arguments: &[&str]) -> Ran {
        let mut command = self.env.command();
        command.args(["load", "--to", self.engine]).args(arguments);
        self.env.run(command.env(self.variable.0, &self.variable.1))
    }

    /// Asks the engine.
    fn ask(&self, program: &str, arguments: &[&str]) -> String {
        let template = self.env.command();
        let mut command = Command::new(program);
        command.args(arguments).env_clear().env(self.variable.0, &self.variable.1);
        command.envs(template.get_envs().filter_map(|(name, value)| Some((name, value?))));
        self.env.run(&mut command).expect(0).out()
    }
}

const VERSION_2: [&str; 3] = ["images.app", "--arg", "version=2"];

#[test]
fn docker_gets_what_it_lacks() {
    if !is_root() {
        // Nobody else can start its daemon.
        return;
    }
    let Some(daemon) = Daemon::docker() else { return };
    let env = project();
    let variable = ("DOCKER_HOST", format!("unix://{}", daemon.socket()));
    let docker = Here { env: &env, engine: "docker", variable };
    let first = docker.load(&["images.app"]).expect(0);
    let [name, digest, id] = &lines(&first)[0][..] else { panic!("{first}") };
    assert_eq!((name.as_str(), lines(&first).len()), ("app:1", 2));
    assert!(env.reimage(["images", "--format", "json"]).out().contains(digest.as_str()));
    let ids = docker.ask("docker", &["image", "ls", "--quiet", "--no-trunc", "registry.example/team/app:1"]);
    assert_eq!(ids, *id, "docker calls it by its configuration");
    assert!(moved(&first) > 9e5, "{first}");
    let second = docker.load(&VERSION_2).expect(0);
    assert!(moved(&second) < 5e3, "only the layer that changed: {second}");
    let saved = env.path("saved.tar");
    let saved = saved.to_str().expect("plain");
    docker.ask("docker", &["save", "--output", saved, "app:2"]);
    let other = TestEnv::new();
    let _ = other.reimage(["import", saved]).expect(0);
    assert!(rootfs(&other) == rootfs(&env), "docker has the same files");
    assert!(moved(&docker.load(&["app:1"]).expect(0)) < 5e3);
    docker.ask("docker", &["image", "rm", "app:1", "registry.example/team/app:1", "app:2", "registry.example/team/app:2"]);
    assert!(moved(&docker.load(&["app:2"]).expect(0)) > 9e5, "it has nothing any more");
    drop(daemon);
    let gone = docker.load(&["app:2"]).expect(3);
    assert!(gone.err().contains("hint: is its daemon running"), "{gone}");
}

#[test]
fn containerd_gets_what_it_lacks() {
    if !is_root() {
        // Nobody else can start it.
        return;
    }
    let Some(daemon) = Daemon::containerd() else { return };
    let env = project();
    let containerd = Here { env: &env, engine: "containerd", variable: ("CONTAINERD_ADDRESS", daemon.socket()) };
    let first = containerd.load(&["--namespace", "k8s.io", "images.app"]).expect(0);
    let [_, digest] = &lines(&first)[0][..] else { panic!("{first}") };
    let second = containerd.load(&[&["--namespace", "k8s.io"], &VERSION_2[..]].concat()).expect(0);
    assert!(moved(&first) > 9e5 && moved(&second) < 5e3, "{first}{second}");
    let images = containerd.ask("ctr", &["-n", "k8s.io", "images", "check"]);
    for name in ["docker.io/library/app:1", "docker.io/library/app:2", "registry.example/team/app:2"] {
        let line = images.lines().find(|line| line.starts_with(name)).expect("it is listed");
        assert!(line.contains(" complete (3/3)"), "{images}");
    }
    let one = images.lines().find(|line| line.starts_with("docker.io/library/app:1")).expect("listed");
    assert!(one.contains(digest.as_str()), "the digest is ours: {images}");
    // Each namespace has its own.
    assert!(moved(&containerd.load(&["app:1"]).expect(0)) > 9e5);
    assert!(containerd.ask("ctr", &["images", "ls", "-q"]).contains("app:1"));
    let _ = env.reimage(["remove", "app:1", "registry.example/team/app:1"]).expect(0);
    let spec = env.read("spec.ncl");
    env.file("spec.ncl", &spec[..spec.find("tags").expect("there")]);
    env.file("spec.ncl", env.read("spec.ncl") + "},\n} | re.Spec\n");
    let unnamed = containerd.load(&["images.app"]).expect(64);
    assert!(unnamed.err().contains("containerd keeps no image without a name"), "{unnamed}");
}

#[test]
fn podman_reads_what_it_lacks() {
    if !is_root() {
        // Without subordinate ids podman keeps no owners; the user who runs the tests may have none.
        return;
    }
    let env = project();
    let podman = Here { env: &env, engine: "podman", variable: env.podman() };
    let first = podman.load(&["images.app"]).expect(0);
    let [_, digest, id] = &lines(&first)[0][..] else { panic!("{first}") };
    // The shared layer is gone here: podman does not read what it has.
    let blobs = env.root().join("data/reimage/images/blobs/sha256");
    let _ = env.reimage(["build", "-q", "images.app", "--arg", "version=2"]).expect(0);
    let large = reimage_castore::read_dir_sorted(blobs).expect("there");
    let large = large.into_iter().max_by_key(|blob| blob.metadata().expect("there").len());
    let large = large.expect("a layer").path();
    let aside = env.path("aside");
    fs_err::rename(&large, &aside).expect("ours");
    let _ = podman.load(&["app:2"]).expect(0);
    fs_err::rename(&aside, &large).expect("ours");
    let format = "{{.Repository}}:{{.Tag}} {{.Digest}} {{.ID}}";
    let images = podman.ask("podman", &["images", "--no-trunc", "--format", format]);
    let mut names: Vec<_> = images.lines().map(|line| line.split(' ').next().expect("a name")).collect();
    names.sort_unstable();
    assert_eq!(names, ["docker.io/library/app:1", "docker.io/library/app:2", "registry.example/team/app:1"]);
    assert!(images.contains(&format!("docker.io/library/app:1 {digest} {id}")), "{images}");
    let saved = env.path("saved.tar");
    let saved = saved.to_str().expect("plain");
    podman.ask("podman", &["save", "--quiet", "--format", "oci-archive", "-o", saved, "docker.io/library/app:2"]);
    let other = TestEnv::new();
    let _ = other.reimage(["import", saved, "--tag", "app:2"]).expect(0);
    assert!(rootfs(&other) == rootfs(&env), "podman has the same files");
}

#[test]
fn no_engine_is_said() {
    let env = project();
    let mut command = env.command();
    let ran = env.run(command.args(["load", "--to", "podman", "images.app"]).env("PATH", "/nowhere"));
    insta::assert_snapshot!(ran, @"
    ------- stderr -------
    error: There is no program `podman` here
      Caused by: No such file or directory (os error 2)
    hint: install it, or write an archive for another machine: `reimage save`
    [exit status: 3]
    ");
    insta::assert_snapshot!(env.reimage(["load", "--to", "docker", "--namespace", "x", "images.app"]), @"
    ------- stderr -------
    error: Only containerd has namespaces
    [exit status: 64]
    ");
}

//! `push`, `pull`, `copy`, `login`, `logout`

use insta::assert_snapshot;
use reimage_tests::{
    TestEnv,
    registry::{Access, Fault, Options, Registry},
};

fn env() -> TestEnv {
    let env = TestEnv::new();
    env.file(
        "spec.ncl",
        r#"let re = import "reimage.ncl" in
{
  steps = { hello | re.Files = { files."/hello.txt" = "Hello\n" } },
  images = {
    hello | re.Image = { layers = [steps.hello], cmd = ["/hello"], tags = ["hello:1.0"] },
    nameless | re.Image = { layers = [steps.hello] },
  },
} | re.Spec
"#,
    );
    let _ = env.reimage(["build", "images.hello"]).expect(0);
    env
}

/// The same with what failed and why, and not what was built.
fn told(env: &TestEnv, arguments: &[&str]) -> String {
    env.reimage([arguments, &["-q"]].concat()).to_string()
}

#[test]
fn there_and_back() {
    let (env, registry) = (env(), Registry::open());
    let [one, two] = [1, 2].map(|tag| format!("{}/hello:{tag}", registry.host()));
    assert_snapshot!(env.reimage(["push", "hello:1.0", &one, &two]), @"
    127.0.0.1:[PORT]/hello:1 sha256:39f6dabdb18c5c8ebcdfd19c62fe5ba249b0d8c9c976d4f5139db047ec65388f
    127.0.0.1:[PORT]/hello:2 sha256:39f6dabdb18c5c8ebcdfd19c62fe5ba249b0d8c9c976d4f5139db047ec65388f
    ------- stderr -------
      pushed to 127.0.0.1:[PORT]/hello: 2 blobs, 392 B
    ");
    assert_snapshot!(env.reimage(["pull", &one]), @"127.0.0.1:[PORT]/hello:1 sha256:39f6dabdb18c5c8ebcdfd19c62fe5ba249b0d8c9c976d4f5139db047ec65388f");
    assert_snapshot!(env.reimage(["push", &one, "--format", "json", "-q"]), @r#"
    {"digest":"sha256:39f6dabdb18c5c8ebcdfd19c62fe5ba249b0d8c9c976d4f5139db047ec65388f","name":"127.0.0.1:[PORT]/hello:1"}
    ------- stderr -------
    {"event":"note","message":"  pushed to 127.0.0.1:[PORT]/hello: nothing new"}
    "#);
    assert_eq!(registry.state().tags.len(), 2);
}

#[test]
fn copies_have_one_digest() {
    let (env, registry) = (env(), Registry::open());
    let remote = format!("docker://{}/hello:1", registry.host());
    let digest = env.reimage(["build", "-q", "images.hello"]).expect(0).out();
    let digest = digest.split(' ').nth(1).expect("a digest").to_owned();
    for (from, to) in [
        ("hello:1.0", remote.as_str()),
        (&remote, "oci-archive:a.tar"),
        ("oci-archive:a.tar", "oci:layout:hello:2"),
        ("oci:layout", "docker-archive:b.tar"),
        ("docker-archive:b.tar:hello:2", "copy:3"),
        ("oci:layout:hello:2", &remote),
    ] {
        let copied = env.reimage(["copy", from, to]).expect(0).out();
        assert_eq!(copied.split(' ').nth(1), Some(digest.as_str()), "{from} to {to}: {copied}");
    }
    assert!(env.reimage(["images"]).expect(0).out().contains("copy:3"));
    let left = fs_err::read(env.path("b.tar")).expect("written");
    assert_snapshot!(told(&env, &["copy", "oci-archive:a.tar:none", "docker-archive:b.tar"]), @"
    ------- stderr -------
    error: No image `none`
    hint: `reimage images` lists what is here
    [exit status: 64]
    ");
    assert_eq!(fs_err::read(env.path("b.tar")).expect("still there"), left);
    assert_snapshot!(told(&env, &["copy", "oci:", "x"]), @"
    ------- stderr -------
    error: invalid value 'oci:' for '<FROM>': `oci:` names no file

    For more information, try '--help'.
    [exit status: 64]
    ");
    assert_snapshot!(told(&env, &["copy", "oci:layout", "oci:layout"]), @"
    ------- stderr -------
    error: [ROOT]/work/layout is not an empty directory: name one that is not there yet
    [exit status: 64]
    ");
}

#[test]
fn what_does_not_work_says_what_to_do() {
    let env = env();
    let registry = Registry::open();
    let name = format!("{}/hello:1", registry.host());
    assert_snapshot!(told(&env, &["pull", &name]), @"
    ------- stderr -------
    error: 127.0.0.1:[PORT] does not have `hello:1`: 404 (MANIFEST_UNKNOWN)
    [exit status: 64]
    ");
    assert_snapshot!(told(&env, &["push", "images.nameless"]), @"
    ------- stderr -------
    error: `images.nameless` has no `tags`, so it has no name to go by
    hint: say where to: `registry.example/NAME:TAG`
    [exit status: 64]
    ");
    assert_snapshot!(told(&env, &["push", "hello:1.0", "UPPER"]), @"
    ------- stderr -------
    error: `UPPER` is no image reference: names of repositories are lower-case
    [exit status: 64]
    ");
    assert_snapshot!(told(&env, &["pull", "127.0.0.1:1/x", "--platform", "windows"]), @"
    ------- stderr -------
    error: invalid value 'windows' for '--platform <PLATFORM>': Expected a platform such as `linux/amd64` or `linux/arm/v7`, got `windows`

    For more information, try '--help'.
    [exit status: 64]
    ");
    let faults = (1..100).map(|number| (number, Fault::Status(404, None))).collect();
    let registry = Registry::new(Options { faults, ..Options::default() });
    let name = format!("{}/hello:1", registry.host());
    assert_snapshot!(told(&env, &["push", "hello:1.0", &name]), @"
    ------- stderr -------
    error: 127.0.0.1:[PORT] does not have the repository `hello`
    [exit status: 64]
    ");
    let access = Access::Token("me".into(), "word".into(), 10);
    let registry = Registry::new(Options { access, ..Options::default() });
    let name = format!("{}/hello:1", registry.host());
    assert_snapshot!(told(&env, &["push", "hello:1.0", &name]), @"
    ------- stderr -------
    error: 127.0.0.1:[PORT] denies `hello:1`: 401 (UNAUTHORIZED)
    hint: `reimage login 127.0.0.1:[PORT]` says who we are
    [exit status: 3]
    ");
    assert_snapshot!(told(&env, &["login", &registry.host()]), @"
    ------- stderr -------
    error: There is no terminal to ask for a password at
    hint: give it with `--username NAME --password-stdin`
    [exit status: 64]
    ");
    assert_snapshot!(told(&env, &["logout", &registry.host()]), @"Not logged in to 127.0.0.1:[PORT]");
    assert_snapshot!(told(&env, &["login", "a/b", "-u", "me", "--password-stdin"]), @"
    ------- stderr -------
    error: `a/b` is no registry
    hint: name its host, as `registry.example:5000`
    [exit status: 64]
    ");
}

/// A helper of the machine is asked, and keeps what is logged in.
#[test]
fn helpers_keep_logins() {
    let access = Access::Token("me".into(), "word".into(), 10);
    let registry = Registry::new(Options { access, ..Options::default() });
    let env = env();
    let host = registry.host();
    env.file(
        "bin/docker-credential-tests",
        "#!/bin/sh\ncase $1 in\n  store) cat > \"$HOME/kept\" ;;\n  get) cat > /dev/null; cat \"$HOME/kept\" 2> /dev/null || \
         { echo credentials not found in native keychain; exit 1; } ;;\n  erase) rm \"$HOME/kept\" ;;\nesac\n",
    );
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs_err::set_permissions(env.path("bin/docker-credential-tests"), executable).expect("ours");
    let docker = env.root().join("home/.docker");
    fs_err::create_dir_all(&docker).expect("writable");
    fs_err::write(docker.join("config.json"), "{\"credsStore\": \"tests\"}").expect("writable");
    let reimage = |arguments: &[&str], input: &str| {
        env.file("input", input);
        let mut command = env.command();
        let path = format!("{}:/usr/bin:/bin", env.path("bin").display());
        command.args(arguments).env("PATH", path);
        command.stdin(fs_err::File::open(env.path("input")).expect("written").into_file());
        env.run(&mut command)
    };
    let name = format!("{host}/hello:1");
    let push = || reimage(&["push", "hello:1.0", &name, "-q"], "");
    let _ = push().expect(3);
    assert_snapshot!(reimage(&["login", &host, "-u", "me", "--password-stdin"], "word\n"), @"
    Logged in to 127.0.0.1:[PORT]
    ------- stderr -------
    Kept by `docker-credential-tests`
    ");
    let _ = push().expect(0);
    let text = fs_err::read_to_string(docker.join("config.json")).expect("there");
    assert_eq!(text, "{\"credsStore\": \"tests\"}");
    assert_snapshot!(reimage(&["logout", &host], ""), @"Logged out of 127.0.0.1:[PORT]");
    assert!(!env.root().join("home/kept").exists());
}

//! `--cache`: what one machine made, another takes

#![expect(clippy::disallowed_methods, reason = "files are looked at in no order that matters")]

use std::{
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use insta::assert_snapshot;
use reimage_tests::{
    Ran, TestEnv,
    archive::{Deb, Mirror},
};

use crate::{
    bundle::clone,
    conditions::without_descriptors,
    lock::{constant, debian, http},
};

pub(crate) const SPEC: &str = r#"let re = import "reimage.ncl" in
{
  steps = {
    root | re.Copy = { from = re.local { path = "root" } },
    base | re.Run = { from = root, script = "mkdir -p /opt; echo base > /opt/base; head -c 9000000 /dev/zero > /opt/zeros; head -c 9000000 /bin/sh > /opt/large" },
    app | re.Run = { from = base, inputs."/src" = re.local { path = "src" }, script = "cat /src/a.txt /opt/base > /opt/app" },
    tool | re.Run = { from = base, outputs = ["/out"], script = "mkdir /out; cat /opt/base > /out/tool" },
  },
  images = { app | re.Image = { layers = [steps.app], tags = ["app:1"], cmd = ["/bin/sh"] } },
  exports = { tool | re.Copy = { from = steps.tool, path = "/out", to = "/" } },
  checks = { app | re.Run = { from = steps.app, script = "cat /opt/app" } },
} | re.Spec
"#;

/// A team: the machine that makes and signs, and the cache that all share.
pub(crate) struct Team {
    pub(crate) env: TestEnv,
    url: String,
}

impl Team {
    /// One that shares a directory.
    pub(crate) fn new(spec: &str) -> Self {
        let team = Self::at(spec, String::new());
        fs_err::create_dir(team.shared()).expect("the directory is new");
        Self { url: format!("file://{}", text(team.shared())), ..team }
    }

    /// One whose cache is at `url`.
    pub(crate) fn at(spec: &str, url: String) -> Self {
        let env = TestEnv::new();
        env.programs(&["sh", "cat", "mkdir", "head"]).file("src/a.txt", "one\n").file("spec.ncl", spec);
        let key = text(env.root().join("key"));
        let _ = env.reimage(["cache", "keygen", &key]).expect(0);
        Self { env, url }
    }

    fn shared(&self) -> PathBuf {
        self.env.root().join("shared")
    }

    fn url(&self) -> String {
        self.url.clone()
    }

    /// Lets `env` take from the cache, and give to it if `gives`.
    pub(crate) fn join(&self, env: &TestEnv, gives: bool) {
        let (url, key) = (self.url(), text(self.env.root().join("key")));
        env.config(&if gives {
            format!("[cache]\nwrite = [\"{url}\"]\nkey = \"{key}\"\n")
        } else {
            format!("[cache]\nurls = [\"{url}\"]\ntrust = [\"{key}.pub\"]\n")
        });
    }

    /// Builds all on the first machine and sends it.
    pub(crate) fn make(&self) -> Ran {
        self.join(&self.env, true);
        self.env.reimage(["build"]).expect(0)
    }

    /// Another machine with a clone of the project.
    pub(crate) fn second(&self) -> TestEnv {
        let second = clone(&self.env);
        self.join(&second, false);
        second
    }

    /// Every file of the cache below `bucket`.
    fn files(&self, bucket: &str) -> Vec<PathBuf> {
        files(&self.shared().join(bucket))
    }
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs_err::read_dir(directory) else { return Vec::new() };
    let paths = entries.map(|entry| entry.expect("readable").path());
    let each = paths.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] });
    each.collect()
}

pub(crate) fn text(path: impl AsRef<Path>) -> String {
    path.as_ref().to_str().expect("plain names").to_owned()
}

/// The steps that ran.
pub(crate) fn ran(ran: &Ran) -> Vec<String> {
    let err = ran.err();
    let done = err.lines().filter_map(|line| line.trim().strip_prefix("done "));
    let mut steps: Vec<_> = done.filter_map(|rest| rest.split(' ').next()).map(str::to_owned).collect();
    steps.sort();
    steps
}

/// What it says of the cache: `4 found, 1.0 MB received, 0 B sent`.
pub(crate) fn moved(ran: &Ran) -> String {
    let err = ran.err();
    let line = err.lines().find_map(|line| line.strip_prefix("Cache ")).unwrap_or_default();
    line.split_once(": ").map(|(_, moved)| moved.to_owned()).unwrap_or_default()
}

/// Bytes received, at most this many.
#[track_caller]
fn assert_received(ran: &Ran, most: f64) {
    let moved = moved(ran);
    let words: Vec<_> = moved.split(' ').collect();
    let number: f64 = words[2].parse().unwrap_or_else(|_| panic!("{moved}"));
    let unit = match words[3] {
        "B" => 1.0,
        "kB" => 1e3,
        "MB" => 1e6,
        other => panic!("{other}"),
    };
    assert!(number * unit <= most, "{moved}");
}

#[test]
fn a_second_machine_runs_nothing() {
    let team = Team::new(SPEC);
    let first = team.make();
    assert_eq!(ran(&first), ["checks.app", "steps.app", "steps.base", "steps.tool"]);
    let second = team.second();
    let built = second.reimage(["build"]).expect(0);
    assert_eq!(built.out(), first.out());
    assert_eq!(ran(&built), [""; 0]);
    assert!(moved(&built).starts_with("3 found, "), "each target is one record: {built}");
    // The image is whole, its tag is there, and it runs.
    assert!(second.reimage(["images"]).expect(0).out().contains("app:1"));
    let _ = second.reimage(["cache", "verify"]).expect(0);
    assert_eq!(second.reimage(["run", "app:1", "--", "/bin/sh", "-c", "cat /opt/app"]).expect(0).out(), "one\nbase");
    let again = second.reimage(["build"]).expect(0);
    assert_eq!(moved(&again), "", "what is here is asked of nobody");
    // As another user with an empty store, too.
    let third = team.second();
    for path in team.files("").into_iter().chain([team.env.root().join("key.pub")]) {
        let mode = fs_err::metadata(&path).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o444, 0o444, "everybody may read `{}`", path.display());
    }
    fs_err::set_permissions(team.env.root(), std::fs::Permissions::from_mode(0o755)).expect("ours");
    let built = third.as_plain_user(["build"]).expect(0);
    assert_eq!(built.out(), first.out());
    assert_eq!(ran(&built), [""; 0]);
}

#[test]
fn only_what_changed_runs_and_only_what_is_needed_comes() {
    let team = Team::new(SPEC);
    let _ = team.make();
    // Another command: no step runs, and of `base` and `app` only the layers come, which the image is of.
    let second = team.second();
    second.file("spec.ncl", SPEC.replace("cmd = [\"/bin/sh\"]", "cmd = [\"/bin/cat\"]"));
    let built = second.reimage(["build", "images.app"]).expect(0);
    assert_eq!(ran(&built), [""; 0]);
    let contents = files(&second.root().join("cache/reimage/objects-v1"));
    let sizes = contents.iter().map(|path| fs_err::metadata(path).expect("there").len());
    assert_eq!(sizes.filter(|size| *size == 9_000_000).count(), 0, "no content of a layer is unpacked");
    // Another export of what `tool` made: of nine megabytes below it nothing comes.
    let third = team.second();
    third.file("spec.ncl", SPEC.replace("to = \"/\"", "to = \"/bin\""));
    let built = third.reimage(["build", "exports.tool"]).expect(0);
    assert_eq!(ran(&built), [""; 0]);
    assert_received(&built, 10_000.0);
    // Another source: what it is laid on comes, and one step runs.
    let fourth = team.second();
    fourth.file("src/a.txt", "two\n");
    let built = fourth.reimage(["build", "images.app"]).expect(0);
    assert_eq!(ran(&built), ["steps.app"]);
    let there = team.env.file("src/a.txt", "two\n").reimage(["build", "images.app"]).expect(0);
    assert_eq!(ran(&there), ["steps.app"]);
    assert_eq!(built.out(), there.out());
    // What was made there in the meantime is taken by who was there before.
    assert_eq!(ran(&second.file("src/a.txt", "two\n").file("spec.ncl", SPEC).reimage(["build", "images.app"]).expect(0)), [""; 0]);
}

#[test]
fn what_failed_last_time_is_not_all_lost() {
    let team = Team::new(&SPEC.replace("cat /src/a.txt /opt/base > /opt/app", "exit 3"));
    team.join(&team.env, true);
    assert_eq!(ran(&team.env.reimage(["build", "images.app"]).expect(2)), ["steps.base"]);
    let second = team.second();
    second.file("spec.ncl", SPEC);
    assert_eq!(ran(&second.reimage(["build", "images.app"]).expect(0)), ["steps.app"]);
}

#[test]
fn who_only_reads_sends_nothing() {
    let team = Team::new(SPEC);
    team.join(&team.env, true);
    let built = team.env.reimage(["build", "--cache-read-only"]).expect(0);
    assert_eq!(ran(&built).len(), 4);
    let second = team.second();
    let _ = second.reimage(["build"]).expect(0);
    assert_eq!(team.files(""), Vec::<PathBuf>::new());
    // What is here already is sent when it is asked for again and not the same.
    team.env.file("spec.ncl", SPEC.replace("cmd = [\"/bin/sh\"]", "cmd = [\"/bin/cat\"]"));
    let _ = team.env.reimage(["build", "images.app", "--no-cache"]).expect(0);
    assert_eq!(team.files(""), Vec::<PathBuf>::new());
    team.env.file("spec.ncl", SPEC.replace("cmd = [\"/bin/sh\"]", "cmd = [\"/bin/head\"]"));
    let built = team.env.reimage(["build", "images.app"]).expect(0);
    assert_eq!(ran(&built), [""; 0]);
    let third = team.second();
    third.file("src/a.txt", "two\n");
    assert_eq!(ran(&third.reimage(["build", "images.app"]).expect(0)), ["steps.app"]);
}

#[test]
fn what_nobody_trusted_signed_is_refused() {
    let team = Team::new(SPEC);
    let good = team.make();
    // Somebody who may write to the cache says of the same steps what they did not make.
    let evil = team.second();
    let key = text(evil.root().join("evil"));
    let _ = evil.reimage(["cache", "keygen", &key]).expect(0);
    for record in team.files("records-v1") {
        fs_err::remove_file(record).expect("it is there");
    }
    evil.config(&format!("[cache]\nwrite = [\"{}\"]\nkey = \"{key}\"\n", team.url()));
    let _ = evil.reimage(["build"]).expect(0);
    let victim = team.second();
    let built = victim.reimage(["build"]).expect(0);
    assert_eq!(ran(&built), ran(&good), "nothing of it is used");
    assert_eq!(built.out(), good.out());
    let warning = format!(
        "warning: The cache {} has a step that is not used: no trusted key signed it",
        team.url()
    );
    assert!(built.err().contains(&warning), "{built}");
    // Who trusts the server believes it, and so does who trusts that key.
    for trust in ["server".to_owned(), format!("{key}.pub")] {
        let other = team.second();
        let built = other.reimage(["build", "--cache-trust", &trust]).expect(0);
        assert_eq!(ran(&built), [""; 0]);
    }
    // Whoever makes it again puts it right for all.
    let maker = team.second();
    team.join(&maker, true);
    let _ = maker.reimage(["build"]).expect(0);
    assert_eq!(ran(&team.second().reimage(["build"]).expect(0)), [""; 0]);
}

#[test]
fn what_is_damaged_cut_off_or_gone_is_made_again() {
    type Harm = fn(&Path);
    let harms: [(&str, Harm); 5] = [
        ("blobs-v1", |path| fs_err::remove_file(path).expect("it is there")),
        ("blobs-v1", |path| fs_err::write(path, "").expect("writable")),
        ("blobs-v1", |path| {
            let mut bytes = fs_err::read(path).expect("it is there");
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs_err::write(path, bytes).expect("writable");
        }),
        ("records-v1", |path| fs_err::write(path, "{}").expect("writable")),
        ("records-v1", |path| {
            let bytes = fs_err::read(path).expect("it is there");
            fs_err::write(path, &bytes[..bytes.len() / 2]).expect("writable");
        }),
    ];
    let team = Team::new(SPEC);
    let good = team.make();
    for (bucket, harm) in harms {
        for path in team.files(bucket) {
            fs_err::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("ours");
            harm(&path);
        }
        let second = team.second();
        let built = second.reimage(["build"]).expect(0);
        assert_eq!(built.out(), good.out(), "{built}");
        assert_eq!(ran(&built), ran(&good), "{built}");
        let _ = second.reimage(["cache", "verify"]).expect(0);
        // Who makes it again puts it there again; what has the right size is only found out by who needs it.
        for _ in 0..4 {
            let maker = team.second();
            team.join(&maker, true);
            assert_eq!(maker.reimage(["build"]).expect(0).out(), good.out());
        }
        let third = team.second().reimage(["build"]).expect(0);
        assert_eq!(ran(&third), [""; 0], "after {bucket}: {built}\n{third}");
    }
}

#[test]
fn what_goes_between_its_record_and_its_use_is_made_again() {
    let team = Team::new(SPEC);
    let _ = team.make();
    let second = team.second();
    // Of `base` only what it changes is known here.
    second.file("spec.ncl", SPEC.replace("to = \"/\"", "to = \"/bin\""));
    assert_eq!(ran(&second.reimage(["build", "exports.tool"]).expect(0)), [""; 0]);
    for path in team.files("blobs-v1") {
        fs_err::remove_file(path).expect("it is there");
    }
    second.file("src/a.txt", "two\n").file("spec.ncl", SPEC);
    let built = second.reimage(["build", "images.app"]).expect(0);
    assert_eq!(ran(&built), ["steps.app", "steps.base"]);
    let alone = team.env.file("src/a.txt", "two\n").reimage(["build", "images.app", "--no-cache"]);
    assert_eq!(built.out(), alone.expect(0).out());
}

#[test]
fn a_cache_that_is_not_there_fails_nothing() {
    let env = TestEnv::new();
    env.programs(&["sh", "cat", "mkdir", "head"]).file("src/a.txt", "one\n").file("spec.ncl", SPEC);
    let flags = ["build", "images.app", "--cache-trust", "server", "--cache-write", "file:///nonexistent/cache"];
    let built = env.reimage(flags).expect(0);
    assert_eq!(ran(&built), ["steps.app", "steps.base"]);
    let err = built.err();
    let warnings: Vec<_> = err.lines().filter(|line| line.starts_with("warning")).collect();
    assert_snapshot!(warnings.join("\n"), @"
    warning: The cache file:///nonexistent/cache is not used: No such file or directory (os error 2)
    warning: Not sent to the cache: `images.app`, `steps.app`, `steps.base`, the layer of `steps.app`, the layer of `steps.base` and 1 more
    ");
    // Nor does one that may not be written.
    if !reimage_tests::is_root() {
        env.file("src/a.txt", "two\n");
        let flags = ["build", "images.app", "--cache-trust", "server", "--cache-write", "file:///usr"];
        let built = env.reimage(flags).expect(0);
        assert!(built.err().contains("takes nothing: "), "{built}");
    }
}

#[test]
fn sources_and_packages_need_no_server() {
    let team = Team::new(SPEC);
    let (server, mirror) = (constant(), Mirror::new(&[
        Deb::new("tool", "1").field("Depends: lib").file("usr/share/tool", "tool"),
        Deb::new("lib", "2").file("usr/share/lib", "lib"),
    ]));
    let image = format!(
        "let re = import \"reimage.ncl\" in\n{{\n  steps = {{\n    file = {},\n    root = {},\n    both | re.Copy = {{ from = [root, re.copy {{ from = file, to = \"/file\" }}] }},\n  }},\n  images = {{ both | re.Image = {{ layers = [steps.both] }} }},\n}} | re.Spec\n",
        http(&server, "/a"),
        debian("[\"tool\"]"),
    );
    mirror.configure(&team.env);
    team.env.file("spec.ncl", image.as_str());
    let flags = ["build", "--cache-write", &team.url(), "--cache-key", &text(team.env.root().join("key"))];
    let built = team.env.reimage(flags).expect(0);
    drop((server, mirror));
    // The whole image; and another one of the same steps.
    for spec in [image.clone(), image.replace("layers = [steps.both]", "layers = [steps.root]")] {
        let second = team.second();
        second.file("spec.ncl", spec.as_str());
        let taken = second.reimage(["build"]).expect(0);
        assert_eq!(taken.out() == built.out(), spec == image);
        assert_eq!(ran(&taken), [""; 0]);
    }
}

#[test]
fn what_a_machine_could_not_give_stays_there() {
    let team = Team::new(SPEC);
    team.join(&team.env, true);
    let build = |flags: &[&str]| without_descriptors(&team.env, &[&["build", "images.app"], flags].concat());
    assert_eq!(ran(&build(&["--degraded"]).expect(0)), ["steps.app", "steps.base"]);
    assert_eq!(team.files("records-v1").len(), 1, "the layer of what no step made");
    // What another machine could give is used where this one cannot.
    let other = clone(&team.env);
    team.join(&other, true);
    let good = other.reimage(["build", "images.app"]).expect(0).out();
    let _ = fs_err::remove_dir_all(team.env.root().join("cache"));
    let taken = build(&["--degraded"]).expect(0);
    assert_eq!((taken.out(), ran(&taken)), (good, vec![]));
}

#[test]
fn several_caches() {
    let team = Team::new(SPEC);
    let _ = team.make();
    let other = team.env.root().join("other");
    fs_err::create_dir(&other).expect("new");
    let other_url = format!("file://{}", text(&other));
    // Read from the one, written to the other: what comes from the one is not made here, and stays where it is.
    let second = team.second();
    let key = text(team.env.root().join("key"));
    second.file("src/a.txt", "two\n");
    let built = second.reimage(["build", "images.app", "--cache-write", &other_url, "--cache-key", &key]).expect(0);
    assert_eq!(ran(&built), ["steps.app"]);
    let third = team.second();
    third.file("src/a.txt", "two\n");
    let flags = ["build", "images.app", "--cache", &other_url, "--cache", &team.url()];
    let taken = third.reimage(flags).expect(0);
    assert_eq!(ran(&taken), [""; 0]);
    assert_eq!(taken.out(), built.out());
}

#[test]
fn keys() {
    let env = TestEnv::new();
    let made = env.reimage(["cache", "keygen", "ci.key"]).expect(0).out();
    assert!(made.starts_with("[ROOT]/work/ci.key.pub ") && made.len() == 87, "{made}");
    let permissions = |file| fs_err::metadata(env.path(file)).expect("it is there").permissions().mode() & 0o777;
    assert_eq!((permissions("ci.key"), permissions("ci.key.pub")), (0o600, 0o644));
    assert_snapshot!(env.reimage(["cache", "keygen", "ci.key"]), @"
    ------- stderr -------
    error: `[ROOT]/work/ci.key.pub` cannot be written
      Caused by: File exists (os error 17)
    [exit status: 3]
    ");
    fs_err::remove_file(env.path("ci.key.pub")).expect("it is there");
    assert_snapshot!(env.reimage(["cache", "keygen", "ci.key"]), @"
    ------- stderr -------
    error: `[ROOT]/work/ci.key` cannot be written
      Caused by: File exists (os error 17)
    [exit status: 3]
    ");
    assert!(!env.path("ci.key.pub").exists(), "no key without its other half");
}

#[test]
fn settings_that_make_no_sense() {
    let env = TestEnv::new();
    env.file("spec.ncl", "let re = import \"reimage.ncl\" in { steps.a | re.Files = { files.\"/a\" = \"\" } } | re.Spec\n");
    let build = |flags: &[&str]| env.reimage([&["build"], flags].concat());
    assert_snapshot!(build(&["--cache", "file:///mnt"]), @"
    ------- stderr -------
    error: A cache is to be used, and it is not said whose results are trusted
    hint: name the public keys that sign them: `--cache-trust FILE`, or `cache.trust` in config.toml
    hint: `--cache-trust server` trusts everybody who may write to the cache
    [exit status: 64]
    ");
    assert_snapshot!(build(&["--cache-write", "file:///mnt", "--cache-trust", "ci.pub"]), @"
    ------- stderr -------
    error: The key `[ROOT]/work/ci.pub` cannot be read (--cache-trust)
      Caused by: failed to open file `[ROOT]/work/ci.pub`: No such file or directory (os error 2)
    [exit status: 64]
    ");
    let _ = env.reimage(["cache", "keygen", "ci"]).expect(0);
    assert_snapshot!(build(&["--cache-write", "file:///mnt", "--cache-trust", "ci.pub"]), @"
    ------- stderr -------
    error: A cache is to be written to, and nobody who trusts keys could use what is not signed
    hint: `reimage cache keygen FILE` makes a key; name it with `--cache-key FILE` or `cache.key` in config.toml
    hint: `--cache-read-only` sends nothing
    [exit status: 64]
    ");
    assert_snapshot!(build(&["--cache", "file:///mnt", "--cache-trust", "ci"]), @"
    ------- stderr -------
    error: `[ROOT]/work/ci` is no key
      Caused by: It is no public Ed25519 key in PEM (`-----BEGIN PUBLIC KEY-----`)
    hint: `reimage cache keygen FILE` writes FILE and FILE.pub
    [exit status: 64]
    ");
    assert_snapshot!(build(&["--cache", "ftp://host/mnt", "--cache-trust", "server"]), @"
    ------- stderr -------
    error: `ftp://host/mnt` is no cache (--cache)
    hint: a cache is a directory, `file:///mnt/cache`, or a repository of a registry, `oci://registry.example/team/cache`
    [exit status: 64]
    ");
    assert_snapshot!(build(&["--cache", "file://mnt", "--cache-trust", "server"]), @"
    ------- stderr -------
    error: `file://mnt` is no cache (--cache)
    hint: a cache is a directory, `file:///mnt/cache`, or a repository of a registry, `oci://registry.example/team/cache`
    [exit status: 64]
    ");
    for (url, why) in [
        ("oci://team/cache", ""),
        ("oci://registry.example/team/cache:1", ""),
        ("oci://registry.example/Team", "names of repositories are lower-case"),
    ] {
        let refused = build(&["--cache", url, "--cache-trust", "server"]).expect(64);
        let says = format!("`{url}` is no cache (--cache)");
        assert!(refused.err().contains(&says) && refused.err().contains(why), "{refused}");
    }
    env.config("[cache]\nurls = [\"file:///mnt\"]\ntrust = \"everybody\"\n");
    assert_snapshot!(build(&[]), @r#"
    ------- stderr -------
    error: [ROOT]/config/reimage/config.toml:3:9: expected "server" or a list of key files
    hint: `reimage config` prints every key and its value
    [exit status: 64]
    "#);
}

//! What is installed is what real dpkg makes, for every user, and by digest the same on every machine

use std::{
    collections::BTreeMap,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process::Command,
};

use reimage_tests::{Deb, Mirror, TestEnv, is_root, programs};

const DATE: &str = "Date: Wed, 01 Nov 2023 00:00:00 UTC";

/// The digest of all that the packages brought and made, but for the programs of this machine.
const MADE: &str = "exports.made d26cdabad5beb74ff71c52bdddb17f1ef3e7cb0cdc8b714b85804803953a0b0b";

const SPEC: &str = r#"let re = import "reimage.ncl" in
{
  steps = {
    root | re.Debian = { suite = "unstable", packages = ["odd", "over", "edit", "divert", "words"] },
    base | re.Debian = { suite = "unstable", packages = ["tool"] },
    upon | re.Debian = { from = base, suite = "unstable", packages = ["odd", "over", "edit", "divert", "words"] },
  },
  images = {
    root | re.Image = { layers = [steps.root], compression = 'none },
    upon | re.Image = { layers = [steps.upon], compression = 'none },
  },
  exports = {
    made | re.Copy = {
      from = steps.root,
      exclude = ["/usr/bin", "/usr/sbin", "/usr/lib", "/usr/lib64", "/var/lib/dpkg/info", "/var/lib/dpkg/status"],
    },
  },
} | re.Spec
"#;

/// What the scripts need, and what dpkg itself looks for.
const PROGRAMS: [&str; 31] = [
    "sh",
    "dpkg",
    "dpkg-deb",
    "dpkg-divert",
    "dpkg-query",
    "dpkg-split",
    "dpkg-statoverride",
    "dpkg-trigger",
    "update-alternatives",
    "start-stop-daemon",
    "ldconfig",
    "setcap",
    "tar",
    "diff",
    "rm",
    "cat",
    "chmod",
    "chown",
    "cp",
    "env",
    "grep",
    "ln",
    "ls",
    "mkdir",
    "mv",
    "sed",
    "touch",
    "true",
    "id",
    "cut",
    "sort",
];

/// An essential package of this machine's programs.
fn system() -> Deb {
    let passwd = "root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33:www-data:/var/www:/bin/sh\n";
    let mut deb = Deb::new("system", "1").field("Essential: yes");
    for directory in [
        "usr",
        "usr/bin",
        "usr/sbin",
        "usr/lib",
        "usr/lib64",
        "etc",
        "var",
        "var/lib",
        "var/log",
        "dev",
    ] {
        deb = deb.directory(directory, 0o755, (0, 0));
    }
    deb = deb.directory("tmp", 0o1777, (0, 0));
    let mut above = std::collections::BTreeSet::new();
    for (path, content) in programs(&PROGRAMS) {
        for directory in
            Path::new(&path).ancestors().skip(1).filter(|path| path.components().count() > 2)
        {
            if above.insert(directory.to_owned()) {
                deb = deb.directory(&directory.display().to_string(), 0o755, (0, 0));
            }
        }
        deb = deb.file(&path, 0o755, (0, 0), &content);
    }
    deb.file("etc/passwd", 0o644, (0, 0), passwd.as_bytes())
        .file("etc/group", 0o644, (0, 0), b"root:x:0:\nshadow:x:42:\nwww-data:x:33:\n")
        .file("etc/shadow", 0o640, (0, 42), b"root:*:19000::::::\n")
}

/// The packages in an order in which `dpkg -i` takes them.
fn packages() -> Vec<(&'static str, Deb)> {
    let tool = Deb::new("tool", "1")
        .control("conffiles", "/etc/tool.conf\n")
        .control(
            "postinst",
            "#!/bin/sh\nset -e\nmkdir -p /var/lib/tool\ntouch /var/lib/tool/state\n\
             chown www-data:www-data /var/lib/tool/state\nchmod 0600 /var/lib/tool/state\n\
             cp /bin/true /usr/bin/tool-net\nsetcap cap_net_raw=ep /usr/bin/tool-net\n\
             ln /var/lib/tool/state /var/lib/tool/same\n",
        )
        .directory("etc", 0o755, (0, 0))
        .file("etc/tool.conf", 0o644, (0, 0), b"level = 1\n")
        .directory("usr", 0o755, (0, 0))
        .directory("usr/bin", 0o755, (0, 0))
        .file("usr/bin/tool", 0o4755, (0, 0), b"tool\n")
        .file("usr/bin/pair", 0o2755, (0, 42), b"pair\n")
        .hard_link("usr/bin/pair-too", "usr/bin/pair", 0o2755, (0, 42))
        .directory("var", 0o755, (0, 0))
        .directory("var/spool", 0o755, (0, 0))
        .directory("var/spool/tool", 0o2770, (0, 33))
        .symlink("usr/bin/tool-link", "tool");
    // No root, no sums, links between files, and a second name that has a mode and an owner of its own.
    let odd = Deb::bare("odd", "1")
        .control("conffiles", "/etc/odd.conf\n")
        .directory("etc", 0o755, (0, 0))
        .symlink("etc/odd", "odd.conf")
        .file("etc/odd.conf", 0o644, (0, 0), b"level = 2\n")
        .directory("usr", 0o755, (0, 0))
        .directory("usr/bin", 0o755, (0, 0))
        .symlink("usr/bin/odd", "odd-two")
        .file("usr/bin/odd-two", 0o755, (0, 0), b"odd\n")
        .hard_link("usr/bin/odd-one", "usr/bin/odd-two", 0o4750, (0, 42));
    let over = Deb::new("over", "1")
        .field("Depends: tool")
        .control(
            "preinst",
            "#!/bin/sh\nset -e\ndpkg-statoverride --add root shadow 2755 /usr/bin/over\n",
        )
        .directory("usr", 0o755, (0, 0))
        .directory("usr/bin", 0o755, (0, 0))
        .file("usr/bin/over", 0o755, (0, 0), b"over\n");
    let edit = Deb::new("edit", "1")
        .control(
            "postinst",
            "#!/bin/sh\nset -e\nupdate-alternatives --install /usr/bin/editor editor /usr/bin/edit 10\n",
        )
        .directory("usr", 0o755, (0, 0))
        .directory("usr/bin", 0o755, (0, 0))
        .file("usr/bin/edit", 0o755, (0, 0), b"edit\n");
    let divert = Deb::new("divert", "1")
        .field("Pre-Depends: tool")
        .control(
            "preinst",
            "#!/bin/sh\nset -e\n\
             for file in tool pair; do\n\
             dpkg-divert --package divert --rename --divert /usr/bin/$file.real --add /usr/bin/$file\n\
             done\n",
        )
        .directory("usr", 0o755, (0, 0))
        .directory("usr/bin", 0o755, (0, 0))
        .file("usr/bin/tool", 0o755, (0, 0), b"another\n");
    let waiter =
        Deb::new("waiter", "1").control("triggers", "interest-noawait /usr/share/words\n").control(
            "postinst",
            "#!/bin/sh\nset -e\nmkdir -p /var/lib/waiter\n\
             ls /usr/share/words >/var/lib/waiter/words 2>/dev/null || :\n",
        );
    let words = Deb::new("words", "1")
        .field("Depends: waiter")
        .directory("usr", 0o755, (0, 0))
        .directory("usr/share", 0o755, (0, 0))
        .directory("usr/share/words", 0o755, (0, 0))
        .file("usr/share/words/a", 0o644, (0, 0), b"a\n");
    vec![
        ("tool", tool),
        ("odd", odd),
        ("over", over),
        ("edit", edit),
        ("divert", divert),
        ("waiter", waiter),
        ("words", words),
    ]
}

fn machine(mirror: &Mirror, lock: Option<&str>) -> TestEnv {
    let env = TestEnv::new();
    mirror.use_in(&env);
    env.file("spec.ncl", SPEC);
    if let Some(lock) = lock {
        env.file("reimage.lock", lock);
    }
    env
}

fn published() -> Mirror {
    let mirror = Mirror::new(1);
    let mut all: Vec<_> = packages().into_iter().map(|(_, deb)| deb).collect();
    all.push(system());
    mirror.publish("unstable", DATE, all);
    mirror
}

#[test]
fn root_and_a_plain_user_make_one_digest() {
    let mirror = published();
    let first = machine(&mirror, None);
    let built = first.reimage(["build", "images.*", "exports.made"]).expect(0).out();
    let second = machine(&mirror, Some(&first.read("reimage.lock")));
    let again = second.as_plain_user(["build", "images.*", "exports.made"]).expect(0).out();
    assert_eq!(built, again);
    assert!(built.contains(MADE), "{built}");
}

#[test]
fn the_tree_is_that_of_real_dpkg() {
    if !is_root() {
        return;
    }
    let mirror = published();
    let env = machine(&mirror, None);
    let _ = env.reimage(["lock"]).expect(0);
    for image in ["root", "upon"] {
        let ours = env.path(format!("ours-{image}"));
        let path = ours.display().to_string();
        let name = format!("images.{image}");
        let _ = env.reimage(["save", &name, "--format", "rootfs-dir", "-o", &path]).expect(0);
        let theirs = env.path(format!("theirs-{image}"));
        dpkg(&theirs);
        let (ours, theirs) = (listing(&ours), listing(&theirs));
        let paths: std::collections::BTreeSet<_> = ours.keys().chain(theirs.keys()).collect();
        let different: Vec<_> = paths
            .into_iter()
            .filter(|path| ours.get(*path) != theirs.get(*path))
            .map(|path| format!("{}: {:?}, {:?}", path.display(), ours.get(path), theirs.get(path)))
            .collect();
        assert_eq!(different, Vec::<String>::new(), "ours, theirs, of {image}");
    }
}

/// Lets the machine's own dpkg install everything into `root`.
fn dpkg(root: &Path) {
    let run = |command: &mut Command| {
        let output = command.output().expect("it can be started");
        assert!(
            output.status.success(),
            "{command:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    };
    for directory in ["bin", "lib", "lib64", "sbin"] {
        fs_err::create_dir_all(root.join("usr").join(directory)).expect("writable");
        let link = format!("usr/{directory}");
        std::os::unix::fs::symlink(link, root.join(directory)).expect("writable");
    }
    for directory in ["var/lib/dpkg/info", "var/lib/dpkg/parts", "var/lib/dpkg/updates", "debs"] {
        fs_err::create_dir_all(root.join(directory)).expect("writable");
    }
    fs_err::write(root.join("var/lib/dpkg/status"), "").expect("writable");
    let mut debs = vec![("system", system())];
    debs.extend(packages());
    for (name, deb) in debs {
        let (bytes, _) = deb.build();
        let path = root.join(format!("debs/{name}.deb"));
        fs_err::write(&path, bytes).expect("writable");
        if name == "system" {
            run(Command::new("dpkg-deb").arg("--extract").args([&path, root]));
        }
        let mut command = Command::new("chroot");
        command.arg(root).args(["/usr/bin/dpkg", "--force-unsafe-io", "-i"]);
        command.arg(format!("/debs/{name}.deb")).env_clear();
        command.env("PATH", "/usr/sbin:/usr/bin").env("DEBIAN_FRONTEND", "noninteractive");
        run(&mut command);
    }
    fs_err::remove_dir_all(root.join("debs")).expect("ours");
    // What a build leaves out, and says so: logs, locks and what was before the last change.
    for path in [
        "var/log/dpkg.log",
        "var/log/alternatives.log",
        "var/lib/dpkg/status-old",
        "var/lib/dpkg/statoverride-old",
        "var/lib/dpkg/diversions-old",
        "var/cache/ldconfig/aux-cache",
        "dev/null",
    ] {
        let _ = fs_err::remove_file(root.join(path));
    }
}

/// Each path with its type, mode, owner, content or target, capabilities, and what else has that inode.
fn listing(root: &Path) -> BTreeMap<PathBuf, String> {
    let output = Command::new("getcap").arg("-r").arg(root).output().expect("it is installed");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let capabilities: BTreeMap<_, _> =
        text.lines().filter_map(|line| line.split_once(' ')).collect();
    let mut found = BTreeMap::new();
    let mut inodes: BTreeMap<u64, PathBuf> = BTreeMap::new();
    let mut todo = vec![root.to_owned()];
    while let Some(directory) = todo.pop() {
        #[expect(clippy::disallowed_methods, reason = "what is found goes into a sorted map")]
        let entries = fs_err::read_dir(&directory).expect("ours");
        for entry in entries {
            let path = entry.expect("readable").path();
            let data = path.symlink_metadata().expect("it is there");
            let kind = data.file_type();
            let within = path.strip_prefix(root).expect("it is below").to_owned();
            let what = if kind.is_symlink() {
                format!("link {}", fs_err::read_link(&path).expect("a link").display())
            } else if kind.is_dir() {
                todo.push(path.clone());
                "directory".to_owned()
            } else {
                let content = fs_err::read(&path).expect("readable");
                match String::from_utf8(content) {
                    Ok(text) => format!("text {text:?}"),
                    Err(error) => format!("{} bytes", error.as_bytes().len()),
                }
            };
            let mode = if kind.is_symlink() { 0 } else { data.permissions().mode() & 0o7777 };
            let capability =
                capabilities.get(&*path.to_string_lossy()).copied().unwrap_or_default();
            if !kind.is_dir() && data.nlink() > 1 {
                let first = inodes.entry(data.ino()).or_insert_with(|| within.clone());
                if within < *first {
                    first.clone_from(&within);
                }
            }
            let line = format!("{mode:04o} {}:{} {what} {capability}", data.uid(), data.gid());
            found.insert(within, line);
        }
    }
    for (path, line) in &mut found {
        let data = root.join(path).symlink_metadata().expect("it is there");
        if let Some(first) = inodes.get(&data.ino()) {
            *line += " same as ";
            *line += &first.to_string_lossy();
        }
    }
    found
}

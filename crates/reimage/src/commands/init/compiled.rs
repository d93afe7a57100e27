//! Go, Rust and make: compiled in one root, shipped in a minimal one.

use super::{
    Project,
    draft::{Draft, debian, list, minimal, quote, script, shell, word},
};

/// A Go module: one static program, alone in its image.
pub(super) fn go(project: &Project) -> Draft {
    let manifest = project.text("go.mod");
    let module = manifest.lines().find_map(|line| line.strip_prefix("module "));
    let last = module.and_then(|path| path.trim().rsplit('/').next()).map(word);
    let name = last.unwrap_or_else(|| project.name.clone());
    let vendored = project.has("vendor");
    let program = format!("/usr/local/bin/{name}");
    let mut draft = new(project, format!("A Go program, {name}, built with Debian's Go"), &name);
    if manifest.contains("require") && !vendored {
        draft.notes.push("steps have no network: run `go mod vendor` first".to_owned());
    }
    draft.step(
        "The compiler; nothing of it gets into the image.",
        "tools | re.Debian",
        &debian(&["golang".into()]),
    );
    let flags = if vendored { "-mod=vendor -trimpath" } else { "-trimpath" };
    let mut build = inputs();
    build.push(format!(
        "env = {{ CGO_ENABLED = \"0\", GOCACHE = \"/tmp/go\", GOPATH = \"/tmp/gopath\", GOFLAGS = {} }},",
        quote(&format!("{flags} -buildvcs=false")),
    ));
    let package = project.first(&["main.go"]).map_or_else(
        || if project.has("cmd") { format!("./cmd/{name}") } else { ".".to_owned() },
        |_| ".".to_owned(),
    );
    build.push(format!("script = {},", quote(&format!("go build -o {program} {package}"))));
    build.push(format!("outputs = {},", list(std::slice::from_ref(&program))));
    draft.step("", "program | re.Run", &build);
    draft.step(
        "Certificates and time zones, as most services want them.",
        "runtime | re.Debian",
        &minimal(&["ca-certificates", "tzdata"]),
    );
    draft.layers = vec!["runtime".into(), "program".into()];
    draft.cmd = vec![program];
    draft
}

/// A cargo package: its first binary.
pub(super) fn rust(project: &Project) -> Draft {
    let manifest: toml::Table = project.text("Cargo.toml").parse().unwrap_or_default();
    let name_in = |table: Option<&toml::Value>| {
        table.and_then(|t| t.get("name")).and_then(|n| n.as_str()).map(str::to_owned)
    };
    let binary = manifest.get("bin").and_then(|bins| bins.get(0));
    let package = manifest.get("package");
    let name = name_in(binary).or_else(|| name_in(package));
    let name = name.unwrap_or_else(|| project.name.clone());
    let mut draft =
        new(project, format!("A Rust program, {name}, built with Debian's Rust"), &word(&name));
    let depends =
        manifest.get("dependencies").and_then(|d| d.as_table()).is_some_and(|d| !d.is_empty());
    if depends && !project.has("vendor") {
        draft.notes.push("steps have no network: run `cargo vendor`, and write what it prints to .cargo/config.toml".to_owned());
    }
    if package.is_none() {
        draft.notes.push(format!("Cargo.toml is a workspace: name its binary instead of `{name}`"));
    }
    draft.step(
        "The compiler; nothing of it gets into the image.",
        "tools | re.Debian",
        &debian(&["cargo".into()]),
    );
    let program = format!("/usr/local/bin/{name}");
    let mut build = inputs();
    build.push("env = { CARGO_HOME = \"/tmp/cargo\" },".to_owned());
    build.extend(script(&[
        format!("cargo build --release --offline --bin {} --target-dir /tmp/target", shell(&name)),
        format!("install -D /tmp/target/release/{} {}", shell(&name), shell(&program)),
    ]));
    build.push(format!("outputs = {},", list(std::slice::from_ref(&program))));
    draft.step("", "program | re.Run", &build);
    draft.step(
        "The C library that Rust programs stand on.",
        "runtime | re.Debian",
        &minimal(&["libc6", "libgcc-s1"]),
    );
    draft.layers = vec!["runtime".into(), "program".into()];
    draft.cmd = vec![program];
    draft
}

/// A Makefile: what it installs, or what it leaves that can be run.
pub(super) fn make(project: &Project) -> Draft {
    let file = project.first(&["GNUmakefile", "makefile", "Makefile"]).unwrap_or("Makefile");
    let makefile = project.text(file);
    let installs = makefile.lines().any(|line| line.starts_with("install:"));
    let name = program_of(&makefile).unwrap_or_else(|| project.name.clone());
    let mut draft = new(project, format!("What {file} builds, {name}, with gcc"), &word(&name));
    draft.step(
        "The compiler; nothing of it gets into the image.",
        "tools | re.Debian",
        &debian(&["gcc".into(), "libc6-dev".into(), "make".into()]),
    );
    let mut build = inputs();
    let second = if installs {
        "make install DESTDIR=/out PREFIX=/usr/local prefix=/usr/local".to_owned()
    } else {
        format!("install -D {name} /out/usr/local/bin/{name}", name = shell(&name))
    };
    build.extend(script(&["make".to_owned(), second]));
    build.push("outputs = [\"/out\"],".to_owned());
    draft.step("", "built | re.Run", &build);
    draft.step(
        "",
        "program | re.Copy",
        &["from = built,".into(), "path = \"/out\",".into(), "to = \"/\",".into()],
    );
    draft.step("The C library alone.", "runtime | re.Debian", &minimal(&["libc6"]));
    draft
        .notes
        .push(format!("`cmd` names /usr/local/bin/{name}; change it if the program is another"));
    draft.layers = vec!["runtime".into(), "program".into()];
    draft.cmd = vec![format!("/usr/local/bin/{name}")];
    draft
}

/// The program that a Makefile makes: the first target that is a file without a suffix.
fn program_of(makefile: &str) -> Option<String> {
    let variable = |name: &str| {
        makefile.lines().find_map(|line| {
            let rest = line.strip_prefix(name)?.trim_start();
            let value = rest.strip_prefix(":=").or_else(|| rest.strip_prefix('='))?.trim();
            value.split_whitespace().next().map(str::to_owned)
        })
    };
    let plain = |word: &str| {
        !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
    };
    let target = |line: &str| {
        let (target, rest) = line.split_once(':')?;
        let first = rest.split_whitespace().next().unwrap_or_default();
        match target {
            "all" | "default" if plain(first) => Some(first.to_owned()),
            "all" | "default" | "clean" | "install" | "test" | "check" | "run" => None,
            target if plain(target) && !rest.starts_with('=') => Some(target.to_owned()),
            _ => None,
        }
    };
    let named = ["TARGET", "PROG", "PROGRAM", "BIN"].into_iter().find_map(variable);
    named.filter(|name| plain(name)).or_else(|| makefile.lines().find_map(target))
}

fn new(project: &Project, found: String, image: &str) -> Draft {
    let image = if image == "app" { project.name.clone() } else { image.to_owned() };
    Draft { found, image, ..Draft::default() }
}

fn inputs() -> Vec<String> {
    vec![
        "from = tools,".to_owned(),
        "inputs = { \"/src\" = re.local { path = \".\" } },".to_owned(),
        "workdir = \"/src\",".to_owned(),
    ]
}

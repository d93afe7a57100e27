//! Python, Node, a web site, or nothing at all: files upon a Debian root.

use serde::Deserialize;

use super::{
    Project,
    draft::{Draft, debian, minimal, quote},
};
use crate::error::{CommandError, Kind};

/// A Python program; its requirements become Debian's packages.
pub(super) fn python(project: &Project) -> Draft {
    let (file, wanted) = requirements(project);
    let mut packages = vec!["python3".to_owned()];
    packages.extend(wanted.iter().map(|name| python_package(name)));
    packages.dedup();
    let entry = project.first(&["main.py", "app.py", "wsgi.py", "server.py", "manage.py"]);
    let entry = entry.map(str::to_owned).or_else(|| {
        project.files.iter().find(|f| super::is_python(f) && *f != "setup.py").cloned()
    });
    let entry = entry.unwrap_or_else(|| "main.py".to_owned());
    let source = project.text(&entry);
    let flask = source.lines().find_map(|line| {
        let (name, rest) = line.split_once('=')?;
        rest.trim_start().starts_with("Flask(").then(|| name.trim().to_owned())
    });
    let module = entry.trim_end_matches(".py");
    let found = if flask.is_some() { "A Python web app (flask)" } else { "A Python program" };
    let mut draft = new(project, format!("{found}, {entry}, upon Debian's Python"));
    if let Some(app) = flask {
        for needed in ["python3-flask", "gunicorn"] {
            if !packages.iter().any(|package| package == needed) {
                packages.push(needed.to_owned());
            }
        }
        draft.port = Some(8000);
        draft.cmd = ["gunicorn", "--bind", "0.0.0.0:8000", &format!("{module}:{app}")]
            .map(str::to_owned)
            .to_vec();
    } else {
        draft.cmd = vec!["python3".to_owned(), entry];
    }
    if !wanted.is_empty() {
        draft.notes.push(format!(
            "{file} became Debian packages, with Debian's versions: {}",
            wanted.iter().map(|name| python_package(name)).collect::<Vec<_>>().join(", "),
        ));
    }
    draft.step(
        "Debian with Python and the packages that the program needs.",
        "base | re.Debian",
        &debian(&packages),
    );
    source_copy(&mut draft);
    draft.step(
        "Byte code, so that the program starts fast.",
        "app | re.Run",
        &[
            "from = [base, source],".to_owned(),
            format!("script = {},", quote("python3 -m compileall -q /opt/app")),
        ],
    );
    draft.layers = vec!["app".into()];
    draft.workdir = Some("/opt/app".into());
    draft
}

/// Names in requirements.txt, else in pyproject.toml, and the file.
fn requirements(project: &Project) -> (&'static str, Vec<String>) {
    let name = |line: &str| -> Option<String> {
        let line = line.split(['#', ';', '@']).next().unwrap_or_default().trim();
        let end = line.find(|c: char| !(c.is_ascii_alphanumeric() || "-_.".contains(c)));
        let name = &line[..end.unwrap_or(line.len())];
        (!name.is_empty() && !line.starts_with('-')).then(|| name.to_owned())
    };
    if project.has("requirements.txt") {
        let text = project.text("requirements.txt");
        return ("requirements.txt", text.lines().filter_map(name).collect());
    }
    let manifest: toml::Table = project.text("pyproject.toml").parse().unwrap_or_default();
    let listed =
        manifest.get("project").and_then(|p| p.get("dependencies")).and_then(|d| d.as_array());
    let listed = listed.into_iter().flatten().filter_map(|item| item.as_str());
    ("pyproject.toml", listed.filter_map(name).collect())
}

/// Debian's package of a Python distribution: by its policy `python3-NAME`, but for those that are called otherwise.
fn python_package(distribution: &str) -> String {
    let name = distribution.to_ascii_lowercase().replace(['_', '.'], "-");
    let known = match name.as_str() {
        "gunicorn" | "uvicorn" | "ansible" | "supervisor" => return name,
        "beautifulsoup4" => "bs4",
        "mysqlclient" => "mysqldb",
        "pillow" => "pil",
        "psycopg2-binary" => "psycopg2",
        "python-dateutil" => "dateutil",
        "python-dotenv" => "dotenv",
        "pyyaml" => "yaml",
        "pyzmq" => "zmq",
        "scikit-learn" => "sklearn",
        "pyserial" => "serial",
        other => other.strip_prefix("python-").unwrap_or(other),
    };
    format!("python3-{known}")
}

/// What `init` reads of a package.json.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Package {
    main: Option<String>,
    dependencies: serde_json::Map<String, serde_json::Value>,
    scripts: Scripts,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Scripts {
    start: Option<String>,
}

/// A Node program, with the modules that lie there.
pub(super) fn node(project: &Project) -> Result<Draft, CommandError> {
    let text = project.text("package.json");
    let package: Package = serde_json::from_str(&text).map_err(|error| {
        CommandError::new(Kind::Spec, "`package.json` cannot be read").caused_by(error)
    })?;
    let started = package.scripts.start.as_deref().and_then(|start| start.strip_prefix("node "));
    let entry = started.map(str::to_owned).or(package.main).or_else(|| {
        project.first(&["index.js", "server.js", "app.js", "main.js"]).map(str::to_owned)
    });
    let entry = entry.unwrap_or_else(|| "index.js".to_owned());
    let mut draft = new(project, format!("A Node program, {entry}, upon Debian's Node"));
    draft.step("Debian with Node.", "base | re.Debian", &debian(&["nodejs".into()]));
    source_copy(&mut draft);
    draft.layers = vec!["base".into(), "source".into()];
    if !package.dependencies.is_empty() {
        draft.step(
            "Installed by `npm ci` on this machine: steps have no network. Usually in .gitignore, so said here.",
            "modules | re.Copy",
            &[
                "from = re.local { path = \"node_modules\", gitignore = false },".to_owned(),
                "to = \"/opt/app/node_modules\",".to_owned(),
            ],
        );
        draft.layers = vec!["base".into(), "modules".into(), "source".into()];
        if !project.has("node_modules") {
            draft.notes.push(
                "run `npm ci --omit=dev` first: the spec takes node_modules as it lies here"
                    .to_owned(),
            );
        }
    }
    draft.workdir = Some("/opt/app".into());
    draft.cmd = ["node".to_owned()]
        .into_iter()
        .chain(entry.split_whitespace().map(str::to_owned))
        .collect();
    Ok(draft)
}

/// A web site, served by a server of one file.
pub(super) fn site(project: &Project) -> Draft {
    let mut draft = new(project, "A web site, served by busybox".to_owned());
    draft.step(
        "A web server, and nothing else.",
        "server | re.Debian",
        &minimal(&["busybox-static"]),
    );
    draft.step(
        "This directory, without what .gitignore names.",
        "content | re.Copy",
        &["from = re.local { path = \".\" },".to_owned(), "to = \"/srv\",".to_owned()],
    );
    draft.layers = vec!["server".into(), "content".into()];
    draft.cmd =
        ["/bin/busybox", "httpd", "-f", "-p", "8000", "-h", "/srv"].map(str::to_owned).to_vec();
    draft.port = Some(8000);
    draft
}

/// An empty directory: something to begin with.
pub(super) fn nothing(project: &Project) -> Draft {
    let mut draft = new(project, "Debian and one program, to begin with".to_owned());
    draft.step(
        "Debian's essential packages; add to `packages` what you need.",
        "base | re.Debian",
        &debian(&[]),
    );
    let files = format!(
        "files.\"/usr/local/bin/hello\" = {{ text = {}, chmod = \"0755\" }},",
        quote("#!/bin/sh\necho \"Hello from $(. /etc/os-release; echo \"$PRETTY_NAME\")\"\n"),
    );
    draft.step("", "hello | re.Files", &[files]);
    draft.layers = vec!["base".into(), "hello".into()];
    draft.cmd = vec!["hello".into()];
    draft
}

fn new(project: &Project, found: String) -> Draft {
    Draft { found, image: project.name.clone(), ..Draft::default() }
}

fn source_copy(draft: &mut Draft) {
    draft.step(
        "This directory, without what .gitignore names.",
        "source | re.Copy",
        &["from = re.local { path = \".\" },".to_owned(), "to = \"/opt/app\",".to_owned()],
    );
}

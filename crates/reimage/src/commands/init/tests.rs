//! What `init` writes for what it finds.

use super::*;

fn drafted(files: &[(&str, &str)]) -> Draft {
    let directory = tempfile::tempdir().expect("a directory");
    let project = directory.path().join("My Shop");
    fs_err::create_dir(&project).expect("a directory");
    for (name, text) in files {
        let path = project.join(name);
        fs_err::create_dir_all(path.parent().expect("in the project")).expect("a directory");
        fs_err::write(path, text).expect("a file");
    }
    draft(&Project::read(&project).expect("readable")).expect("something")
}

#[test]
fn a_flask_app() {
    let draft = drafted(&[
        ("main.py", "from flask import Flask\napp = Flask(__name__)\n"),
        ("requirements.txt", "Flask>=2\nPyYAML # config\n-r more.txt\ngunicorn==20\n"),
    ]);
    assert_eq!(draft.run_flags(), " --network host");
    assert_eq!(
        draft.spec(),
        r#"# A Python web app (flask), main.py, upon Debian's Python.
# `reimage build` builds it, `reimage run images.my-shop --network host` runs it.
let re = import "reimage.ncl" in
{
  steps = {
    # Debian with Python and the packages that the program needs.
    base | re.Debian = {
      suite = "bookworm",
      packages = ["python3", "python3-flask", "python3-yaml", "gunicorn"],
    },
    # This directory, without what .gitignore names.
    source | re.Copy = {
      from = re.local { path = "." },
      to = "/opt/app",
    },
    # Byte code, so that the program starts fast.
    app | re.Run = {
      from = [base, source],
      script = "python3 -m compileall -q /opt/app",
    },
  },
  images = {
    my-shop | re.Image = {
      layers = [steps.app],
      workdir = "/opt/app",
      expose = [8000],
      cmd = ["gunicorn", "--bind", "0.0.0.0:8000", "main:app"],
      tags = ["my-shop:latest"],
    },
  },
} | re.Spec
"#
    );
}

#[test]
fn each_kind_is_recognized() {
    let found = |files: &[(&str, &str)]| drafted(files).found;
    assert!(found(&[]).starts_with("Debian and one program"));
    assert!(found(&[("index.html", "")]).starts_with("A web site"));
    assert!(found(&[("tool.py", "print(1)")]).starts_with("A Python program, tool.py"));
    assert!(found(&[("Makefile", "all: thing\n"), ("index.html", "")]).contains("thing"));
    assert!(
        found(&[("go.mod", "module example.com/x/serve\n")]).starts_with("A Go program, serve")
    );
    assert!(
        found(&[("Cargo.toml", "[package]\nname = \"tool\"\n")])
            .starts_with("A Rust program, tool")
    );
    assert!(found(&[("package.json", "{\"scripts\":{\"start\":\"node s.js\"}}")]).contains("s.js"));
}

#[test]
fn what_steps_cannot_download_is_said() {
    let notes = |files: &[(&str, &str)]| drafted(files).notes.join("\n");
    let go = "module m\nrequire example.com/y v1.0.0\n";
    assert!(notes(&[("go.mod", go)]).contains("go mod vendor"));
    assert!(notes(&[("go.mod", go), ("vendor/modules.txt", "")]).is_empty());
    let rust = "[package]\nname = \"t\"\n[dependencies]\nserde = \"1\"\n";
    assert!(notes(&[("Cargo.toml", rust)]).contains("cargo vendor"));
    let node = "{\"dependencies\":{\"express\":\"4\"}}";
    assert!(notes(&[("package.json", node)]).contains("npm ci"));
}

#[test]
fn strange_input_is_quoted_or_refused() {
    assert_eq!(draft::quote("a\"b\\c%{d}\n"), r#""a\"b\\c\%{d}\n""#);
    assert_eq!(draft::shell("it's"), r"'it'\''s'");
    assert_eq!(draft::word("My Shop_2!"), "my-shop-2");
    for bad in ["", "2nd", "let", "---", "日本"] {
        assert_eq!(draft::word(bad), "app");
    }
    let directory = tempfile::tempdir().expect("a directory");
    fs_err::write(directory.path().join("package.json"), "{").expect("a file");
    let project = Project::read(directory.path()).expect("readable");
    assert_eq!(draft(&project).expect_err("no JSON").kind, Kind::Spec);
}

#[test]
fn overwrites_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("spec.ncl");
    write_new(&file, "first", "spec.ncl").expect("new");
    let error = write_new(&file, "second", "spec.ncl").expect_err("there already");
    assert_eq!(error.to_string(), "`spec.ncl` is there already, and `init` overwrites nothing");
    assert_eq!(fs_err::read_to_string(&file).expect("there"), "first");
}

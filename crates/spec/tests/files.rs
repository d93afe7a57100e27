//! Which files a spec may read, and what is said of those that it may not.

use std::{fs, os::unix::fs::symlink, path::Path};

use reimage_spec::{Evaluated, Request, SpecError, evaluate, find_project};
use tempfile::TempDir;

const LIBRARY: &str = "let re = import \"reimage.ncl\" in\n";

/// A project with these files; `.git` in it, unless `bare`.
fn project(files: &[(&str, &[u8])]) -> TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    let root = directory.path().join("project");
    fs::create_dir_all(root.join(".git")).expect("created");
    for (path, bytes) in files {
        let path = root.join(path);
        fs::create_dir_all(path.parent().expect("below the root")).expect("created");
        fs::write(path, bytes).expect("written");
    }
    directory
}

fn build(directory: &TempDir, spec: &str) -> Result<Evaluated, SpecError> {
    let project = find_project(&directory.path().join("project").join(spec)).expect("a spec");
    evaluate(&Request::new(&project))
}

fn error(directory: &TempDir) -> String {
    build(directory, "spec.ncl").expect_err("an error").diagnostics.render(false)
}

fn image(layers: &str) -> String {
    format!("{LIBRARY}{{ images.app | re.Image = {{ layers = {layers} }} }}\n")
}

#[test]
fn a_spec_that_is_not_utf8() {
    let directory = project(&[("spec.ncl", b"# caf\xe9\n{}\n")]);
    insta::assert_snapshot!(error(&directory), @r"
    error: `spec.ncl` is not UTF-8
     = the first byte that is not is in line 1
    ");
}

#[test]
fn an_import_that_is_not_utf8() {
    let spec = image("re.files { files.\"/a\" = import \"a.txt\" as 'Text }");
    let directory = project(&[("spec.ncl", spec.as_bytes()), ("a.txt", b"ok\ncaf\xe9\n")]);
    insta::assert_snapshot!(error(&directory), @r#"
    error: `a.txt` is not UTF-8
      ┌─ spec.ncl:2:62
      │
    2 │ { images.app | re.Image = { layers = re.files { files."/a" = import "a.txt" as 'Text } } }
      │                                                              ^^^^^^^^^^^^^^^^^^^^^^^
      │
      = the first byte that is not is in line 2
    "#);
}

#[test]
fn an_import_through_a_link_that_leads_out() {
    let spec = image("re.files { files.\"/a\" = import \"lib/a.txt\" as 'Text }");
    let directory = project(&[("spec.ncl", spec.as_bytes())]);
    fs::create_dir(directory.path().join("lib")).expect("created");
    fs::write(directory.path().join("lib/a.txt"), "").expect("written");
    symlink("../lib", directory.path().join("project/lib")).expect("linked");
    insta::assert_snapshot!(error(&directory), @r#"
    error: `lib/a.txt` leads out of the project through a symbolic link
      ┌─ spec.ncl:2:62
      │
    2 │ { images.app | re.Image = { layers = re.files { files."/a" = import "lib/a.txt" as 'Text } } }
      │                                                              ^^^^^^^^^^^^^^^^^^^^^^^^^^^
      │
      = a spec reads nothing outside its project
    "#);
}

#[test]
fn a_local_through_a_link_that_leads_out() {
    let spec = image("re.local { path = \"lib/a\" }");
    let directory = project(&[("spec.ncl", spec.as_bytes())]);
    fs::create_dir_all(directory.path().join("lib/a")).expect("created");
    symlink("../lib", directory.path().join("project/lib")).expect("linked");
    insta::assert_snapshot!(error(&directory), @r#"
    error: `lib/a` leads out of the project through a symbolic link
      ┌─ spec.ncl:2:56
      │
    2 │ { images.app | re.Image = { layers = re.local { path = "lib/a" } } }
      │                                                        ^^^^^^^
      │
      = a spec reads nothing outside its project
    "#);
}

#[test]
fn a_spec_that_is_a_link_that_leads_out() {
    let directory = project(&[]);
    fs::write(directory.path().join("other.ncl"), "{}").expect("written");
    symlink("../other.ncl", directory.path().join("project/spec.ncl")).expect("linked");
    insta::assert_snapshot!(error(&directory), @r"
    error: `spec.ncl` leads out of the project through a symbolic link
     = a spec reads nothing outside its project
    ");
}

#[test]
fn an_import_of_a_directory() {
    let spec = image("re.files { files.\"/a\" = import \"lib\" as 'Text }");
    let directory = project(&[("spec.ncl", spec.as_bytes()), ("lib/a", b"")]);
    insta::assert_snapshot!(error(&directory), @r#"
    error: cannot read `lib`: it is no plain file
      ┌─ spec.ncl:2:62
      │
    2 │ { images.app | re.Image = { layers = re.files { files."/a" = import "lib" as 'Text } } }
      │                                                              ^^^^^^^^^^^^^^^^^^^^^
    "#);
}

#[test]
fn a_file_that_hides_the_library() {
    let spec = image("[]");
    let directory = project(&[("spec.ncl", spec.as_bytes()), ("reimage.ncl", b"{}")]);
    insta::assert_snapshot!(error(&directory), @r#"
    error: `reimage.ncl` hides the library of the same name
      ┌─ spec.ncl:1:10
      │
    1 │ let re = import "reimage.ncl" in
      │          ^^^^^^^^^^^^^^^^^^^^ this means the library inside reimage
      │
      = rename or remove `reimage.ncl`
    "#);
}

#[test]
fn an_error_in_an_import_points_there() {
    let spec =
        format!("{LIBRARY}let lib = import \"lib/base.ncl\" in\n{{ images.app = lib.app }}\n");
    let base = format!("{LIBRARY}{{ app | re.Image = {{ layers = [re.debian {{ }}] }} }}\n");
    let files = [("spec.ncl", spec.as_bytes()), ("lib/base.ncl", base.as_bytes())];
    insta::assert_snapshot!(error(&project(&files)), @r"
    error: missing definition for `suite`
      ┌─ lib/base.ncl:2:42
      │
    2 │ { app | re.Image = { layers = [re.debian { }] } }
      │                                          ^^^ `re.Debian` needs it: `bookworm`, `trixie`, .., with its updates and security updates
    ");
}

#[test]
fn data_that_does_not_parse_points_there() {
    let spec = image("re.files { files.\"/a\" = (import \"data.json\").a }");
    let files = [("spec.ncl", spec.as_bytes()), ("data.json", b"{ \"a\": \"b\", }")];
    insta::assert_snapshot!(error(&project(&files)), @r#"
    error: json parse error: expected a string
      ┌─ data.json:1:12
      │
    1 │ { "a": "b", }
      │            ^
    "#);
}

#[test]
fn nesting_beyond_all_measure() {
    let spec = format!("{{ images.a = {}true }}", "! ".repeat(900_000));
    let operators = error(&project(&[("spec.ncl", spec.as_bytes())]));
    assert_eq!(operators, "error: `spec.ncl` is nested too deeply\n\n");
    let spec = "[".repeat(1_000_000);
    insta::assert_snapshot!(error(&project(&[("spec.ncl", spec.as_bytes())])), @"error: `spec.ncl` is nested too deeply");
}

#[test]
fn the_closure_holds_what_was_read_and_what_was_not_there() {
    let spec = format!(
        "{LIBRARY}let lib = import \"lib/a.ncl\" in\n{{ images.app | re.Image = {{ layers = lib }} }}\n"
    );
    let lib = "let re = import reimage in re.files { files.\"/a\" = (import \"../data.json\").text, files.\"/b\" = import \"a.txt\" as 'Text }";
    let directory = project(&[
        ("spec.ncl", spec.as_bytes()),
        ("lib/a.ncl", lib.as_bytes()),
        ("lib/a.txt", b"text"),
        ("data.json", b"{ \"text\": \"from JSON\" }"),
    ]);
    let found = build(&directory, "spec.ncl").expect("a spec");
    let read: Vec<_> = found.closure.iter().map(|(path, _)| path.display().to_string()).collect();
    assert_eq!(read, ["data.json", "lib/a.ncl", "lib/a.txt", "spec.ncl"]);
    let bytes = reimage_castore::Digest::of(b"text");
    assert_eq!(found.closure[2].1, bytes);
    assert_eq!(found.absent, [Path::new("reimage.ncl")]);
}

#[test]
fn a_path_belongs_to_the_file_that_writes_it() {
    let lib = format!(
        "{LIBRARY}{{ common = re.local {{ path = \"src\" }}, given = fun p => re.local {{ path = p }}, mixed = fun name => re.local {{ path = \"../%{{name}}\" }} }}\n"
    );
    let spec = format!(
        "{LIBRARY}let lib = import \"lib/lib.ncl\" in let paths = import \"conf/paths.json\" in {{\n\
         steps = {{ a = lib.common, b = lib.given \"src\", c = lib.mixed \"src\", d = lib.given paths.path,\n\
         e | re.Local = ({{ path | default = \"lib\" }} & {{ gitignore = false }}), f = re.local {{ path = std.string.join \"/\" [\"lib\", \"src\"] }} }},\n\
         exports = {{ a = steps.a, b = steps.b, c = steps.c, d = steps.d, e = steps.e, f = steps.f }} }}\n"
    );
    let directory = project(&[
        ("spec.ncl", spec.as_bytes()),
        ("lib/lib.ncl", lib.as_bytes()),
        ("conf/paths.json", b"{ \"path\": \"src\" }"),
        ("src/x", b""),
        ("lib/src/x", b""),
        ("conf/src/x", b""),
    ]);
    let found = build(&directory, "spec.ncl").expect("a spec");
    let root = directory.path().canonicalize().expect("it exists").join("project");
    let paths: Vec<_> = found
        .spec
        .targets
        .iter()
        .map(|target| match &found.spec.step(target.step).kind {
            reimage_plan::StepKind::Local(local) => {
                local.path.strip_prefix(&root).expect("inside").display().to_string()
            }
            other => panic!("a {}", other.name()),
        })
        .collect();
    assert_eq!(paths, ["lib/src", "src", "src", "conf/src", "lib", "lib/src"]);
}

#[test]
fn projects_and_locks() {
    let directory = tempfile::tempdir().expect("a directory");
    let top = directory.path().canonicalize().expect("it exists");
    let deep = top.join("a/b/c");
    fs::create_dir_all(&deep).expect("created");
    fs::write(deep.join("spec.ncl"), "{}").expect("written");
    let found = || find_project(&deep).expect("a spec");
    assert_eq!(found().root, deep);
    assert_eq!(found().lock(), deep.join("reimage.lock"));
    fs::write(top.join("a/b/reimage.lock"), "").expect("written");
    fs::write(top.join("a/reimage.lock"), "").expect("written");
    assert_eq!(found().root, top.join("a"), "the highest lock");
    assert_eq!(found().lock(), top.join("a/b/reimage.lock"), "the nearest lock");
    fs::write(top.join("a/b/.git"), "gitdir: ..").expect("written");
    assert_eq!(found().root, top.join("a/b"), "the repository, though .git is a file");
    let absent = find_project(&top).expect_err("no spec").to_string();
    assert!(absent.starts_with("No spec at `") && absent.ends_with("`: `reimage init` writes one"));
}

#[test]
fn a_spec_larger_than_any() {
    let spec = "# a comment\n".repeat(200_000);
    insta::assert_snapshot!(error(&project(&[("spec.ncl", spec.as_bytes())])), @"error: cannot read `spec.ncl`: it is larger than 2 MiB");
}

//! What a user reads when a spec is wrong: the exact text for each spec under `errors/`.
//!
//! A spec's first line may say how it is built: `# reimage build images.app --arg version=2`.

use std::{fs, path::Path};

use reimage_spec::{Evaluated, FieldPath, Request, SpecError, evaluate, find_project, parse_arg};

/// Evaluates `text` as the spec of a project of its own, which holds `app/` and `lib.ncl`, too.
fn build(text: &str) -> Result<Evaluated, SpecError> {
    let directory = tempfile::tempdir().expect("a directory");
    let root = directory.path();
    fs::create_dir(root.join(".git")).expect("created");
    fs::create_dir(root.join("app")).expect("created");
    fs::write(root.join("app/main.py"), "").expect("written");
    fs::write(root.join("spec.ncl"), text).expect("written");
    build_in(root, text.lines().next().unwrap_or_default())
}

fn build_in(root: &Path, command: &str) -> Result<Evaluated, SpecError> {
    let words = command.strip_prefix("# reimage ").unwrap_or("build");
    let mut words = words.split(' ');
    let verb = words.next();
    let (mut names, mut args, mut sets): (Vec<FieldPath>, Vec<_>, Vec<String>) = Default::default();
    while let Some(word) = words.next() {
        match word {
            "--arg" => args.push(parse_arg(words.next().expect("a value")).expect("an argument")),
            "--set" => sets.push(words.next().expect("a value").replace('\u{a0}', " ")),
            name => names.push(name.parse().expect("a path")),
        }
    }
    let project = find_project(root).expect("a spec");
    let request = Request::new(&project);
    evaluate(&Request {
        names: &names,
        args: &args,
        sets: &sets,
        every_step: verb == Some("check"),
        ..request
    })
}

#[test]
fn each_says_what_is_wrong_and_where() {
    let mut specs: Vec<_> = walk().collect();
    specs.sort();
    for path in specs {
        let text = fs::read_to_string(&path).expect("a spec");
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let error = build(&text).err().unwrap_or_else(|| panic!("{name} is no error"));
        let shown = error.diagnostics.render(false);
        assert!(!shown.contains("@reimage"), "{name} points into the library:\n{shown}");
        insta::assert_snapshot!(name, shown);
    }
}

#[expect(clippy::disallowed_methods, reason = "sorted by who calls")]
fn walk() -> impl Iterator<Item = std::path::PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/errors");
    let entries = fs::read_dir(directory).expect("a directory");
    entries.map(|entry| entry.expect("an entry").path())
}

#[test]
fn editors_get_the_same_as_json() {
    let text = include_str!("errors/field.ncl");
    let error = build(text).expect_err("an error");
    let json = serde_json::to_string_pretty(&error.diagnostics.to_json()).expect("JSON");
    insta::assert_snapshot!(json, @r#"
    [
      {
        "labels": [
          {
            "column": 50,
            "end_column": 57,
            "end_line": 3,
            "file": "spec.ncl",
            "line": 3,
            "primary": true,
            "text": "did you mean `packages`?"
          }
        ],
        "message": "`re.Debian` has no field `pakages`",
        "notes": [],
        "severity": "error"
      }
    ]
    "#);
}

#[test]
fn colour_only_where_it_is_wanted() {
    let error = build(include_str!("errors/field.ncl")).expect_err("an error");
    assert!(error.diagnostics.render(true).contains("\u{1b}["));
    assert!(!error.diagnostics.render(false).contains('\u{1b}'));
    assert_eq!(error.to_string(), error.diagnostics.render(false).trim_end());
}

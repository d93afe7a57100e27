//! The documentation is true: its specs evaluate, and its reference is what the library says.

use std::{fs, path::Path};

use reimage_spec::{Request, evaluate, find_project, reference};

const GENERATED: &str = "<!-- from here on generated from the library";

fn page() -> (std::path::PathBuf, String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/spec.md");
    let text = fs::read_to_string(&path).expect("the page");
    (path, text)
}

#[test]
fn the_specs_in_it_evaluate() {
    let (path, text) = page();
    let other = path.with_file_name("determinism.md");
    let text = text + &fs::read_to_string(other).expect("the page");
    let specs: Vec<&str> = text
        .split("```nickel\n")
        .skip(1)
        .map(|rest| rest.split("```").next().expect("an end"))
        .collect();
    assert_eq!(specs.len(), 6, "specs in the pages");
    for spec in specs {
        let directory = tempfile::tempdir().expect("a directory");
        fs::create_dir(directory.path().join("app")).expect("created");
        fs::write(directory.path().join("spec.ncl"), spec).expect("written");
        let project = find_project(directory.path()).expect("a spec");
        let request = Request { every_step: true, ..Request::new(&project) };
        let found = evaluate(&request).unwrap_or_else(|error| panic!("{error}\nin\n{spec}"));
        assert!(found.warnings.is_empty(), "{}", found.warnings.render(false));
    }
}

/// On a difference, writes the page as it should be beside it, to be looked at and moved over it.
#[test]
fn the_reference_is_what_the_library_says() {
    let (path, text) = page();
    let start = text.find(GENERATED).expect("the line that says so");
    let line = text[start..].find('\n').expect("its end") + start;
    let right = format!("{}\n\n{}", &text[..line], reference());
    if text.trim_end() != right.trim_end() {
        let new = path.with_extension("md.new");
        fs::write(&new, right).expect("written");
        panic!("the reference is old: compare and take over {}", new.display());
    }
}

//! The memo of an evaluation says what the evaluation said, and holds as long as nothing it was read from changes.

use std::{fs, os::unix::fs::symlink, path::Path};

use reimage_castore::Digest;
use reimage_plan::Section;
use reimage_spec::{Evaluated, Project, Request, evaluate, find_project};
use tempfile::TempDir;

const SPEC: &str = r#"let re = import "reimage.ncl" in
let base = import "lib/base.ncl" in
{
  args = { who | String | default = "world" },
  steps.app | re.Run = {
    from = base,
    inputs."/src" = re.local { path = "src", exclude = ["*.o"] },
    script = "echo %{args.who}",
    limits = { timeout = "90s", memory = "1g" },
    outputs = ["/out"],
  },
  images.app | re.Image = {
    layers = [base, re.files { files."/etc/motd" = { text = "hi", chmod = "u=rw" } }, steps.app],
    cmd = ["/bin/app"],
    env.A = null,
    healthcheck = { cmd = ["true"], interval = "5s" },
  },
} | re.Spec
"#;

const BASE: &str = r#"let re = import "reimage.ncl" in
re.Debian & { suite = "bookworm", packages = ["python3"] }
"#;

/// A project whose spec imports a file and takes a directory.
fn project() -> (TempDir, Project) {
    let directory = tempfile::tempdir().expect("a directory");
    let root = directory.path().join("project");
    for (path, text) in
        [(".git/HEAD", ""), ("spec.ncl", SPEC), ("lib/base.ncl", BASE), ("src/a.c", "int a;")]
    {
        let path = root.join(path);
        fs::create_dir_all(path.parent().expect("below the root")).expect("created");
        fs::write(path, text).expect("written");
    }
    let project = find_project(&root).expect("a spec");
    (directory, project)
}

fn remembered(project: &Project) -> (Evaluated, Vec<u8>) {
    let evaluated = evaluate(&Request::new(project)).expect("a good spec");
    let memo = evaluated.memo().expect("no warning, no odd path");
    (evaluated, memo)
}

#[track_caller]
fn same(one: &Evaluated, other: &Evaluated) {
    assert_eq!(one.spec, other.spec);
    assert_eq!(one.closure, other.closure);
    assert_eq!(one.absent, other.absent);
    assert_eq!(one.locals, other.locals);
}

#[test]
fn it_says_what_the_evaluation_said() {
    let (_directory, project) = project();
    let (evaluated, memo) = remembered(&project);
    assert_eq!(evaluated.closure.len(), 2);
    assert_eq!(evaluated.locals.len(), 1);
    same(&Evaluated::of_memo(&memo, &project).expect("nothing has changed"), &evaluated);
}

#[test]
fn it_says_what_the_examples_say() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let mut seen = 0;
    #[expect(clippy::disallowed_methods, reason = "any order will do")]
    for entry in fs::read_dir(examples).expect("the examples") {
        let Ok(project) = find_project(&entry.expect("an example").path()) else { continue };
        let (evaluated, memo) = remembered(&project);
        same(&Evaluated::of_memo(&memo, &project).expect("nothing has changed"), &evaluated);
        seen += 1;
    }
    assert!(seen >= 5, "{seen} examples");
}

#[test]
fn it_is_void_while_something_it_was_read_from_is_different() {
    let (_directory, project) = project();
    let (_, memo) = remembered(&project);
    let holds = || Evaluated::of_memo(&memo, &project).is_some();
    let root = &project.root;
    let (imported, kept) = (root.join("lib/base.ncl"), root.join("kept"));

    fs::write(&imported, format!("{BASE}# more\n")).expect("written");
    assert!(!holds(), "an import with other bytes");
    fs::write(&imported, BASE).expect("written");
    assert!(holds(), "the same bytes again, whatever their time");

    fs::rename(&imported, &kept).expect("renamed");
    assert!(!holds(), "an import that is gone");
    symlink(&kept, &imported).expect("linked");
    assert!(holds(), "a link within the project to the same bytes");
    let outside = root.with_file_name("outside.ncl");
    fs::rename(&kept, &outside).expect("renamed");
    fs::remove_file(&imported).expect("removed");
    symlink(&outside, &imported).expect("linked");
    assert!(!holds(), "a link that leads out of the project");
    fs::remove_file(&imported).expect("removed");
    fs::rename(&outside, &imported).expect("renamed");

    fs::write(root.join("lib/reimage.ncl"), "{}").expect("written");
    assert!(!holds(), "a file that hides the library");
    fs::remove_file(root.join("lib/reimage.ncl")).expect("removed");

    fs::rename(root.join("src"), &kept).expect("renamed");
    assert!(!holds(), "a source that is gone");
    symlink(&kept, root.join("src")).expect("linked");
    assert!(!holds(), "a source that lies elsewhere");
    fs::remove_file(root.join("src")).expect("removed");
    fs::rename(&kept, root.join("src")).expect("renamed");

    fs::write(root.join("src/a.c"), "int b;").expect("written");
    assert!(holds(), "what a source holds is not read by an evaluation");
}

#[test]
fn a_part_of_one_is_none() {
    let (_directory, project) = project();
    let (_, memo) = remembered(&project);
    for length in 0..memo.len() {
        assert!(Evaluated::of_memo(&memo[..length], &project).is_none(), "{length}");
    }
}

#[test]
fn all_that_is_asked_for_is_in_the_key() {
    let (_directory, project) = project();
    let other = Project { root: project.root.join("lib"), ..project.clone() };
    let names = ["images.*".parse().expect("a path")];
    let args = [("who".to_owned(), "you".to_owned())];
    let sets = ["args.who=\"you\"".to_owned()];
    let request = Request::new(&project);
    let different = [
        Request::new(&other),
        Request { names: &names, ..request.clone() },
        Request { sections: &[Section::Checks], ..request.clone() },
        Request { every_step: true, ..request.clone() },
        Request { args: &args, ..request.clone() },
        Request { sets: &sets, ..request.clone() },
        Request { platforms: &["linux/arm64".parse().expect("one")], ..request.clone() },
    ];
    let mut keys: Vec<Digest> = different.iter().map(|request| request.key("1")).collect();
    keys.extend([request.key("1"), request.key("2")]);
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), different.len() + 2);
}

//! Plans: stacks, definitions and heights, on specs made by hand.

use reimage_castore::TreePath;

use super::*;
use crate::{Command, Copy, FileContent, FileEntry, Files, Image, Limits, Platform, Run};

fn files(text: &str) -> StepKind {
    let entry = FileEntry { content: FileContent::Text(text.to_owned()), chmod: None, chown: None };
    StepKind::Files(Files { files: [(TreePath::new("x").expect("a path"), entry)].into() })
}

fn run(from: &[usize], outputs: bool) -> StepKind {
    StepKind::Run(Run {
        from: ids(from),
        inputs: BTreeMap::new(),
        command: Command::Exec(vec!["true".into()]),
        env: BTreeMap::new(),
        user: None,
        workdir: None,
        outputs: outputs.then(|| vec![TreePath::root()]),
        exclude: Vec::new(),
        clock: None,
        entropy: None,
        stat: None,
        cpus: None,
        platform: Platform::default(),
        limits: Limits::default(),
    })
}

fn debian(from: &[usize], package: &str) -> StepKind {
    StepKind::Debian(Debian {
        from: ids(from),
        suite: "bookworm".into(),
        packages: vec![package.to_owned()],
        scripts: Scripts::Run,
        essential: None,
        recommends: false,
        exclude: Vec::new(),
        components: None,
        repositories: Vec::new(),
        platform: Platform::default(),
    })
}

fn image(layers: &[usize]) -> StepKind {
    StepKind::Image(Box::new(Image {
        layers: ids(layers),
        config: crate::Config::default(),
        annotations: BTreeMap::new(),
        platform: Platform::default(),
        compression: crate::Compression::Gzip,
        created: None,
        tags: Vec::new(),
        requires: Vec::new(),
    }))
}

fn ids(numbers: &[usize]) -> Vec<StepId> {
    numbers.iter().copied().map(StepId).collect()
}

fn plan(kinds: Vec<StepKind>) -> Result<Plan, PlanError> {
    let named = |(number, kind)| Step { name: format!("s{number}"), place: Place::default(), kind };
    let spec =
        Spec { steps: kinds.into_iter().enumerate().map(named).collect(), ..Spec::default() };
    Plan::new(spec, &Lock::default())
}

#[test]
fn a_step_brings_what_it_stands_on_once() {
    let plan = plan(vec![
        files("a"),
        run(&[0], false),
        run(&[0], false),
        image(&[1, 2]),
        run(&[3], true),
        image(&[3, 4, 0]),
    ])
    .expect("a plan");
    assert_eq!(plan.stack(StepId(3)), ids(&[0, 1, 2]));
    assert_eq!(plan.base(StepId(4)), ids(&[0, 1, 2]));
    assert_eq!(plan.stack(StepId(4)), ids(&[4]));
    assert_eq!(plan.stack(StepId(5)), ids(&[0, 1, 2, 4]));
    assert_eq!(plan.heights(), [4, 3, 3, 2, 1, 0]);
}

#[test]
fn two_package_databases_side_by_side_are_refused() {
    let error =
        plan(vec![debian(&[], "a"), debian(&[], "b"), image(&[0, 1])]).expect_err("side by side");
    assert!(matches!(error, PlanError::TwoDatabases { .. }), "{error}");
    plan(vec![debian(&[], "a"), debian(&[0], "b"), image(&[1])]).expect("one on the other");
}

#[test]
fn an_unpinned_source_is_named() {
    let plan = plan(vec![debian(&[], "hello")]).expect("a plan");
    let error = plan.check_pins().expect_err("no lock");
    assert_eq!(error.to_string(), "`bookworm: hello` is not in reimage.lock");
}

#[test]
fn a_definition_is_content_and_no_name() {
    let define = |kinds: Vec<StepKind>| {
        let definitions = plan(kinds).expect("a plan").definitions(&BTreeMap::new());
        *definitions.last().expect("it has steps")
    };
    let one = define(vec![files("a"), run(&[0], false)]);
    assert_eq!(one, define(vec![files("b"), files("a"), run(&[1], false)]), "numbers are in none");
    assert_ne!(one, define(vec![files("b"), run(&[0], false)]), "what it stands on is");
    let copy = |path| {
        StepKind::Copy(Copy {
            from: ids(&[0]),
            path: Some(TreePath::new(path).expect("a path")),
            to: None,
            include: None,
            exclude: Vec::new(),
            chown: None,
            chmod: None,
            mtime: None,
        })
    };
    assert_ne!(define(vec![files("a"), copy("/a")]), define(vec![files("a"), copy("/b")]));
}

//! The examples of the repository evaluate, to the steps that they should.

use std::path::{Path, PathBuf};

use reimage_plan::Target;
use reimage_spec::{EvalLimits, Evaluated, Request, evaluate, find_project, list};

fn example(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(path)
}

fn build(path: &str) -> Evaluated {
    let project = find_project(&example(path)).expect("a spec");
    let request = Request { every_step: true, ..Request::new(&project) };
    let found = evaluate(&request).unwrap_or_else(|error| panic!("{error}"));
    assert!(found.warnings.is_empty(), "{}", found.warnings.render(false));
    found
}

/// The targets, and the names of the steps in their order.
fn shape(found: &Evaluated) -> (Vec<String>, Vec<String>) {
    let targets = found.spec.targets.iter().map(Target::path).collect();
    let steps = found.spec.steps.iter().map(|step| step.name.replace("examples/", "")).collect();
    (targets, steps)
}

fn texts(expected: &[&str]) -> Vec<String> {
    expected.iter().map(|&text| text.to_owned()).collect()
}

#[test]
fn hello() {
    let (targets, steps) = shape(&build("hello"));
    assert_eq!(targets, texts(&["images.hello"]));
    assert_eq!(steps, texts(&["steps.greeting", "images.hello"]));
}

#[test]
fn python_web() {
    let (targets, steps) = shape(&build("python-web"));
    assert_eq!(targets, texts(&["images.web"]));
    let local = "python-web/spec.ncl:12 local";
    let expected = ["steps.base", local, "steps.source", "steps.app", "images.web"];
    assert_eq!(steps, texts(&expected));
}

#[test]
fn c_multistage() {
    let (targets, steps) = shape(&build("c-multistage"));
    let expected = ["images.greet", "exports.greet", "checks.starts", "checks.unit"];
    assert_eq!(targets, texts(&expected));
    assert_eq!(steps.len(), 8);
}

#[test]
fn distroless() {
    let (targets, steps) = shape(&build("distroless"));
    assert_eq!(targets, texts(&["images.base", "images.clock"]));
    assert_eq!(steps.len(), 7);
}

#[test]
fn monorepo() {
    let found = build("monorepo");
    let (targets, steps) = shape(&found);
    let services = ["accounts", "billing", "web"];
    let all = |section: &str| services.map(|service| format!("{section}.{service}"));
    assert_eq!(targets, [all("images"), all("checks")].concat());
    let bases = steps.iter().filter(|step| step.ends_with(" debian"));
    assert_eq!(bases.count(), 1, "the services share their base");
    for service in services {
        let one = build(&format!("monorepo/services/{service}"));
        for step in &one.spec.steps {
            let kind = |other: &reimage_plan::Step| other.place == step.place;
            assert!(found.spec.steps.iter().any(kind), "{} is the same step", step.name);
        }
    }
}

#[test]
fn what_a_spec_offers() {
    let project = find_project(&example("c-multistage")).expect("a spec");
    let listing = list(&project, EvalLimits::default()).expect("it lists");
    let paths: Vec<&str> = listing.targets.iter().map(|target| &*target.path).collect();
    let steps = ["steps.greet", "steps.runtime", "steps.source", "steps.tools"];
    let rest = ["images.greet", "exports.greet", "checks.starts", "checks.unit"];
    assert_eq!(paths, [steps, rest].concat());
    assert_eq!(listing.args.len(), 2);
    assert_eq!(listing.args[0].name, "name");
    assert_eq!(listing.args[0].default.as_deref(), Some("world"));
    let doc = "Whom the image greets when nobody is named.";
    assert_eq!(listing.args[0].doc.as_deref(), Some(doc));
}

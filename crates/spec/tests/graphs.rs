//! Graphs of steps: each step once, however many paths lead to it and however deep it lies.

use std::{fmt::Write as _, fs};

use reimage_plan::{Section, StepKind};
use reimage_spec::{Evaluated, FieldPath, Request, SpecError, evaluate, find_project};

fn build(text: &str, names: &[&str]) -> Result<Evaluated, SpecError> {
    let directory = tempfile::tempdir().expect("a directory");
    fs::write(directory.path().join("spec.ncl"), text).expect("written");
    fs::create_dir(directory.path().join("src")).expect("created");
    let project = find_project(directory.path()).expect("a spec");
    let names: Vec<FieldPath> = names.iter().map(|name| name.parse().expect("a path")).collect();
    evaluate(&Request { names: &names, ..Request::new(&project) })
}

fn good(text: &str, names: &[&str]) -> Evaluated {
    build(text, names).unwrap_or_else(|error| panic!("{error}"))
}

/// The names of the steps, in the order in which they can be built.
fn names(found: &Evaluated) -> Vec<&str> {
    found.spec.steps.iter().map(|step| &*step.name).collect()
}

#[test]
fn a_diamond_of_a_thousand_levels_is_linear() {
    // 2^1000 paths, under a contract that wraps every reference anew.
    let mut spec = "let re = import \"reimage.ncl\" in { steps = {\n\
                    s0 | re.Files = { files.\"/a\" = \"\" },\n"
        .to_owned();
    for level in 1..=1000 {
        let below = level - 1;
        writeln!(
            spec,
            "s{level} | re.Run = {{ from = [s{below}, s{below}], inputs.\"/x\" = s{below}, script = \"{level}\" }},"
        )
        .expect("a string");
    }
    spec += "}, images.app | re.Image = { layers = steps.s1000 } }";
    let found = good(&spec, &[]);
    assert_eq!(found.spec.steps.len(), 1002);
    assert_eq!(found.visits, 3002, "one visit a reference");
}

#[test]
fn equal_content_is_one_step() {
    let spec = r#"let re = import "reimage.ncl" in
    let base = fun n => re.debian { suite = "bookworm", packages = ["p%{n}"] } in
    {
      steps = { a = base "1", b = base "1", c = base "2", d | re.Debian = steps.a & {} },
      exports = { x = steps.a, y = steps.b, z = steps.c, w = steps.d },
    }"#;
    let found = good(spec, &[]);
    assert_eq!(names(&found), ["steps.a", "steps.c"]);
    let steps: Vec<usize> = found.spec.targets.iter().map(|target| target.step.0).collect();
    assert_eq!(steps, [0, 0, 0, 1], "w, x, y and z in the order of their names");
}

#[test]
fn ten_thousand_steps_on_each_other() {
    let spec = r#"let re = import "reimage.ncl" in
    let last = std.array.fold_left
      (fun below n => re.run { from = below, script = "echo %{std.to_string n}" })
      (re.files { files."/a" = "" })
      (std.array.range 0 10000) in
    { images.app | re.Image = { layers = last } }"#;
    let found = good(spec, &[]);
    assert_eq!(found.spec.steps.len(), 10_002);
    assert_eq!(found.visits, 10_002);
    for (number, step) in found.spec.steps.iter().enumerate() {
        assert!(step.kind.references().iter().all(|id| id.0 < number), "in order");
    }
}

#[test]
fn only_what_is_asked_for_is_evaluated() {
    let spec = r#"let re = import "reimage.ncl" in {
      steps = { a | re.Files = { files."/a" = "" }, boom | re.Debian = std.fail_with "boom" },
      images = {
        good | re.Image = { layers = steps.a },
        bad | re.Image = { layers = [steps.boom] },
      },
      exports.never = std.fail_with "never",
    }"#;
    assert_eq!(names(&good(spec, &["images.good"])), ["steps.a", "images.good"]);
    assert_eq!(names(&good(spec, &["steps.a"])), ["steps.a"]);
    let error = build(spec, &["images"]).expect_err("an error").to_string();
    assert!(error.contains("boom") && !error.contains("never"), "{error}");
}

#[test]
fn names_are_the_same_whoever_asks() {
    let spec = r#"let re = import "reimage.ncl" in {
      steps = {
        base | re.Files = { files."/a" = "" },
        inner | re.Run = { from = base, script = "true" },
        outer | re.Run = { from = [inner, re.copy { from = base, to = "/b" }], script = "false" },
      },
      images.app | re.Image = { layers = steps.outer },
      checks.test | re.Run = { from = steps.outer, script = "test" },
      exports.inner = steps.inner,
    }"#;
    let all = good(spec, &[]);
    let known = names(&all);
    assert_eq!(
        known,
        [
            "steps.base",
            "steps.inner",
            "spec.ncl:5 copy",
            "steps.outer",
            "images.app",
            "checks.test"
        ]
    );
    for name in ["images.app", "checks.test", "exports.inner", "steps.outer"] {
        for step in names(&good(spec, &[name])) {
            assert!(known.contains(&step), "{name} calls a step `{step}`");
        }
    }
}

#[test]
fn patterns_name_many() {
    let spec = r#"let re = import "reimage.ncl" in
    let image = fun n => re.image { layers = re.files { files."/a" = n } } in {
      images = { search-a = image "1", search-b = image "2", web = image "3", "py3.13" = image "4" },
      exports.search-x = re.files { files."/x" = "" },
    }"#;
    let targets = |names: &[&str]| -> Vec<String> {
        good(spec, names).spec.targets.iter().map(reimage_plan::Target::path).collect()
    };
    assert_eq!(targets(&["images.search-*"]), ["images.search-a", "images.search-b"]);
    assert_eq!(targets(&["*.search-*"]).len(), 3);
    assert_eq!(targets(&["images.web", "images.w*", "images.web"]), ["images.web"]);
    assert_eq!(targets(&[r#"images."py3.13""#]), [r#"images."py3.13""#]);
    assert_eq!(targets(&["exports"]), ["exports.search-x"]);
    assert_eq!(targets(&[]).len(), 5);
}

#[test]
fn overrides_and_variants() {
    let spec = r#"# 
    let re = import "reimage.ncl" in {
      args = { suite | String | default = "bookworm", workers | Number | default = 2 },
      steps.base | re.Debian = { suite = args.suite },
      images = {
        prod | re.Image = { layers = steps.base, cmd | default = ["-w", std.to_string args.workers] },
        dev | re.Image = prod & { cmd = ["debug"], env.DEBUG = "1" },
      },
    }"#;
    let directory = tempfile::tempdir().expect("a directory");
    fs::write(directory.path().join("spec.ncl"), spec).expect("written");
    let project = find_project(directory.path()).expect("a spec");
    let args = [("suite".to_owned(), "trixie".to_owned())];
    let sets = [
        "args.workers=4".to_owned(),
        "images.prod.env.HOME=\"/root\"".to_owned(),
        "images.prod.user=\"a\"".to_owned(),
        "images.prod.user = \"b\"".to_owned(),
    ];
    let found = evaluate(&Request { args: &args, sets: &sets, ..Request::new(&project) });
    let found = found.unwrap_or_else(|error| panic!("{error}"));
    let image = |name: &str| {
        let target = found.spec.targets.iter().find(|target| target.name == name);
        match &found.spec.step(target.expect("a target").step).kind {
            StepKind::Image(image) => image.clone(),
            other => panic!("a {}", other.name()),
        }
    };
    let (prod, dev) = (image("prod"), image("dev"));
    assert_eq!(prod.config.cmd, Some(vec!["-w".to_owned(), "4".to_owned()]));
    assert_eq!(prod.config.user.as_deref(), Some("b"), "the last one wins");
    assert_eq!(dev.config.cmd, Some(vec!["debug".to_owned()]));
    assert_eq!(dev.config.env.len(), 2, "a variant has what its original was given");
    match &found.spec.step(prod.layers[0]).kind {
        StepKind::Debian(debian) => assert_eq!(debian.suite, "trixie"),
        other => panic!("a {}", other.name()),
    }
}

#[test]
fn the_target_is_filled_in() {
    let spec = r#"let re = import "reimage.ncl" in {
      target | re.Platform,
      exports.a | re.Files = { files."/a" = "%{target.os} %{target.arch} %{target.machine}" },
    } | re.Spec"#;
    match &good(spec, &[]).spec.steps[0].kind {
        StepKind::Files(files) => {
            let entry = files.files.values().next().expect("a file");
            let text = reimage_plan::FileContent::Text("linux amd64 x86_64".to_owned());
            assert_eq!(entry.content, text);
        }
        other => panic!("a {}", other.name()),
    }
}

#[test]
fn a_step_is_built_for_whoever_asks() {
    let spec = r#"let re = import "reimage.ncl" in {
      target | re.Platform,
      steps = {
        base | re.Debian = { suite = "bookworm" },
        app | re.Run = { from = base, script = "true" },
        tool | re.Run = { from = base, inputs."/in" = base, script = "make", platform = "linux/amd64", outputs = ["/tool"] },
        same | re.Files = { files."/same" = "" },
        arch | re.Files = { files."/arch" = target.machine },
      },
      images.web | re.Image = {
        layers = [steps.app, steps.tool, steps.same, steps.arch],
        platforms = ["linux/arm/v7", "linux/amd64"],
        annotations = { all = "x", one = target.arch },
        tags = ["web:1"],
      },
      images.base | re.Image = { layers = [images.web] },
    } | re.Spec"#;
    let found = good(spec, &["images.web"]);
    assert_eq!(
        names(&found),
        [
            "steps.base (linux/arm/v7)",
            "steps.app (linux/arm/v7)",
            "steps.base (linux/amd64)",
            // It runs on the one, with what it takes from the other.
            "steps.tool (linux/arm/v7)",
            "steps.same",
            "steps.arch (linux/arm/v7)",
            "images.web (linux/arm/v7)",
            "steps.app (linux/amd64)",
            "steps.tool (linux/amd64)",
            "steps.arch (linux/amd64)",
            "images.web (linux/amd64)",
            "images.web",
        ]
    );
    let StepKind::Index(index) = &found.spec.steps[11].kind else { panic!("no index") };
    assert_eq!(index.images.iter().map(|id| id.0).collect::<Vec<_>>(), [6, 10]);
    assert_eq!(index.annotations.keys().collect::<Vec<_>>(), ["all"]);
    assert_eq!(index.tags, ["web:1"]);
    let StepKind::Run(tool) = &found.spec.steps[3].kind else { panic!("no command") };
    assert_eq!((tool.from[0].0, tool.inputs.values().next().expect("one").0), (2, 0));
    // Beneath another image it is what that is for.
    let found = good(spec, &["images.base"]);
    assert!(found.spec.steps.iter().all(|step| !step.name.contains("arm")), "{:?}", names(&found));
}

#[test]
fn platforms_of_the_command_line_come_first() {
    let spec = r#"let re = import "reimage.ncl" in {
      target | re.Platform,
      steps.arch | re.Files = { files."/arch" = target.arch },
      images.web | re.Image = { layers = steps.arch, platforms = ["linux/amd64", "linux/arm64"] },
      images.one | re.Image = { layers = steps.arch },
      exports.arch = steps.arch,
    } | re.Spec"#;
    let directory = tempfile::tempdir().expect("a directory");
    fs::write(directory.path().join("spec.ncl"), spec).expect("written");
    let project = find_project(directory.path()).expect("a spec");
    let build = |platforms: &[&str], sections: &[Section]| {
        let platforms: Vec<_> = platforms.iter().map(|p| p.parse().expect("one")).collect();
        evaluate(&Request { platforms: &platforms, sections, ..Request::new(&project) })
    };
    let kinds = |platforms: &[&str], sections: &[Section]| {
        let spec = build(platforms, sections).expect("good").spec;
        let kind = |step: &reimage_plan::StepId| spec.step(*step).kind.name();
        spec.targets.iter().map(|target| kind(&target.step)).collect::<Vec<_>>()
    };
    let images = &[Section::Images];
    assert_eq!(kinds(&[], images), ["image", "index"]);
    assert_eq!(kinds(&["linux/riscv64"], images), ["image", "image"]);
    assert_eq!(kinds(&["linux/riscv64", "linux/386"], images), ["index", "index"]);
    assert_eq!(kinds(&["linux/riscv64"], &[Section::Exports]), ["files"]);
    let error = build(&["linux/riscv64", "linux/386"], &[Section::Exports]).expect_err("one");
    insta::assert_snapshot!(error.diagnostics.render(false), @r"
    error: `exports.arch` is built for one platform: only an image can be for several
      ┌─ spec.ncl:6:15
      │
    6 │       exports.arch = steps.arch,
      │               ^^^^
      │
      = name the images, or one `--platform`
    ");
}

#[test]
fn two_root_file_systems_are_a_warning() {
    let spec = r#"let re = import "reimage.ncl" in {
      steps = {
        tools | re.Debian = { suite = "bookworm", packages = ["gcc"] },
        greet | re.Run = { from = tools, script = "make" },
        runtime | re.Debian = { suite = "bookworm", scripts = 'skip },
      },
      images.greet | re.Image = { layers = [steps.runtime, steps.greet] },
      images.fine | re.Image = { layers = [steps.tools, steps.greet] },
    }"#;
    insta::assert_snapshot!(good(spec, &[]).warnings.render(false), @r"
    warning: two root file systems in one image: `greet` stands on `tools`, which is not below it here
      ┌─ spec.ncl:7:60
      │
    7 │       images.greet | re.Image = { layers = [steps.runtime, steps.greet] },
      │                                                            ^^^^^^^^^^^
      │
      = name its `outputs`, or put it on `runtime`
    ");
}

#[test]
fn checks_evaluate_every_step() {
    let spec = r#"let re = import "reimage.ncl" in {
      steps = { template | re.Run = { workdir = "/src" }, bad | re.Run = { script = "x", workdir = "src" } },
      checks.a | re.Run = steps.template & { script = "true" },
    }"#;
    let directory = tempfile::tempdir().expect("a directory");
    fs::write(directory.path().join("spec.ncl"), spec).expect("written");
    let project = find_project(directory.path()).expect("a spec");
    let request = Request { sections: &[Section::Checks], ..Request::new(&project) };
    assert_eq!(names(&evaluate(&request).expect("the check alone is fine")), ["checks.a"]);
    let error = evaluate(&Request { every_step: true, ..request }).expect_err("`bad` is wrong");
    assert!(error.to_string().contains("`workdir`: expected an absolute path"), "{error}");
}

#[test]
fn arguments_are_strings_whatever_they_hold() {
    let spec = r#"let re = import "reimage.ncl" in {
      args.text | String | default = "",
      exports.a | re.Files = { files."/a" = args.text },
    }"#;
    let directory = tempfile::tempdir().expect("a directory");
    fs::write(directory.path().join("spec.ncl"), spec).expect("written");
    let project = find_project(directory.path()).expect("a spec");
    let nasty = [
        "",
        "4",
        "\"",
        "\\",
        "%{x}",
        "%%{x}",
        "a\nb\tc",
        "}",
        "\" & {",
        "ä€😀",
        "@env:HOME",
        "\\%{",
        "%",
    ];
    for value in nasty {
        let args = [("text".to_owned(), value.to_owned())];
        let found = evaluate(&Request { args: &args, ..Request::new(&project) });
        let found = found.unwrap_or_else(|error| panic!("{value:?}: {error}"));
        let StepKind::Files(files) = &found.spec.steps[0].kind else { panic!("no files") };
        let entry = files.files.values().next().expect("a file");
        assert_eq!(entry.content, reimage_plan::FileContent::Text(value.to_owned()));
    }
}

#[test]
fn what_nickel_finds_odd_is_a_warning() {
    let spec = r#"let re = import "reimage.ncl" in
    let Short = fun label value => value in {
      exports.a | re.Files = { files."/a" = ("a" | Short) },
    }"#;
    insta::assert_snapshot!(good(spec, &[]).warnings.render(false), @r#"
    warning: plain functions as contracts are deprecated
      ┌─ spec.ncl:3:46
      │
    2 │     let Short = fun label value => value in {
      │                 ------------------------ this function
    3 │       exports.a | re.Files = { files."/a" = ("a" | Short) },
      │                                              ^^^ applied to this term
      │
      = wrap this function using one of the constructors in `std.contract` instead, like `std.contract.from_validator` or `std.contract.custom`
    "#);
}

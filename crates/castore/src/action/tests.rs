//! Actions: each row of the table at the head of `action.rs` changes the digest, and nothing else is in it.

use super::*;

fn d(text: &str) -> Digest {
    Digest::of(text.as_bytes())
}

fn s(text: &str) -> Sha256 {
    Sha256::of(text.as_bytes())
}

fn p(text: &str) -> TreePath {
    TreePath::new(text).expect("a good path")
}

fn run() -> RunAction {
    RunAction {
        root: vec![d("base"), d("app")],
        inputs: BTreeMap::from([(p("src"), d("src"))]),
        argv: vec!["make".to_owned(), "all".to_owned()],
        env: BTreeMap::from([("A".to_owned(), "1".to_owned())]),
        workdir: p("src"),
        user: "root".to_owned(),
        outputs: None,
        exclude: vec!["*.o".to_owned()],
        platform: "linux/amd64".to_owned(),
        baseline: 0,
        demands: Demands::REAL,
        cpus: None,
        recorded: None,
    }
}

fn copy() -> CopyAction {
    CopyAction {
        from: vec![Source::Diff(d("base")), Source::Tree(d("tree"))],
        path: TreePath::root(),
        to: p("opt/app"),
        include: Some(vec!["a".to_owned()]),
        exclude: vec!["b".to_owned()],
        chown: Some((1, 2)),
        chmod: Some("0755".to_owned()),
        mtime: Some(-5),
    }
}

fn debian() -> DebianAction {
    DebianAction {
        root: vec![d("base")],
        packages: vec![s("libc6"), s("dpkg")],
        scripts: Scripts::Run,
        exclude: vec!["usr/share/doc".to_owned()],
        platform: "linux/amd64".to_owned(),
        baseline: 0,
        demands: Demands::REAL,
        cpus: None,
        driver: 1,
        scrub: 1,
    }
}

fn examples() -> Vec<Action> {
    let detached = RunAction {
        outputs: Some(vec![p("out"), p("a")]),
        cpus: Some(4),
        recorded: Some(d("lock entry")),
        demands: Demands { clock: Clock::At(7), ..Demands::FIXED },
        ..run()
    };
    vec![
        Action::Run(run()),
        Action::Run(detached),
        Action::Copy(copy()),
        Action::Unpack(UnpackAction { archive: s("a.tar"), strip: 1 }),
        Action::Deb(DebAction { package: s("a.deb"), exclude: vec!["x".to_owned()] }),
        Action::Debian(debian()),
        Action::Layer(LayerAction { layer: s("layer"), below: vec![d("base")] }),
    ]
}

type Change<'a, T> = (&'a str, &'a dyn Fn(&mut T));

/// Every change makes a digest that none of the others makes.
fn all_differ<T: Clone>(base: &T, action: impl Fn(T) -> Action, changes: &[Change<'_, T>]) {
    let mut seen = BTreeMap::from([(action(base.clone()).digest(), "nothing")]);
    for (what, change) in changes {
        let mut other = base.clone();
        change(&mut other);
        let before = seen.insert(action(other).digest(), what);
        assert_eq!(before, None, "changing {what} must change the digest");
    }
}

#[test]
fn what_enters_a_run() {
    all_differ(
        &run(),
        Action::Run,
        &[
            ("the root", &|a| a.root.push(d("x"))),
            ("the order of the root", &|a| a.root.reverse()),
            ("an input", &|a| a.inputs.extend([(p("src"), d("x"))])),
            ("the place of an input", &|a| a.inputs = BTreeMap::from([(p("s"), d("src"))])),
            ("argv", &|a| a.argv.push("-k".to_owned())),
            ("where arguments end", &|a| a.argv = vec!["mak".to_owned(), "eall".to_owned()]),
            ("a variable", &|a| a.env.extend([("A".to_owned(), "2".to_owned())])),
            ("one variable more", &|a| a.env.extend([("B".to_owned(), "1".to_owned())])),
            ("the working directory", &|a| a.workdir = p("x")),
            ("the user", &|a| a.user = "0".to_owned()),
            ("declared outputs", &|a| a.outputs = Some(vec![])),
            ("an output", &|a| a.outputs = Some(vec![p("out")])),
            ("exclude", &|a| a.exclude.clear()),
            ("the platform", &|a| a.platform = "linux/arm64".to_owned()),
            ("the baseline", &|a| a.baseline = 1),
            ("a fixed clock", &|a| a.demands.clock = Clock::Fixed),
            ("a clock that stands", &|a| a.demands.clock = Clock::At(3)),
            ("entropy", &|a| a.demands.entropy = Demand::Fixed),
            ("stat", &|a| a.demands.stat = Demand::Fixed),
            ("cpus", &|a| a.cpus = Some(4)),
            ("the recording", &|a| a.recorded = Some(d("x"))),
        ],
    );
}

#[test]
fn what_enters_a_copy() {
    all_differ(
        &copy(),
        Action::Copy,
        &[
            ("what it takes from", &|a| a.from.push(Source::Diff(d("x")))),
            ("the order of it", &|a| a.from.reverse()),
            ("its kind", &|a| a.from[1] = Source::Diff(d("tree"))),
            ("the path", &|a| a.path = p("x")),
            ("the place", &|a| a.to = p("x")),
            ("include", &|a| a.include = None),
            ("exclude", &|a| a.exclude.clear()),
            ("the owner", &|a| a.chown = Some((1, 1))),
            ("no owner", &|a| a.chown = None),
            ("the mode", &|a| a.chmod = Some("755".to_owned())),
            ("the time", &|a| a.mtime = Some(5)),
        ],
    );
}

#[test]
fn what_enters_an_unpacking() {
    all_differ(
        &UnpackAction { archive: s("a.tar"), strip: 0 },
        Action::Unpack,
        &[("the archive", &|a| a.archive = s("x")), ("strip", &|a| a.strip = 1)],
    );
    all_differ(
        &LayerAction { layer: s("layer"), below: vec![d("base")] },
        Action::Layer,
        &[
            ("the layer", &|a| a.layer = s("x")),
            ("what is below", &|a| a.below.push(d("x"))),
            ("nothing below", &|a| a.below.clear()),
        ],
    );
    all_differ(
        &DebAction { package: s("a.deb"), exclude: vec![] },
        Action::Deb,
        &[
            ("the package", &|a| a.package = s("x")),
            ("exclude", &|a| a.exclude.push("x".to_owned())),
        ],
    );
}

#[test]
fn what_enters_an_installation() {
    all_differ(
        &debian(),
        Action::Debian,
        &[
            ("the root", &|a| a.root.clear()),
            ("a package", &|a| a.packages.push(s("x"))),
            ("the order of packages", &|a| a.packages.reverse()),
            ("scripts", &|a| a.scripts = Scripts::Skip),
            ("exclude", &|a| a.exclude.clear()),
            ("the platform", &|a| a.platform = "linux/arm64".to_owned()),
            ("the baseline", &|a| a.baseline = 1),
            ("the demands", &|a| a.demands = Demands::FIXED),
            ("cpus", &|a| a.cpus = Some(4)),
            ("the driver", &|a| a.driver = 2),
            ("the scrub list", &|a| a.scrub = 2),
        ],
    );
}

#[test]
fn the_operation_and_its_version_are_in_every_digest() {
    for action in examples() {
        let bytes = action.encode();
        let name = [
            &[u8::try_from(action.operation().len()).expect("short")],
            action.operation().as_bytes(),
        ]
        .concat();
        assert!(bytes.starts_with(&[b"reimage action 1\n", &name[..]].concat()), "{action:?}");
    }
}

#[test]
fn golden_digests() {
    let digests: Vec<_> = examples().iter().map(|a| a.digest().to_string()).collect();
    assert_eq!(
        digests,
        [
            "7271e9a42a7e9c7f10dc16cf29787919f9a5e93a25665031a84acb015f6931b8",
            "dcad8b730047d46f33e637876e7274bd13b7b8a62ce80dc0fef5a510e4ffaed2",
            "1391dce16d54b8d3a77803267fed1b9afc0983ef91bfcbf6ae1c94920a0d914d",
            "4af4a761fbdfec8cd49290ecc256abd7fe121349a48699655215349fa828d3f9",
            "8df4d83b40ccbf7fcee85c08990faeec65e8893e9df302c7b3465115ab52e0de",
            "e7131a6fbe2ae9d0bc91727774f6554c1c1d2bbd6e9fd3125f80af779b261e65",
            "c06bd4fb5a145487b00934219aa9a029629cca8f495fffd2045cbbbd133b7fc6",
        ]
    );
}

#[test]
fn an_encoding_is_a_value_and_no_other_decodes() {
    for action in examples() {
        let bytes = action.encode();
        assert_eq!(Action::decode(&bytes).as_ref(), Ok(&action));
        for at in 0..bytes.len() {
            for byte in [0, 1, 2, 3, 4, 0x7f, 0x80, 0xff, bytes[at] ^ 1] {
                let mut other = bytes.clone();
                other[at] = byte;
                if let Ok(decoded) = Action::decode(&other) {
                    assert_eq!(decoded.encode(), other);
                }
            }
            assert!(Action::decode(&bytes[..at]).is_err(), "a part of it");
        }
    }
}

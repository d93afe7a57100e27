//! Small universes, each with one question; the whole of Debian is asked by `examples/apt_oracle.rs`.

use super::*;
use crate::debian::universe::IndexOrigin;
use proptest::prelude::*;

/// Writes packages as an index: `name version` and fields, separated by `;`.
fn index(packages: &[&str]) -> String {
    let stanza = |line: &&str| {
        let mut parts = line.split(';');
        let (name, version) = parts.next().unwrap().split_once(' ').unwrap();
        let fields: Vec<&str> = parts.map(str::trim).collect();
        let fields = fields.join("\n");
        let digest = reimage_castore::Sha256::of(line.as_bytes()).hex();
        format!(
            "Package: {name}\nVersion: {version}\nArchitecture: amd64\nFilename: pool/{name}_{version}.deb\nSize: 1\nSHA256: {digest}\n{fields}\n\n"
        )
    };
    packages.iter().map(stanza).collect()
}

fn status(packages: &[&str]) -> String {
    index(packages).replace("\nArchitecture", "\nStatus: install ok installed\nArchitecture")
}

fn universe(packages: &[&str], installed: &[&str]) -> Universe {
    let mut universe = Universe::new("amd64");
    let origin = IndexOrigin { suite: "anvil".into(), priority: 500 };
    universe.add_index("index", origin, &index(packages)).unwrap();
    universe.add_status("status", &status(installed)).unwrap();
    universe
}

fn ask(universe: &Universe, packages: &str) -> Result<String, String> {
    let request = Request {
        packages: packages.split(' ').map(str::to_owned).collect(),
        ..Request::default()
    };
    answer(universe, &request)
}

fn answer(universe: &Universe, request: &Request) -> Result<String, String> {
    let shown = |pins: Vec<PackagePin>| {
        pins.iter().map(|pin| format!("{}={}", pin.name, pin.version)).collect::<Vec<_>>().join(" ")
    };
    resolve(universe, request).map(shown).map_err(|error| error.to_string())
}

#[track_caller]
fn check(packages: &[&str], request: &str, expected: &str) {
    assert_eq!(ask(&universe(packages, &[]), request), Ok(expected.to_owned()));
}

#[track_caller]
fn check_error(packages: &[&str], request: &str, expected: &str) {
    assert_eq!(ask(&universe(packages, &[]), request), Err(expected.to_owned()));
}

#[test]
fn follows_dependencies_to_the_newest_version() {
    check(
        &[
            "a 1; Depends: b (>= 2), c:any; Pre-Depends: d",
            "b 1",
            "b 2",
            "c 1; Multi-Arch: allowed",
            "d 1",
            "e 1",
        ],
        "a",
        "a=1 b=2 c=1 d=1",
    );
}

#[test]
fn takes_the_first_alternative_that_can_be_had() {
    let packages =
        ["a 1; Depends: gone | broken | c | d", "broken 1; Depends: nowhere", "c 1", "d 1"];
    check(&packages, "a", "a=1 c=1");
    check(&packages, "a d", "a=1 d=1");
}

#[test]
fn chooses_providers_as_apt_does() {
    check(
        &[
            "a 1; Depends: mta",
            "exim 1; Provides: mta; Priority: optional",
            "postfix 1; Provides: mta; Priority: standard",
        ],
        "a",
        "a=1 postfix=1",
    );
    check(&["a 1; Depends: mta", "one 1; Provides: mta", "two 1; Provides: mta"], "a", "a=1 two=1");
    check(
        &[
            "a 1; Depends: v (>= 2)",
            "one 1; Provides: v",
            "two 1; Provides: v (= 1)",
            "three 1; Provides: v (= 2)",
        ],
        "a",
        "a=1 three=1",
    );
    check(&["a 1; Depends: v", "v 1", "one 1; Provides: v; Priority: required"], "a", "a=1 v=1");
    check(&["a 1; Depends: v", "one 1; Provides: v"], "a", "a=1 one=1");
}

#[test]
fn keeps_away_from_conflicts() {
    let packages = ["a 1; Depends: x | y", "b 1; Conflicts: x", "x 1", "y 1"];
    check(&packages, "a b", "a=1 b=1 y=1");
    check(&packages, "b a", "a=1 b=1 y=1");
    check(&["a 1; Breaks: b (<< 2)", "b 1", "b 2"], "a b", "a=1 b=2");
    check(&["a 1; Conflicts: a-impl; Provides: a-impl"], "a", "a=1");
}

#[test]
fn of_two_that_conflict_the_one_more_stands_on_stays() {
    let packages = [
        "app 1; Depends: first | other, second",
        "first 1; Conflicts: low",
        "second 1; Depends: low",
        "other 1",
        "low 1; Priority: optional",
    ];
    check(&packages, "app", "app=1 low=1 other=1 second=1");
    let universe = universe(
        &[
            "app 1; Recommends: x, y",
            "x 1; Conflicts: z",
            "y 1; Depends: z",
            "z 1; Priority: optional",
        ],
        &[],
    );
    let request = Request { packages: vec!["app".into()], recommends: true, ..Request::default() };
    assert_eq!(answer(&universe, &request).unwrap(), "app=1 y=1 z=1");
}

#[test]
fn loops_end() {
    check(&["a 1; Depends: b", "b 1; Depends: c", "c 1; Depends: a"], "a", "a=1 b=1 c=1");
}

#[test]
fn recommended_and_essential_packages_come_when_asked() {
    let universe = universe(
        &[
            "a 1; Recommends: r, gone",
            "r 1; Depends: s",
            "s 1",
            "base 1; Essential: yes; Depends: lib",
            "lib 1",
        ],
        &[],
    );
    let request = Request { packages: vec!["a".into()], ..Request::default() };
    assert_eq!(answer(&universe, &request).unwrap(), "a=1");
    assert_eq!(
        answer(&universe, &Request { recommends: true, ..request.clone() }).unwrap(),
        "a=1 r=1 s=1"
    );
    assert_eq!(
        answer(&universe, &Request { essential: true, ..request }).unwrap(),
        "a=1 base=1 lib=1"
    );
}

#[test]
fn roots_are_born_merged() {
    check(
        &[
            "i 1; Depends: usrmerge | usr-is-merged",
            "usrmerge 1; Depends: perl",
            "usr-is-merged 1",
            "perl 1",
        ],
        "i",
        "i=1 usr-is-merged=1",
    );
}

#[test]
fn what_is_there_is_not_installed_again() {
    let packages = [
        "a 1; Depends: b, c (>= 2)",
        "b 2",
        "c 1",
        "c 2; Source: src (5)",
        "d 2; Source: src (5)",
        "e 1; Depends: b",
    ];
    let universe = universe(&packages, &["b 1", "c 1", "d 1", "local 9"]);
    // c must be upgraded, and with it d, which is built from the same source.
    assert_eq!(ask(&universe, "a").unwrap(), "a=1 c=2 d=2");
    assert_eq!(ask(&universe, "e").unwrap(), "e=1");
    assert_eq!(ask(&universe, "b").unwrap(), "b=2");
    assert_eq!(ask(&universe, "local").unwrap(), "");
}

#[test]
fn nothing_is_removed() {
    let universe = universe(&["a 1; Conflicts: old"], &["old 1"]);
    assert_eq!(
        ask(&universe, "a").unwrap_err(),
        "The packages cannot be installed without removing `old`, which the root has"
    );
}

#[test]
fn asks_for_versions_and_prefers_suites_by_priority() {
    let mut universe = universe(&["a 1", "a 2"], &[]);
    let origin = IndexOrigin { suite: "anvil-backports".into(), priority: 100 };
    universe.add_index("backports", origin, &index(&["a 3", "n 1"])).unwrap();
    assert_eq!(ask(&universe, "a n").unwrap(), "a=2 n=1");
    assert_eq!(ask(&universe, "a=1").unwrap(), "a=1");
    assert_eq!(ask(&universe, "a=3").unwrap(), "a=3");
    assert_eq!(
        ask(&universe, "a=9").unwrap_err(),
        "No version 9 of `a` in anvil, anvil-backports, which have 3, 2, 1"
    );
    assert_eq!(ask(&universe, "a:amd64").unwrap(), "a=2");
}

#[test]
fn says_what_is_in_the_way() {
    let packages = [
        "app 1; Depends: mid",
        "mid 1; Depends: low (>= 2) | other",
        "low 1",
        "x 1; Conflicts: y",
        "y 1",
        "z 1; Depends: y",
        "v1 1; Provides: virt",
        "v2 1; Provides: virt",
    ];
    check_error(
        &packages,
        "app",
        "The packages cannot be installed: `app` 1 needs `mid`; `mid` 1 needs `low (>= 2)` or `other`, of which only 1 is there and which no repository has",
    );
    check_error(&packages, "x y", "The packages cannot be installed: `x` 1 conflicts with `y` 1");
    check_error(
        &packages,
        "x z",
        "The packages cannot be installed: `z` 1 needs `y`, but `x` 1 conflicts with `y` 1",
    );
    check_error(
        &packages,
        "virt",
        "`virt` is a virtual package: name one of those that provide it: v1, v2",
    );
    check_error(&packages, "lov", "No package `lov` in anvil; did you mean `low`?");
    check_error(&packages, "app:arm64", "No package `app:arm64` in anvil");
}

#[test]
fn foreign_architectures_are_not_there() {
    check_error(
        &["a 1; Depends: b:arm64", "b 1"],
        "a",
        "The packages cannot be installed: `a` 1 needs `b:arm64`, which no repository has",
    );
    check(&["a 1; Depends: b:amd64, c:native", "b 1", "c 1"], "a", "a=1 b=1 c=1");
}

#[test]
fn malformed_indexes_are_named() {
    let add = |text: &str| {
        let origin = IndexOrigin { suite: "anvil".into(), priority: 500 };
        Universe::new("amd64").add_index("the index", origin, text).unwrap_err().to_string()
    };
    let one = index(&["a 1; Depends: b (= "]);
    assert_eq!(add(&one), "Package `a` in the index has a malformed `Depends`: b (=");
    assert_eq!(
        add("Package: a\nArchitecture: all\n"),
        "Package `a` in the index has no field `Size`"
    );
    assert_eq!(add("Version: 1\n"), "Package `#1` in the index has no field `Architecture`");
    assert!(add(" x\n").starts_with("the index is not a list of packages"));
}

proptest! {
    /// Whatever a universe looks like, an answer is closed under dependencies and free of conflicts.
    #[test]
    fn answers_are_consistent(edges in proptest::collection::vec((0..12usize, 0..12usize, 0..3usize), 0..40)) {
        let field = ["Depends", "Conflicts", "Provides"];
        let packages: Vec<String> = (0..12).map(|n| {
            let mut parts = vec![format!("p{n} 1")];
            for (kind, field) in field.iter().enumerate() {
                let targets: Vec<String> = edges.iter().filter(|(from, _, k)| *from == n && *k == kind).map(|(_, to, _)| if kind == 2 { format!("v{to}") } else { format!("p{to} | v{}", (to + 1) % 12) }).collect();
                let targets: Vec<String> = if kind == 1 { targets.iter().map(|t| t.split(' ').next().unwrap().to_owned()).collect() } else { targets };
                if !targets.is_empty() {
                    parts.push(format!("{field}: {}", targets.join(", ")));
                }
            }
            parts.join("; ")
        }).collect();
        let lines: Vec<&str> = packages.iter().map(String::as_str).collect();
        let universe = universe(&lines, &[]);
        let Ok(chosen) = ask(&universe, "p0 p1") else { return Ok(()) };
        let names: BTreeSet<String> = chosen.split(' ').map(|one| one.split('=').next().unwrap().to_owned()).collect();
        prop_assert!(names.contains("p0") && names.contains("p1"));
        for (from, to, kind) in &edges {
            if !names.contains(&format!("p{from}")) || from == to {
                continue;
            }
            let virt = (to + 1) % 12;
            let provided = edges.iter().any(|(owner, what, k)| *k == 2 && *what == virt && names.contains(&format!("p{owner}")));
            let there = names.contains(&format!("p{to}"));
            match kind {
                0 => prop_assert!(there || provided),
                1 => prop_assert!(!there),
                _ => {}
            }
        }
    }
}

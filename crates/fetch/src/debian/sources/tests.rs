//! Configurations of apt as they are found on machines.

use super::*;
use proptest::prelude::*;

fn machine(files: &[(&str, &str)]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    root
}

#[test]
fn reads_both_formats() {
    let list = "# comment\n\ndeb-src http://a.example/debian stable main\n\
        deb [arch=amd64 signed-by=/k/a.gpg,/k/b.asc check-valid-until=no] http://a.example/debian/ stable main contrib # why\n";
    let sources = "Types: deb deb-src\nURIs: http://b.example/debian\n http://c.example/debian/\nSuites: stable stable-updates\n\
        Components: main\nSigned-By: /k/c.gpg\n\nEnabled: no\nTypes: deb\nURIs: http://off.example\nSuites: x\n\n\
        Types: deb\nURIs: http://d.example\nSuites: flat/\nSigned-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n abc\n";
    let root = machine(&[
        ("etc/apt/sources.list", list),
        ("etc/apt/sources.list.d/x.sources", sources),
        ("etc/apt/sources.list.d/x.sources.disabled", "nonsense"),
        ("etc/apt/sources.list.d/.hidden.list", "nonsense"),
    ]);
    let config = AptConfig::read(root.path()).unwrap();
    let strings = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(
        config.sources[0],
        AptSource {
            urls: strings(&["http://a.example/debian"]),
            suites: strings(&["stable"]),
            components: strings(&["main", "contrib"]),
            signed_by: Some(SignedBy::Files(vec!["/k/a.gpg".into(), "/k/b.asc".into()])),
            check_valid_until: Some(false),
        }
    );
    assert_eq!(config.sources[1].urls, ["http://b.example/debian", "http://c.example/debian"]);
    assert_eq!(config.sources[1].suites, ["stable", "stable-updates"]);
    assert_eq!(
        config.sources[2].signed_by,
        Some(SignedBy::Key("-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nabc\n".into()))
    );
    assert_eq!(config.sources.len(), 3);
}

#[test]
fn names_the_line_that_is_wrong() {
    let root = machine(&[("etc/apt/sources.list", "\ndeb http://a.example\n")]);
    let error = AptConfig::read(root.path()).unwrap_err().to_string();
    assert!(
        error.ends_with(
            "etc/apt/sources.list` line 2 is not a source of apt: `deb http://a.example`"
        ),
        "{error}"
    );
}

#[test]
fn reads_settings() {
    let root = machine(&[
        (
            "etc/apt/apt.conf.d/10a",
            "// c\nAcquire { Check-Valid-Until \"false\"; http { Proxy \"http://p:1\"; }; };\n# c\n",
        ),
        ("etc/apt/apt.conf.d/20b.conf", "/* x; */ acquire::HTTPS::proxy \"http://q//2\";"),
        ("etc/apt/apt.conf.d/30c.dpkg-old", "Acquire::Check-Valid-Until \"true\";"),
    ]);
    let config = AptConfig::read(root.path()).unwrap();
    assert_eq!(config.setting("Acquire::http::Proxy"), Some("http://p:1"));
    assert_eq!(config.setting("Acquire::https::Proxy"), Some("http://q//2"));
    assert!(!config.checks_valid_until(&AptSource::default()));
    let source = AptSource { check_valid_until: Some(true), ..AptSource::default() };
    assert!(config.checks_valid_until(&source));
}

#[test]
fn a_machine_without_apt_has_no_sources() {
    let root = machine(&[]);
    assert!(AptConfig::read(root.path()).unwrap().sources.is_empty());
}

proptest! {
    #[test]
    fn never_panics(text in "[ -~\\n]{0,120}") {
        let _ = parse_list(Path::new("x.list"), &text);
        let _ = parse_sources(Path::new("x.sources"), &text);
        settings(&text, &mut BTreeMap::new());
    }
}

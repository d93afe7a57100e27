//! Which places a suite is fetched from.

use super::*;
use reimage_tests::Signer;
use std::fs;

struct Machine(tempfile::TempDir);

impl Machine {
    fn new(list: &str) -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("etc/apt/trusted.gpg.d")).unwrap();
        fs::create_dir_all(root.path().join("k")).unwrap();
        fs::write(root.path().join("etc/apt/sources.list"), list).unwrap();
        fs::write(root.path().join("k/own.asc"), Signer::new(1).armored()).unwrap();
        Self(root)
    }

    fn trust(self) -> Self {
        fs::write(self.0.path().join("etc/apt/trusted.gpg.d/a.asc"), Signer::new(2).armored())
            .unwrap();
        self
    }

    fn places(&self, config: &DebianConfig, suite: &str) -> Result<Vec<String>, MirrorError> {
        let apt = AptConfig::read(self.0.path()).unwrap();
        Ok(config.places(&apt, self.0.path(), suite)?.into_iter().map(|place| place.url).collect())
    }
}

const LIST: &str = "deb http://a.example/debian anvil main\ndeb [signed-by=/k/own.asc] http://b.example/debian/ other main\n\
    deb http://s.example/security anvil-security main\ndeb http://f.example/flat ./\n";

#[test]
fn prefers_what_names_the_suite() {
    let machine = Machine::new(LIST).trust();
    let places = |suite| machine.places(&DebianConfig::default(), suite).unwrap();
    assert_eq!(places("other"), ["http://b.example/debian", "http://a.example/debian"]);
    assert_eq!(places("anvil"), ["http://a.example/debian", "http://b.example/debian"]);
    assert_eq!(places("other-security"), ["http://s.example/security"]);
}

#[test]
fn configuration_comes_first() {
    let machine = Machine::new(LIST).trust();
    let config = DebianConfig {
        mirrors: vec!["http://m.example/debian/".into()],
        ..DebianConfig::default()
    };
    assert_eq!(machine.places(&config, "anvil").unwrap(), ["http://m.example/debian"]);
    assert_eq!(
        machine.places(&config, "anvil-security").unwrap(),
        ["http://s.example/security", "http://m.example/debian"]
    );
    assert_eq!(machine.places(&config, "x-security").unwrap(), ["http://m.example/debian"]);
    let config = DebianConfig { security_mirrors: vec!["http://n.example/s".into()], ..config };
    assert_eq!(machine.places(&config, "anvil-security").unwrap(), ["http://n.example/s"]);
}

#[test]
fn what_apt_is_told_holds_for_its_sources_alone() {
    let machine = Machine::new(LIST).trust();
    fs::write(machine.0.path().join("etc/apt/apt.conf"), "Acquire::Check-Valid-Until \"false\";")
        .unwrap();
    let apt = AptConfig::read(machine.0.path()).unwrap();
    let checks = |mirrors: &[&str], suite: &str| {
        let mirrors = mirrors.iter().map(|&url| url.to_owned()).collect();
        let config = DebianConfig { mirrors, ..DebianConfig::default() };
        let places = config.places(&apt, machine.0.path(), suite).unwrap();
        places.iter().map(|place| place.valid_until).collect::<Vec<_>>()
    };
    assert_eq!(checks(&[], "anvil"), [false, false]);
    assert_eq!(checks(&["http://m.example/debian"], "anvil"), [true]);
    assert_eq!(checks(&["http://m.example/debian"], "anvil-security"), [false, true]);
}

#[test]
fn says_what_to_write() {
    let error = Machine::new("").places(&DebianConfig::default(), "anvil").unwrap_err().to_string();
    assert!(
        error.contains("has the suite `anvil`") && error.contains("\n[debian]\nmirrors = ["),
        "{error}"
    );
    let error = Machine::new("deb http://a.example/debian anvil main")
        .places(&DebianConfig::default(), "anvil");
    let error = error.unwrap_err().to_string();
    assert!(error.contains("No keys are known") && error.contains("keyrings = ["), "{error}");
}

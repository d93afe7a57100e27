//! Requests against an archive of our own on loopback, in good and bad states.

use super::*;
use reimage_castore::Sha256;
use reimage_http::HttpConfig;
use reimage_tests::{
    Signer,
    loopback::{Reply, Seen, Server},
};
use std::{fs, io::Write as _, sync::OnceLock, time::Duration};

/// An archive: the files that a server has.
#[derive(Clone, Default)]
struct Archive(BTreeMap<String, Vec<u8>>);

fn stanza(name: &str, version: &str, fields: &str, deb: &[u8]) -> String {
    format!(
        "Package: {name}\nVersion: {version}\nArchitecture: all\nFilename: pool/{name}_{version}.deb\nSize: {}\nSHA256: {}\n{fields}\n",
        deb.len(),
        Sha256::of(deb).hex()
    )
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

impl Archive {
    fn suite(mut self, signer: &Signer, suite: &str, packages: &str) -> Self {
        let index = gzip(packages);
        let digest = Sha256::of(&index).hex();
        let release = format!(
            "Suite: {suite}\nCodename: {suite}\nDate: Sun, 01 Nov 2026 00:00:00 UTC\nAcquire-By-Hash: yes\n\
             Architectures: amd64\nComponents: main\nSHA256:\n {digest} {} main/binary-amd64/Packages.gz\n",
            index.len()
        );
        self.0.insert(format!("/dists/{suite}/InRelease"), signer.sign(&release).into_bytes());
        self.0.insert(format!("/dists/{suite}/main/binary-amd64/by-hash/SHA256/{digest}"), index);
        self
    }

    fn file(mut self, path: &str, bytes: &[u8]) -> Self {
        self.0.insert(path.to_owned(), bytes.to_vec());
        self
    }

    fn serve(self) -> Server {
        Server::new(move |seen: &Seen, _| match self.0.get(&seen.path) {
            Some(bytes) => Reply::ranged(seen, bytes),
            None => Reply::status(404),
        })
    }
}

struct Machine {
    root: tempfile::TempDir,
    downloader: Downloader,
    config: DebianConfig,
}

impl Machine {
    fn new(server: &Server, signer: &Signer) -> Self {
        let root = tempfile::tempdir().unwrap();
        let key = root.path().join("key.asc");
        fs::write(&key, signer.armored()).unwrap();
        let http =
            HttpConfig { backoff: Duration::from_millis(1), retries: 1, ..HttpConfig::default() };
        let config = DebianConfig {
            mirrors: vec![server.url("")],
            security_mirrors: vec![server.url("")],
            keyrings: vec![key],
        };
        Self { root, downloader: Downloader::new(http).unwrap(), config }
    }

    fn archives(&self) -> Archives<'_> {
        Archives::new(
            &self.downloader,
            &self.config,
            self.root.path(),
            self.root.path().join("indexes"),
        )
        .unwrap()
    }
}

fn query<'a>(packages: &[&str], seen: &'a BTreeMap<String, SystemTime>) -> DebianQuery<'a> {
    static COMPONENTS: OnceLock<Vec<String>> = OnceLock::new();
    DebianQuery {
        suite: "anvil",
        components: COMPONENTS.get_or_init(|| vec!["main".to_owned()]),
        repositories: &[],
        architecture: "amd64",
        request: Request {
            packages: packages.iter().map(ToString::to_string).collect(),
            ..Request::default()
        },
        installed: None,
        keep: &[],
        now: SystemTime::UNIX_EPOCH + Duration::from_secs(1_793_600_000),
        newest_seen: seen,
    }
}

fn names(locked: &DebianLocked) -> Vec<String> {
    locked
        .pin
        .packages
        .iter()
        .map(|pin| format!("{} {} {}", pin.suite, pin.name, pin.version))
        .collect()
}

#[test]
fn locks_the_newest_of_all_suites_and_fetches_it() {
    let signer = Signer::new(1);
    let (old, new, dep) = (b"old".as_slice(), b"newer".as_slice(), b"dependency".as_slice());
    let main = stanza("app", "1.0", "Depends: dep\n", old) + &stanza("dep", "2", "", dep);
    let server = Archive::default()
        .suite(&signer, "anvil", &main)
        .suite(&signer, "anvil-updates", "")
        .suite(&signer, "anvil-security", &stanza("app", "1.0+deb1", "Depends: dep\n", new))
        .file("/pool/app_1.0+deb1.deb", new)
        .serve();
    let machine = Machine::new(&server, &signer);
    let (archives, seen) = (machine.archives(), BTreeMap::new());
    let locked = archives.lock(&query(&["app"], &seen)).unwrap();
    assert_eq!(names(&locked), ["anvil-security app 1.0+deb1", "anvil dep 2"]);
    assert!(locked.warnings.is_empty());
    assert_eq!(locked.dates.len(), 3);

    let mut file = tempfile::tempfile().unwrap();
    archives.fetch_package(&locked.pin.packages[0], &[], &mut file, &|_, _| {}).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 5);
    let error =
        archives.fetch_package(&locked.pin.packages[1], &[], &mut file, &|_, _| {}).unwrap_err();
    let message = error.to_string();
    assert!(
        message
            .starts_with("`dep` 2 of suite `anvil`, which the lock pins, is on no mirror any more"),
        "{message}"
    );
    assert!(message.contains("`reimage lock --update`"));
}

#[test]
fn keeps_what_fits_and_reads_indexes_once() {
    let signer = Signer::new(1);
    let both = stanza("app", "1", "", b"1")
        + &stanza("app", "2", "", b"2")
        + &stanza("strict", "1", "Depends: app (>= 2)\n", b"s");
    let server = Archive::default().suite(&signer, "anvil", &both).serve();
    let machine = Machine::new(&server, &signer);
    let (archives, seen) = (machine.archives(), BTreeMap::new());
    let first = archives.lock(&query(&["app"], &seen)).unwrap();
    assert_eq!(names(&first), ["anvil app 2"]);
    assert_eq!(
        first.warnings,
        [
            "No mirror has the suite `anvil-updates`: there are no stable updates in the lock",
            "No mirror has the suite `anvil-security`: there are no security updates in the lock"
        ]
    );
    let mut old = first.pin.packages[0].clone();
    old.version = "1".into();
    let keep = [old];
    let kept = archives.lock(&DebianQuery { keep: &keep, ..query(&["app"], &seen) }).unwrap();
    assert_eq!(names(&kept), ["anvil app 1"]);
    let moved =
        archives.lock(&DebianQuery { keep: &keep, ..query(&["app", "strict"], &seen) }).unwrap();
    assert_eq!(names(&moved), ["anvil app 2", "anvil strict 1"]);
    let indexes = server.seen().iter().filter(|seen| seen.path.contains("by-hash")).count();
    assert_eq!(indexes, 1);
}

#[test]
fn locks_without_a_connection_what_it_has_seen() {
    let signer = Signer::new(1);
    let server = Archive::default().suite(&signer, "anvil", &stanza("app", "1", "", b"1")).serve();
    let mut machine = Machine::new(&server, &signer);
    let seen = BTreeMap::new();
    let online = machine.archives().lock(&query(&["app"], &seen)).unwrap();
    let requests = server.seen().len();
    let offline = HttpConfig { offline: true, ..HttpConfig::default() };
    machine.downloader = Downloader::new(offline).unwrap();
    let again = machine.archives().lock(&query(&["app"], &seen)).unwrap();
    assert_eq!((names(&again), &again.warnings), (names(&online), &online.warnings));
    assert_eq!(server.seen().len(), requests);
    let error = machine.archives().lock(&DebianQuery { suite: "hammer", ..query(&["app"], &seen) });
    let error = error.unwrap_err();
    let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
    assert_eq!(
        cause,
        server.url(
            "/dists/hammer/InRelease is neither in the store nor in a lock bundle, and `--offline` forbids to \
             fetch it"
        )
    );
}

#[test]
fn other_repositories_have_their_own_keys() {
    let (debian, other) = (Signer::new(1), Signer::new(2));
    let server = Archive::default().suite(&debian, "anvil", &stanza("dep", "1", "", b"d")).serve();
    let more = Archive::default()
        .suite(&other, "stable", &stanza("tool", "3", "Depends: dep\n", b"tool"))
        .file("/pool/tool_3.deb", b"tool")
        .serve();
    let machine = Machine::new(&server, &debian);
    let (archives, seen) = (machine.archives(), BTreeMap::new());
    let repository = |signer: &Signer| {
        [Repository {
            url: more.url("/"),
            suite: "stable".into(),
            components: None,
            signed_by: signer.armored(),
        }]
    };
    let right = repository(&other);
    let locked =
        archives.lock(&DebianQuery { repositories: &right, ..query(&["tool"], &seen) }).unwrap();
    assert_eq!(names(&locked), ["anvil dep 1", "stable tool 3"]);
    archives
        .fetch_package(
            &locked.pin.packages[1],
            &right,
            &mut tempfile::tempfile().unwrap(),
            &|_, _| {},
        )
        .unwrap();
    let wrong = repository(&debian);
    let error = archives
        .lock(&DebianQuery { repositories: &wrong, ..query(&["tool"], &seen) })
        .unwrap_err();
    let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
    assert!(cause.contains("none of these keys is in `signed_by`"), "{error}: {cause}");
}

#[test]
fn a_tampered_index_is_never_used() {
    let signer = Signer::new(1);
    let mut archive = Archive::default().suite(&signer, "anvil", &stanza("app", "1", "", b"1"));
    for (path, bytes) in &mut archive.0 {
        if path.contains("by-hash") {
            *bytes = gzip(&stanza("app", "666", "", b"6"));
        }
    }
    let server = archive.serve();
    let machine = Machine::new(&server, &signer);
    let error = machine.archives().lock(&query(&["app"], &BTreeMap::new())).unwrap_err();
    assert_eq!(error.to_string(), "The suite `anvil` cannot be fetched");
}

#[test]
fn says_what_is_missing() {
    let signer = Signer::new(1);
    let server = Archive::default().suite(&signer, "anvil", &stanza("app", "1", "", b"1")).serve();
    let machine = Machine::new(&server, &signer);
    let (archives, seen) = (machine.archives(), BTreeMap::new());
    let error = archives.lock(&query(&["ap"], &seen)).unwrap_err();
    assert_eq!(error.to_string(), "No package `ap` in anvil; did you mean `app`?");
    let error =
        archives.lock(&DebianQuery { suite: "hammer", ..query(&["app"], &seen) }).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("No mirror has the suite `hammer`: asked {}", server.url(""))
    );
    let contrib = ["contrib".to_owned()];
    let error =
        archives.lock(&DebianQuery { components: &contrib, ..query(&["app"], &seen) }).unwrap_err();
    assert_eq!(
        error.to_string(),
        "The suite `anvil` has no component `contrib` for amd64; it has main"
    );
    let future = BTreeMap::from([(
        "anvil".to_owned(),
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_793_600_000),
    )]);
    let error = archives.lock(&query(&["app"], &future)).unwrap_err();
    let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
    assert!(cause.contains("went back in time"), "{error}: {cause}");
}

#[test]
fn paths_are_escaped_for_urls() {
    assert_eq!(
        encoded("pool/main/g/g++/g++_4%3a1~b_all.deb"),
        "pool/main/g/g++/g++_4%253a1~b_all.deb"
    );
}

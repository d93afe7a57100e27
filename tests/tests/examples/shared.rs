//! A second machine, with the caches of the first and without its store: it runs nothing, and moves what it needs.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use reimage_tests::{Ran, TestEnv, files, registry::Registry};
use tempfile::TempDir;

/// What machines share: a directory, and a repository of a registry.
pub(crate) struct Caches {
    directory: TempDir,
    registry: Registry,
}

impl Caches {
    pub(crate) fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("reimage-cache-").tempdir();
        Self { directory: directory.expect("a directory"), registry: Registry::open() }
    }

    fn urls(&self) -> [String; 2] {
        let directory = self.directory.path().display();
        [format!("file://{directory}"), format!("oci://{}/cache", self.registry.host())]
    }

    /// Lets `env` take from both, and give to them.
    pub(crate) fn written_by(&self, env: &TestEnv) {
        let [directory, registry] = self.urls();
        env.config(&format!(
            "[cache]\nwrite = [\"{directory}\", \"{registry}\"]\ntrust = \"server\"\n"
        ));
    }

    /// Lets another machine, which `machine` makes, build from each alone, and looks at what came: each of the targets
    /// that were `built` is one record, and of blobs there come the images' own layers, each once.
    pub(crate) fn check(&self, built: &str, machine: impl Fn() -> TestEnv) {
        for url in self.urls() {
            let env = machine();
            env.config(&format!("[cache]\nurls = [\"{url}\"]\ntrust = \"server\"\n"));
            if url.starts_with("file:") {
                everybody_may_read(self.directory.path());
            }
            let before = self.registry.seen().len();
            let ran = env.as_plain_user(["build", "-j1"]).expect(0);
            assert_eq!(ran.out(), built, "{url}");
            assert!(!ran.err().contains("done "), "nothing runs: {ran}");
            let layers = layers(&env);
            let targets = found(&ran);
            // A check that passed is a record, too, and is not printed.
            assert!(targets >= built.lines().count(), "{ran}");
            if url.starts_with("oci:") {
                let requests = self.registry.seen().split_off(before);
                let (blobs, records): (Vec<_>, Vec<_>) =
                    requests.iter().partition(|seen| seen.path.contains("/blobs/sha256:"));
                assert!(requests.iter().all(|seen| seen.method == "GET"), "{requests:#?}");
                assert_eq!(records.len(), targets, "one look-up a target");
                assert_eq!(blobs.len(), layers.len(), "one request a layer");
                let got = blobs.iter().filter_map(|seen| seen.path.rsplit(':').next());
                assert_eq!(got.map(str::to_owned).collect::<BTreeSet<_>>(), layers);
            }
        }
    }
}

/// The records that were found, as the command says.
fn found(ran: &Ran) -> usize {
    let err = ran.err();
    let line = err.lines().find_map(|line| line.strip_prefix("Cache ")).expect("it says so");
    let count = line.split(": ").nth(1).and_then(|rest| rest.split(' ').next());
    count.and_then(|count| count.parse().ok()).expect("a number")
}

/// The blobs of the machine's images that are layers, as hexadecimal digits.
fn layers(env: &TestEnv) -> BTreeSet<String> {
    let blobs = env.root().join("data/reimage/images/blobs/sha256");
    let all: BTreeMap<_, _> = files(&blobs);
    let names = all.keys().filter_map(|path| Path::new(path).file_name()?.to_str());
    let is_layer = |name: &&str| {
        let bytes = fs_err::read(blobs.join(name)).expect("it is there");
        !bytes.starts_with(b"{")
    };
    names.filter(is_layer).map(str::to_owned).collect()
}

fn everybody_may_read(directory: &Path) {
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs_err::set_permissions(directory, mode).expect("it is ours");
}

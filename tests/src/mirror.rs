//! A signed Debian mirror on loopback, with the faults that a test wants.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{Arc, Condvar, Mutex, MutexGuard},
    time::Duration,
};

use sha2::{Digest as _, Sha256};

use crate::{
    Deb, Signer, TestEnv,
    loopback::{Reply, Seen, Server},
};

/// What a mirror has, and what it was asked for.
#[derive(Debug, Default)]
struct State {
    files: BTreeMap<String, Vec<u8>>,
    /// Bytes after which a connection that sends this file breaks.
    breaks: BTreeMap<String, usize>,
    /// Paths that were asked for, with the first byte.
    asked: Vec<(String, usize)>,
}

impl State {
    fn answer(&mut self, seen: &Seen) -> Reply {
        self.asked.push((seen.path.clone(), seen.from().unwrap_or(0)));
        let Some(bytes) = self.files.get(&seen.path) else { return Reply::status(404) };
        let reply = Reply::ranged(seen, bytes);
        match self.breaks.get(&seen.path) {
            Some(most) => {
                let at = reply.body.len().min(*most);
                reply.cut(at)
            }
            None => reply,
        }
    }
}

/// Requests for packages that are answered together.
#[derive(Debug, Default)]
struct Gate {
    /// How many wait for each other; how many are being answered, and were at most.
    state: Mutex<(usize, usize, usize)>,
    entered: Condvar,
}

impl Gate {
    /// Longest wait for the others: then there are not as many.
    const PATIENCE: Duration = Duration::from_secs(20);
    /// Wait for those who are too many.
    const SURPLUS: Duration = Duration::from_millis(100);

    fn pass(&self) {
        let mut state = self.state.lock().expect("nobody panics with it locked");
        if state.0 == 0 {
            return;
        }
        state.1 += 1;
        state.2 = state.2.max(state.1);
        self.entered.notify_all();
        let (state, _) = self
            .entered
            .wait_timeout_while(state, Self::PATIENCE, |(wanted, _, most)| most < wanted)
            .expect("nobody panics with it locked");
        let state = self.entered.wait_timeout(state, Self::SURPLUS);
        state.expect("nobody panics with it locked").0.1 -= 1;
    }
}

/// The mirror; it ends with the value.
#[derive(Debug)]
pub struct Mirror {
    signer: Signer,
    gate: Arc<Gate>,
    state: Arc<Mutex<State>>,
    server: Server,
}

impl Mirror {
    /// An empty one, which signs with a key of this number.
    pub fn new(seed: u64) -> Self {
        let state = Arc::<Mutex<State>>::default();
        let gate = Arc::<Gate>::default();
        let (shared, packages) = (Arc::clone(&state), Arc::clone(&gate));
        let answer = move |seen: &Seen, _| {
            if seen.path.starts_with("/pool/") {
                packages.pass();
            }
            shared.lock().expect("nobody panics with it locked").answer(seen)
        };
        Self { signer: Signer::new(seed), gate, state, server: Server::new(answer) }
    }

    /// Its URL, without slash at the end.
    pub fn url(&self) -> String {
        self.server.url("")
    }

    /// Its public key, armored.
    pub fn key(&self) -> String {
        self.signer.armored()
    }

    /// Makes it the one that `env` fetches from.
    pub fn use_in(&self, env: &TestEnv) -> &Self {
        env.file("mirror.asc", self.key());
        env.config(&format!(
            "[debian]\nmirrors = [\"{url}\"]\nsecurity_mirrors = [\"{url}\"]\nkeyrings = [\"{}\"]\n",
            env.path("mirror.asc").display(),
            url = self.url()
        ));
        self
    }

    /// Publishes a suite of these packages; `fields` are more fields of its Release. `Date` is of one's own.
    pub fn publish(&self, suite: &str, fields: &str, packages: Vec<Deb>) -> &Self {
        self.publish_built(suite, fields, packages.into_iter().map(Deb::build).collect())
    }

    /// Publishes a suite of one package that has lost what comes after so many bytes, and says so in all digests.
    pub fn publish_truncated(
        &self,
        suite: &str,
        fields: &str,
        package: Deb,
        bytes: usize,
    ) -> &Self {
        let (mut package, paragraph) = package.build();
        package.truncate(bytes);
        self.publish_built(suite, fields, vec![(package, paragraph)])
    }

    fn publish_built(&self, suite: &str, fields: &str, packages: Vec<(Vec<u8>, String)>) -> &Self {
        let mut indexes = BTreeMap::from([("amd64".to_owned(), String::new())]);
        let of = |paragraph: &str| {
            let line = paragraph.lines().find_map(|line| line.strip_prefix("Architecture: "));
            line.expect("a package has an architecture").to_owned()
        };
        for (_, paragraph) in &packages {
            indexes.entry(of(paragraph)).or_default();
        }
        indexes.remove("all");
        for (bytes, paragraph) in packages {
            let name = format!("pool/{}.deb", digest(&bytes));
            let (size, sum) = (bytes.len(), digest(&bytes));
            let own = of(&paragraph);
            for (architecture, index) in &mut indexes {
                if own == "all" || own == *architecture {
                    *index += &paragraph;
                    let _ = write!(index, "Filename: {name}\nSize: {size}\nSHA256: {sum}\n\n");
                }
            }
            self.put(&format!("/{name}"), bytes);
        }
        let architectures: Vec<_> = indexes.keys().map(String::as_str).collect();
        let mut release = format!(
            "Suite: {suite}\nCodename: {suite}\nArchitectures: {}\nComponents: main\n{fields}\nSHA256:\n",
            architectures.join(" ")
        );
        for (architecture, index) in &indexes {
            let (sum, size) = (digest(index.as_bytes()), index.len());
            let _ = writeln!(release, " {sum} {size} main/binary-{architecture}/Packages");
        }
        self.put(&format!("/dists/{suite}/InRelease"), self.signer.sign(&release).into_bytes());
        for (architecture, index) in indexes {
            let path = format!("/dists/{suite}/main/binary-{architecture}/Packages");
            self.put(&path, index.into_bytes());
        }
        self
    }

    /// Puts a file, whatever was there.
    pub fn put(&self, path: &str, bytes: Vec<u8>) {
        self.state().files.insert(path.to_owned(), bytes);
    }

    /// Changes all files whose path contains `part`.
    pub fn change(&self, part: &str, change: impl Fn(&mut Vec<u8>)) {
        let mut state = self.state();
        for (_, bytes) in state.files.iter_mut().filter(|(path, _)| path.contains(part)) {
            change(bytes);
        }
    }

    /// Takes all files away whose path contains `part`.
    pub fn remove(&self, part: &str) {
        self.state().files.retain(|path, _| !path.contains(part));
    }

    /// Breaks each connection that sends a file whose path contains `part` after so many bytes.
    pub fn break_after(&self, part: &str, bytes: usize) {
        let mut state = self.state();
        let paths: Vec<_> =
            state.files.keys().filter(|path| path.contains(part)).cloned().collect();
        state.breaks.extend(paths.into_iter().map(|path| (path, bytes)));
    }

    /// Answers no request for a package before so many wait at the same time.
    pub fn gather(&self, count: usize) {
        self.gate.state.lock().expect("nobody panics with it locked").0 = count;
    }

    /// The most requests for packages that waited at the same time.
    pub fn gathered(&self) -> usize {
        self.gate.state.lock().expect("nobody panics with it locked").2
    }

    /// What it was asked for since the last time: paths and the first byte wanted.
    pub fn asked(&self) -> Vec<(String, usize)> {
        std::mem::take(&mut self.state().asked)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics with it locked")
    }
}

fn digest(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}

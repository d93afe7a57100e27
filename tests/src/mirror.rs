//! A signed Debian mirror on loopback, with the faults that a test wants.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Write as _},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use pgp::{
    composed::{
        ArmorOptions, CleartextSignedMessage, KeyType, SecretKeyParamsBuilder, SignedSecretKey,
    },
    types::{Password, Timestamp},
};
use rand::{SeedableRng, rngs::StdRng};
use sha2::{Digest as _, Sha256};

use crate::{Deb, TestEnv};

/// Connections that a test may make; then the mirror is gone.
const MOST: usize = 1000;

/// What a mirror has, and what it was asked for.
#[derive(Debug, Default)]
struct State {
    files: BTreeMap<String, Vec<u8>>,
    /// Bytes after which a connection that sends this file breaks.
    breaks: BTreeMap<String, usize>,
    /// Paths that were asked for, with the first byte.
    asked: Vec<(String, usize)>,
}

/// The mirror; it ends with the value.
#[derive(Debug)]
pub struct Mirror {
    key: SignedSecretKey,
    state: Arc<Mutex<State>>,
    address: String,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Mirror {
    /// An empty one, which signs with a key of this number.
    pub fn new(seed: u64) -> Self {
        let key = SecretKeyParamsBuilder::default()
            .key_type(KeyType::Ed25519Legacy)
            .can_sign(true)
            .can_certify(true)
            .created_at(Timestamp::from_secs(1_700_000_000))
            .primary_user_id("Archive <archive@example.org>".into())
            .build()
            .expect("the parameters are complete")
            .generate(StdRng::seed_from_u64(seed))
            .expect("an Ed25519 key needs only random numbers");
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has free ports");
        let address = listener.local_addr().expect("it is bound").to_string();
        let (state, stop) = (Arc::<Mutex<State>>::default(), Arc::new(AtomicBool::new(false)));
        let (shared, stopped) = (Arc::clone(&state), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok).take(MOST) {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || serve(stream, &shared));
            }
        });
        Self { key, state, address, stop, thread: Some(thread) }
    }

    /// Its URL, without slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Its public key, armored.
    pub fn key(&self) -> String {
        let key = self.key.to_public_key();
        key.to_armored_string(ArmorOptions::default()).expect("a key can be armored")
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
        let mut index = String::new();
        for (bytes, paragraph) in packages {
            let name = format!("pool/{}.deb", digest(&bytes));
            let (size, sum) = (bytes.len(), digest(&bytes));
            for text in [&paragraph, &format!("Filename: {name}\nSize: {size}\nSHA256: {sum}\n\n")]
            {
                index += text;
            }
            self.put(&format!("/{name}"), bytes);
        }
        let release = format!(
            "Suite: {suite}\nCodename: {suite}\nArchitectures: amd64\nComponents: main\n{fields}\n\
             SHA256:\n {} {} main/binary-amd64/Packages\n",
            digest(index.as_bytes()),
            index.len()
        );
        let signed = CleartextSignedMessage::sign(
            StdRng::seed_from_u64(9),
            &release,
            &*self.key,
            &Password::empty(),
        );
        let signed = signed.expect("the key has no password");
        let signed = signed.to_armored_string(ArmorOptions::default()).expect("it is text");
        self.put(&format!("/dists/{suite}/InRelease"), signed.into_bytes());
        self.put(&format!("/dists/{suite}/main/binary-amd64/Packages"), index.into_bytes());
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

    /// What it was asked for since the last time: paths and the first byte wanted.
    pub fn asked(&self) -> Vec<(String, usize)> {
        std::mem::take(&mut self.state().asked)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics with it locked")
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(&self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn digest(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}

/// Answers one request and closes the connection.
fn serve(mut stream: TcpStream, state: &Mutex<State>) {
    let _ = stream.set_read_timeout(Some(Duration::from_secs(10)));
    let Ok(reader) = stream.try_clone() else { return };
    let mut lines = BufReader::new(reader).lines().map_while(Result::ok);
    let path = lines.next().and_then(|line| line.split(' ').nth(1).map(str::to_owned));
    let range = lines.take_while(|line| !line.is_empty()).find_map(|line| {
        let line = line.to_lowercase();
        line.strip_prefix("range: bytes=")?.strip_suffix('-')?.parse::<usize>().ok()
    });
    let (path, from) = (path.unwrap_or_default(), range.unwrap_or(0));
    let (bytes, most) = {
        let mut state = state.lock().expect("nobody panics with it locked");
        state.asked.push((path.clone(), from));
        (state.files.get(&path).cloned(), state.breaks.get(&path).copied())
    };
    let answer = match bytes {
        None => {
            b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".to_vec()
        }
        Some(bytes) => {
            let (size, rest) = (bytes.len(), bytes.get(from..).unwrap_or_default());
            let status = if from > 0 { "206 Partial Content" } else { "200 OK" };
            let range = if from > 0 {
                format!("content-range: bytes {from}-{}/{size}\r\n", size - 1)
            } else {
                String::new()
            };
            let head = format!(
                "HTTP/1.1 {status}\r\ncontent-length: {}\r\n{range}connection: close\r\n\r\n",
                rest.len()
            );
            let sent = &rest[..most.unwrap_or(rest.len()).min(rest.len())];
            [head.as_bytes(), sent].concat()
        }
    };
    let _ = stream.write_all(&answer);
}

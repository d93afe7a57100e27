//! A registry in memory, on loopback, that fails as a test tells it to.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use sha2::{Digest as _, Sha256};

use crate::loopback::{Reply, Seen, Server};

/// Who may use it.
#[derive(Clone, Debug, Default)]
pub enum Access {
    /// Everybody.
    #[default]
    Open,
    /// Who knows the name and the password.
    Basic(String, String),
    /// Who shows a token; the name and the password give one, which is good for so many requests.
    Token(String, String, usize),
}

/// How it is, and how it fails.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Who may use it.
    pub access: Access,
    /// Whether it has the list of referrers that distribution 1.1 knows.
    pub referrers: bool,
    /// Where blobs are redirected to, if they are: `SCHEME://HOST`.
    pub storage: Option<String>,
    /// What goes wrong with which request, counted from 1.
    pub faults: BTreeMap<usize, Fault>,
}

/// What goes wrong with a request.
#[derive(Clone, Debug)]
pub enum Fault {
    /// It is not looked at, and answered by this status, asking to wait for so many seconds.
    Status(u16, Option<u32>),
    /// It is not looked at, and the connection closed.
    Dropped,
    /// It is done, and the connection closed before the answer.
    Lost,
    /// The answer ends after half its body.
    Short,
    /// The answer's body has one other byte.
    Wrong,
    /// The answer's body comes byte by byte with this pause.
    Slow(Duration),
    /// The answer is a page for people, with this status.
    Page(u16),
}

/// What is in it.
#[derive(Debug, Default)]
pub struct State {
    /// Bytes by repository and digest.
    pub blobs: BTreeMap<(String, String), Vec<u8>>,
    /// Media type and bytes by repository and digest.
    pub manifests: BTreeMap<(String, String), (String, Vec<u8>)>,
    /// Digests by repository and tag.
    pub tags: BTreeMap<(String, String), String>,
    uploads: BTreeSet<String>,
    tokens: BTreeMap<String, (usize, Vec<String>)>,
    count: usize,
}

/// The registry; it ends with the value.
#[derive(Debug)]
pub struct Registry {
    server: Server,
    state: Arc<Mutex<State>>,
}

impl Registry {
    /// An open one without faults.
    pub fn open() -> Self {
        Self::new(Options::default())
    }

    /// One that is and fails as said.
    pub fn new(options: Options) -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        let server = Server::new(move |seen, number| {
            let fault = options.faults.get(&number);
            match fault {
                Some(Fault::Status(status, after)) => {
                    let reply = Reply::status(*status);
                    return match after {
                        Some(seconds) => reply.header("retry-after", &seconds.to_string()),
                        None => reply,
                    };
                }
                Some(Fault::Page(status)) => {
                    return Reply { status: *status, ..Reply::ok(b"<html>no</html>") };
                }
                Some(Fault::Dropped) => return Reply::default(),
                _ => {}
            }
            let mut reply = answer(&options, &mut locked(&shared), seen);
            match fault {
                Some(Fault::Lost) => return Reply::default(),
                Some(Fault::Short) => reply.cut = Some(reply.body.len() / 2),
                Some(Fault::Wrong) => {
                    if let Some(byte) = reply.body.last_mut() {
                        *byte ^= 1;
                    }
                }
                Some(Fault::Slow(pause)) => reply.drip = Some(*pause),
                _ => {}
            }
            reply
        });
        Self { server, state }
    }

    /// `HOST:PORT`
    pub fn host(&self) -> String {
        self.server.url("").trim_start_matches("http://").to_owned()
    }

    /// What is in it.
    pub fn state(&self) -> MutexGuard<'_, State> {
        locked(&self.state)
    }

    /// Every request so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.server.seen()
    }

    /// Every request so far, as `METHOD PATH`.
    pub fn requests(&self) -> Vec<String> {
        self.seen().iter().map(|seen| format!("{} {}", seen.method, seen.path)).collect()
    }
}

impl State {
    /// The manifest that a tag names.
    pub fn tagged(&self, repository: &str, tag: &str) -> Option<&(String, Vec<u8>)> {
        let digest = self.tags.get(&(repository.to_owned(), tag.to_owned()))?;
        self.manifests.get(&(repository.to_owned(), digest.clone()))
    }
}

fn locked(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().expect("no test panics with the lock held")
}

/// `sha256:HEX`
fn digest(bytes: &[u8]) -> String {
    format!("sha256:{:x}", Sha256::digest(bytes))
}

fn error(status: u16, code: &str) -> Reply {
    let body = format!("{{\"errors\":[{{\"code\":\"{code}\",\"message\":\"{status}\"}}]}}");
    Reply { status, ..Reply::ok(body.as_bytes()) }
}

fn query<'p>(path: &'p str, name: &str) -> Vec<String> {
    let pairs = path.split_once('?').map_or("", |(_, query): (&'p str, _)| query).split('&');
    let named = pairs.filter_map(|pair| pair.split_once('=')).filter(|(n, _)| *n == name);
    named.map(|(_, value)| decoded(value)).collect()
}

/// Without `%XX`.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, more)) = rest.split_first() {
        let hex = more.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        let byte = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()).filter(|_| *first == b'%');
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &more[2..] } else { more };
    }
    String::from_utf8(bytes).expect("tests speak UTF-8")
}

fn base64(text: &str) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for part in text.as_bytes().chunks(3) {
        let bits = part.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte));
        let bits = bits << (8 * (3 - part.len()));
        for at in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * at)) as usize & 63];
            out.push(if at <= part.len() { letter as char } else { '=' });
        }
    }
    out
}

/// Who may not do this is told how to become somebody who may.
fn refused(options: &Options, state: &mut State, seen: &Seen) -> Option<Reply> {
    let shown = seen.headers.get("authorization").map(String::as_str).unwrap_or_default();
    match &options.access {
        Access::Open => None,
        Access::Basic(user, password) => {
            let right = format!("Basic {}", base64(&format!("{user}:{password}")));
            let challenge = "Basic realm=\"registry\"";
            (shown != right)
                .then(|| error(401, "UNAUTHORIZED").header("www-authenticate", challenge))
        }
        Access::Token(..) => {
            let wanted = wanted(seen);
            let token = shown.strip_prefix("Bearer ").and_then(|t| state.tokens.get_mut(t));
            if let Some((uses, scopes)) = token
                && *uses > 0
                && wanted.iter().all(|wanted| scopes.contains(wanted))
            {
                *uses -= 1;
                return None;
            }
            let host = &seen.headers["host"];
            let challenge = format!("Bearer realm=\"http://{host}/token\",service=\"tests\"");
            Some(error(401, "UNAUTHORIZED").header("www-authenticate", &challenge))
        }
    }
}

/// What a request needs, as `PATH:ACTION`.
fn wanted(seen: &Seen) -> Vec<String> {
    let Some((repository, _)) = parse(&seen.path) else { return Vec::new() };
    let reads = matches!(seen.method.as_str(), "GET" | "HEAD");
    let action = if reads { "pull" } else { "push" };
    let mut wanted = vec![format!("{repository}:{action}")];
    wanted.extend(query(&seen.path, "from").iter().map(|from| format!("{from}:pull")));
    wanted
}

/// A token for who may have one.
fn token(options: &Options, state: &mut State, seen: &Seen) -> Reply {
    let Access::Token(name, password, times) = &options.access else { return Reply::status(404) };
    let form = String::from_utf8_lossy(&seen.body).into_owned();
    let right = format!("Basic {}", base64(&format!("{name}:{password}")));
    let identity = format!("?{form}");
    let scopes = if seen.method == "POST" {
        if query(&identity, "refresh_token") != [password.clone()] {
            return error(401, "UNAUTHORIZED");
        }
        query(&identity, "scope").iter().flat_map(|s| s.split(' ').map(str::to_owned)).collect()
    } else {
        if seen.headers.get("authorization") != Some(&right) {
            return error(401, "UNAUTHORIZED");
        }
        query(&seen.path, "scope")
    };
    let mut granted = Vec::new();
    for scope in &scopes {
        let mut parts = scope.split(':').skip(1);
        let (path, actions) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
        granted.extend(actions.split(',').map(|action| format!("{path}:{action}")));
    }
    state.count += 1;
    let token = format!("token-{}", state.count);
    state.tokens.insert(token.clone(), (*times, granted));
    Reply::ok(format!("{{\"token\":\"{token}\",\"expires_in\":300}}").as_bytes())
}

/// The repository and what of it.
fn parse(path: &str) -> Option<(&str, Vec<&str>)> {
    let path = path.split('?').next()?.strip_prefix("/v2/")?;
    for kind in ["/blobs/", "/manifests/", "/referrers/"] {
        if let Some((repository, rest)) = path.split_once(kind) {
            let mut parts = vec![kind.trim_matches('/')];
            parts.extend(rest.split('/').filter(|part| !part.is_empty()));
            return Some((repository, parts));
        }
    }
    None
}

fn answer(options: &Options, state: &mut State, seen: &Seen) -> Reply {
    if seen.path.starts_with("/token") {
        return token(options, state, seen);
    }
    if let Some(refused) = refused(options, state, seen) {
        return refused;
    }
    let Some((repository, parts)) = parse(&seen.path) else {
        return if seen.path == "/v2/" { Reply::ok(b"{}") } else { error(404, "NAME_UNKNOWN") };
    };
    let key = |name: &str| (repository.to_owned(), name.to_owned());
    match (seen.method.as_str(), parts.as_slice()) {
        ("GET" | "HEAD", ["blobs", digest]) => {
            match (&options.storage, state.blobs.get(&key(digest))) {
                (_, None) => error(404, "BLOB_UNKNOWN"),
                (Some(storage), Some(_)) if seen.method == "GET" => {
                    Reply::status(307).header("location", &format!("{storage}/{digest}"))
                }
                (_, Some(blob)) => Reply::ranged(seen, blob),
            }
        }
        ("POST", ["blobs", "uploads"]) => {
            let mounted = query(&seen.path, "mount").into_iter().zip(query(&seen.path, "from"));
            for (digest, from) in mounted {
                if let Some(blob) = state.blobs.get(&(from, digest.clone())).cloned() {
                    state.blobs.insert(key(&digest), blob);
                    return Reply::status(201);
                }
            }
            state.count += 1;
            let name = format!("upload-{}", state.count);
            let at = format!("/v2/{repository}/blobs/uploads/{name}?state=x");
            state.uploads.insert(name);
            Reply::status(202).header("location", &at)
        }
        ("DELETE", ["blobs", "uploads", name]) => {
            state.uploads.remove(*name);
            Reply::status(204)
        }
        ("PUT", ["blobs", "uploads", name]) => {
            if !state.uploads.remove(*name) {
                return error(404, "BLOB_UPLOAD_UNKNOWN");
            }
            let digest = digest(&seen.body);
            if query(&seen.path, "digest") != [digest.clone()] {
                return error(400, "DIGEST_INVALID");
            }
            state.blobs.insert(key(&digest), seen.body.clone());
            Reply::status(201).header("docker-content-digest", &digest)
        }
        ("GET" | "HEAD", ["manifests", name]) => {
            let digest = state.tags.get(&key(name)).cloned().unwrap_or_else(|| (*name).to_owned());
            match state.manifests.get(&key(&digest)) {
                Some((kind, bytes)) => Reply::ok(bytes)
                    .header("content-type", kind)
                    .header("docker-content-digest", &digest),
                None => error(404, "MANIFEST_UNKNOWN"),
            }
        }
        ("PUT", ["manifests", name]) => put_manifest(options, state, seen, repository, name),
        ("GET", ["referrers", subject]) if options.referrers => {
            let about = format!("\"digest\":\"{subject}\"");
            let of = |bytes: &[u8]| {
                let text = String::from_utf8_lossy(bytes);
                text.split_once("\"subject\":").is_some_and(|(_, rest)| rest.contains(&about))
            };
            let manifests = state.manifests.iter().filter(|((path, _), _)| path == repository);
            let entries = manifests.filter(|(_, (_, bytes))| of(bytes)).map(
                |((_, digest), (kind, bytes))| {
                    format!(
                        "{{\"mediaType\":\"{kind}\",\"digest\":\"{digest}\",\"size\":{}}}",
                        bytes.len()
                    )
                },
            );
            let entries = entries.collect::<Vec<_>>().join(",");
            Reply::ok(format!("{{\"schemaVersion\":2,\"manifests\":[{entries}]}}").as_bytes())
        }
        _ => error(404, "UNSUPPORTED"),
    }
}

fn put_manifest(
    options: &Options,
    state: &mut State,
    seen: &Seen,
    repository: &str,
    name: &str,
) -> Reply {
    let digest = digest(&seen.body);
    let text = String::from_utf8_lossy(&seen.body).into_owned();
    if name.starts_with("sha256:") && name != digest {
        return error(400, "DIGEST_INVALID");
    }
    // Whatever it names must be there.
    let subject = text.split_once("\"subject\":").map_or("", |(_, rest)| rest);
    for named in text.split("\"digest\":\"").skip(1).filter_map(|rest| rest.get(..71)) {
        let key = (repository.to_owned(), named.to_owned());
        let there = state.blobs.contains_key(&key) || state.manifests.contains_key(&key);
        if !there && !subject.contains(named) {
            return error(404, "MANIFEST_BLOB_UNKNOWN");
        }
    }
    let kind = seen.headers.get("content-type").cloned().unwrap_or_default();
    let key = (repository.to_owned(), digest.clone());
    state.manifests.insert(key, (kind, seen.body.clone()));
    if !name.starts_with("sha256:") {
        state.tags.insert((repository.to_owned(), name.to_owned()), digest.clone());
    }
    let reply = Reply::status(201).header("docker-content-digest", &digest);
    match subject.split("\"digest\":\"").nth(1).and_then(|rest| rest.get(..71)) {
        Some(subject) if options.referrers => reply.header("oci-subject", subject),
        _ => reply,
    }
}

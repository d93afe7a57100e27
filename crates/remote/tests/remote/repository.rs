//! What only a repository of a registry does.

use std::{collections::BTreeMap, net::TcpListener, path::Path, sync::Arc, time::Duration};

use reimage_castore::Digest;
use reimage_http::HttpConfig;
use reimage_registry::{Credentials, Registry, RegistryConfig};
use reimage_remote::{Cache, CacheConfig, Record, Remote, Repository, Trust, Unavailable, Upload};
use reimage_tests::registry::{Access, Fault, Options, Registry as Server};

use crate::{
    Made, blob,
    faulty::{patient_remote, remote, said},
};

const LONG: Duration = Duration::from_mins(1);

/// The cache `team/cache` of a registry.
pub(crate) fn repository(host: &str) -> Repository {
    repository_as(host, Credentials::default())
}

/// The same by who these credentials say.
pub(crate) fn repository_as(host: &str, credentials: Credentials) -> Repository {
    let http = HttpConfig { retries: 0, ..HttpConfig::default() };
    let registry = Registry::new(http, RegistryConfig { credentials, ..RegistryConfig::default() });
    Repository::new(registry.expect("a configuration"), host, "team/cache")
}

/// `ci` with the password `secret`, in a file in `directory`.
pub(crate) fn credentials(directory: &Path, host: &str) -> Credentials {
    let file = directory.join("config.json");
    let json = format!(r#"{{"auths":{{"{host}":{{"auth":"Y2k6c2VjcmV0"}}}}}}"#);
    std::fs::write(&file, json).expect("writable");
    Credentials { files: vec![file] }
}

const CONTENTS: [&[u8]; 3] = [b"a layer", b"a pack", b"another pack"];

fn key() -> Digest {
    Digest::of(b"an action")
}

fn made() -> Made {
    Made(CONTENTS.map(blob).to_vec())
}

fn cache(remote: Remote) -> Cache {
    let remotes = vec![(remote, true)];
    Cache::new(CacheConfig { remotes, trust: Trust::Server, signer: None })
}

/// Sends what was made; what was not sent.
fn send(cache: &Cache) -> Vec<String> {
    let upload =
        |bytes: &'static [u8]| -> Upload { (blob(bytes), Arc::new(move || Ok(Box::new(bytes)))) };
    cache.push("made", key(), move || Ok(Some((made(), CONTENTS.map(upload).to_vec()))));
    cache.finish(LONG).not_sent
}

/// Whether all of it can be had; none of it is other than it should be.
fn take(cache: &Cache) -> bool {
    let Some(found) = cache.find(&key(), Made::blobs) else { return false };
    assert_eq!(found, made());
    found.0.into_iter().zip(CONTENTS).all(|(blob, bytes)| {
        let Some(mut file) = cache.get(blob) else { return false };
        let mut got = Vec::new();
        std::io::Read::read_to_end(&mut file, &mut got).expect("a file");
        assert_eq!(got, bytes);
        true
    })
}

fn of(server: &Server) -> Cache {
    cache(patient_remote(Arc::new(repository(&server.host()))).0)
}

#[test]
fn a_hit_is_one_request_and_one_for_each_blob() {
    let server = Server::open();
    assert_eq!(send(&of(&server)), [""; 0]);
    let before = server.requests().len();
    assert!(take(&of(&server)));
    let requests = server.requests().split_off(before);
    // The first two ask whether the registry speaks with encryption, and the place of the record.
    let gets: Vec<_> = requests.iter().filter(|request| request.starts_with("GET")).collect();
    assert_eq!(gets.len(), requests.len(), "{requests:?}");
    assert_eq!(gets.len(), 1 + CONTENTS.len(), "{requests:?}");
    assert!(gets[0].starts_with("GET /v2/team/cache/manifests/cache-v1-"), "{requests:?}");
    // Who has it already sends nothing.
    let before = server.requests().len();
    assert_eq!(send(&of(&server)), [""; 0]);
    assert_eq!(server.requests().len(), before + 1);
}

#[test]
fn a_manifest_names_all_that_its_record_names() {
    let server = Server::open();
    assert_eq!(send(&of(&server)), [""; 0]);
    let state = server.state();
    let tags: Vec<_> = state.tags.keys().map(|(_, tag)| tag.clone()).collect();
    assert_eq!(tags.len(), 1);
    let (kind, bytes) = state.tagged("team/cache", &tags[0]).expect("it is there");
    assert_eq!(kind, reimage_oci::MANIFEST);
    let manifest: serde_json::Value = serde_json::from_slice(bytes).expect("JSON");
    assert_eq!(manifest["artifactType"], "application/vnd.reimage.cache.record.v1");
    let layers = manifest["layers"].as_array().expect("layers");
    let layers: Vec<_> = layers.iter().map(|layer| layer["digest"].as_str()).collect();
    let mut named = made().0;
    named.sort();
    let named: Vec<_> = named.iter().map(|blob| blob.digest.to_string()).collect();
    assert_eq!(layers, named.iter().map(|digest| Some(digest.as_str())).collect::<Vec<_>>());
}

#[test]
fn what_an_image_has_is_not_sent() {
    let server = Server::open();
    for bytes in CONTENTS {
        let key = ("team/cache".to_owned(), blob(bytes).digest.to_string());
        server.state().blobs.insert(key, bytes.to_vec());
    }
    assert_eq!(send(&of(&server)), [""; 0]);
    let puts = server.requests().into_iter().filter(|request| request.starts_with("PUT"));
    assert_eq!(puts.count(), 2, "the empty configuration, and the record");
    assert!(take(&of(&server)));
}

#[test]
fn what_is_gone_or_something_else_is_made_again() {
    type Harm = fn(&Server);
    let harms: [(&str, Harm); 5] = [
        ("a blob is gone", |server| {
            let digest = blob(CONTENTS[1]).digest.to_string();
            server.state().blobs.remove(&("team/cache".to_owned(), digest));
        }),
        ("a blob is another", |server| {
            let key = ("team/cache".to_owned(), blob(CONTENTS[1]).digest.to_string());
            server.state().blobs.insert(key, b"no pack".to_vec());
        }),
        ("a blob is cut off", |server| {
            let key = ("team/cache".to_owned(), blob(CONTENTS[1]).digest.to_string());
            server.state().blobs.insert(key, b"a p".to_vec());
        }),
        ("the tag is an image's", |server| {
            let bytes = br#"{"schemaVersion":2,"config":{},"layers":[]}"#.to_vec();
            let digest = reimage_castore::Sha256::of(&bytes).to_string();
            let key = ("team/cache".to_owned(), digest.clone());
            let mut state = server.state();
            state.manifests.insert(key, (reimage_oci::MANIFEST.to_owned(), bytes));
            state.tags.values_mut().for_each(|tagged| tagged.clone_from(&digest));
        }),
        ("the manifest is nothing", |server| {
            for (_, bytes) in server.state().manifests.values_mut() {
                bytes.truncate(bytes.len() / 2);
            }
        }),
    ];
    for (what, harm) in harms {
        let server = Server::open();
        assert_eq!(send(&of(&server)), [""; 0]);
        harm(&server);
        let reader = of(&server);
        assert!(!take(&reader), "{what}");
        assert!(reader.find::<Made>(&key(), Record::blobs).is_none(), "{what}: not a second time");
        // Whoever makes it again puts it right.
        assert_eq!(send(&reader), [""; 0], "{what}: {:?}", server.requests());
        assert!(take(&of(&server)), "{what}");
    }
}

#[test]
fn what_goes_wrong_with_any_request_makes_nothing_wrong() {
    let faults = [
        Fault::Dropped,
        Fault::Lost,
        Fault::Short,
        Fault::Wrong,
        Fault::Page(200),
        Fault::Status(500, None),
        Fault::Status(401, None),
        Fault::Status(404, None),
    ];
    std::thread::scope(|scope| {
        for fault in &faults {
            scope.spawn(move || one_after_the_other(fault));
        }
    });
}

/// Has each request in turn go wrong, of one machine that sends and one that takes.
fn one_after_the_other(fault: &Fault) {
    for number in 1.. {
        let faults = BTreeMap::from([(number, fault.clone())]);
        let server = Server::new(Options { faults, ..Options::default() });
        let _ = send(&of(&server));
        let _ = take(&of(&server));
        let done = server.requests().len() < number;
        // Whatever it was, it is over.
        let _ = send(&of(&server));
        assert!(take(&of(&server)), "{fault:?} {number}: {:#?}", server.requests());
        if done {
            assert!(number > 12, "{number}");
            return;
        }
    }
}

#[test]
fn every_refusal_has_one_outcome() {
    let all = |status, after| {
        let faults = (1..1000).map(|number| (number, Fault::Status(status, after))).collect();
        Server::new(Options { faults, ..Options::default() })
    };
    let key = key();
    for (status, says) in [
        (401, "is not used: HOST denies `team/cache:TAG` (`reimage login` says who we are)"),
        (403, "is not used: HOST denies `team/cache:TAG` (`reimage login` says who we are)"),
        (405, "is not used: HOST answered 405 when asked for `team/cache:TAG`"),
        (429, "is not used: HOST answered 429 when asked for `team/cache:TAG`"),
    ] {
        let server = all(status, (status == 429).then_some(60));
        let (remote, warnings) = patient_remote(Arc::new(repository(&server.host())));
        assert_eq!(remote.record(key), Err(Unavailable));
        assert!(remote.is_off(), "{status}");
        let says = says.replace("HOST", &server.host()).replace("TAG", &format!("cache-v1-{key}"));
        assert_eq!(said(&warnings), [format!("The cache test: {says}")]);
        assert_eq!(server.requests().len(), 1, "{status}");
    }
    // A server that only asks to be asked later, as long as that is soon.
    let faults = BTreeMap::from([(1, Fault::Status(429, Some(0)))]);
    let server = Server::new(Options { faults, ..Options::default() });
    let (remote_of, warnings) = patient_remote(Arc::new(repository(&server.host())));
    assert_eq!(remote_of.record(key), Ok(None));
    assert_eq!(said(&warnings), [""; 0]);
    // Writing.
    let put =
        |remote: &Remote, bytes: &'static [u8]| remote.put(blob(bytes), || Ok(Box::new(&b"x"[..])));
    for status in [401, 403, 404, 405] {
        let server = all(status, None);
        let (remote, warnings) = patient_remote(Arc::new(repository(&server.host())));
        assert_eq!(put(&remote, b"x"), Err(Unavailable), "{status}");
        assert!(remote.takes_nothing() && !remote.is_off(), "{status}: {:?}", said(&warnings));
        let warnings = said(&warnings);
        assert!(warnings[0].starts_with("The cache test: takes nothing: "), "{warnings:?}");
    }
    let server = all(413, None);
    let (remote, warnings) = patient_remote(Arc::new(repository(&server.host())));
    for _ in 0..10 {
        assert_eq!(put(&remote, b"x"), Err(Unavailable));
    }
    assert!(!remote.takes_nothing(), "others may be smaller");
    let says = format!("The cache test: does not take everything: {} answered 413", server.host());
    assert!(said(&warnings)[0].starts_with(&says), "{:?}", said(&warnings));
    assert_eq!(said(&warnings).len(), 1);
}

#[test]
fn who_may_only_read_sends_nothing_and_asks_for_no_more() {
    let server = Server::open();
    assert_eq!(send(&of(&server)), [""; 0]);
    let closed = Server::new(Options {
        access: Access::Token("ci".into(), "secret".into(), 1000),
        ..Options::default()
    });
    *closed.state() = std::mem::take(&mut *server.state());
    let directory = tempfile::tempdir().expect("a directory");
    let backend = repository_as(&closed.host(), credentials(directory.path(), &closed.host()));
    let remotes = vec![(patient_remote(Arc::new(backend)).0, false)];
    let reader = Cache::new(CacheConfig { remotes, trust: Trust::Server, signer: None });
    assert!(take(&reader));
    assert_eq!(send(&reader), [""; 0]);
    let requests = closed.requests();
    assert!(requests.iter().all(|request| request.starts_with("GET ")), "{requests:?}");
    let tokens: Vec<_> = requests.iter().filter(|r| r.contains("/token?")).collect();
    assert_eq!(tokens.len(), 1, "{requests:?}");
    assert!(!tokens[0].contains("push"), "{requests:?}");
}

#[test]
fn one_that_is_not_there_is_given_up() {
    // A port where nobody listens, and one where nobody ever answers.
    let silent = TcpListener::bind("127.0.0.1:0").expect("loopback has free ports");
    let silent = silent.local_addr().expect("it is bound").to_string();
    let refused = format!("127.0.0.1:{}", reimage_tests::free_port());
    for host in [refused, silent] {
        let (remote, warnings) = remote(Arc::new(repository(&host)));
        for _ in 0..3 {
            assert_eq!(remote.record(key()), Err(Unavailable), "{host}");
        }
        assert!(remote.is_off() && remote.metrics().calls <= 9, "{host}");
        assert_eq!(said(&warnings).len(), 1);
    }
}

//! Pulling: verified, resumed, from mirrors first.

use crate::{RegistryConfig, RegistryError};
use reimage_tests::{
    loopback::{Reply, Server as Loopback},
    registry::{Access, Fault, Options, Registry as Server},
};

use super::machine::{Images, anonymous, client, knowing, noise};

#[test]
fn there_and_back() {
    let (server, images, client) = (Server::open(), Images::new(), anonymous());
    let repository = client.repository(&server.host(), "app");
    let image = images.image(&[noise(1, 1_000_000), noise(2, 0), noise(3, 3)]);
    images.push(&image, &repository, &["1"]).unwrap();
    let fresh = Images::new();
    let pulled = fresh.pull(&repository, "1").unwrap();
    assert_eq!((pulled.descriptor, pulled.fetched), (image.clone(), 4));
    fresh.check();
    let again = fresh.pull(&repository, "1").unwrap();
    assert_eq!((again.fetched, again.bytes), (0, 0));
    assert_eq!(
        fresh.layout.read_document(&image).unwrap(),
        images.layout.read_document(&image).unwrap()
    );
    assert_eq!(repository.tagged("2").unwrap(), None);
    assert_eq!(client.repository(&server.host(), "none").tagged("1").unwrap(), None);
}

#[test]
fn downloads_go_on_where_they_broke_off() {
    let images = Images::new();
    let image = images.image(&[noise(1, 1_000_000)]);
    // The layer is what the third request asks for, again and again: then it is another process's turn.
    let faults = (3..=4).map(|number| (number, Fault::Short)).collect();
    let server = Server::new(Options { faults, ..Options::default() });
    let repository_of = |server: &Server| server.host();
    let state = {
        let other = Server::open();
        let client = anonymous();
        images.push(&image, &client.repository(&repository_of(&other), "app"), &["1"]).unwrap();
        std::mem::take(&mut *other.state())
    };
    *server.state() = state;
    let client = anonymous();
    let fresh = Images::new();
    fresh.pull(&client.repository(&server.host(), "app"), "1").unwrap();
    fresh.check();
    let ranges: Vec<_> =
        server.seen().iter().filter_map(|seen| seen.headers.get("range").cloned()).collect();
    assert!(!ranges.is_empty(), "{:?}", server.requests());
}

#[test]
fn storage_elsewhere_is_told_no_secret() {
    let images = Images::new();
    let layer = noise(1, 10_000);
    let image = images.image(&[layer]);
    let blobs = images.layout.clone();
    let storage = Loopback::new(move |seen, _| {
        let digest = seen.path.trim_start_matches('/').parse().unwrap();
        Reply::ranged(seen, &std::fs::read(blobs.blob_path(digest)).unwrap())
    });
    for access in [
        Access::Basic("user".into(), "word".into()),
        Access::Token("user".into(), "word".into(), 100),
    ] {
        let server =
            Server::new(Options { access, storage: Some(storage.url("")), ..Options::default() });
        let directory = tempfile::tempdir().unwrap();
        // `user:word`
        let host = server.host();
        let client = knowing(
            directory.path(),
            &format!(r#"{{"auths":{{"{host}":{{"auth":"dXNlcjp3b3Jk"}}}}}}"#),
        );
        let repository = client.repository(&host, "app");
        images.push(&image, &repository, &["1"]).unwrap();
        let fresh = Images::new();
        fresh.pull(&repository, "1").unwrap();
        fresh.check();
        assert!(server.seen().iter().any(|seen| seen.headers.contains_key("authorization")));
    }
    assert!(!storage.seen().is_empty());
    assert!(storage.seen().iter().all(|seen| !seen.headers.contains_key("authorization")));
}

#[test]
fn mirrors_come_first_and_may_fail() {
    let (server, images) = (Server::open(), Images::new());
    let image = images.image(&[noise(1, 100)]);
    let anonymous = anonymous();
    images.push(&image, &anonymous.repository(&server.host(), "hub/app"), &["1"]).unwrap();
    let down = format!("127.0.0.1:{}", reimage_tests::free_port());
    let empty = Server::open();
    let mirrors = vec![down, empty.host(), format!("http://{}/hub", server.host())];
    let registry = "registry.example";
    let config = RegistryConfig {
        mirrors: [(registry.to_owned(), mirrors)].into(),
        ..RegistryConfig::default()
    };
    let client = client(config);
    let fresh = Images::new();
    fresh.pull(&client.repository(registry, "app"), "1").unwrap();
    fresh.check();
    assert!(!empty.requests().is_empty());
}

#[test]
fn errors_are_short_and_say_who() {
    let endless =
        Loopback::new(|_, _| Reply { status: 400, endless: true, ..Reply::ok(&[b'x'; 4096]) });
    let host = endless.url("").trim_start_matches("http://").to_owned();
    let client = anonymous();
    let error = client.repository(&host, "app").tagged("1").unwrap_err().to_string();
    assert!(error.len() < 500 && error.contains("answered 400 when asked for `app:1`"), "{error}");

    let page = |status| {
        let faults = [(1, Fault::Page(status))].into();
        Server::new(Options { faults, ..Options::default() })
    };
    let server = page(400);
    let error = client.repository(&server.host(), "app").tagged("1").unwrap_err();
    assert_eq!(error.to_string(), format!("{} answered 400 when asked for `app:1`", server.host()));
    let server = page(403);
    let error = client.repository(&server.host(), "app").tagged("1").unwrap_err();
    assert!(matches!(error, RegistryError::Denied { known: false, .. }), "{error}");

    // A manifest without end.
    let endless = Loopback::new(|_, _| Reply { endless: true, ..Reply::ok(&[b' '; 16384]) });
    let host = endless.url("").trim_start_matches("http://").to_owned();
    let error = client.repository(&host, "app").tagged("1").unwrap_err();
    assert_eq!(error.to_string(), format!("`app:1` cannot be had from {host}"));
}

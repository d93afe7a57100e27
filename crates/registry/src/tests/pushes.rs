//! Pushing: only what is missing, and the tags last.

use crate::{Platforms, RegistryError, Source, push};
use reimage_tests::registry::{Access, Options, Registry as Server};

use super::machine::{Images, anonymous, knowing, noise};

/// `METHOD WHAT` of each request, digests and uploads left out.
fn shape(requests: &[String]) -> Vec<String> {
    let short = |request: &String| {
        let (method, path) = request.split_once(' ').unwrap();
        let path = path.trim_start_matches("/v2/");
        let path = path.split('?').next().unwrap();
        let kind = path.split('/').filter(|part| {
            !part.starts_with("sha256:") && !part.starts_with("upload-") && !part.is_empty()
        });
        format!("{method} {}", kind.collect::<Vec<_>>().join("/"))
    };
    requests.iter().map(short).collect()
}

#[test]
fn only_what_is_missing() {
    let (server, images, client) = (Server::open(), Images::new(), anonymous());
    let repository = client.repository(&server.host(), "team/app");
    let (base, old, new) = (noise(1, 100_000), noise(2, 50_000), noise(3, 50_000));
    let first = images.image(&[base.clone(), old]);
    let pushed = images.push(&first, &repository, &["1", "latest"]).unwrap();
    assert_eq!((pushed.sent, pushed.digest), (3, first.digest));
    assert!(pushed.bytes > 150_000 && pushed.bytes < 151_000);
    let before = server.requests().len();
    assert_eq!(
        shape(&server.requests()[before - 2..]),
        ["PUT team/app/manifests/1", "PUT team/app/manifests/latest"]
    );

    // Nothing changed.
    let pushed = images.push(&first, &repository, &["1"]).unwrap();
    assert_eq!((pushed.sent, pushed.bytes), (0, 0));
    assert_eq!(shape(&server.requests()[before..]), ["GET team/app/manifests/1"]);

    // A tag more.
    let before = server.requests().len();
    assert_eq!(images.push(&first, &repository, &["2"]).unwrap().sent, 0);
    assert_eq!(
        shape(&server.requests()[before..]),
        ["GET team/app/manifests/2", "GET team/app/manifests", "PUT team/app/manifests/2",]
    );

    // A layer changed.
    let before = server.requests().len();
    let second = images.image(&[base, new]);
    let pushed = images.push(&second, &repository, &["1"]).unwrap();
    assert_eq!(pushed.sent, 2);
    assert!(pushed.bytes < 51_000, "{pushed:?}");
    let mut requests = shape(&server.requests()[before..]);
    assert_eq!(requests.len(), 7);
    assert_eq!(requests.first().unwrap(), "GET team/app/manifests/1");
    assert_eq!(requests.pop().unwrap(), "PUT team/app/manifests/1");
    let heads = requests.iter().filter(|request| request.starts_with("HEAD")).count();
    assert_eq!(heads, 1, "{requests:?}");
}

#[test]
fn a_digest_is_enough() {
    let (server, images, client) = (Server::open(), Images::new(), anonymous());
    let repository = client.repository(&server.host(), "app");
    let image = images.image(&[noise(1, 10)]);
    images.push(&image, &repository, &[]).unwrap();
    assert!(server.state().tags.is_empty());
    assert_eq!(repository.manifest(image.digest).unwrap().unwrap().descriptor.digest, image.digest);
}

#[test]
fn an_empty_layer_arrives() {
    let (server, images, client) = (Server::open(), Images::new(), anonymous());
    let image = images.image(&[Vec::new()]);
    images.push(&image, &client.repository(&server.host(), "app"), &["1"]).unwrap();
    assert!(server.state().blobs.values().any(Vec::is_empty));
}

#[test]
fn blobs_that_the_registry_lost_are_sent_again() {
    let (server, images, client) = (Server::open(), Images::new(), anonymous());
    let repository = client.repository(&server.host(), "app");
    let base = noise(1, 100_000);
    let first = images.image(std::slice::from_ref(&base));
    images.push(&first, &repository, &["1"]).unwrap();
    server.state().blobs.retain(|_, blob| blob.len() < 100_000);
    let second = images.image(&[base, noise(2, 10)]);
    assert_eq!(images.push(&second, &repository, &["1"]).unwrap().digest, second.digest);
    let fresh = Images::new();
    fresh.pull(&repository, "1").unwrap();
    fresh.check();
}

#[test]
fn mounts_send_nothing() {
    let directory = tempfile::tempdir().unwrap();
    for access in [Access::Open, Access::Token("user".into(), "word".into(), 100)] {
        let server = Server::new(Options { access, ..Options::default() });
        let images = Images::new();
        let host = server.host();
        let client = knowing(
            directory.path(),
            &format!(r#"{{"auths":{{"{host}":{{"username":"user","password":"word"}}}}}}"#),
        );
        let image = images.image(&[noise(1, 100_000)]);
        images.push(&image, &client.repository(&host, "base"), &["1"]).unwrap();
        let to = client.repository(&host, "app");
        let mounts = ["nothing".to_owned(), "base".to_owned()];
        let source = Source::Layout(&images.layout);
        let tags = ["1".to_owned()];
        let pushed =
            push(source, &image, &Platforms::All, &to, &tags, &mounts, &|_, _, _| {}).unwrap();
        assert_eq!((pushed.sent, pushed.mounted), (0, 2));
    }
}

#[test]
fn from_repository_to_repository() {
    let (one, two) = (Server::open(), Server::open());
    let (images, client) = (Images::new(), anonymous());
    let from = client.repository(&one.host(), "app");
    let image = images.image(&[noise(1, 100_000), noise(2, 20)]);
    images.push(&image, &from, &["1"]).unwrap();
    let to = client.repository(&two.host(), "copy/app");
    let source = Source::Repository(&from);
    let copy = || {
        let tags = ["1".to_owned()];
        push(source, &image, &Platforms::All, &to, &tags, &[], &|_, _, _| {}).unwrap()
    };
    assert_eq!(copy().sent, 3);
    assert_eq!(two.state().tagged("copy/app", "1"), one.state().tagged("app", "1"));
    let before = one.requests().len();
    assert_eq!(copy().sent, 0);
    assert_eq!(one.requests().len(), before + 1, "the manifest and nothing else");
}

#[test]
fn what_is_no_image_is_refused() {
    let (server, images, client) = (Server::open(), Images::new(), anonymous());
    let repository = client.repository(&server.host(), "app");
    let image = images.image(&[noise(1, 10)]);
    let nested = images.index(&[("", images.index(&[("amd64", image)]))]);
    let error = images.push(&nested, &repository, &["1"]).unwrap_err();
    assert!(matches!(error, RegistryError::Nested { .. }), "{error}");
    assert!(server.requests().is_empty());
}

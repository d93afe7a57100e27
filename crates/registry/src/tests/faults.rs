//! Every request of a push and a pull goes wrong in every way: it ends right or fails clearly, and never halfway.

use std::{collections::BTreeMap, time::Duration};

use crate::RegistryError;
use reimage_tests::registry::{Access, Fault, Options, Registry as Server};

use super::machine::{Images, anonymous, knowing, noise};

fn with(faults: BTreeMap<usize, Fault>, access: Access) -> Server {
    Server::new(Options { access, faults, ..Options::default() })
}

fn passing() -> [Fault; 5] {
    [
        Fault::Status(429, Some(0)),
        Fault::Status(503, None),
        Fault::Dropped,
        Fault::Lost,
        Fault::Slow(Duration::from_micros(10)),
    ]
}

/// A layer that is asked for and sent, and one that is sent unasked.
fn layers() -> [Vec<u8>; 2] {
    [noise(1, 17_000), noise(2, 20)]
}

#[test]
fn a_push_gets_over_each() {
    let images = Images::new();
    let image = images.image(&layers());
    let directory = tempfile::tempdir().unwrap();
    for access in [Access::Open, Access::Token("user".into(), "word".into(), 3)] {
        let push = |faults: BTreeMap<usize, Fault>| {
            let server = with(faults, access.clone());
            let host = server.host();
            let text =
                format!(r#"{{"auths":{{"{host}":{{"username":"user","password":"word"}}}}}}"#);
            let client = knowing(directory.path(), &text);
            let repository = client.repository(&host, "app");
            let pushed = images.push(&image, &repository, &["1"]);
            pushed.unwrap_or_else(|error| panic!("{error}: {:?}", server.requests()));
            let digest = server.state().tags[&("app".to_owned(), "1".to_owned())].clone();
            assert_eq!(digest, image.digest.to_string());
            let fresh = Images::new();
            fresh.pull(&repository, "1").unwrap();
            fresh.check();
            server.requests().iter().position(|r| r == "PUT /v2/app/manifests/1").unwrap() + 1
        };
        let requests = push(BTreeMap::new());
        for number in 1..=requests {
            for fault in passing() {
                push([(number, fault)].into());
            }
        }
    }
}

#[test]
fn a_push_that_fails_names_nothing_and_goes_on() {
    let images = Images::new();
    let image = images.image(&layers());
    let client = anonymous();
    let mut sent = Vec::new();
    for number in 1..=9 {
        // From here on nobody answers, until somebody pushes again.
        let faults = (number..number + 40).map(|number| (number, Fault::Dropped)).collect();
        let server = with(faults, Access::Open);
        let repository = client.repository(&server.host(), "app");
        let error = images.push(&image, &repository, &["1"]).unwrap_err();
        assert!(matches!(error, RegistryError::Http { .. }), "{error}");
        assert!(server.state().tags.is_empty());
        while server.requests().len() < number + 39 {
            let _ = images.push(&image, &repository, &["1"]);
        }
        let there = server.state().blobs.len();
        let Ok(pushed) = images.push(&image, &repository, &["1"]) else {
            assert!(server.requests().len() < number + 45);
            continue;
        };
        assert_eq!(pushed.digest, image.digest);
        sent.push((there, pushed.sent));
    }
    // The large one is never sent twice.
    assert!(sent.iter().any(|(there, _)| *there > 0), "{sent:?}");
}

#[test]
fn a_pull_gets_over_each_or_says_what_came() {
    let images = Images::new();
    let image = images.image(&layers());
    let client = anonymous();
    let full = with(BTreeMap::new(), Access::Open);
    images.push(&image, &client.repository(&full.host(), "app"), &["1"]).unwrap();
    let pull = |faults: BTreeMap<usize, Fault>| {
        let server = with(faults, Access::Open);
        {
            let (mut to, from) = (server.state(), full.state());
            to.blobs.clone_from(&from.blobs);
            to.manifests.clone_from(&from.manifests);
            to.tags.clone_from(&from.tags);
        }
        let fresh = Images::new();
        let repository = client.repository(&server.host(), "app");
        let session = fresh.session();
        let pulled = repository.tagged("1").and_then(|found| {
            let all = crate::Platforms::All;
            crate::pull(
                crate::Source::Repository(&repository),
                found.unwrap(),
                &all,
                &session,
                &|_, _, _| {},
            )
        });
        fresh.check();
        if pulled.is_err() {
            // What went wrong is not kept.
            fresh.pull(&repository, "1").unwrap();
            fresh.check();
        }
        pulled
    };
    for number in 1..=4 {
        for fault in passing().into_iter().chain([Fault::Short]) {
            let pulled = pull([(number, fault.clone())].into());
            assert_eq!(pulled.unwrap().descriptor.digest, image.digest, "{number} {fault:?}");
        }
        let error = pull([(number, Fault::Wrong)].into()).unwrap_err();
        assert!(matches!(error, RegistryError::Digest { .. }), "{number}: {error}");
        let error = pull([(number, Fault::Status(418, None))].into()).unwrap_err();
        assert!(matches!(error, RegistryError::Refused { status: 418, .. }), "{number}: {error}");
    }
}

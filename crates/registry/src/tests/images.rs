//! Images for several platforms.

use crate::{Platforms, RegistryError, Source, pull, push};
use reimage_oci::Platform;
use reimage_tests::registry::Registry as Server;

use super::machine::{Images, anonymous, noise};

fn platform(architecture: &str, variant: Option<&str>) -> Platform {
    let variant = variant.map(str::to_owned);
    Platform { architecture: architecture.into(), os: "linux".into(), variant }
}

#[test]
fn all_one_and_some() {
    let (server, images, client) = (Server::open(), Images::new(), anonymous());
    let each = ["amd64", "arm64", "riscv64"];
    let each: Vec<_> =
        (1..).zip(each).map(|(n, name)| (name, images.image(&[noise(n, 100)]))).collect();
    let index = images.index(&each);
    let from = client.repository(&server.host(), "app");
    let pushed = images.push(&index, &from, &["all"]).unwrap();
    assert_eq!((pushed.digest, pushed.sent), (index.digest, 6));

    let of = |platforms: Platforms| {
        let fresh = Images::new();
        let found = from.tagged("all").unwrap().unwrap();
        pull(Source::Repository(&from), found, &platforms, &fresh.session(), &|_, _, _| {})
            .inspect(|_| fresh.check())
    };
    let all = of(Platforms::All).unwrap();
    assert_eq!((all.descriptor.digest, all.fetched), (index.digest, 6));
    let one = of(Platforms::One(platform("arm64", Some("v8")))).unwrap();
    assert_eq!((one.descriptor.digest, one.fetched), (each[1].1.digest, 2));
    let two = [platform("riscv64", None), platform("amd64", None)];
    let some = of(Platforms::Some(two.to_vec())).unwrap();
    assert!(some.descriptor.is_index() && some.fetched == 4, "{some:?}");
    let error = of(Platforms::One(platform("s390x", None))).unwrap_err();
    assert_eq!(
        error.to_string(),
        "There is nothing for linux/s390x in it: it is for linux/amd64, linux/arm64, linux/riscv64"
    );

    // The same on the way out.
    let tags = ["some".to_owned()];
    let source = Source::Layout(&images.layout);
    let to = client.repository(&server.host(), "some");
    let platforms = Platforms::Some(two.to_vec());
    let pushed = push(source, &index, &platforms, &to, &tags, &[], &|_, _, _| {}).unwrap();
    assert_eq!((pushed.digest, pushed.sent), (some.descriptor.digest, 4));
}

#[test]
fn nested_indexes_are_refused() {
    let (server, images, client) = (Server::open(), Images::new(), anonymous());
    let inner = images.index(&[("amd64", images.image(&[noise(1, 10)]))]);
    let nested = images.index(&[("", inner.clone())]);
    let repository = client.repository(&server.host(), "app");
    images.push(&inner, &repository, &["inner"]).unwrap();
    let bytes = images.layout.read_document(&nested).unwrap();
    let key = ("app".to_owned(), nested.digest.to_string());
    let mut state = server.state();
    state.manifests.insert(key, (reimage_oci::INDEX.into(), bytes));
    state.tags.insert(("app".into(), "1".into()), nested.digest.to_string());
    drop(state);
    let error = Images::new().pull(&repository, "1").unwrap_err();
    assert!(matches!(error, RegistryError::Nested { .. }), "{error}");
    assert!(error.to_string().contains("indexes within indexes are not taken"));
}

//! What refers to an image, by a registry's own list and without one.

use crate::Found;
use reimage_castore::Sha256;
use reimage_oci::{Descriptor, MANIFEST};
use reimage_tests::registry::{Options, Registry as Server};

use super::machine::{Images, anonymous, noise};

#[test]
fn found_again() {
    for referrers in [true, false] {
        let server = Server::new(Options { referrers, ..Options::default() });
        let (images, client) = (Images::new(), anonymous());
        let repository = client.repository(&server.host(), "app");
        let image = images.image(&[noise(1, 10)]);
        images.push(&image, &repository, &["1"]).unwrap();
        assert_eq!(repository.referrers(image.digest).unwrap(), []);
        let config = images.layout.manifest(&image).unwrap().0.config;
        let statement = |number: u32| {
            let manifest = serde_json::json!({
                "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [],
                "subject": image, "annotations": { "number": number.to_string() },
            });
            let bytes = manifest.to_string().into_bytes();
            let descriptor = Descriptor::new(MANIFEST, Sha256::of(&bytes), bytes.len() as u64);
            Found { descriptor, bytes }
        };
        for number in [1, 2, 1] {
            repository.refer(&statement(number), image.digest).unwrap();
        }
        let mut found: Vec<_> =
            repository.referrers(image.digest).unwrap().iter().map(|entry| entry.digest).collect();
        let mut all = [1, 2].map(|number| statement(number).descriptor.digest);
        found.sort();
        all.sort();
        assert_eq!(found, all, "with a list: {referrers}");
        let tag = format!("sha256-{}", image.digest.hex());
        assert_eq!(server.state().tagged("app", &tag).is_some(), !referrers);
    }
}

//! Images: golden digests, and documents that the reader of OCI's own types accepts.

use oci_spec::image as spec;
use reimage_castore::Sha256;

use super::*;
use crate::{OwnConfig, Profile};

const F: i64 = 1_793_491_200;

fn layer(number: u32) -> ImageLayer {
    let content = Sha256::of(&number.to_le_bytes());
    let blob = Sha256::of(&(number + 1000).to_le_bytes());
    let profile = if number.is_multiple_of(2) { Profile::Gzip1 } else { Profile::Zstd1 };
    let packed = PackedLayer { profile, digest: blob, size: u64::from(number), diff_id: content };
    ImageLayer::Packed { packed, created_by: format!("copy <{number}> & more") }
}

fn image(layers: u32) -> Image {
    let own = OwnConfig {
        cmd: Some(vec!["/hello".into()]),
        env: BTreeMap::from([("PATH".into(), Some("/usr/bin".into()))]),
        labels: (0..20).map(|n| (format!("label.{n}"), Some("x".into()))).collect(),
        author: Some("somebody".into()),
        ..OwnConfig::default()
    };
    Image {
        config: Config::inherit(&Config::default(), &own).expect("a good configuration"),
        platform: Platform { architecture: "amd64".into(), os: "linux".into(), variant: None },
        created: F,
        layers: (0..layers).map(layer).collect(),
        annotations: (0..20).map(|n| (format!("annotation.{n}"), "y".to_owned())).collect(),
    }
}

#[test]
fn golden_digests() {
    let Assembled { config, manifest } = assemble(&image(3)).expect("a good image");
    assert_eq!(
        config.descriptor.digest.to_string(),
        "sha256:4f9e8a0696167a3b2565be6fb9ad866207c2748771fd53f39784c9959c05c90c"
    );
    assert_eq!(
        manifest.descriptor.digest.to_string(),
        "sha256:cbc163ba1738756b4d646fa9c86d67762d08b4a3006cd1f377d53a0eb418c966"
    );
    assert_eq!(Sha256::of(&manifest.bytes), manifest.descriptor.digest);
    assert_eq!(manifest.bytes.len() as u64, manifest.descriptor.size);
}

#[test]
fn a_configuration_in_full() {
    let mut small = image(1);
    small.config.labels.clear();
    let config = assemble(&small).expect("a good image").config;
    let expected = format!(
        concat!(
            r#"{{"created":"2026-11-01T00:00:00Z","author":"somebody","architecture":"amd64","os":"linux","#,
            r#""config":{{"Env":["PATH=/usr/bin"],"Cmd":["/hello"]}},"#,
            r#""rootfs":{{"type":"layers","diff_ids":["{}"]}},"#,
            r#""history":[{{"created":"2026-11-01T00:00:00Z","created_by":"copy <0> & more"}}]}}"#,
        ),
        small.layers[0].diff_id()
    );
    assert_eq!(String::from_utf8_lossy(&config.bytes), expected);
}

#[test]
fn an_independent_reader_agrees() {
    let image = image(5);
    let Assembled { config, manifest } = assemble(&image).expect("a good image");
    let read = spec::ImageManifest::from_reader(manifest.bytes.as_slice()).expect("OCI's manifest");
    assert_eq!(read.config().digest().to_string(), config.descriptor.digest.to_string());
    assert_eq!(read.layers().len(), 5);
    assert_eq!(*read.layers()[0].media_type(), spec::MediaType::ImageLayerGzip);
    assert_eq!(*read.layers()[1].media_type(), spec::MediaType::ImageLayerZstd);
    assert_eq!(read.annotations().iter().flatten().count(), 20);
    let read =
        spec::ImageConfiguration::from_reader(config.bytes.as_slice()).expect("OCI's config");
    assert_eq!(*read.os(), spec::Os::Linux);
    assert_eq!(read.rootfs().diff_ids()[4], image.layers[4].diff_id().to_string());
    assert_eq!(read.history().as_ref().map(Vec::len), Some(5));
}

#[test]
fn only_created_changes_the_configuration() {
    let one = assemble(&image(2)).expect("a good image");
    let later = assemble(&Image { created: F + 1, ..image(2) }).expect("a good image");
    assert_ne!(one.manifest.descriptor.digest, later.manifest.descriptor.digest);
    let layers = |assembled: &Assembled| {
        let manifest: Manifest = serde_json::from_slice(&assembled.manifest.bytes).expect("JSON");
        manifest.layers
    };
    assert_eq!(layers(&one), layers(&later));
}

#[test]
fn too_many_layers_and_none() {
    assert!(assemble(&image(127)).is_ok());
    assert_eq!(
        assemble(&image(128)).expect_err("refused").to_string(),
        "The image has 128 layers, and container engines take at most 127: squash it into one by \
         `layers = [re.copy { from = .. }]`, or some of them by such a copy in their place"
    );
    assert_eq!(assemble(&image(0)), Err(AssembleError::Empty));
}

#[test]
fn times_as_others_write_them() {
    for (seconds, text) in [
        (0, "1970-01-01T00:00:00Z"),
        (-1, "1969-12-31T23:59:59Z"),
        (F, "2026-11-01T00:00:00Z"),
        (951_827_696, "2000-02-29T12:34:56Z"),
        (4_107_542_399, "2100-02-28T23:59:59Z"),
        (4_107_542_400, "2100-03-01T00:00:00Z"),
        (253_402_300_799, "9999-12-31T23:59:59Z"),
        (-62_167_219_200, "0000-01-01T00:00:00Z"),
    ] {
        assert_eq!(rfc3339(seconds).as_deref(), Ok(text));
    }
    for seconds in [253_402_300_800, -62_167_219_201, i64::MAX / 2, i64::MIN / 2] {
        assert_eq!(rfc3339(seconds), Err(AssembleError::Created { seconds }));
    }
}

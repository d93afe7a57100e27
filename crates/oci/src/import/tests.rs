//! Importing: archives of docker, old and new, and what hostile ones try.

use reimage_castore::{Sha256, TreePath};

use super::*;
use crate::{
    Archive, StoredImage,
    export::tests::stored,
    export_archive, export_oci_dir,
    layout::to_json,
    tar::{self, Member},
};

/// An archive of these files; those that begin with `->` are symbolic links.
fn archive(files: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, bytes) in files {
        let path = TreePath::new(name).expect("a good path");
        let entry = match bytes.strip_prefix(b"->") {
            Some(target) => reimage_castore::Entry::symlink(target),
            None => {
                reimage_castore::Entry::file(reimage_castore::Digest::EMPTY, bytes.len() as u64)
            }
        };
        tar::write_header(&mut out, &Member::Entry { path: &path, entry: &entry }, 0)
            .expect("room");
        if !bytes.starts_with(b"->") {
            out.extend_from_slice(bytes);
            tar::write_padding(&mut out, bytes.len() as u64).expect("room");
        }
    }
    tar::write_end(&mut out).expect("room");
    out
}

fn enter(archive: &[u8]) -> Result<(tempfile::TempDir, Layout, Vec<Imported>), ImportError> {
    let dir = tempfile::tempdir().expect("a directory");
    let layout = Layout::open_or_create(dir.path().join("oci")).expect("a layout");
    let imported = import_archive(&layout.session()?, archive, Limits::default())?;
    Ok((dir, layout, imported))
}

fn error(archive: &[u8]) -> String {
    enter(archive).map(|(_, _, imported)| imported).expect_err("refused").to_string()
}

/// Configuration and layers (plain) of the sample image.
fn parts() -> (Vec<u8>, Vec<Vec<u8>>) {
    let (_dir, layout, image) = stored();
    let (manifest, _) = layout.manifest(&image.descriptor).expect("readable");
    let config = layout.read_document(&manifest.config).expect("readable");
    let layers = manifest.layers.iter().map(|layer| {
        let blob = layout.open_blob(layer.digest, layer.size).expect("there");
        let mut plain = Vec::new();
        crate::decode(blob, 1 << 20).expect("good").read_to_end(&mut plain).expect("good");
        plain
    });
    let layers = layers.collect();
    (config, layers)
}

#[test]
fn an_old_docker_archive() {
    let (config, layers) = parts();
    let name = format!("{}.json", Sha256::of(&config).hex());
    let manifest = format!(
        r#"[{{"Config":"{name}","RepoTags":["web:1","web:2"],"Layers":["one/layer.tar","two/layer.tar"]}}]"#
    );
    let old = archive(&[
        ("one/VERSION", b"1.0".to_vec()),
        ("one/layer.tar", layers[0].clone()),
        ("real/layer.tar", layers[1].clone()),
        ("two/layer.tar", b"->../real/layer.tar".to_vec()),
        (&name, config.clone()),
        ("manifest.json", manifest.into_bytes()),
        ("repositories", b"{}".to_vec()),
    ]);
    let (_dir, layout, imported) = enter(&old).expect("it enters");
    let [image] = imported.as_slice() else { panic!("one image: {imported:?}") };
    let names: Vec<_> = image.names.iter().map(Reference::familiar).collect();
    assert_eq!(names, ["web:1", "web:2"]);
    let (manifest, _) = layout.manifest(&image.descriptor).expect("readable");
    assert_eq!(
        manifest.config.digest,
        Sha256::of(&config),
        "the configuration is the bytes it was"
    );
    assert_eq!(manifest.layers[1].digest, Sha256::of(&layers[1]));
    let mut gzip = Vec::new();
    crate::Profile::Gzip1.encode(&old, &mut gzip);
    let (_dir, _, again) = enter(&gzip).expect("compressed as a whole");
    assert_eq!(again, imported);
}

#[test]
fn layers_are_what_the_configuration_says() {
    let (config, layers) = parts();
    let manifest = br#"[{"Config":"c","RepoTags":null,"Layers":["1","2"]}]"#.to_vec();
    let swapped = archive(&[
        ("1", layers[1].clone()),
        ("2", layers[0].clone()),
        ("c", config.clone()),
        ("manifest.json", manifest.clone()),
    ]);
    let (one, two) = (Sha256::of(&layers[1]), Sha256::of(&layers[0]));
    assert_eq!(
        error(&swapped),
        format!("The layer {one} holds the archive {one}, and the configuration says {two}")
    );
    let short = br#"[{"Config":"c","RepoTags":null,"Layers":["1"]}]"#.to_vec();
    let fewer = [("1", layers[0].clone()), ("c", config.clone()), ("manifest.json", short)];
    assert_eq!(error(&archive(&fewer)), "The manifest names 1 layers and its configuration 2");
    let missing = [("1", layers[0].clone()), ("c", config), ("manifest.json", manifest.clone())];
    assert_eq!(
        error(&archive(&missing)),
        "The archive has no `2`, which its `manifest.json` names"
    );
    let out =
        [("1", b"->../../etc/passwd".to_vec()), ("c", b"{}".to_vec()), ("manifest.json", manifest)];
    assert_eq!(error(&archive(&out)), "The archive has no `1`, which its `manifest.json` names");
}

#[test]
fn hostile_archives() {
    assert_eq!(
        error(&archive(&[("x", Vec::new())])),
        "It is no archive of images: it has neither `index.json` nor `manifest.json`"
    );
    assert_eq!(error(b"not an archive"), "It is no archive of images");
    assert_eq!(
        error(&archive(&[("index.json", b"{".to_vec())])).rsplit('/').next(),
        Some("index.json is not valid")
    );
    assert_eq!(
        error(&archive(&[("manifest.json", b"{}".to_vec())])),
        "The archive's `manifest.json` is not valid"
    );
    let huge = archive(&[("index.json", vec![b' '; 9 << 20])]);
    assert!(error(&huge).ends_with("more than 8 MiB are not read"));
    let empty = to_json(&serde_json::json!({"schemaVersion": 2, "manifests": []}));
    assert_eq!(error(&archive(&[("index.json", empty)])), "There is no image in it");
    let digest = Sha256::of(b"x");
    let wrong = format!("blobs/sha256/{}", digest.hex());
    assert_eq!(
        error(&archive(&[(&wrong, b"y".to_vec()), ("index.json", b"{}".to_vec())])),
        format!("The archive's `{wrong}` has the digest {}", Sha256::of(b"y"))
    );
    // A link in a circle, and one that names a file outside.
    let circle =
        [("a", b"->b".to_vec()), ("b", b"->a".to_vec()), ("manifest.json", b"->a".to_vec())];
    assert!(error(&archive(&circle)).starts_with("It is no archive of images: it has neither"));
    let mut up = archive(&[("xx/passwd", b"x".to_vec())]);
    up[..2].copy_from_slice(b"..");
    let sum: u32 = up[..148].iter().chain(&up[156..512]).map(|b| u32::from(*b)).sum();
    up[148..156].copy_from_slice(format!("{:06o}\0 ", sum + 256).as_bytes());
    assert_eq!(error(&up), "The archive has a member whose name cannot be");
}

#[test]
fn a_missing_or_wrong_blob_is_told() {
    let (dir, layout, image) = stored();
    let mut whole = Vec::new();
    export_archive(&layout, &image, Archive::Docker, &mut whole).expect("it leaves");
    for cut in [600, whole.len() / 2] {
        let error = error(&whole[..cut]);
        assert!(error.starts_with("It is no archive"), "{error}");
    }
    let out = dir.path().join("out");
    export_oci_dir(&layout, &image, &out).expect("it leaves");
    let source = Layout::open(&out).expect("a layout");
    let (manifest, _) = source.manifest(&image.descriptor).expect("readable");
    let blob = source.blob_path(manifest.layers[0].digest);
    let other = Layout::open_or_create(dir.path().join("other")).expect("a layout");
    let session = other.session().expect("a session");
    let import = || import_layout(&session, &source, Limits::default()).expect_err("refused");
    let bytes = fs_err::read(&blob).expect("there");
    let mut wrong = bytes.clone();
    wrong[50] ^= 1;
    fs_err::write(&blob, wrong).expect("written");
    assert!(matches!(import(), ImportError::Layer(_)));
    assert!(blob.exists(), "the layout of another is left as it is");
    fs_err::remove_file(&blob).expect("there");
    assert!(matches!(
        import(),
        ImportError::Layer(RootfsError::Layout(LayoutError::Missing { .. }))
    ));
    assert!(other.images().expect("readable").is_empty(), "nothing is named before all is there");
    fs_err::write(&blob, bytes).expect("written");
    assert!(import_layout(&session, &source, Limits::default()).is_ok());
}

#[test]
fn an_import_mends() {
    let (dir, layout, image) = stored();
    let out = dir.path().join("out");
    export_oci_dir(&layout, &image, &out).expect("it leaves");
    let (manifest, _) = layout.manifest(&image.descriptor).expect("readable");
    let blob = layout.blob_path(manifest.layers[0].digest);
    let mut wrong = fs_err::read(&blob).expect("there");
    wrong[50] ^= 1;
    fs_err::write(&blob, wrong).expect("written");
    let session = layout.session().expect("a session");
    let source = Layout::open(&out).expect("a layout");
    import_layout(&session, &source, Limits::default()).expect("it enters");
    assert!(export_archive(&layout, &image, Archive::Oci, &mut io::sink()).is_ok());
}

#[test]
fn one_platform_of_an_index() {
    let (dir, layout, image) = stored();
    let out = dir.path().join("out");
    export_oci_dir(&layout, &image, &out).expect("it leaves");
    let mut gone = image.descriptor.clone();
    gone.digest = Sha256::of(b"another platform");
    let with = |manifests: &[&Descriptor]| {
        let index = crate::document::Blob::of(
            crate::INDEX,
            &serde_json::json!({"schemaVersion": 2, "mediaType": crate::INDEX, "manifests": manifests}),
        );
        let source = Layout::open(&out).expect("a layout");
        fs_err::write(source.blob_path(index.descriptor.digest), &index.bytes).expect("written");
        let top = serde_json::json!({"schemaVersion": 2, "manifests": [index.descriptor]});
        fs_err::write(out.join("index.json"), to_json(&top)).expect("written");
        let other = tempfile::tempdir().expect("a directory");
        let other = Layout::open_or_create(other.path().join("oci")).expect("a layout");
        let session = other.session().expect("a session");
        import_layout(&session, &source, Limits::default()).map(|i| (i[0].clone(), index))
    };
    let (imported, index) = with(&[&image.descriptor]).expect("it enters");
    assert_eq!(imported.descriptor.digest, index.descriptor.digest, "a whole index stays one");
    let (imported, _) = with(&[&image.descriptor, &gone]).expect("it enters");
    assert_eq!(imported.descriptor.digest, image.descriptor.digest);
    let none = with(&[&gone]).expect_err("nothing is there");
    assert!(matches!(none, ImportError::Incomplete { found: 0, .. }), "{none}");
    let _: StoredImage = image;
}

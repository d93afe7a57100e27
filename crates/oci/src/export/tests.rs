//! Exporters: one digest, the same bytes each time, and nothing damaged leaves.

use std::{collections::BTreeMap, os::unix::fs::MetadataExt};

use reimage_castore::{Attrs, Change, Node};

use super::*;
use crate::{
    Config, Image, ImageLayer, Limits, Platform, Profile, assemble, import_archive, import_layout,
};

const F: i64 = 1_793_491_200;

fn path(text: &str) -> TreePath {
    TreePath::new(text).expect("a good path")
}

fn file(content: &[u8]) -> Entry {
    Entry::file(Digest::of(content), content.len() as u64)
}

/// A layout with one image of two layers: `web:1`.
pub(crate) fn stored() -> (tempfile::TempDir, Layout, StoredImage) {
    let dir = tempfile::tempdir().expect("a directory");
    let layout = Layout::open_or_create(dir.path().join("oci")).expect("a layout");
    let mut lower = Diff::new();
    let mut put = |at: &str, entry| lower.insert(path(at), Change::Put(entry));
    put("etc", Entry::directory());
    put("etc/a", file(b"a\n"));
    put("etc/b", file(b"a\n"));
    put("etc/gone", file(b"gone\n"));
    put("tmp", Entry { node: Node::Directory, attrs: Attrs::mode(0o1777) });
    put("link", Entry::symlink("etc/a"));
    put("pipe", Entry { node: Node::Fifo, attrs: Attrs::mode(0o640) });
    lower.link(vec![path("etc/a"), path("etc/b")]).expect("equal files");
    let mut upper = Diff::new();
    upper.insert(path("etc/gone"), Change::Remove);
    let mut old = file(b"new\n");
    old.attrs.mtime = Some(1_000_000_000);
    upper.insert(path("tmp/new"), Change::Put(old));
    let session = layout.session().expect("a session");
    let mut beneath = View::default();
    let mut layers = Vec::new();
    for (diff, profile) in [(lower, Profile::Gzip1), (upper, Profile::Zstd1)] {
        let content = LayerContent::new(&beneath, &diff).expect("a good layer");
        let open = |digest: &Digest| {
            let contents = [&b"a\n"[..], b"gone\n", b"new\n"];
            let found = contents.into_iter().find(|content| Digest::of(content) == *digest);
            found.ok_or_else(|| io::ErrorKind::NotFound.into())
        };
        let packed = session.pack(&content, profile, F, open).expect("it packs");
        layers.push(ImageLayer::Packed { packed, created_by: "test".into() });
        beneath.push(diff.into());
    }
    let image = Image {
        config: Config { cmd: Some(vec!["/hello".into()]), ..Config::default() },
        platform: Platform { architecture: "amd64".into(), os: "linux".into(), variant: None },
        created: F,
        layers,
        annotations: BTreeMap::default(),
    };
    let names = ["web:1".parse().expect("a good name"), "example.org/web".parse().expect("good")];
    session.add(&assemble(&image).expect("a good image"), &names).expect("it is added");
    drop(session);
    let image = layout.find("web:1").expect("found");
    (dir, layout, image)
}

fn archive(layout: &Layout, image: &StoredImage, archive: Archive) -> Vec<u8> {
    let mut bytes = Vec::new();
    export_archive(layout, image, archive, &mut bytes).expect("it leaves");
    bytes
}

#[test]
fn one_digest_through_every_exporter() {
    let (dir, layout, image) = stored();
    let oci_dir = dir.path().join("out");
    export_oci_dir(&layout, &image, &oci_dir).expect("it leaves");
    let other = Layout::open_or_create(dir.path().join("other")).expect("a layout");
    let session = other.session().expect("a session");
    let limits = Limits::default();
    let from_dir = Layout::open(&oci_dir).expect("a layout");
    let mut all = vec![import_layout(&session, &from_dir, limits).expect("it enters")];
    for kind in [Archive::Docker, Archive::Oci] {
        let bytes = archive(&layout, &image, kind);
        assert!(bytes == archive(&layout, &image, kind), "the same bytes each time");
        all.push(import_archive(&session, bytes.as_slice(), limits).expect("it enters"));
    }
    for imported in all {
        let [imported] = imported.as_slice() else { panic!("one image: {imported:?}") };
        assert_eq!(imported.descriptor.digest, image.descriptor.digest);
        let names: Vec<_> = imported.names.iter().map(crate::Reference::familiar).collect();
        assert_eq!(names, ["example.org/web:latest", "web:1"]);
    }
    assert_eq!(other.find("example.org/web").expect("found").names, image.names);
}

#[test]
fn golden_archives() {
    let (_dir, layout, image) = stored();
    let digest = |kind| Sha256::of(&archive(&layout, &image, kind)).hex();
    assert_eq!(
        digest(Archive::Oci),
        "28adefae82722765b8a92f40c6da2e3f9874b5db578c47d2d28887aaaeedbadc"
    );
    assert_eq!(
        digest(Archive::Docker),
        "0ab086b60e26c4bd376fddb253d0532b1ba572794cdd21156255a0b2d7c9856b"
    );
    let mut tar = Vec::new();
    export_rootfs_tar(&layout, &image, &mut tar).expect("it leaves");
    assert_eq!(
        Sha256::of(&tar).hex(),
        "ecc871225201957522a91d2a43dd4a59af0e2391a82e5b1484fa727d7ed9c232"
    );
}

#[test]
fn a_root_file_system_on_disk() {
    let (dir, layout, image) = stored();
    let root = dir.path().join("root");
    let not_kept = export_rootfs_dir(&layout, &image, &root).expect("it leaves");
    assert!(not_kept.devices.is_empty());
    let metadata = |at: &str| fs::symlink_metadata(root.join(at)).expect("there");
    assert_eq!(metadata("tmp").mode() & 0o7777, 0o1777);
    assert_eq!(metadata("etc/a").ino(), metadata("etc/b").ino());
    assert_eq!(metadata("tmp/new").mtime(), 1_000_000_000);
    assert_eq!(metadata("tmp").mtime(), F);
    assert_eq!(metadata("pipe").mode(), 0o010_640);
    assert!(!root.join("etc/gone").exists());
    assert_eq!(fs::read(root.join("link")).expect("there"), b"a\n");
    let error = export_rootfs_dir(&layout, &image, &root).expect_err("it is full").to_string();
    assert!(
        error.ends_with("is not an empty directory: name one that is not there yet"),
        "{error}"
    );
    assert!(matches!(export_oci_dir(&layout, &image, &root), Err(ExportError::NotEmpty { .. })));
}

#[test]
fn nothing_damaged_leaves() {
    let (_dir, layout, image) = stored();
    let (manifest, _) = layout.manifest(&image.descriptor).expect("readable");
    let layer = layout.blob_path(manifest.layers[1].digest);
    let mut bytes = fs::read(&layer).expect("there");
    bytes[40] ^= 1;
    fs::write(&layer, bytes).expect("written");
    let error =
        export_archive(&layout, &image, Archive::Oci, &mut io::sink()).expect_err("damaged");
    assert!(matches!(error, ExportError::Layout(LayoutError::Damaged { .. })), "{error}");
    let error = export_archive(&layout, &image, Archive::Oci, &mut io::sink()).expect_err("gone");
    assert!(matches!(error, ExportError::Layout(LayoutError::Missing { .. })), "{error}");
}

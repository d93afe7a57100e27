//! Layers, compressed blobs, documents, archives of images, references.

use std::collections::BTreeMap;

use reimage_castore::{Attrs, Change, Diff, Digest, Entry, Node, TreePath, View};
use reimage_oci::{
    Archive, Config, Image, ImageLayer, LayerContent, Layout, Platform, Profile, assemble,
    export_archive, pack, write_tar,
};

pub(crate) fn seeds(target: &str) -> Option<Vec<Vec<u8>>> {
    Some(match target {
        "layer" => vec![layer()],
        "blob" => [Profile::Gzip1, Profile::Zstd1].map(blob).to_vec(),
        "document" => archive(Archive::Oci).1,
        "image-archive" => [Archive::Docker, Archive::Oci].map(|kind| archive(kind).0).to_vec(),
        "reference" => {
            let digest = format!("@sha256:{}", "ab".repeat(32));
            let full = format!("registry.example:5000/some/path__x:v1.0_a{digest}");
            [full, "web".into(), "a.b/c".into(), format!("a{digest}")]
                .map(String::into_bytes)
                .to_vec()
        }
        _ => return None,
    })
}

fn blob(profile: Profile) -> Vec<u8> {
    let content = LayerContent::new(&View::default(), &Diff::new()).expect("a good layer");
    let mut blob = Vec::new();
    pack(&content, profile, 0, |_| Ok(&b""[..]), &mut blob).expect("it packs");
    blob
}

fn layer() -> Vec<u8> {
    let path = |text: &str| TreePath::new(text).expect("a good path");
    let mut diff = Diff::new();
    let mut file = Entry::file(Digest::of(b"x"), 1);
    file.attrs = Attrs { mtime: Some(-3), ..Attrs::mode(0o4755) }.owned(5_000_000, 1);
    file.attrs.set_xattr(b"user.a", b"1\n2").expect("allowed");
    diff.insert(path("a"), Change::Put(Entry::directory()));
    diff.insert(path("a/b"), Change::Put(file.clone()));
    diff.insert(path("a/c"), Change::Put(file));
    diff.insert(path(&"n".repeat(180)), Change::Put(Entry::symlink("t".repeat(150))));
    diff.insert(path("p"), Change::Put(Entry { node: Node::Fifo, attrs: Attrs::mode(0o600) }));
    diff.insert(path("gone"), Change::Remove);
    diff.link(vec![path("a/b"), path("a/c")]).expect("equal files");
    let content = LayerContent::new(&beneath(), &diff).expect("a good layer");
    write_tar(&content, 0, |_| Ok(&b"x"[..]), Vec::new()).expect("it packs")
}

fn beneath() -> View {
    let mut lower = Diff::new();
    let put = |entry| Change::Put(entry);
    lower.insert(TreePath::new("a").expect("good"), put(Entry::directory()));
    lower.insert(TreePath::new("a/old").expect("good"), put(Entry::symlink("b")));
    lower.insert(TreePath::new("gone").expect("good"), put(Entry::symlink("b")));
    View::new(vec![lower.into()])
}

/// An archive of an image, and its documents.
fn archive(kind: Archive) -> (Vec<u8>, Vec<Vec<u8>>) {
    let dir = tempfile::tempdir().expect("a directory");
    let layout = Layout::open_or_create(dir.path()).expect("a layout");
    let session = layout.session().expect("a session");
    let content = LayerContent::new(&View::default(), &Diff::new()).expect("a good layer");
    let packed = session.pack(&content, Profile::Plain, 0, |_| Ok(&b""[..])).expect("it packs");
    let image = assemble(&Image {
        config: Config { cmd: Some(vec!["/x".into()]), ..Config::default() },
        platform: Platform { architecture: "amd64".into(), os: "linux".into(), variant: None },
        created: 0,
        layers: vec![ImageLayer::Packed { packed, created_by: "x".into() }],
        annotations: BTreeMap::new(),
    });
    let image = image.expect("a good image");
    session.add(&image, &["web:1".parse().expect("a good name")]).expect("it is added");
    let mut bytes = Vec::new();
    let stored = layout.find("web:1").expect("found");
    export_archive(&layout, &stored, kind, &mut bytes).expect("it leaves");
    let index = serde_json::to_vec(&layout.index().expect("readable")).expect("JSON");
    (bytes, vec![image.manifest.bytes, image.config.bytes, index])
}

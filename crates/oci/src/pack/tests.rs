//! Packing: one archive whose bytes are known, and contents that are not what they should be.

use std::{collections::BTreeMap, sync::Arc};

use reimage_castore::{Attrs, Diff, Entry, View};

use super::*;

const F: i64 = 1_793_491_200;

fn path(text: &str) -> TreePath {
    TreePath::new(text).expect("a good path")
}

fn opener(contents: &[&'static [u8]]) -> impl Fn(&Digest) -> io::Result<&'static [u8]> + use<> {
    let map: BTreeMap<_, _> = contents.iter().map(|c| (Digest::of(c), *c)).collect();
    move |digest| map.get(digest).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
}

fn file(content: &[u8]) -> Entry {
    Entry::file(Digest::of(content), content.len() as u64)
}

/// Something of everything.
fn sample() -> LayerContent {
    let mut lower = Diff::new();
    let sticky = Entry { node: Node::Directory, attrs: Attrs::mode(0o1777) };
    lower.insert(path("tmp"), Change::Put(sticky));
    lower.insert(path("tmp/old"), Change::Put(file(b"old")));
    let mut diff = Diff::new();
    let mut put = |at: &str, entry| diff.insert(path(at), Change::Put(entry));
    put("etc", Entry::directory());
    let mut shadow = file(b"root:*:\n");
    shadow.attrs = Attrs::mode(0o640).owned(0, 42);
    put("etc/shadow", shadow);
    put("bin", Entry::symlink("usr/bin"));
    put("usr", Entry::directory());
    put("usr/bin", Entry::directory());
    let mut sudo = file(b"#!/bin/sh\n");
    sudo.attrs = Attrs { mtime: Some(1_000_000_000), ..Attrs::mode(0o4755) };
    sudo.attrs.set_xattr(b"security.capability", &[1, 0, 0, 2]).expect("allowed");
    put("usr/bin/su", sudo.clone());
    put("usr/bin/sudo", sudo);
    put("null", Entry { node: Node::CharDevice { major: 1, minor: 3 }, attrs: Attrs::mode(0o666) });
    put("pipe", Entry { node: Node::Fifo, attrs: Attrs::mode(0o600).owned(70_000, 3_000_000) });
    put(&format!("{}/{}", "tmp", "n".repeat(200)), file(b""));
    diff.insert(path("tmp/old"), Change::Remove);
    diff.link(vec![path("usr/bin/su"), path("usr/bin/sudo")]).expect("equal files");
    LayerContent::new(&View::new(vec![Arc::new(lower)]), &diff).expect("a good layer")
}

const CONTENTS: [&[u8]; 2] = [b"root:*:\n", b"#!/bin/sh\n"];

#[test]
fn golden_archive() {
    let tar = write_tar(&sample(), F, opener(&CONTENTS), Vec::new()).expect("it packs");
    assert_eq!(tar.len() % 512, 0);
    assert_eq!(
        Sha256::of(&tar).to_string(),
        "sha256:3982a0a48e41d960e6ee08db624d510156cc58e065f9c8762e742fd15e3e784a",
        "the bytes of an archive moved: TAR_VERSION and the profiles' names must, too"
    );
    for profile in Profile::ALL {
        let mut blob = Vec::new();
        let packed = pack(&sample(), profile, F, opener(&CONTENTS), &mut blob).expect("it packs");
        assert_eq!(packed.diff_id, Sha256::of(&tar));
        assert_eq!((packed.digest, packed.size), (Sha256::of(&blob), blob.len() as u64));
    }
}

#[test]
fn nothing_is_two_blocks() {
    let nothing = LayerContent::new(&View::default(), &Diff::new()).expect("a good layer");
    let mut blob = Vec::new();
    let packed = pack(&nothing, Profile::Plain, F, opener(&[]), &mut blob).expect("it packs");
    assert_eq!(blob, [0; 1024]);
    // As every tool calls the empty layer.
    let known = "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef";
    assert_eq!(packed.diff_id.to_string(), known);
}

#[test]
fn contents_are_verified() {
    let error = |open: &dyn Fn(&Digest) -> io::Result<&'static [u8]>| {
        write_tar(&sample(), F, open, io::sink()).expect_err("refused").to_string()
    };
    let digest = Digest::of(b"root:*:\n");
    let damaged = format!(
        "The content of `/etc/shadow` is damaged: expected 8 bytes with the digest {digest}"
    );
    assert_eq!(error(&|_| Ok(b"root:x:\n")), damaged);
    assert_eq!(error(&|_| Ok(b"root:*:")), damaged);
    assert_eq!(error(&|_| Ok(b"root:*:\n\n")), damaged);
    assert_eq!(
        error(&|_| Err(io::ErrorKind::NotFound.into())),
        format!("The content of `/etc/shadow` ({digest}) cannot be read")
    );
}

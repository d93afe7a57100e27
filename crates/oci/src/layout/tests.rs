//! Layouts: names move, blobs are verified, pruning and adding do not meet, damage is told.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, SystemTime},
};

use reimage_castore::{Change, Diff, Digest, Entry, Policy, TreePath, View};

use super::*;
use crate::{
    Assembled, Config, Image, ImageLayer, LayerContent, PackedLayer, Platform, Profile, assemble,
};

const F: i64 = 1_793_491_200;

fn layer(content: &'static [u8]) -> LayerContent {
    let mut diff = Diff::new();
    let entry = Entry::file(Digest::of(content), content.len() as u64);
    diff.insert(TreePath::new("x").expect("a good path"), Change::Put(entry));
    LayerContent::new(&View::default(), &diff).expect("a good layer")
}

fn packed(session: &Session, content: &'static [u8]) -> PackedLayer {
    session.pack(&layer(content), Profile::Gzip1, F, |_| Ok(content)).expect("it packs")
}

/// An image of one layer of one file, in the layout under these names.
fn add(layout: &Layout, content: &'static [u8], names: &[&str]) -> Assembled {
    let session = layout.session().expect("a session");
    let image = Image {
        config: Config::default(),
        platform: Platform { architecture: "amd64".into(), os: "linux".into(), variant: None },
        created: F,
        layers: vec![ImageLayer::Packed {
            packed: packed(&session, content),
            created_by: "test".into(),
        }],
        annotations: BTreeMap::default(),
    };
    let image = assemble(&image).expect("a good image");
    let names: Vec<_> = names.iter().map(|n| n.parse().expect("a good name")).collect();
    session.add(&image, &names).expect("it is added");
    image
}

fn layout() -> (tempfile::TempDir, Layout) {
    let dir = tempfile::tempdir().expect("a directory");
    let layout = Layout::open_or_create(dir.path().join("oci")).expect("a layout");
    (dir, layout)
}

fn names(layout: &Layout) -> Vec<Vec<String>> {
    layout.images().expect("readable").into_iter().map(|image| image.names).collect()
}

#[expect(clippy::disallowed_methods, reason = "only their number is of interest")]
fn count(dir: &Path) -> usize {
    fs::read_dir(dir).expect("there").count()
}

#[test]
fn names_move_and_go() {
    let (_dir, layout) = layout();
    let one = add(&layout, b"1", &["web:1", "web"]);
    assert_eq!(names(&layout), [["web:1", "web:latest"]]);
    let two = add(&layout, b"2", &["docker.io/library/web"]);
    assert_eq!(names(&layout), [["web:1"], ["web:latest"]]);
    let digest = |name: &str| layout.find(name).map(|image| image.descriptor.digest);
    assert_eq!(digest("web:1").expect("found"), one.manifest.descriptor.digest);
    assert_eq!(digest("web").expect("found"), two.manifest.descriptor.digest);
    assert_eq!(
        digest("docker.io/library/web:latest").expect("found"),
        two.manifest.descriptor.digest
    );
    let hex = one.manifest.descriptor.digest.hex();
    for name in
        [format!("sha256:{hex}"), hex[..12].into(), hex.clone(), format!("web@sha256:{hex}")]
    {
        assert_eq!(digest(&name).expect("found"), one.manifest.descriptor.digest);
    }
    assert!(matches!(digest(&hex[..11]), Err(LayoutError::NoImage { .. })));
    assert_eq!(layout.remove("web:1").expect("removed"), ["web:1"]);
    assert_eq!(names(&layout), [["web:latest"]]);
    assert_eq!(layout.remove("web:1").expect_err("gone").to_string(), "No image `web:1`");
}

#[test]
fn an_image_without_a_name_stays_until_removed_by_digest() {
    let (_dir, layout) = layout();
    let one = add(&layout, b"1", &[]);
    assert_eq!(names(&layout), [Vec::<String>::new()]);
    add(&layout, b"1", &["web:1", "web:2"]);
    assert_eq!(names(&layout), [["web:1", "web:2"]]);
    let digest = one.manifest.descriptor.digest.to_string();
    assert_eq!(layout.remove(&digest).expect("removed"), ["web:1", "web:2"]);
    assert!(names(&layout).is_empty());
}

#[test]
fn an_unchanged_layer_is_packed_once() {
    let (_dir, layout) = layout();
    let session = layout.session().expect("a session");
    let one = packed(&session, b"1");
    let again = session.pack(&layer(b"1"), Profile::Gzip1, F, |_| -> io::Result<&[u8]> {
        panic!("nothing is read again")
    });
    assert_eq!(again.expect("remembered"), one);
    fs::remove_file(layout.blob_path(one.digest)).expect("it was there");
    assert_eq!(packed(&session, b"1"), one, "a memo without its blob is none");
    let memo = layout.own(&format!("layers-v1/{}", layer(b"1").key(Profile::Gzip1, F)));
    fs::write(&memo, b"garbage").expect("written");
    assert_eq!(packed(&session, b"1"), one, "nor is garbage");
    let text = fs::read_to_string(&memo).expect("written again");
    let other = text.replace(&one.diff_id.to_string(), &one.digest.to_string());
    assert_ne!(text, other);
    fs::write(&memo, other).expect("written");
    assert_eq!(packed(&session, b"1"), one, "nor one that was changed");
}

#[test]
fn all_damage_is_found_by_reading() {
    let (_dir, layout) = layout();
    let image = add(&layout, b"1", &["web:1"]);
    add(&layout, b"2", &[]);
    let good = layout.check().expect("readable");
    assert_eq!((good.blobs, good.damaged.len(), good.incomplete.len()), (6, 0, 0));
    let (manifest, _) = layout.manifest(&image.manifest.descriptor).expect("readable");
    let layer = manifest.layers[0].digest;
    let mut bytes = fs::read(layout.blob_path(layer)).expect("there");
    bytes[20] ^= 1;
    fs::write(layout.blob_path(layer), bytes).expect("written");
    let found = layout.check().expect("readable");
    let incomplete = vec!["web:1".to_owned()];
    assert_eq!((found.blobs, found.damaged, found.incomplete), (5, vec![layer], incomplete));
    add(&layout, b"1", &["web:1"]);
    assert_eq!(layout.check().expect("readable"), good, "made again");
}

#[test]
fn an_index_that_is_gone_is_empty() {
    let (_dir, layout) = layout();
    add(&layout, b"1", &["web:1"]);
    fs::remove_file(layout.index_path()).expect("there");
    let layout = Layout::open_or_create(layout.dir()).expect("a layout");
    assert!(names(&layout).is_empty());
    add(&layout, b"1", &["web:1"]);
    assert_eq!(names(&layout), [["web:1"]]);
}

/// All that may go goes.
fn everything() -> Policy {
    Policy {
        now: SystemTime::UNIX_EPOCH + Duration::from_hours(24 * 40_000),
        max_size: None,
        min_free: None,
        max_age: Some(Duration::ZERO),
        keep: BTreeSet::new(),
        dry_run: false,
    }
}

fn prune(layout: &Layout) -> Pruned {
    layout.prune(&everything()).expect("pruned")
}

#[test]
fn what_broke_off_goes_when_it_is_old() {
    let (_dir, layout) = layout();
    let session = layout.session().expect("a session");
    let mut download = session.download(Sha256::of(b"blob")).expect("begun");
    download.file().write_all(b"bl").expect("written");
    drop(download);
    drop(session);
    fs::write(layout.own("damaged-1"), b"x").expect("written");
    let young = layout.prune(&Policy { max_age: Some(Duration::MAX), ..everything() });
    assert_eq!(young.expect("pruned"), Pruned::default());
    let old = prune(&layout);
    assert_eq!((old.partial.count, old.damaged.count), (1, 1));
    assert_eq!(count(&layout.own("partial")), 0);
}

#[test]
fn prune_keeps_what_is_needed() {
    let (_dir, layout) = layout();
    add(&layout, b"1", &["web:1"]);
    assert_eq!(prune(&layout), Pruned::default());
    add(&layout, b"2", &["web:1"]);
    let dry = layout.prune(&Policy { dry_run: true, ..everything() }).expect("readable");
    assert_eq!(count(&layout.blobs()), 6, "only looked at");
    let pruned = prune(&layout);
    assert_eq!(pruned, dry);
    assert_eq!(pruned.blobs.count, 3, "manifest, configuration and layer of the first");
    assert_eq!(pruned.memos.count, 1);
    assert!(pruned.freed() > 300);
    let image = layout.find("web:1").expect("found");
    let (manifest, _) = layout.manifest(&image.descriptor).expect("readable");
    assert!(layout.has(manifest.layers[0].digest, manifest.layers[0].size));
    assert!(layout.image_config(&manifest).is_ok());
    assert_eq!(count(&layout.own("layers-v1")), 1, "the first layer's memo went, too");
}

#[test]
fn prune_takes_nothing_if_it_cannot_know() {
    let (_dir, layout) = layout();
    let image = add(&layout, b"1", &["web:1"]);
    packed(&layout.session().expect("a session"), b"2");
    let manifest = layout.blob_path(image.manifest.descriptor.digest);
    let mut bytes = fs::read(&manifest).expect("there");
    bytes[20] ^= 1;
    fs::write(&manifest, &bytes).expect("written");
    let error = layout.prune(&everything()).expect_err("the manifest is damaged");
    assert_eq!(
        error.to_string(),
        format!(
            "The blob {} in the image layout {} is damaged: build or import the image again",
            image.manifest.descriptor.digest,
            layout.dir().display()
        )
    );
    assert!(!manifest.exists(), "it is out of the way");
    assert!(matches!(layout.prune(&everything()), Err(LayoutError::Missing { .. })));
    assert_eq!(count(&layout.blobs()), 3, "nothing else went");
    add(&layout, b"1", &["web:1"]);
    assert_eq!(layout.prune(&everything()).expect("it is whole again").blobs.count, 1);
}

#[test]
fn prune_waits_for_a_session_and_sweeps_after_the_killed() {
    let (_dir, layout) = layout();
    let left = layout.own("tmp/left");
    fs::create_dir_all(layout.own("tmp")).expect("made");
    fs::write(&left, b"x").expect("written");
    let session = layout.session().expect("a session");
    assert!(!left.exists(), "nobody was here");
    fs::write(&left, b"x").expect("written");
    drop(layout.session().expect("a second session"));
    assert!(left.exists(), "somebody is here");
    let one = packed(&session, b"1");
    std::thread::scope(|scope| {
        let pruning = scope.spawn(|| prune(&layout));
        std::thread::sleep(Duration::from_millis(50));
        assert!(layout.has(one.digest, one.size), "a session's blobs are safe");
        drop(session);
        assert_eq!(pruning.join().expect("no panic").blobs.count, 1);
    });
}

/// Who makes a layout writes files that another, who found it made, must not sweep.
#[test]
fn making_and_pruning_at_once() {
    for _ in 0..50 {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("images");
        std::thread::scope(|scope| {
            for number in 0..4 {
                let path = &path;
                scope.spawn(move || {
                    let layout = Layout::open_or_create(path).expect("a layout");
                    if number % 2 == 0 {
                        let _ = prune(&layout);
                    } else {
                        drop(layout.session().expect("a session"));
                    }
                });
            }
        });
    }
}

#[test]
fn many_writers_lose_no_name() {
    const NAMES: [&str; 8] = ["n:0", "n:1", "n:2", "n:3", "n:4", "n:5", "n:6", "n:7"];
    let (_dir, layout) = layout();
    std::thread::scope(|scope| {
        for name in NAMES {
            // Each opens its own lock files, as another process would.
            let layout = Layout::open(layout.dir()).expect("a layout");
            scope.spawn(move || add(&layout, name.as_bytes(), &[name]));
        }
    });
    assert_eq!(names(&layout), NAMES.map(|name| [name.to_owned()]));
}

#[test]
fn layouts_that_are_none() {
    let dir = tempfile::tempdir().expect("a directory");
    let open = || Layout::open(dir.path()).expect_err("refused");
    assert!(open().to_string().ends_with("is no OCI layout: it has no `oci-layout`"));
    let mark = dir.path().join("oci-layout");
    fs::write(&mark, b"{").expect("written");
    assert!(open().to_string().ends_with("oci-layout is not valid"));
    fs::write(&mark, br#"{"imageLayoutVersion":"2.0.0"}"#).expect("written");
    assert!(
        open()
            .to_string()
            .ends_with("is an OCI layout of the version `2.0.0`; only 1.0.0 is known")
    );
    fs::write(&mark, br#"{"imageLayoutVersion":"1.0.0"}"#).expect("written");
    let layout = Layout::open(dir.path()).expect("a layout");
    assert!(matches!(layout.images(), Err(LayoutError::Io { .. })));
    fs::write(dir.path().join("index.json"), b"<<<<<<< ours").expect("written");
    assert!(matches!(layout.images(), Err(LayoutError::Json { .. })));
    let large = format!(r#"{{"schemaVersion":2,"manifests":[]{}}}"#, " ".repeat(9 << 20));
    fs::write(dir.path().join("index.json"), large).expect("written");
    assert!(matches!(layout.images(), Err(LayoutError::Io { .. })));
}

#[test]
fn what_others_say_in_an_index_is_kept() {
    let (_dir, layout) = layout();
    let image = add(&layout, b"1", &["web:1"]);
    let other = format!(
        r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"{}","digest":"{}","size":{},"annotations":{{"{REF_NAME}":"not a reference!"}},"artifactType":"x","urls":["u"]}}],"annotations":{{"k":"v"}}}}"#,
        crate::MANIFEST,
        image.manifest.descriptor.digest,
        image.manifest.descriptor.size
    );
    fs::write(layout.index_path(), other).expect("written");
    assert_eq!(names(&layout), [["not a reference!"]]);
    assert!(layout.find("not a reference!").is_ok());
    add(&layout, b"2", &["web:2"]);
    let index = layout.index().expect("readable");
    assert_eq!(index.annotations["k"], "v");
    let kept = index.manifests.iter().find(|d| d.digest == image.manifest.descriptor.digest);
    assert_eq!(kept.expect("kept").other["artifactType"], "x");
    assert_eq!(layout.remove("not a reference!").expect("removed"), ["not a reference!"]);
}

#[test]
fn of_two_names_that_do_not_agree_ocis_holds() {
    let (_dir, layout) = layout();
    let image = add(&layout, b"1", &["web:1"]).manifest.descriptor;
    for (short, full, expected) in [
        ("1", "docker.io/library/web:1", "web:1"),
        ("web:1", "docker.io/library/web:1", "web:1"),
        ("web", "docker.io/library/web:latest", "web:latest"),
        ("changed", "docker.io/library/web:1", "changed"),
        ("web:2", "docker.io/library/web:1", "web:2"),
    ] {
        let (kind, digest, size) = (crate::MANIFEST, image.digest, image.size);
        let index = format!(
            r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"{kind}","digest":"{digest}","size":{size},"annotations":{{"{REF_NAME}":"{short}","{CONTAINERD_NAME}":"{full}"}}}}]}}"#
        );
        fs::write(layout.index_path(), index).expect("written");
        assert_eq!(names(&layout), [[expected]], "{short} {full}");
    }
}

#[test]
fn a_layer_may_be_elsewhere() {
    let (_dir, layout) = layout();
    let image = add(&layout, b"1", &["web:1"]).manifest.descriptor;
    let layer = layout.manifest(&image).expect("readable").0.layers.remove(0);
    let (digest, size) = (layer.digest, layer.size);
    let note = |image: &str| {
        let away = Away { digest, size, image: Some(image.into()) };
        layout.session().expect("a session").note(&away).expect("noted");
        away
    };
    let away = note("debian:12");
    assert_eq!(layout.away(&image).expect("readable"), [], "it is here");
    fs::remove_file(layout.blob_path(digest)).expect("it is there");
    assert_eq!(layout.away(&image).expect("readable").as_slice(), std::slice::from_ref(&away));
    assert_eq!(layout.check().expect("readable").incomplete, [""; 0]);
    let error = layout.open_blob(digest, size).err().expect("it is not here").to_string();
    assert!(error.contains("is not in the image layout"), "{error}");
    assert_eq!(prune(&layout).memos.count, 1, "what the layer was packed to; the note stays");
    assert_eq!(layout.noted(digest, size), Some(away));
    assert_eq!(layout.noted(digest, size + 1), None);
    let cached = Away { digest, size, image: None };
    layout.session().expect("a session").note(&cached).expect("noted");
    assert_ne!(layout.noted(digest, size), Some(cached), "who lasts counts for more");
    // What leads nowhere is no note.
    note("not a name");
    assert_eq!(layout.noted(digest, size), None);
    assert_eq!(layout.check().expect("readable").incomplete, ["web:1"]);
    assert!(matches!(layout.open_blob(digest, size), Err(LayoutError::Missing { .. })));
    note("debian:13");
    layout.remove("web:1").expect("removed");
    assert_eq!(prune(&layout).memos.count, 1, "nobody needs it any more");
    assert_eq!(count(&layout.own("away")), 0);
}

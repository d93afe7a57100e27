//! docker: an archive to its daemon, without the layers that it has.

use std::collections::BTreeSet;

use reimage_castore::Sha256;
use reimage_oci::{Archive, Layout, StoredImage, export_archive_without};

use super::{Loaded, engine::Engine};
use crate::error::CommandError;

const DOCKER: Engine = Engine {
    program: "docker",
    hint: "is its daemon running, and may you use it? `DOCKER_HOST` and `docker context` say where it is",
};
/// Says that the daemon keeps images in containerd, which wants all blobs.
const CONTAINERD_STORE: &str = "io.containerd.snapshotter";
/// Images that are asked for at once.
const AT_ONCE: usize = 200;

/// Loads an image of one platform.
pub(super) fn load(layout: &Layout, image: &StoredImage) -> Result<Loaded, CommandError> {
    let (manifest, _) = layout.manifest(&image.descriptor)?;
    let diff_ids = layout.image_config(&manifest)?.rootfs.diff_ids;
    let there = there(&diff_ids)?;
    let (first, rest) = manifest.layers.split_at(there.min(manifest.layers.len()));
    let rest: BTreeSet<_> = rest.iter().map(|layer| layer.digest).collect();
    let first: BTreeSet<_> = first.iter().map(|layer| layer.digest).collect();
    let skipped: BTreeSet<_> = first.difference(&rest).copied().collect();
    let feed = |skipped: &BTreeSet<Sha256>| {
        DOCKER.feed(&["load", "--quiet"], |out| {
            export_archive_without(layout, image, Archive::Docker, skipped, out)
        })
    };
    let sent = match feed(&skipped) {
        // Somebody may have removed a layer since we asked.
        Err(_) if !skipped.is_empty() => feed(&BTreeSet::new())?,
        sent => sent?,
    };
    Ok(Loaded { sent: Some(sent), id: Some(manifest.config.digest) })
}

/// How many of the first layers the daemon has on each other: those that an image of it begins with.
fn there(diff_ids: &[Sha256]) -> Result<usize, CommandError> {
    let images = DOCKER.ask(&["image", "ls", "--all", "--quiet", "--no-trunc"], None)?;
    // What does not answer like docker's own daemon gets everything.
    let driver = DOCKER.ask(&["info", "--format", "{{json .DriverStatus}}"], None);
    if driver.is_ok_and(|driver| driver.contains(CONTAINERD_STORE)) {
        return Ok(0);
    }
    let images: BTreeSet<_> = images.lines().collect();
    let images: Vec<_> = images.into_iter().collect();
    let mut most = 0;
    for images in images.chunks(AT_ONCE) {
        let inspect = ["image", "inspect", "--format", "{{json .RootFS.Layers}}"];
        // One that went meanwhile is no reason to fail.
        let layers = DOCKER.ask(&[&inspect, images].concat(), None).unwrap_or_default();
        for layers in layers.lines() {
            let layers: Vec<Sha256> = serde_json::from_str(layers).unwrap_or_default();
            let same = layers.iter().zip(diff_ids).take_while(|(a, b)| a == b).count();
            most = most.max(same);
        }
    }
    Ok(most)
}

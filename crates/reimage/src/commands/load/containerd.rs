//! containerd: an archive to its content store, without the blobs that this has.

use std::collections::BTreeSet;

use reimage_castore::Sha256;
use reimage_oci::{Archive, Layout, StoredImage, export_archive_without};

use super::{Loaded, engine::Engine};
use crate::error::CommandError;

const CONTAINERD: Engine = Engine {
    program: "ctr",
    hint: "is containerd running, and may you use it? `CONTAINERD_ADDRESS` says where it is",
};

/// Loads an image of all its platforms.
pub(super) fn load(
    layout: &Layout,
    image: &StoredImage,
    namespace: Option<&str>,
) -> Result<Loaded, CommandError> {
    if image.names.is_empty() {
        let error = CommandError::usage("containerd keeps no image without a name");
        return Err(error.hint("`reimage tag` gives it one"));
    }
    let namespace = namespace.map_or_else(Vec::new, |name| vec!["--namespace", name]);
    let content = || -> Result<BTreeSet<Sha256>, CommandError> {
        let list =
            CONTAINERD.ask(&[&namespace[..], &["content", "ls", "--quiet"]].concat(), None)?;
        Ok(list.lines().filter_map(|line| line.trim().parse().ok()).collect())
    };
    let mut layers = BTreeSet::new();
    for manifest in layout.manifests(&image.descriptor)? {
        let (manifest, _) = layout.manifest(&manifest)?;
        layers.extend(manifest.layers.iter().map(|layer| layer.digest));
    }
    let there: BTreeSet<_> = content()?.intersection(&layers).copied().collect();
    let feed = |there: &BTreeSet<Sha256>| {
        CONTAINERD.feed(&[&namespace[..], &["images", "import", "-"]].concat(), |out| {
            export_archive_without(layout, image, Archive::Oci, there, out)
        })
    };
    // What nothing names it may remove at any time, and it does not look at what it will not run.
    let thin = feed(&there);
    let sent = if there.is_empty() || (thin.is_ok() && content()?.is_superset(&layers)) {
        thin?
    } else {
        feed(&BTreeSet::new())?
    };
    Ok(Loaded { sent: Some(sent), id: None })
}

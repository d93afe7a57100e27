//! podman: it reads our layout itself, and of that what it does not have.

use reimage_oci::{Layout, LayoutError, Reference, StoredImage, link_oci_dir};

use super::{Loaded, engine::Engine};
use crate::error::CommandError;

const PODMAN: Engine = Engine {
    program: "podman",
    hint: "does `podman images` work? `podman info` says where it keeps images",
};

/// Loads an image of one platform.
pub(super) fn load(layout: &Layout, image: &StoredImage) -> Result<Loaded, CommandError> {
    let away = layout.away(&image.descriptor)?;
    if !away.is_empty() {
        // What goes wrong later is then that it lacks a layer, too.
        PODMAN.ask(&["info", "--format", "{{.Store.GraphRoot}}"], None)?;
    }
    let (manifest, _) = layout.manifest(&image.descriptor)?;
    let id = manifest.config.digest;
    let parent = layout.dir().parent().unwrap_or(layout.dir());
    let directory = tempfile::Builder::new().prefix(".reimage-load-").tempdir_in(parent)?;
    // podman makes a name of the path as it is given, and takes it only in lower case.
    let name = format!("reimage-load-{}", std::process::id());
    let unnamed = StoredImage { descriptor: image.descriptor.clone(), names: Vec::new() };
    link_oci_dir(layout, &unnamed, &directory.path().join(&name))?;
    let pulled = PODMAN.ask(&["pull", "--quiet", &format!("oci:{name}")], Some(directory.path()));
    match (pulled, away.into_iter().next()) {
        (Err(_), Some(away)) => {
            let dir = layout.dir().to_owned();
            return Err(LayoutError::Away { dir, away: Box::new(away) }.into());
        }
        (pulled, _) => pulled?,
    };
    let names = image.names.iter().filter_map(|name| name.parse::<Reference>().ok());
    let names: Vec<_> = names.map(|name| name.or_latest().full()).collect();
    let hex = id.hex();
    if !names.is_empty() {
        let names = names.iter().map(String::as_str);
        PODMAN.ask(&["tag", &hex].into_iter().chain(names).collect::<Vec<_>>(), None)?;
    }
    let inspect = ["image", "inspect", "--format", "{{json .RepoTags}}", &hex];
    let held: Vec<String> =
        serde_json::from_str(PODMAN.ask(&inspect, None)?.trim()).unwrap_or_default();
    for made in held.iter().filter(|held| held.contains(&name)) {
        PODMAN.ask(&["untag", &hex, made], None)?;
    }
    Ok(Loaded { sent: None, id: Some(id) })
}

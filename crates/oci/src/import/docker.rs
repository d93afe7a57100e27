//! Docker archives without an index, as `docker save` wrote them before version 25.

use std::{collections::BTreeMap, io::Read};

use fs_err as fs;
use serde::Deserialize;

use super::{
    Aside, ImportError,
    archive::{Files, document, layout},
};
use crate::{
    Descriptor, Index, Layout, Reference,
    document::{Blob, CONFIG, INDEX, MANIFEST, Manifest},
    export::DOCKER_FILE,
    layout::{CONTAINERD_NAME, REF_NAME, layout_file, to_json},
};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// The archive as a layout: its files as they are, with a manifest for each image.
pub(super) fn as_layout(files: &Files) -> Result<Layout, ImportError> {
    let json = |source| ImportError::Json { path: DOCKER_FILE.into(), source };
    let images: Vec<DockerImage> =
        serde_json::from_slice(&files.read(DOCKER_FILE)?).map_err(json)?;
    let mut blobs: Vec<Aside> = Vec::new();
    let mut manifests = Vec::new();
    for image in images {
        let mut file = |path: &str| {
            let missing = || ImportError::Missing { path: path.into() };
            let file = files.get(path).ok_or_else(missing)?.clone();
            blobs.push(file.clone());
            Ok::<_, ImportError>(file)
        };
        let config = file(&image.config)?;
        let layers: Result<Vec<_>, _> = image.layers.iter().map(|path| file(path)).collect();
        let layers: Result<Vec<_>, _> = layers?.iter().map(layer).collect();
        let manifest = Manifest {
            schema_version: 2,
            media_type: Some(MANIFEST.into()),
            config: Descriptor::new(CONFIG, config.digest, config.size),
            layers: layers?,
            annotations: BTreeMap::new(),
        };
        let manifest = Blob::of(MANIFEST, &manifest);
        blobs.push(document(files.dir(), &manifest.bytes)?);
        let tags = image.repo_tags.unwrap_or_default();
        let named = tags.iter().filter_map(|tag| tag.parse::<Reference>().ok()).map(|name| {
            let mut entry = manifest.descriptor.clone();
            entry.annotations.insert(REF_NAME.into(), name.familiar());
            entry.annotations.insert(CONTAINERD_NAME.into(), name.full());
            entry
        });
        manifests.extend(named);
        manifests.push(manifest.descriptor.clone());
    }
    let index = Index {
        schema_version: 2,
        media_type: Some(INDEX.into()),
        manifests,
        annotations: BTreeMap::new(),
    };
    layout(files.dir(), &blobs, &to_json(&index), &layout_file())
}

/// A layer as a manifest names it, by its first bytes.
fn layer(file: &Aside) -> Result<Descriptor, ImportError> {
    let mut magic = Vec::new();
    fs::File::open(&file.path)?.take(4).read_to_end(&mut magic)?;
    let media_type = match magic.as_slice() {
        [0x1f, 0x8b, ..] => crate::Profile::Gzip1.media_type(),
        [0x28, 0xb5, 0x2f, 0xfd] => crate::Profile::Zstd1.media_type(),
        _ => crate::Profile::Plain.media_type(),
    };
    Ok(Descriptor::new(media_type, file.digest, file.size))
}

//! What enters the image store: layouts and archives that anybody may have written.
//!
//! An archive is first put aside as a layout, by the digests that its files really have; a docker archive
//! without an index gets a manifest, its configuration and layers stay the bytes they are. Then whatever an
//! image needs is verified, layers to the archive in them, and only then is it named.

use std::{
    collections::BTreeSet,
    io::{self, Read},
    path::PathBuf,
};

use reimage_castore::{PathError, Sha256};
use thiserror::Error;

use crate::{
    Descriptor, Index, Layout, LayoutError, Limits, Reference, RootfsError, Session, UnpackError,
    document::{CONFIG, DOCKER_CONFIG},
    layout::name_of,
    rootfs::verify_layer,
};

mod archive;
mod docker;

/// As many members as an archive of images may have.
const MAX_MEMBERS: u64 = 100_000;

/// Images that cannot enter.
#[derive(Debug, Error)]
pub enum ImportError {
    /// A layout, ours or theirs, that cannot be used.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// A layer that is not what it says.
    #[error(transparent)]
    Layer(#[from] RootfsError),
    /// The archive cannot be read.
    #[error("The archive cannot be read")]
    Read(#[from] io::Error),
    /// The archive is none.
    #[error("It is no archive of images")]
    Archive(#[source] UnpackError),
    /// A member whose name leads elsewhere.
    #[error("The archive has a member whose name cannot be")]
    Path(#[from] PathError),
    /// Neither kind of archive.
    #[error("It is no archive of images: it has neither `index.json` nor `manifest.json`")]
    NotImages,
    /// A file in it that is not what its name says.
    #[error("The archive's `{path}` has the digest {found}")]
    Digest {
        /// Its path in the archive.
        path: String,
        /// The digest that it has.
        found: Sha256,
    },
    /// A file that another one names and that is not there.
    #[error("The archive has no `{path}`, which its `manifest.json` names")]
    Missing {
        /// Its path in the archive.
        path: String,
    },
    /// A document that is not what it should be.
    #[error("The archive's `{path}` is not valid")]
    Json {
        /// Its path in the archive.
        path: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// An index of which too little is there.
    #[error(
        "The image {digest} is for several platforms, and {found} of their manifests are there: \
             export one platform, or all"
    )]
    Incomplete {
        /// Digest of the index.
        digest: Sha256,
        /// How many manifests are there.
        found: usize,
    },
    /// No image in it.
    #[error("There is no image in it")]
    Empty,
}

/// An image that entered.
#[derive(Debug, Clone, PartialEq)]
pub struct Imported {
    /// Its manifest or index.
    pub descriptor: Descriptor,
    /// The names that it brought.
    pub names: Vec<Reference>,
}

/// Takes all images of an archive: OCI's or docker's, old or new, plain or compressed as a whole.
pub fn import_archive(
    session: &Session,
    archive: impl Read,
    limits: Limits,
) -> Result<Vec<Imported>, ImportError> {
    let aside = session.temporary_dir()?;
    let files = archive::read(archive, aside.path(), limits)?;
    let layout = if files.has("index.json") {
        files.as_layout()?
    } else if files.has(crate::export::DOCKER_FILE) {
        docker::as_layout(&files)?
    } else {
        return Err(ImportError::NotImages);
    };
    import_layout(session, &layout, limits)
}

/// Takes all images of a layout.
pub fn import_layout(
    session: &Session,
    source: &Layout,
    limits: Limits,
) -> Result<Vec<Imported>, ImportError> {
    let mut imported: Vec<Imported> = Vec::new();
    let mut verified = BTreeSet::new();
    for entry in source.index()?.manifests {
        let names = name(&entry);
        let descriptor = whole(source, entry)?;
        if let Some(same) = imported.iter_mut().find(|i| i.descriptor.digest == descriptor.digest) {
            same.names.extend(names);
            continue;
        }
        copy_image(session, source, &descriptor, limits, &mut verified)?;
        imported.push(Imported { descriptor, names: names.into_iter().collect() });
    }
    if imported.is_empty() {
        return Err(ImportError::Empty);
    }
    for image in &imported {
        session.name(&image.descriptor, &image.names)?;
    }
    Ok(imported)
}

/// The name of an entry. A bare word is docker's habit for the tag alone, and names nothing.
fn name(entry: &Descriptor) -> Option<Reference> {
    let name = name_of(entry)?;
    name.contains(['/', ':']).then(|| name.parse().ok()).flatten()
}

/// The image itself, or of an index whose other platforms were left out the one that is there.
fn whole(source: &Layout, descriptor: Descriptor) -> Result<Descriptor, ImportError> {
    if !descriptor.is_index() {
        return Ok(descriptor);
    }
    let index: Index = source.document("index", &descriptor)?;
    let count = index.manifests.len();
    let mut there: Vec<_> =
        index.manifests.into_iter().filter(|m| source.has(m.digest, m.size)).collect();
    match there.len() {
        found if found == count => Ok(descriptor),
        1 => Ok(there.remove(0)),
        found => Err(ImportError::Incomplete { digest: descriptor.digest, found }),
    }
}

fn copy_image(
    session: &Session,
    source: &Layout,
    top: &Descriptor,
    limits: Limits,
    verified: &mut BTreeSet<(Sha256, Sha256)>,
) -> Result<(), ImportError> {
    for document in source.walk(top)? {
        if document.is_manifest() {
            let (manifest, _) = source.manifest(&document)?;
            if matches!(&*manifest.config.media_type, CONFIG | DOCKER_CONFIG)
                && manifest.layers.iter().all(is_archive)
            {
                let diff_ids = source.image_config(&manifest)?.rootfs.diff_ids;
                if diff_ids.len() != manifest.layers.len() {
                    let (layers, diff_ids) = (manifest.layers.len(), diff_ids.len());
                    return Err(RootfsError::Count { layers, diff_ids }.into());
                }
                for (layer, diff_id) in manifest.layers.iter().zip(diff_ids) {
                    if verified.insert((layer.digest, diff_id)) {
                        verify_layer(source, layer, diff_id, limits)?;
                    }
                }
            }
            for part in manifest.layers.iter().chain([&manifest.config]) {
                session.copy_blob(source, part)?;
            }
        }
        session.copy_blob(source, &document)?;
    }
    Ok(())
}

/// Whether it is a layer of files, not an attestation or the like.
fn is_archive(layer: &Descriptor) -> bool {
    let kinds = ["application/vnd.oci.image.layer.", "application/vnd.docker.image.rootfs."];
    kinds.iter().any(|kind| layer.media_type.starts_with(kind))
}

/// Where a file of an archive was put, and what it is.
#[derive(Debug, Clone)]
struct Aside {
    path: PathBuf,
    digest: Sha256,
    size: u64,
}

#[cfg(test)]
mod tests;

//! A whole image out of a repository into a layout: only what is missing, verified, the documents last.

use std::{collections::BTreeMap, io};

use reimage_castore::Sha256;
use reimage_http::parallel;
use reimage_oci::{Blob, Descriptor, Index, Manifest, Session};

use crate::{
    Found, Platforms, Progress, RegistryError, Source,
    platforms::{flat, narrow},
};

/// What was done.
#[derive(Debug, Clone, PartialEq)]
pub struct Pulled {
    /// The image as it is here: its manifest, or its index.
    pub descriptor: Descriptor,
    /// Number of blobs that came.
    pub fetched: usize,
    /// Their bytes.
    pub bytes: u64,
}

/// Takes an image into a layout; it has no name there yet.
///
/// A download that breaks off goes on the next time.
pub fn pull(
    from: Source<'_>,
    image: Found,
    platforms: &Platforms,
    session: &Session,
    progress: Progress<'_>,
) -> Result<Pulled, RegistryError> {
    let (manifests, index) = if image.descriptor.is_index() {
        let index = Index::parse(image.descriptor.digest, &image.bytes)?;
        flat(image.descriptor.digest, &index)?;
        let narrowed = narrow(image, &index, platforms)?;
        let mut manifests = Vec::new();
        for descriptor in narrowed.manifests {
            let bytes = from.document(&descriptor)?;
            manifests.push(Found { descriptor, bytes });
        }
        (manifests, narrowed.index)
    } else {
        (vec![image], None)
    };
    let mut blobs = BTreeMap::new();
    for Found { descriptor, bytes } in &manifests {
        if !descriptor.is_manifest() {
            let media_type = descriptor.media_type.clone();
            let what = descriptor.digest.to_string();
            return Err(RegistryError::NotAnImage { what, media_type });
        }
        let manifest = Manifest::parse(descriptor.digest, bytes)?;
        blobs.extend(manifest.blobs().map(|blob| (blob.digest, blob.size)));
    }
    let to = session.layout();
    let is_there = |digest, size| match from {
        Source::Repository(_) => to.has(digest, size),
        // What is elsewhere for both of them may stay there.
        Source::Layout(_) => to.has_or_knows(digest, size),
    };
    let missing = blobs.into_iter().filter(|(digest, size)| !is_there(*digest, *size));
    let mut missing: Vec<_> = missing.collect();
    missing.sort_by_key(|(_, size)| std::cmp::Reverse(*size));
    parallel(from.parallel(), &missing, |(digest, size)| {
        fetch(from, *digest, *size, session, progress)
    })?;
    let mut top = None;
    for Found { mut descriptor, bytes } in manifests.into_iter().chain(index) {
        // What an index says of it is said there.
        descriptor.annotations.clear();
        session.put(&Blob { descriptor: descriptor.clone(), bytes })?;
        top = Some(descriptor);
    }
    let (fetched, bytes) = (missing.len(), missing.iter().map(|(_, size)| size).sum());
    let descriptor = top.expect("an image has a document");
    Ok(Pulled { descriptor, fetched, bytes })
}

fn fetch(
    from: Source<'_>,
    digest: Sha256,
    size: u64,
    session: &Session,
    progress: Progress<'_>,
) -> Result<(), RegistryError> {
    let mut download = session.download(digest)?;
    match from {
        Source::Repository(repository) => {
            repository.fetch(digest, size, download.file(), progress)?;
        }
        Source::Layout(layout) => {
            download.file().set_len(0)?;
            let mut blob = layout.open_blob(digest, size)?;
            io::copy(&mut blob, download.file())?;
        }
    }
    Ok(download.commit()?)
}

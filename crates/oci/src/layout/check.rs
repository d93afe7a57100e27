//! Reads everything in a layout: `reimage cache verify`.

use std::io;

use rayon::prelude::*;
use reimage_castore::{Sha256, read_dir_sorted};

use super::{Layout, LayoutError};

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checked {
    /// How many blobs are what their digests say.
    pub blobs: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Blobs that are not; in a layout of ours they are taken out of the way.
    pub damaged: Vec<Sha256>,
    /// Images that lack something, by their first names, or digests if they have none.
    pub incomplete: Vec<String>,
}

impl Layout {
    /// Checks every byte of every blob, and every image for its blobs.
    pub fn check(&self) -> Result<Checked, LayoutError> {
        let listed = read_dir_sorted(self.blobs()).map_err(|e| self.io(e))?;
        let named = listed.iter().filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            format!("sha256:{name}").parse::<Sha256>().ok()
        });
        let digests: Vec<_> = named.collect();
        let sizes: Vec<_> =
            digests.par_iter().map(|digest| self.check_blob(*digest)).collect::<Result<_, _>>()?;
        let mut checked = Checked::default();
        for (digest, size) in digests.into_iter().zip(sizes) {
            match size {
                Some(size) => {
                    checked.blobs += 1;
                    checked.bytes += size;
                }
                None => checked.damaged.push(digest),
            }
        }
        for image in self.images()? {
            if !self.is_whole(&image.descriptor) {
                let digest = || image.descriptor.digest.to_string();
                checked.incomplete.push(image.names.first().cloned().unwrap_or_else(digest));
            }
        }
        Ok(checked)
    }

    /// Reads a blob; its size, or none if it is not what its digest says.
    fn check_blob(&self, digest: Sha256) -> Result<Option<u64>, LayoutError> {
        let size = match std::fs::symlink_metadata(self.blob_path(digest)) {
            Ok(metadata) if metadata.is_file() => metadata.len(),
            Ok(_) => return Ok(None),
            // It went while we looked.
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Some(0)),
            Err(e) => return Err(self.io(e)),
        };
        let mut reader = self.open_blob(digest, size)?;
        match io::copy(&mut reader, &mut io::sink()).map_err(|e| self.read_error(digest, e)) {
            Ok(_) => Ok(Some(size)),
            Err(LayoutError::Damaged { .. }) => Ok(None),
            Err(other) => Err(other),
        }
    }

    /// Whether all that an image needs is there, as far as sizes tell.
    fn is_whole(&self, image: &crate::Descriptor) -> bool {
        let Ok(documents) = self.walk(image) else { return false };
        documents.iter().filter(|document| document.is_manifest()).all(|document| {
            self.manifest(document).is_ok_and(|(manifest, _)| {
                let config = &manifest.config;
                // A layer may be elsewhere; then it is known where.
                self.has(config.digest, config.size)
                    && manifest
                        .layers
                        .iter()
                        .all(|layer| self.has_or_knows(layer.digest, layer.size))
            })
        })
    }
}

//! Layers that an image names and whose bytes nobody has needed here: a note says where each can be had.
//!
//! The image is what it is all the same. Whoever reads a layer brings it first; the note stays, for the day on which
//! the blob is found damaged, and for a push to that registry, which has the layer already.

use fs_err as fs;
use reimage_castore::Sha256;
use serde::{Deserialize, Serialize};

use super::{Layout, LayoutError, Session, read_file, to_json};
use crate::{Descriptor, Reference};

/// Bytes that a note may have: 64 KiB.
const MAX_NOTE: u64 = 64 << 10;

/// Where a layer can be had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Away {
    /// Its digest.
    pub digest: Sha256,
    /// Its size in bytes.
    pub size: u64,
    /// An image that has it, as people write its name: a registry and a repository follow from that. None: a cache of
    /// the team had it, and may lose it any day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
}

impl Layout {
    /// Where else the blob of this digest and size can be had, if that is known; it may be here, too.
    pub fn noted(&self, digest: Sha256, size: u64) -> Option<Away> {
        // A note that cannot be read is as none.
        let bytes = read_file(&self.own(&note_name(digest)), MAX_NOTE).ok()?;
        let away: Away = serde_json::from_slice(&bytes).ok()?;
        let fits = (away.digest, away.size) == (digest, size);
        let named = away.image.as_ref().is_none_or(|image| image.parse::<Reference>().is_ok());
        (fits && named).then_some(away)
    }

    /// Whether a blob of this digest and size is here, or can be brought.
    pub fn has_or_knows(&self, digest: Sha256, size: u64) -> bool {
        self.has(digest, size) || self.noted(digest, size).is_some()
    }

    /// The layers of an image that are to be brought before they can be read.
    pub fn away(&self, image: &Descriptor) -> Result<Vec<Away>, LayoutError> {
        let mut away = Vec::new();
        for manifest in self.manifests(image)? {
            for layer in self.manifest(&manifest)?.0.layers {
                if !self.has(layer.digest, layer.size) {
                    away.extend(self.noted(layer.digest, layer.size));
                }
            }
        }
        away.sort_by_key(|away| (std::cmp::Reverse(away.size), away.digest));
        away.dedup();
        Ok(away)
    }
}

impl Session {
    /// Notes where a layer can be had, whether it is here or not; that an image has it counts for more than that a cache
    /// had it.
    pub fn note(&self, away: &Away) -> Result<(), LayoutError> {
        let layout = self.layout();
        let there = layout.noted(away.digest, away.size);
        if there.is_some_and(|there| away.image.is_none() || there == *away) {
            return Ok(());
        }
        fs::create_dir_all(layout.own("away")).map_err(|e| layout.io(e))?;
        layout.replace(&layout.own(&note_name(away.digest)), &to_json(away))
    }
}

fn note_name(digest: Sha256) -> String {
    format!("away/{}", digest.hex())
}

//! Putting an image together: a pure function from configuration and layers to two documents.

use std::{collections::BTreeMap, sync::Arc};

use reimage_castore::Sha256;
use thiserror::Error;

use crate::{
    Config, Descriptor, PackedLayer, Platform,
    document::{Blob, CONFIG, History, INDEX, ImageConfig, Index, MANIFEST, Manifest, RootFs},
};

/// As many layers as docker takes.
const MAX_LAYERS: usize = 127;

/// Whether engines take an image of so many layers.
pub fn check_layers(layers: usize) -> Result<(), AssembleError> {
    match layers {
        0 => Err(AssembleError::Empty),
        1..=MAX_LAYERS => Ok(()),
        layers => Err(AssembleError::Layers { layers }),
    }
}

/// An image that cannot be.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum AssembleError {
    /// More layers than engines take.
    #[error(
        "The image has {layers} layers, and container engines take at most 127: squash it into one by \
         `layers = [re.copy {{ from = .. }}]`, or some of them by such a copy in their place"
    )]
    Layers {
        /// How many it has.
        layers: usize,
    },
    /// No layers.
    #[error("The image has no layers")]
    Empty,
    /// A time that has no four-digit year.
    #[error(
        "The time {seconds} (seconds since 1970) cannot be `created`: its year has not four digits"
    )]
    Created {
        /// The time.
        seconds: i64,
    },
}

/// An image as a value.
#[derive(Debug, Clone, PartialEq)]
pub struct Image {
    /// What runs.
    pub config: Config,
    /// What it runs on.
    pub platform: Platform,
    /// When it was made, in seconds since 1970.
    pub created: i64,
    /// Its layers, lowest first.
    pub layers: Vec<ImageLayer>,
    /// Annotations of its manifest.
    pub annotations: BTreeMap<String, String>,
}

/// A layer of an image.
#[derive(Debug, Clone, PartialEq)]
pub enum ImageLayer {
    /// One that was packed for it.
    Packed {
        /// The blob.
        packed: PackedLayer,
        /// What made it, from the step's content; never its name.
        created_by: String,
    },
    /// One of a base image, as it is.
    Carried(Arc<CarriedLayer>),
}

/// A layer of a base image.
#[derive(Debug, Clone, PartialEq)]
pub struct CarriedLayer {
    /// The blob.
    pub descriptor: Descriptor,
    /// Digest of the archive in it.
    pub diff_id: Sha256,
    /// What the base image's history says of it, and of what has no layer before it.
    pub history: Vec<History>,
}

impl ImageLayer {
    /// Digest of its archive.
    pub fn diff_id(&self) -> Sha256 {
        match self {
            Self::Packed { packed, .. } => packed.diff_id,
            Self::Carried(carried) => carried.diff_id,
        }
    }

    /// As a manifest names it.
    pub fn descriptor(&self) -> Descriptor {
        match self {
            Self::Packed { packed, .. } => packed.descriptor(),
            Self::Carried(carried) => carried.descriptor.clone(),
        }
    }

    fn history(&self, created: &str) -> Vec<History> {
        match self {
            Self::Packed { created_by, .. } => vec![History {
                created: Some(created.to_owned()),
                created_by: Some(created_by.clone()),
                ..History::default()
            }],
            Self::Carried(carried) => carried.history.clone(),
        }
    }
}

/// The documents of an image.
#[derive(Debug, Clone, PartialEq)]
pub struct Assembled {
    /// The configuration.
    pub config: Blob,
    /// The manifest, whose digest is the image's.
    pub manifest: Blob,
}

/// Makes configuration and manifest.
pub fn assemble(image: &Image) -> Result<Assembled, AssembleError> {
    check_layers(image.layers.len())?;
    let created = rfc3339(image.created)?;
    let config = ImageConfig {
        created: Some(created.clone()),
        author: image.config.author.clone(),
        platform: image.platform.clone(),
        config: Some(image.config.clone()),
        rootfs: RootFs {
            kind: "layers".into(),
            diff_ids: image.layers.iter().map(ImageLayer::diff_id).collect(),
        },
        history: Some(image.layers.iter().flat_map(|layer| layer.history(&created)).collect()),
    };
    let config = Blob::of(CONFIG, &config);
    let manifest = Manifest {
        schema_version: 2,
        media_type: Some(MANIFEST.into()),
        config: config.descriptor.clone(),
        layers: image.layers.iter().map(ImageLayer::descriptor).collect(),
        annotations: image.annotations.clone(),
    };
    let manifest = Blob::of(MANIFEST, &manifest);
    Ok(Assembled { config, manifest })
}

/// Makes the index of several images, each a descriptor with its platform.
pub fn assemble_index(manifests: Vec<Descriptor>, annotations: &BTreeMap<String, String>) -> Blob {
    let index = Index {
        schema_version: 2,
        media_type: Some(INDEX.into()),
        manifests,
        annotations: annotations.clone(),
    };
    Blob::of(INDEX, &index)
}

impl PackedLayer {
    /// As a manifest names it.
    pub fn descriptor(&self) -> Descriptor {
        Descriptor::new(self.profile.media_type(), self.digest, self.size)
    }
}

/// `2026-11-01T00:00:00Z`; years 0 to 9999.
fn rfc3339(seconds: i64) -> Result<String, AssembleError> {
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Days since 0000-03-01, in eras of 400 years.
    let days = days + 719_468;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = year + era * 400 + carry;
    if !(0..=9999).contains(&year) {
        return Err(AssembleError::Created { seconds });
    }
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    Ok(format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z"))
}

#[cfg(test)]
mod tests;

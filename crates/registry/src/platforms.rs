//! Which platforms of an image are meant.

use reimage_castore::Sha256;
use reimage_oci::{Blob, Descriptor, Index, Platform};

use crate::{Found, RegistryError};

/// Which manifests of an index are meant; an image for one platform is meant whatever that is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Platforms {
    /// All, with whatever else is in the index, as it is.
    All,
    /// The one for this platform.
    One(Platform),
    /// Those for these, in an index of their own.
    Some(Vec<Platform>),
}

/// The manifest of an index for a platform; a variant that is not said fits any, docker's default for `arm64` is `v8`.
pub fn select<'i>(index: &'i Index, wanted: &Platform) -> Result<&'i Descriptor, RegistryError> {
    let fits = |strict: bool| {
        index.manifests.iter().find(|manifest| {
            manifest.platform.as_ref().is_some_and(|platform| {
                platform.os == wanted.os
                    && platform.architecture == wanted.architecture
                    && (platform.variant == wanted.variant || !strict && loose(platform, wanted))
            })
        })
    };
    fits(true)
        .or_else(|| fits(false))
        .ok_or_else(|| RegistryError::Platform { wanted: shown(wanted), there: there(index) })
}

/// Whether they differ only in a variant that one of them does not say.
fn loose(platform: &Platform, wanted: &Platform) -> bool {
    platform.variant.is_none() || wanted.variant.is_none()
}

/// The platforms that an index has images for.
fn there(index: &Index) -> Vec<String> {
    let known = index.manifests.iter().filter_map(|manifest| manifest.platform.as_ref());
    // Attestations are for a platform that is none.
    known.filter(|platform| platform.os != "unknown").map(shown).collect()
}

fn shown(platform: &Platform) -> String {
    let Platform { os, architecture, variant } = platform;
    match variant {
        Some(variant) => format!("{os}/{architecture}/{variant}"),
        None => format!("{os}/{architecture}"),
    }
}

/// Fails if there is an index in the index.
pub fn flat(outer: Sha256, index: &Index) -> Result<(), RegistryError> {
    match index.manifests.iter().find(|manifest| manifest.is_index()) {
        Some(inner) => Err(RegistryError::Nested { outer, inner: inner.digest }),
        None => Ok(()),
    }
}

/// What is left of an index.
pub(crate) struct Narrowed {
    /// The manifests that are meant.
    pub(crate) manifests: Vec<Descriptor>,
    /// What names them; none: the one of them is the image.
    pub(crate) index: Option<Found>,
}

/// The part of an index that is meant.
pub(crate) fn narrow(
    top: Found,
    index: &Index,
    platforms: &Platforms,
) -> Result<Narrowed, RegistryError> {
    let wanted = match platforms {
        Platforms::All => {
            return Ok(Narrowed { manifests: index.manifests.clone(), index: Some(top) });
        }
        Platforms::One(platform) => {
            return Ok(Narrowed { manifests: vec![select(index, platform)?.clone()], index: None });
        }
        Platforms::Some(wanted) => wanted,
    };
    let mut meant = Vec::new();
    for platform in wanted {
        meant.push(select(index, platform)?.digest);
    }
    let mut narrowed = index.clone();
    narrowed.manifests.retain(|manifest| meant.contains(&manifest.digest));
    let manifests = narrowed.manifests.clone();
    if narrowed == *index {
        return Ok(Narrowed { manifests, index: Some(top) });
    }
    let Blob { mut descriptor, bytes } = narrowed.to_blob();
    descriptor.media_type = top.descriptor.media_type;
    Ok(Narrowed { manifests, index: Some(Found { descriptor, bytes }) })
}

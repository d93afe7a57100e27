//! The file system of an image: its layers, applied in order, as a tree.

use std::io::{self, Read};

use reimage_castore::{Diff, Sha256, Sha256Hasher, Tree, TreeError, View};
use thiserror::Error;

use crate::{
    Descriptor, Layout, LayoutError, Limits, Spool, StoredImage, UnpackError, decode, unpack,
};

/// An image whose layers do not make a file system.
#[derive(Debug, Error)]
pub enum RootfsError {
    /// The image is not whole.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// An image for several platforms.
    #[error("The image is for {count} platforms: name one of its manifests by its digest")]
    Platforms {
        /// For how many.
        count: usize,
    },
    /// A manifest and a configuration that do not speak of the same layers.
    #[error("The manifest names {layers} layers and its configuration {diff_ids}")]
    Count {
        /// In the manifest.
        layers: usize,
        /// In the configuration.
        diff_ids: usize,
    },
    /// A layer that cannot be decoded or kept.
    #[error("The layer {digest} cannot be read")]
    Read {
        /// Its digest.
        digest: Sha256,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A layer that cannot be unpacked.
    #[error("The layer {digest} cannot be unpacked")]
    Unpack {
        /// Its digest.
        digest: Sha256,
        /// Why.
        #[source]
        source: UnpackError,
    },
    /// A layer that is another archive than the configuration says.
    #[error("The layer {digest} holds the archive {found}, and the configuration says {expected}")]
    DiffId {
        /// Its digest.
        digest: Sha256,
        /// What the configuration says.
        expected: Sha256,
        /// What it is.
        found: Sha256,
    },
    /// Layers that do not lie on each other.
    #[error("The layers do not make a file system")]
    Tree(#[from] TreeError),
}

/// Unpacks all layers of a manifest, verified, lowest first; contents go to `contents`.
///
/// A time that equals `file_time` (seconds since 1970) is as none.
fn unpack_layers(
    layout: &Layout,
    manifest: &Descriptor,
    file_time: i64,
    limits: Limits,
    mut contents: impl FnMut(&mut dyn Read) -> io::Result<(reimage_castore::Digest, u64)>,
) -> Result<View, RootfsError> {
    let (manifest, _) = layout.manifest(manifest)?;
    let diff_ids = layout.image_config(&manifest)?.rootfs.diff_ids;
    if diff_ids.len() != manifest.layers.len() {
        let (layers, diff_ids) = (manifest.layers.len(), diff_ids.len());
        return Err(RootfsError::Count { layers, diff_ids });
    }
    let mut view = View::default();
    for (layer, expected) in manifest.layers.iter().zip(diff_ids) {
        let digest = layer.digest;
        let mut archive = open_layer(layout, layer, limits)?;
        let diff = unpack(&mut archive, &view, file_time, limits, &mut contents)
            .map_err(|source| RootfsError::Unpack { digest, source })?;
        archive.expect(digest, expected)?;
        view.push(diff.into());
    }
    Ok(view)
}

/// Unpacks one layer upon those below it, verified; contents go to `contents`.
///
/// A time that equals `file_time` (seconds since 1970) is as none.
pub fn unpack_layer(
    blob: impl Read,
    layer: &Descriptor,
    diff_id: Sha256,
    below: &View,
    file_time: i64,
    limits: Limits,
    mut contents: impl FnMut(&mut dyn Read) -> io::Result<(reimage_castore::Digest, u64)>,
) -> Result<Diff, RootfsError> {
    let digest = layer.digest;
    let inner =
        decode(blob, limits.bytes).map_err(|source| RootfsError::Read { digest, source })?;
    let mut archive = Archive { inner, hasher: Sha256Hasher::new() };
    let diff = unpack(&mut archive, below, file_time, limits, &mut contents)
        .map_err(|source| RootfsError::Unpack { digest, source })?;
    archive.expect(digest, diff_id)?;
    Ok(diff)
}

/// The tree of an image of one platform, and its contents, verified.
pub fn rootfs(layout: &Layout, image: &StoredImage) -> Result<(Tree, Spool), RootfsError> {
    let manifests = layout.manifests(&image.descriptor)?;
    let [manifest] = manifests.as_slice() else {
        return Err(RootfsError::Platforms { count: manifests.len() });
    };
    let mut spool = Spool::new(layout.dir())
        .map_err(|source| LayoutError::Io { dir: layout.dir().into(), source })?;
    // Every time is written out again, so which one is as none does not matter.
    let view = unpack_layers(layout, manifest, 0, Limits::default(), |c| spool.put(c))?;
    Ok((view.tree()?, spool))
}

/// Decodes a layer's blob to its end and says whether it holds this archive.
pub(crate) fn verify_layer(
    layout: &Layout,
    layer: &Descriptor,
    expected: Sha256,
    limits: Limits,
) -> Result<(), RootfsError> {
    open_layer(layout, layer, limits)?.expect(layer.digest, expected)
}

fn open_layer<'a>(
    layout: &Layout,
    layer: &Descriptor,
    limits: Limits,
) -> Result<Archive<'a>, RootfsError> {
    let digest = layer.digest;
    let blob = layout.open_blob(digest, layer.size)?;
    let inner =
        decode(blob, limits.bytes).map_err(|source| RootfsError::Read { digest, source })?;
    Ok(Archive { inner, hasher: Sha256Hasher::new() })
}

/// A layer's archive, digested while it is read.
struct Archive<'a> {
    inner: Box<dyn Read + 'a>,
    hasher: Sha256Hasher,
}

impl Archive<'_> {
    fn expect(mut self, digest: Sha256, expected: Sha256) -> Result<(), RootfsError> {
        io::copy(&mut self, &mut io::sink())
            .map_err(|source| RootfsError::Read { digest, source })?;
        let found = self.hasher.finish();
        if found == expected {
            Ok(())
        } else {
            Err(RootfsError::DiffId { digest, expected, found })
        }
    }
}

impl Read for Archive<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..read]);
        Ok(read)
    }
}

//! Images of a layout and their names.

use std::collections::{BTreeMap, BTreeSet};

use reimage_castore::Sha256;

use super::{CONTAINERD_NAME, Layout, LayoutError, REF_NAME, Session, as_reference, to_json};
use crate::{Descriptor, ImageConfig, Manifest, Reference, document::Index};

/// An image of a layout.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredImage {
    /// Of its manifest or index; its digest is the image's.
    pub descriptor: Descriptor,
    /// Its names as people write them, sorted.
    pub names: Vec<String>,
}

impl Layout {
    /// All images, each once, in the order of their first names, those without a name last.
    pub fn images(&self) -> Result<Vec<StoredImage>, LayoutError> {
        let mut images: BTreeMap<Sha256, StoredImage> = BTreeMap::new();
        for mut descriptor in self.index()?.manifests {
            let name = name_of(&descriptor);
            descriptor.annotations.remove(REF_NAME);
            descriptor.annotations.remove(CONTAINERD_NAME);
            let new = StoredImage { descriptor, names: Vec::new() };
            images.entry(new.descriptor.digest).or_insert(new).names.extend(name);
        }
        let mut images: Vec<_> = images.into_values().collect();
        for image in &mut images {
            image.names.sort();
            image.names.dedup();
        }
        images.sort_by_key(|image| (image.names.is_empty(), image.names.first().cloned()));
        Ok(images)
    }

    /// The image of this name: a reference, a digest, or twelve or more digits of one. A digest may be that of an image
    /// of an index.
    pub fn find(&self, name: &str) -> Result<StoredImage, LayoutError> {
        let mut images = self.images()?;
        match find_in(&images, name) {
            Err(LayoutError::NoImage { .. }) => {}
            found => return found,
        }
        let indexes: Vec<_> = images.drain(..).filter(|i| i.descriptor.is_index()).collect();
        for index in indexes {
            // One that cannot be read is reported to whoever asks for it.
            let inner = self.manifests(&index.descriptor).unwrap_or_default();
            let inner = inner.into_iter().map(|d| StoredImage { descriptor: d, names: Vec::new() });
            images.extend(inner);
        }
        images.sort_by_key(|image| image.descriptor.digest);
        images.dedup_by_key(|image| image.descriptor.digest);
        find_in(&images, name)
    }
    /// The manifest that this descriptor names, with its bytes.
    pub fn manifest(&self, descriptor: &Descriptor) -> Result<(Manifest, Vec<u8>), LayoutError> {
        if !descriptor.is_manifest() {
            let media_type = descriptor.media_type.clone();
            return Err(LayoutError::NotAnImage { digest: descriptor.digest, media_type });
        }
        let bytes = self.read_document(descriptor)?;
        let manifest = crate::document::read("manifest", descriptor.digest, &bytes)
            .map_err(|source| LayoutError::Document { dir: self.dir.clone(), source })?;
        Ok((manifest, bytes))
    }

    /// The manifests that this descriptor leads to: itself, or those of an index and of indexes in it.
    pub fn manifests(&self, descriptor: &Descriptor) -> Result<Vec<Descriptor>, LayoutError> {
        Ok(self.walk(descriptor)?.into_iter().filter(Descriptor::is_manifest).collect())
    }

    /// This descriptor and, if it is an index, all indexes and manifests below it, each once.
    pub fn walk(&self, top: &Descriptor) -> Result<Vec<Descriptor>, LayoutError> {
        let mut found = Vec::new();
        let mut seen = BTreeSet::new();
        let mut rest = vec![top.clone()];
        while let Some(descriptor) = rest.pop() {
            if !seen.insert(descriptor.digest) {
                continue;
            }
            if descriptor.is_index() {
                let index: Index = self.document("index", &descriptor)?;
                rest.extend(index.manifests.into_iter().rev());
            } else if !descriptor.is_manifest() {
                let media_type = descriptor.media_type.clone();
                return Err(LayoutError::NotAnImage { digest: descriptor.digest, media_type });
            }
            found.push(descriptor);
        }
        Ok(found)
    }

    /// The configuration that a manifest names.
    pub fn image_config(&self, manifest: &Manifest) -> Result<ImageConfig, LayoutError> {
        self.document("image configuration", &manifest.config)
    }

    /// Takes a name away, and the image with its last name; a digest takes all of its names.
    /// Gives back the names that went. Blobs stay until [`Self::prune`].
    pub fn remove(&self, name: &str) -> Result<Vec<String>, LayoutError> {
        let image = find_in(&self.images()?, name)?;
        let wanted = as_reference(name).filter(|reference| reference.digest().is_none());
        let by_name = |held: &str| wanted.is_some() && as_reference(held) == wanted || held == name;
        let one_name = image.names.iter().any(|held| by_name(held));
        let mut gone = Vec::new();
        self.change_index(|index| {
            index.manifests.retain(|descriptor| {
                let held = name_of(descriptor);
                let goes = descriptor.digest == image.descriptor.digest
                    && (!one_name || held.as_deref().is_some_and(by_name));
                gone.extend(held.filter(|_| goes));
                !goes
            });
        })?;
        Ok(gone)
    }

    fn change_index(&self, change: impl FnOnce(&mut Index)) -> Result<(), LayoutError> {
        let _lock = self.lock_index()?;
        let mut index = self.index()?;
        let before = index.clone();
        change(&mut index);
        if index == before {
            return Ok(());
        }
        self.replace(&self.index_path(), &to_json(&index))
    }
}

impl Session {
    /// Gives an image of the layout these names, taking them from any other; without names it is kept as it is.
    pub fn name(&self, image: &Descriptor, names: &[Reference]) -> Result<(), LayoutError> {
        let mut plain = image.clone();
        plain.annotations.remove(REF_NAME);
        plain.annotations.remove(CONTAINERD_NAME);
        self.layout().change_index(|index| {
            for name in names {
                let name = name.clone().or_latest();
                index.manifests.retain(|held| {
                    name_of(held).is_none_or(|held| as_reference(&held).as_ref() != Some(&name))
                });
                let mut entry = plain.clone();
                entry.annotations.insert(REF_NAME.into(), name.familiar());
                entry.annotations.insert(CONTAINERD_NAME.into(), name.full());
                index.manifests.push(entry);
            }
            // An entry without a name is of use only while there is none with one.
            let under_a_name = |d: &Descriptor| d.digest == plain.digest && name_of(d).is_some();
            if index.manifests.iter().any(under_a_name) {
                index.manifests.retain(|d| d.digest != plain.digest || name_of(d).is_some());
            } else if !index.manifests.iter().any(|d| d.digest == plain.digest) {
                index.manifests.push(plain.clone());
            }
            index.manifests.sort_by_key(|d| (name_of(d).is_none(), name_of(d), d.digest));
        })
    }
}

/// The one of these images that has this name.
fn find_in(images: &[StoredImage], name: &str) -> Result<StoredImage, LayoutError> {
    let digits = name.strip_prefix("sha256:").unwrap_or(name);
    let wanted = as_reference(name);
    if let Some(wanted) = &wanted {
        let is_it = |image: &&StoredImage| match wanted.digest() {
            Some(digest) => image.descriptor.digest == digest,
            None => image.names.iter().any(|name| as_reference(name).as_ref() == Some(wanted)),
        };
        if let Some(image) = images.iter().find(is_it) {
            return Ok(image.clone());
        }
    }
    // Names of other tools need not be references.
    if let Some(image) = images.iter().find(|i| i.names.iter().any(|n| n == name)) {
        return Ok(image.clone());
    }
    let begins = |image: &&StoredImage| {
        digits.len() >= 12 && image.descriptor.digest.hex().starts_with(digits)
    };
    let mut found = images.iter().filter(begins);
    match (found.next(), found.next()) {
        (Some(image), None) => Ok(image.clone()),
        (Some(_), Some(_)) => Err(LayoutError::Ambiguous { name: name.into() }),
        (None, _) => Err(LayoutError::NoImage { name: name.into() }),
    }
}

/// The name that an entry of the index gives: in full if it says it, else as other tools write it. A tool that knows
/// only OCI's annotation copies the other with an image that it changes: of two that do not agree OCI's holds.
pub(crate) fn name_of(descriptor: &Descriptor) -> Option<String> {
    let full = descriptor.annotations.get(CONTAINERD_NAME);
    let full = full.and_then(|name| as_reference(name));
    let Some(short) = descriptor.annotations.get(REF_NAME) else {
        return full.map(|name| name.familiar());
    };
    let agrees =
        |name: &Reference| name.tag() == Some(short) || as_reference(short).as_ref() == Some(name);
    Some(full.filter(agrees).map_or_else(|| short.clone(), |name| name.familiar()))
}

//! A whole image into a repository: only what is missing, the tags last.
//!
//! What the tag names now tells what is there already, so that a changed image costs one request for all that did not
//! change. A registry that has lost a blob says so when the manifest comes; then each blob is asked for.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Read, Seek as _, SeekFrom},
    sync::{Mutex, PoisonError},
};

use reimage_castore::Sha256;
use reimage_http::parallel;
use reimage_oci::{Descriptor, Index, Layout, Manifest, Reference};

use crate::{
    Found, Platforms, Progress, RegistryError, Repository,
    auth::Access,
    platforms::{flat, narrow},
    repository::Name,
    upload::Uploaded,
};

/// A blob of at most so many bytes is sent without asking whether it is there.
const SMALL: u64 = 16 << 10;

/// Where an image comes from.
#[derive(Debug, Clone, Copy)]
pub enum Source<'a> {
    /// A layout.
    Layout(&'a Layout),
    /// Another repository; each blob that goes through this machine lies among its temporary files for as long.
    Repository(&'a Repository<'a>),
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    /// The image as it is there.
    pub digest: Sha256,
    /// Number of blobs that were sent.
    pub sent: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Number of blobs that the registry took from another repository of its own.
    pub mounted: usize,
}

/// Puts an image into a repository: its blobs, its manifests, and last what names it, each of `tags` or its digest.
///
/// A layer that is not in the layout and that the registry does not have either is an error,
/// [`LayoutError::Away`](reimage_oci::LayoutError::Away): once it is brought, a push goes on.
///
/// `mounts` are paths of repositories of the same registry that may have blobs of it.
pub fn push(
    source: Source<'_>,
    image: &Descriptor,
    platforms: &Platforms,
    to: &Repository<'_>,
    tags: &[String],
    mounts: &[String],
    progress: Progress<'_>,
) -> Result<Pushed, RegistryError> {
    let image = Image::read(source, image, platforms)?;
    let there = There::of(to, &image, tags.first())?;
    let mut counts = Counts::default();
    counts.add(&image.send(source, to, mounts, &there, progress)?);
    match image.name(to, tags, &there) {
        // What a tag names should be there whole; here it is not.
        Err(RegistryError::Missing { .. } | RegistryError::Refused { .. })
            if !there.documents.is_empty() || !there.blobs.is_empty() =>
        {
            let nothing = There::default();
            counts.add(&image.send(source, to, mounts, &nothing, progress)?);
            image.name(to, tags, &nothing)?;
        }
        named => named?,
    }
    let Counts { sent, bytes, mounted } = counts;
    Ok(Pushed { digest: image.top().descriptor.digest, sent, bytes, mounted })
}

/// All documents of an image, what is named before what names it.
struct Image {
    documents: Vec<(Found, Option<Manifest>)>,
}

/// What a repository has already.
#[derive(Default)]
struct There {
    /// What a tag names now.
    tag: Option<(String, Sha256)>,
    documents: BTreeSet<Sha256>,
    blobs: BTreeSet<Sha256>,
}

#[derive(Default)]
struct Counts {
    sent: usize,
    bytes: u64,
    mounted: usize,
}

impl There {
    /// What is known to be there by what the first tag names now, or by the image's being there.
    fn of(
        to: &Repository<'_>,
        image: &Image,
        first: Option<&String>,
    ) -> Result<Self, RegistryError> {
        let mut there = Self::default();
        if let Some(tag) = first
            && let Some(found) = to.own_manifest(Name::Tag(tag), Access::Push)?
        {
            there.tag = Some((tag.clone(), found.descriptor.digest));
            there.learn(&found);
            return Ok(there);
        }
        let digest = image.top().descriptor.digest;
        if let Some(found) = to.own_manifest(Name::Digest(digest), Access::Push)? {
            there.learn(&found);
        }
        Ok(there)
    }

    /// What a document refers to was there when it came. One that cannot be read tells nothing.
    fn learn(&mut self, found: &Found) {
        let Found { descriptor, bytes } = found;
        self.documents.insert(descriptor.digest);
        if descriptor.is_index() {
            let index = Index::parse(descriptor.digest, bytes);
            let manifests = index.map(|index| index.manifests).unwrap_or_default();
            self.documents.extend(manifests.iter().map(|manifest| manifest.digest));
        } else if let Ok(manifest) = Manifest::parse(descriptor.digest, bytes) {
            self.blobs.extend(manifest.blobs().map(|blob| blob.digest));
        }
    }
}

impl Counts {
    fn add(&mut self, more: &Self) {
        self.sent += more.sent;
        self.bytes += more.bytes;
        self.mounted += more.mounted;
    }
}

impl Image {
    fn read(
        source: Source<'_>,
        image: &Descriptor,
        platforms: &Platforms,
    ) -> Result<Self, RegistryError> {
        let top = Found { descriptor: image.clone(), bytes: source.document(image)? };
        let mut documents = Vec::new();
        let mut manifest = |found: Found| {
            let manifest = Manifest::parse(found.descriptor.digest, &found.bytes)?;
            documents.push((found, Some(manifest)));
            Ok::<_, RegistryError>(())
        };
        if image.is_manifest() {
            manifest(top)?;
            return Ok(Self { documents });
        }
        let index = Index::parse(image.digest, &top.bytes)?;
        flat(image.digest, &index)?;
        let narrowed = narrow(top, &index, platforms)?;
        for descriptor in &narrowed.manifests {
            let bytes = source.document(descriptor)?;
            manifest(Found { descriptor: descriptor.clone(), bytes })?;
        }
        documents.extend(narrowed.index.map(|index| (index, None)));
        Ok(Self { documents })
    }

    fn top(&self) -> &Found {
        &self.documents.last().expect("an image has a document").0
    }

    /// Sends the blobs that are missing.
    fn send(
        &self,
        source: Source<'_>,
        to: &Repository<'_>,
        mounts: &[String],
        there: &There,
        progress: Progress<'_>,
    ) -> Result<Counts, RegistryError> {
        let new = |found: &Found| !there.documents.contains(&found.descriptor.digest);
        let manifests = self.documents.iter().filter(|(found, _)| new(found));
        let blobs =
            manifests.filter_map(|(_, manifest)| manifest.as_ref()).flat_map(Manifest::blobs);
        let missing = blobs.filter(|blob| !there.blobs.contains(&blob.digest));
        let missing: BTreeMap<_, _> = missing.map(|blob| (blob.digest, blob)).collect();
        let mut missing: Vec<_> = missing.into_values().collect();
        // What takes longest begins first.
        missing.sort_by_key(|blob| std::cmp::Reverse(blob.size));
        let counts = Mutex::new(Counts::default());
        parallel(to.registry.parallel(), &missing, |blob| {
            let (digest, size) = (blob.digest, blob.size);
            if size > SMALL && to.has_for(digest, size, Access::Push)? {
                return Ok(());
            }
            let mounts: Vec<_> =
                source.kept_by(blob, to).into_iter().chain(mounts.to_vec()).collect();
            let uploaded = to.upload(digest, size, &mounts, &|| source.open(blob, progress))?;
            let mut counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
            match uploaded {
                Uploaded::Mounted => counts.mounted += 1,
                Uploaded::Sent => {
                    counts.sent += 1;
                    counts.bytes += size;
                }
            }
            Ok::<_, RegistryError>(())
        })?;
        Ok(counts.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts the documents there, the one that is the image last.
    fn name(
        &self,
        to: &Repository<'_>,
        tags: &[String],
        there: &There,
    ) -> Result<(), RegistryError> {
        let (top, below) = self.documents.split_last().expect("an image has a document");
        for (document, _) in below {
            if !there.documents.contains(&document.descriptor.digest) {
                to.put(document, None)?;
            }
        }
        let top = &top.0;
        let known = there.documents.contains(&top.descriptor.digest);
        if tags.is_empty() && !known {
            to.put(top, None)?;
        }
        for tag in tags {
            if there.tag.as_ref() != Some(&(tag.clone(), top.descriptor.digest)) {
                to.put(top, Some(tag))?;
            }
        }
        Ok(())
    }
}

impl Source<'_> {
    /// A manifest or an index.
    pub(crate) fn document(&self, descriptor: &Descriptor) -> Result<Vec<u8>, RegistryError> {
        if !descriptor.is_manifest() && !descriptor.is_index() {
            let media_type = descriptor.media_type.clone();
            let what = descriptor.digest.to_string();
            return Err(RegistryError::NotAnImage { what, media_type });
        }
        match self {
            Self::Layout(layout) => Ok(layout.read_document(descriptor)?),
            Self::Repository(repository) => {
                let found = repository.manifest(descriptor.digest)?;
                Ok(found.ok_or_else(|| repository.missing(descriptor.digest))?.bytes)
            }
        }
    }

    /// How many blobs are taken at once.
    pub(crate) fn parallel(&self) -> usize {
        match self {
            Self::Layout(_) => 1,
            Self::Repository(repository) => repository.registry.parallel(),
        }
    }

    /// The path of a repository of the same registry that is known to have this blob.
    fn kept_by(&self, blob: &Descriptor, to: &Repository<'_>) -> Option<String> {
        let Self::Layout(layout) = self else { return None };
        let image = layout.noted(blob.digest, blob.size)?.image?.parse::<Reference>().ok()?;
        (image.registry() == to.registry_name()).then(|| image.path().to_owned())
    }

    fn open<'o>(
        &self,
        blob: &Descriptor,
        progress: Progress<'o>,
    ) -> Result<Box<dyn Read + 'o>, RegistryError> {
        let (digest, size) = (blob.digest, blob.size);
        match self {
            Self::Layout(layout) => {
                let inner = layout.open_blob(digest, size)?;
                Ok(Box::new(Told { inner, digest, at: 0, size, progress }))
            }
            Self::Repository(repository) => {
                let mut file = tempfile::tempfile()?;
                repository.fetch(digest, size, &mut file, progress)?;
                file.seek(SeekFrom::Start(0))?;
                Ok(Box::new(file))
            }
        }
    }
}

/// A blob that is told of while it is read.
struct Told<'o, R> {
    inner: R,
    digest: Sha256,
    at: u64,
    size: u64,
    progress: Progress<'o>,
}

impl<R: Read> Read for Told<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.at += read as u64;
        (self.progress)(&self.digest, self.at, self.size);
        Ok(read)
    }
}

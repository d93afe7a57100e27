//! The image store: an OCI layout on disk that any tool can read.
//!
//! ```text
//! DIR/oci-layout                what this is
//! DIR/index.json                the images: descriptors of manifests, names as annotations
//! DIR/blobs/sha256/HEX          every blob, by its digest
//! DIR/.reimage/use.lock         shared: a session adds blobs · exclusive: prune takes some away
//! DIR/.reimage/index.lock       exclusive: index.json is read and replaced
//! DIR/.reimage/tmp/             blobs being written; emptied when nobody holds use.lock
//! DIR/.reimage/partial/HEX      downloads that broke off
//! DIR/.reimage/layers-v1/KEY    what a layer of this key was packed to
//! DIR/.reimage/away/HEX         where a layer of a base image can be had, whether it is here or not
//! DIR/.reimage/damaged-HEX      blobs that were found to be something else
//! ```
//! Blobs and `index.json` are written aside, synced and renamed, so a killed process leaves either the old or
//! the new. A name is an entry of `index.json` with `org.opencontainers.image.ref.name` (as people write it)
//! and `io.containerd.image.name` (in full). Blobs are verified when they are read.

use std::{
    fs::File,
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use fs_err as fs;
use reimage_castore::Sha256;
use thiserror::Error;

use crate::{
    Descriptor, Reference,
    document::{DocumentError, Index},
    pack::PackError,
    verify::VerifiedReader,
};

mod away;
mod check;
mod names;
mod prune;
mod session;

pub use away::Away;
pub use check::Checked;
pub use names::StoredImage;
pub(crate) use names::name_of;
pub use prune::Pruned;
pub use session::{BlobWriter, Download, Session};

/// Annotation with an image's name as people write it.
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// Annotation with an image's name in full.
pub(crate) const CONTAINERD_NAME: &str = "io.containerd.image.name";
/// A document larger than this is refused: 8 MiB.
pub(crate) const MAX_DOCUMENT: u64 = 8 << 20;

/// A layout that cannot be used.
#[derive(Debug, Error)]
pub enum LayoutError {
    /// The disk says no.
    #[error("The image layout {} cannot be used", dir.display())]
    Io {
        /// The layout.
        dir: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The directory is no layout.
    #[error("{} is no OCI layout: it has no `oci-layout`", dir.display())]
    NotALayout {
        /// The directory.
        dir: PathBuf,
    },
    /// A layout of a version that is not known.
    #[error("{} is an OCI layout of the version `{version}`; only 1.0.0 is known", dir.display())]
    Version {
        /// The directory.
        dir: PathBuf,
        /// What it says.
        version: String,
    },
    /// A file of the layout that is no JSON, or not the right one.
    #[error("{} is not valid", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A document that cannot be read.
    #[error("In the image layout {}", dir.display())]
    Document {
        /// The layout.
        dir: PathBuf,
        /// Which and why.
        #[source]
        source: DocumentError,
    },
    /// A blob that something names and that is not there.
    #[error("The blob {digest} is missing in the image layout {}: build or import the image again", dir.display())]
    Missing {
        /// The layout.
        dir: PathBuf,
        /// Its digest.
        digest: Sha256,
    },
    /// A layer that is elsewhere: nobody has needed its bytes here yet.
    #[error("The layer {} is not in the image layout {} yet", away.digest, dir.display())]
    Away {
        /// The layout.
        dir: PathBuf,
        /// Which, and where it can be had.
        away: Box<Away>,
    },
    /// A blob whose bytes are not what its digest says.
    #[error("The blob {digest} in the image layout {} is damaged: build or import the image again", dir.display())]
    Damaged {
        /// The layout.
        dir: PathBuf,
        /// Its digest.
        digest: Sha256,
    },
    /// A document of a size that none has.
    #[error("The document {digest} has {size} bytes; more than 8 MiB are not read")]
    Large {
        /// Its digest.
        digest: Sha256,
        /// Its size in bytes.
        size: u64,
    },
    /// A descriptor of something else than an image.
    #[error("{digest} is no image: its media type is `{media_type}`")]
    NotAnImage {
        /// Its digest.
        digest: Sha256,
        /// What it says to be.
        media_type: String,
    },
    /// No image of this name.
    #[error("No image `{name}`")]
    NoImage {
        /// The name.
        name: String,
    },
    /// A digest's beginning that several images share.
    #[error("`{name}` is the beginning of several digests")]
    Ambiguous {
        /// The beginning.
        name: String,
    },
    /// A layer that cannot be packed.
    #[error(transparent)]
    Pack(#[from] PackError),
}

/// A layout on disk.
#[derive(Debug, Clone)]
pub struct Layout {
    dir: PathBuf,
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Version {
    #[serde(rename = "imageLayoutVersion")]
    version: String,
}

impl Layout {
    /// Opens the layout in `dir`, which anybody may have written.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self, LayoutError> {
        let layout = Self { dir: dir.into() };
        let path = layout.dir.join("oci-layout");
        let bytes = match read_file(&path, MAX_DOCUMENT) {
            Ok(bytes) => bytes,
            Err(e)
                if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
            {
                return Err(LayoutError::NotALayout { dir: layout.dir });
            }
            Err(source) => return Err(layout.io(source)),
        };
        let Version { version } =
            serde_json::from_slice(&bytes).map_err(|source| LayoutError::Json { path, source })?;
        if version != "1.0.0" {
            return Err(LayoutError::Version { dir: layout.dir, version });
        }
        Ok(layout)
    }

    /// Opens the layout in `dir`, or makes an empty one there.
    pub fn open_or_create(dir: impl Into<PathBuf>) -> Result<Self, LayoutError> {
        let layout = Self { dir: dir.into() };
        match Self::open(&layout.dir) {
            // An index that somebody took away is an empty one: blobs and builds give the images back.
            Ok(layout) if layout.index_path().exists() => return Ok(layout),
            Ok(_) | Err(LayoutError::NotALayout { .. }) => layout.create()?,
            Err(other) => return Err(other),
        }
        Ok(layout)
    }

    fn create(&self) -> Result<(), LayoutError> {
        fs::create_dir_all(self.blobs()).map_err(|e| self.io(e))?;
        let _lock = self.lock_index()?;
        let empty = Index {
            schema_version: 2,
            media_type: Some(crate::document::INDEX.into()),
            manifests: Vec::new(),
            annotations: std::collections::BTreeMap::default(),
        };
        if !self.index_path().exists() {
            self.replace(&self.index_path(), &to_json(&empty))?;
        }
        // Last: from now on it is a layout.
        self.replace(&self.dir.join("oci-layout"), &layout_file())
    }

    /// Where it lies.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The index: every image with its names.
    pub fn index(&self) -> Result<Index, LayoutError> {
        let path = self.index_path();
        let bytes = read_file(&path, MAX_DOCUMENT).map_err(|e| self.io(e))?;
        serde_json::from_slice(&bytes).map_err(|source| LayoutError::Json { path, source })
    }

    /// Whether a blob of this digest and size is there; its bytes are not looked at.
    pub fn has(&self, digest: Sha256, size: u64) -> bool {
        fs::symlink_metadata(self.blob_path(digest)).is_ok_and(|m| m.is_file() && m.len() == size)
    }

    /// Opens a blob. Reading fails at its end if it is not what its descriptor says.
    pub fn open_blob(
        &self,
        digest: Sha256,
        size: u64,
    ) -> Result<VerifiedReader<File>, LayoutError> {
        let file = match fs::File::open(self.blob_path(digest)) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let dir = self.dir.clone();
                return Err(match self.noted(digest, size) {
                    Some(away) => LayoutError::Away { dir, away: Box::new(away) },
                    None => LayoutError::Missing { dir, digest },
                });
            }
            Err(e) => return Err(self.io(e)),
        };
        if file.metadata().map_err(|e| self.io(e))?.len() != size {
            return Err(self.damaged(digest));
        }
        Ok(VerifiedReader::new(file.into_file(), digest, size))
    }

    /// Reads a document and verifies it; one larger than 8 MiB is refused.
    pub fn read_document(&self, descriptor: &Descriptor) -> Result<Vec<u8>, LayoutError> {
        let Descriptor { digest, size, .. } = *descriptor;
        if size > MAX_DOCUMENT {
            return Err(LayoutError::Large { digest, size });
        }
        let mut bytes = Vec::new();
        match self.open_blob(digest, size)?.read_to_end(&mut bytes) {
            Ok(_) => Ok(bytes),
            Err(e) => Err(self.read_error(digest, e)),
        }
    }

    /// What a blob that was not read to its end means; a damaged one is taken out of the way, so that
    /// whoever needs it makes it anew.
    pub(crate) fn read_error(&self, digest: Sha256, e: io::Error) -> LayoutError {
        if e.kind() == io::ErrorKind::InvalidData { self.damaged(digest) } else { self.io(e) }
    }

    fn damaged(&self, digest: Sha256) -> LayoutError {
        // Only in a layout of ours; that of another is his.
        if self.own("").is_dir() {
            let _ =
                fs::rename(self.blob_path(digest), self.own(&format!("damaged-{}", digest.hex())));
        }
        LayoutError::Damaged { dir: self.dir.clone(), digest }
    }

    pub(crate) fn document<T: serde::de::DeserializeOwned>(
        &self,
        kind: &'static str,
        descriptor: &Descriptor,
    ) -> Result<T, LayoutError> {
        let bytes = self.read_document(descriptor)?;
        crate::document::read(kind, descriptor.digest, &bytes)
            .map_err(|source| LayoutError::Document { dir: self.dir.clone(), source })
    }

    /// Where the blob of this digest lies.
    pub fn blob_path(&self, digest: Sha256) -> PathBuf {
        self.blobs().join(digest.hex())
    }

    fn blobs(&self) -> PathBuf {
        self.dir.join("blobs/sha256")
    }

    fn index_path(&self) -> PathBuf {
        self.dir.join("index.json")
    }

    fn own(&self, name: &str) -> PathBuf {
        self.dir.join(".reimage").join(name)
    }

    /// The right to replace the index. As long as it is held nobody sweeps what is being written.
    fn lock_index(&self) -> Result<[File; 2], LayoutError> {
        let used = self.lock_file("use.lock")?;
        used.lock_shared().map_err(|e| self.io(e))?;
        let index = self.lock_file("index.lock")?;
        index.lock().map_err(|e| self.io(e))?;
        Ok([used, index])
    }

    fn lock_file(&self, name: &str) -> Result<File, LayoutError> {
        fs::create_dir_all(self.own("tmp")).map_err(|e| self.io(e))?;
        let open =
            fs::OpenOptions::new().create(true).truncate(false).write(true).open(self.own(name));
        Ok(open.map_err(|e| self.io(e))?.into_file())
    }

    /// Replaces a file whole, or not at all.
    fn replace(&self, path: &Path, bytes: &[u8]) -> Result<(), LayoutError> {
        let write = || {
            let mut temporary = new_file(&self.own("tmp"))?;
            temporary.write_all(bytes)?;
            publish(temporary, path)
        };
        write().map_err(|e| self.io(e))
    }

    fn io(&self, source: io::Error) -> LayoutError {
        LayoutError::Io { dir: self.dir.clone(), source }
    }
}

/// The bytes of `oci-layout`.
pub(crate) fn layout_file() -> Vec<u8> {
    to_json(&Version { version: "1.0.0".into() })
}

pub(crate) fn to_json(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("these documents have string keys and no failing parts")
}

/// Reads a file of at most `max` bytes.
fn read_file(path: &Path, max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("{} is larger than {max} bytes", path.display()),
        ));
    }
    Ok(bytes)
}

/// A new file in `dir` that others may read, gone when dropped.
fn new_file(dir: &Path) -> io::Result<tempfile::NamedTempFile> {
    use std::os::unix::fs::PermissionsExt;
    tempfile::Builder::new().permissions(std::fs::Permissions::from_mode(0o644)).tempfile_in(dir)
}

/// Gives a written file its name for good.
fn publish(file: tempfile::NamedTempFile, path: &Path) -> io::Result<()> {
    file.as_file().sync_all()?;
    file.persist(path).map_err(|e| e.error)?;
    let dir = path.parent().expect("a file lies in a directory");
    fs::File::open(dir)?.sync_all()
}

/// A reference for looking images up, or none if the text is something else, such as a digest's beginning.
fn as_reference(name: &str) -> Option<Reference> {
    name.parse::<Reference>().ok().map(Reference::or_latest)
}

#[cfg(test)]
mod tests;

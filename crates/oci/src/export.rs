//! What leaves the image store: archives and directories, all with the digest that the image has in it.
//!
//! | format | what | for |
//! |---|---|---|
//! | docker archive | an OCI archive with docker's `manifest.json` beside the index | `docker load`, `podman load` |
//! | OCI archive | the layout as a tar file | skopeo, podman, containerd |
//! | OCI directory | the layout | every tool |
//! | root file system | the layers merged, as a tar file or a directory | chroot, virtual machines |
//!
//! Archives are sorted, their members root's, 0644, of 1970; blobs are verified while they pass.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Write},
    path::{Path, PathBuf},
};

use fs_err as fs;
use reimage_castore::{
    Amount, Diff, Digest, Entry, Sha256, TreePath, View, read_dir_sorted, remove_all,
};
use serde::Serialize;
use thiserror::Error;

use crate::{
    Descriptor, Index, LayerContent, LayerError, Layout, LayoutError, PackError, RootfsError,
    StoredImage,
    document::INDEX,
    layout::{CONTAINERD_NAME, REF_NAME, layout_file, to_json},
    rootfs::rootfs,
    tar::{self, Member},
    write_tar,
};

mod directory;

pub use directory::{NotKept, export_rootfs_dir};

/// Docker's name for the file in which it looks first.
pub(crate) const DOCKER_FILE: &str = "manifest.json";

/// An image that cannot leave.
#[derive(Debug, Error)]
pub enum ExportError {
    /// The image is not whole.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// Its layers make no file system.
    #[error(transparent)]
    Rootfs(#[from] RootfsError),
    /// A root file system that cannot be an archive.
    #[error(transparent)]
    Layer(#[from] LayerError),
    /// A root file system that cannot be written as an archive.
    #[error(transparent)]
    Pack(#[from] PackError),
    /// Docker's archive holds one platform of an image.
    #[error(
        "The image is for {count} platforms, and a docker archive holds one: save it as an OCI archive"
    )]
    Platforms {
        /// For how many.
        count: usize,
    },
    /// The directory holds something already.
    #[error("{} is not an empty directory: name one that is not there yet", dir.display())]
    NotEmpty {
        /// The directory.
        dir: PathBuf,
    },
    /// It cannot be written.
    #[error("The image cannot be written")]
    Write(#[from] io::Error),
}

/// What an archive is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Archive {
    /// `docker load`, `podman load`; readers of OCI archives take it, too.
    Docker,
    /// Readers of OCI archives.
    Oci,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    repo_tags: Vec<String>,
    layers: Vec<String>,
}

/// Writes an image as an archive; `out` may be a pipe.
pub fn export_archive(
    layout: &Layout,
    image: &StoredImage,
    archive: Archive,
    out: &mut dyn Write,
) -> Result<(), ExportError> {
    export_archive_without(layout, image, archive, &BTreeSet::new(), out).map(drop)
}

/// The same without these blobs, for a reader that has them; what was written of others.
pub fn export_archive_without(
    layout: &Layout,
    image: &StoredImage,
    archive: Archive,
    there: &BTreeSet<Sha256>,
    out: &mut dyn Write,
) -> Result<Amount, ExportError> {
    let mut files =
        BTreeMap::from([("index.json", to_json(&index(image))), ("oci-layout", layout_file())]);
    if archive == Archive::Docker {
        files.insert(DOCKER_FILE, to_json(&[docker_image(layout, image)?]));
    }
    let mut written = Amount::default();
    let mut blobs = blobs(layout, &image.descriptor)?;
    blobs.retain(|blob| !there.contains(&blob.digest));
    let mut out = io::BufWriter::with_capacity(256 << 10, out);
    for directory in ["blobs", "blobs/sha256"] {
        header(&mut out, directory, &Entry::directory())?;
    }
    for blob in blobs {
        header(&mut out, &blob_name(&blob), &Entry::file(Digest::EMPTY, blob.size))?;
        copy_blob(layout, &blob, &mut out)?;
        tar::write_padding(&mut out, blob.size)?;
        written.add(blob.size);
    }
    for (name, bytes) in files {
        header(&mut out, name, &Entry::file(Digest::EMPTY, bytes.len() as u64))?;
        out.write_all(&bytes)?;
        tar::write_padding(&mut out, bytes.len() as u64)?;
    }
    tar::write_end(&mut out)?;
    out.flush()?;
    Ok(written)
}

/// Makes `dir` a layout of this one image, whose blobs are those of `layout`: nothing is copied.
pub fn link_oci_dir(layout: &Layout, image: &StoredImage, dir: &Path) -> Result<(), ExportError> {
    fs::create_dir(dir)?;
    let blobs = fs::canonicalize(layout.dir().join("blobs"))?;
    fs::os::unix::fs::symlink(blobs, dir.join("blobs"))?;
    fs::write(dir.join("index.json"), to_json(&index(image)))?;
    Ok(fs::write(dir.join("oci-layout"), layout_file())?)
}

/// Writes an image as a layout into `dir`, which must be new or empty.
pub fn export_oci_dir(layout: &Layout, image: &StoredImage, dir: &Path) -> Result<(), ExportError> {
    let blobs = blobs(layout, &image.descriptor)?;
    whole(dir, |dir| {
        fs::create_dir_all(dir.join("blobs/sha256"))?;
        for blob in &blobs {
            let mut file = fs::File::create(dir.join(blob_name(blob)))?;
            copy_blob(layout, blob, &mut file)?;
        }
        fs::write(dir.join("index.json"), to_json(&index(image)))?;
        Ok(fs::write(dir.join("oci-layout"), layout_file())?)
    })
}

/// Writes an image's layers, merged, as a tar file; `out` may be a pipe.
pub fn export_rootfs_tar(
    layout: &Layout,
    image: &StoredImage,
    out: &mut dyn Write,
) -> Result<(), ExportError> {
    let (tree, contents) = rootfs(layout, image)?;
    let content = LayerContent::new(&View::default(), &Diff::of_tree(&tree))?;
    let out = io::BufWriter::with_capacity(256 << 10, out);
    write_tar(&content, 0, |digest| contents.open(digest), out)?.flush()?;
    Ok(())
}

/// Writes a directory that is new whole or not at all; if writing into an empty one fails, it is empty again.
fn whole<T>(
    dir: &Path,
    write: impl FnOnce(&Path) -> Result<T, ExportError>,
) -> Result<T, ExportError> {
    match read_dir_sorted(dir) {
        Ok(there) if !there.is_empty() => Err(ExportError::NotEmpty { dir: dir.into() }),
        Ok(_) => write(dir).inspect_err(|_| {
            // The error that is on its way says all that matters.
            for entry in read_dir_sorted(dir).unwrap_or_default() {
                let _ = remove_all(&entry.path());
            }
        }),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty());
            let parent = parent.unwrap_or(Path::new("."));
            fs::create_dir_all(parent)?;
            let aside = tempfile::Builder::new().prefix(".reimage-").tempdir_in(parent)?;
            let new = aside.path().join("new");
            fs::create_dir(&new)?;
            let written = write(&new).and_then(|done| {
                fs::rename(&new, dir)?;
                Ok(done)
            });
            // Its own way of removing stumbles over directories that nobody may write to.
            let _ = remove_all(aside.path());
            written
        }
        Err(e) => Err(e.into()),
    }
}

/// The image's own index: one entry a name.
fn index(image: &StoredImage) -> Index {
    let named = |name: &String| {
        let mut descriptor = image.descriptor.clone();
        descriptor.annotations.insert(REF_NAME.into(), name.clone());
        if let Ok(reference) = name.parse::<crate::Reference>() {
            descriptor.annotations.insert(CONTAINERD_NAME.into(), reference.or_latest().full());
        }
        descriptor
    };
    let mut manifests: Vec<_> = image.names.iter().map(named).collect();
    if manifests.is_empty() {
        manifests.push(image.descriptor.clone());
    }
    Index {
        schema_version: 2,
        media_type: Some(INDEX.into()),
        manifests,
        annotations: BTreeMap::new(),
    }
}

fn docker_image(layout: &Layout, image: &StoredImage) -> Result<DockerImage, ExportError> {
    let manifests = layout.manifests(&image.descriptor)?;
    let [manifest] = manifests.as_slice() else {
        return Err(ExportError::Platforms { count: manifests.len() });
    };
    let (manifest, _) = layout.manifest(manifest)?;
    Ok(DockerImage {
        config: blob_name(&manifest.config),
        repo_tags: image.names.clone(),
        layers: manifest.layers.iter().map(blob_name).collect(),
    })
}

/// All blobs of an image, each once, sorted by digest.
fn blobs(layout: &Layout, top: &Descriptor) -> Result<Vec<Descriptor>, LayoutError> {
    let mut blobs = BTreeMap::new();
    for document in layout.walk(top)? {
        if document.is_manifest() {
            let (manifest, _) = layout.manifest(&document)?;
            let parts = manifest.layers.into_iter().chain([manifest.config]);
            blobs.extend(parts.map(|part| (part.digest, part)));
        }
        blobs.insert(document.digest, document);
    }
    Ok(blobs.into_values().collect())
}

fn blob_name(blob: &Descriptor) -> String {
    format!("blobs/sha256/{}", blob.digest.hex())
}

fn copy_blob(layout: &Layout, blob: &Descriptor, out: &mut impl Write) -> Result<(), ExportError> {
    let mut reader = layout.open_blob(blob.digest, blob.size)?;
    match io::copy(&mut reader, out) {
        Ok(_) => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::InvalidData => {
            Err(layout.read_error(blob.digest, e).into())
        }
        Err(e) => Err(e.into()),
    }
}

fn header(out: &mut impl Write, name: &str, entry: &Entry) -> io::Result<()> {
    let path = TreePath::new(name).expect("names in a layout are good paths");
    tar::write_header(out, &Member::Entry { path: &path, entry }, 0)
}

#[cfg(test)]
pub(crate) mod tests;

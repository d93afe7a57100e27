//! Adding to a layout: while a session lasts, nothing of the layout is taken away.

use std::{
    fs::{File, Metadata, Permissions},
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::PathBuf,
};

use fs_err as fs;
use reimage_castore::{Digest, Sha256, read_dir_sorted, remove_all};
use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use super::{Layout, LayoutError, new_file, publish, to_json};
use crate::{
    Descriptor, LayerContent, PackedLayer, Profile, VerifiedReader, assemble::Assembled,
    document::Blob, pack,
};

/// The right to add blobs and names; many sessions of many processes at once.
pub struct Session {
    layout: Layout,
    /// Held, never read.
    _lock: File,
}

/// A blob on its way; gone when dropped.
pub struct BlobWriter<'a> {
    layout: &'a Layout,
    file: NamedTempFile,
}

/// A blob on its way from elsewhere: what came of it stays for the next try.
pub struct Download<'a> {
    layout: &'a Layout,
    digest: Sha256,
    file: File,
    /// Where it stays; none: another has it, and this one is a temporary.
    path: Result<PathBuf, NamedTempFile>,
}

/// What a layer was packed to, as it is kept.
#[derive(Serialize, Deserialize)]
struct Memo {
    profile: String,
    digest: Sha256,
    size: u64,
    diff_id: Sha256,
    /// Of the key and all of the above: a damaged memo must not say what an image is.
    check: Digest,
}

impl Memo {
    fn new(key: Digest, packed: &PackedLayer) -> Self {
        let PackedLayer { profile, digest, size, diff_id } = *packed;
        let profile = profile.name();
        let text = format!("{key} {profile} {digest} {size} {diff_id}");
        Self { profile: profile.into(), digest, size, diff_id, check: Digest::of(text.as_bytes()) }
    }
}

impl Layout {
    /// Begins to add; waits while blobs are being taken away.
    pub fn session(&self) -> Result<Session, LayoutError> {
        let lock = self.lock_file("use.lock")?;
        if lock.try_lock().is_ok() {
            // Nobody is here, so what lies about was left by somebody killed.
            self.sweep().map_err(|e| self.io(e))?;
            lock.unlock().map_err(|e| self.io(e))?;
        }
        lock.lock_shared().map_err(|e| self.io(e))?;
        Ok(Session { layout: self.clone(), _lock: lock })
    }

    fn sweep(&self) -> io::Result<()> {
        // The directory itself stays: who opens a lock makes sure of it before he has the lock.
        for entry in read_dir_sorted(self.own("tmp"))? {
            remove_all(&entry.path())?;
        }
        Ok(())
    }
}

impl Session {
    /// The layout.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Begins a blob.
    pub fn new_blob(&self) -> Result<BlobWriter<'_>, LayoutError> {
        let file = new_file(&self.layout.own("tmp")).map_err(|e| self.layout.io(e))?;
        Ok(BlobWriter { layout: &self.layout, file })
    }

    /// Goes on with the download of a blob, or begins one. What is in its file is unchecked, and may be anything.
    pub fn download(&self, digest: Sha256) -> Result<Download<'_>, LayoutError> {
        let layout = &self.layout;
        let begin = || {
            let directory = layout.own("partial");
            fs::create_dir_all(&directory)?;
            let path = directory.join(digest.hex());
            loop {
                let mut options = std::fs::OpenOptions::new();
                let file =
                    options.read(true).write(true).create(true).truncate(false).open(&path)?;
                // A file system without locks, too, is as one where somebody else has it.
                if file.try_lock().is_err() {
                    break;
                }
                // Whoever had it may have made a blob of it just now.
                let same =
                    |there: Metadata| Ok::<_, io::Error>(there.ino() == file.metadata()?.ino());
                if fs::symlink_metadata(&path).and_then(same).unwrap_or(false) {
                    return Ok(Download { layout, digest, file, path: Ok(path) });
                }
            }
            let own = new_file(&layout.own("tmp"))?;
            Ok(Download { layout, digest, file: own.reopen()?, path: Err(own) })
        };
        begin().map_err(|e| layout.io(e))
    }

    /// Adds a document.
    pub fn put(&self, blob: &Blob) -> Result<(), LayoutError> {
        if self.layout.read_document(&blob.descriptor).is_ok() {
            return Ok(());
        }
        let mut writer = self.new_blob()?;
        writer.write_all(&blob.bytes).map_err(|e| self.layout.io(e))?;
        writer.commit(blob.descriptor.digest)
    }

    /// Packs a layer into the layout; one that was packed before, and whose blob is there, is not packed again.
    pub fn pack<R: Read>(
        &self,
        layer: &LayerContent,
        profile: Profile,
        file_time: i64,
        open: impl Fn(&Digest) -> io::Result<R>,
    ) -> Result<PackedLayer, LayoutError> {
        let key = layer.key(profile, file_time);
        let there = |packed: &PackedLayer| self.layout.has(packed.digest, packed.size);
        if let Some(packed) = self.remembered(key).filter(there) {
            return Ok(packed);
        }
        let mut writer = self.new_blob()?;
        let packed = pack(layer, profile, file_time, open, &mut writer)?;
        writer.commit(packed.digest)?;
        self.remember(key, &packed)?;
        Ok(packed)
    }

    /// Remembers what the layer of this key is packed to; its blob is there.
    pub fn remember(&self, key: Digest, packed: &PackedLayer) -> Result<(), LayoutError> {
        let memo = Memo::new(key, packed);
        fs::create_dir_all(self.layout.own("layers-v1")).map_err(|e| self.layout.io(e))?;
        self.layout.replace(&self.layout.own(&memo_name(key)), &to_json(&memo))
    }

    /// Adds a blob unless it is there, verified.
    pub fn add_blob(&self, digest: Sha256, size: u64, from: impl Read) -> Result<(), LayoutError> {
        if self.layout.has(digest, size) {
            return Ok(());
        }
        let mut writer = self.new_blob()?;
        let mut from = VerifiedReader::new(from, digest, size);
        io::copy(&mut from, &mut writer).map_err(|e| self.layout.read_error(digest, e))?;
        writer.commit(digest)
    }

    /// What the layer of this key was packed to; its blob may be gone by now.
    pub fn remembered(&self, key: Digest) -> Option<PackedLayer> {
        // A memo that cannot be read is as none: it only saves work.
        let bytes = fs::read(self.layout.own(&memo_name(key))).ok()?;
        let Memo { profile, digest, size, diff_id, check } = serde_json::from_slice(&bytes).ok()?;
        let profile = Profile::ALL.into_iter().find(|p| p.name() == profile)?;
        let packed = PackedLayer { profile, digest, size, diff_id };
        let intact = Memo::new(key, &packed).check == check;
        intact.then_some(packed)
    }

    /// A directory for what is not a blob yet; gone when dropped.
    pub(crate) fn temporary_dir(&self) -> Result<tempfile::TempDir, LayoutError> {
        tempfile::tempdir_in(self.layout.own("tmp")).map_err(|e| self.layout.io(e))
    }

    /// Adds a blob of another layout, verified.
    pub(crate) fn copy_blob(&self, source: &Layout, blob: &Descriptor) -> Result<(), LayoutError> {
        let (digest, size) = (blob.digest, blob.size);
        // One that is there is read, too: an import is how a damaged one is mended.
        if let Ok(mut there) = self.layout.open_blob(digest, size)
            && io::copy(&mut there, &mut io::sink()).is_ok()
        {
            return Ok(());
        }
        let mut reader = source.open_blob(digest, size)?;
        let mut writer = self.new_blob()?;
        io::copy(&mut reader, &mut writer).map_err(|e| source.read_error(digest, e))?;
        writer.commit(digest)
    }

    /// Adds an image's documents, for an index to name.
    pub fn put_documents(&self, image: &Assembled) -> Result<(), LayoutError> {
        self.put(&image.config)?;
        self.put(&image.manifest)
    }

    /// Adds an image's documents and gives it these names; its layers must be there.
    pub fn add(&self, image: &Assembled, names: &[crate::Reference]) -> Result<(), LayoutError> {
        self.put_documents(image)?;
        self.name(&image.manifest.descriptor, names)
    }
}

fn memo_name(key: Digest) -> String {
    format!("layers-v1/{key}")
}

impl BlobWriter<'_> {
    /// Puts the blob there under its digest, which the writer must have computed; it is durable then.
    pub fn commit(self, digest: Sha256) -> Result<(), LayoutError> {
        let path = self.layout.blob_path(digest);
        publish(self.file, &path).map_err(|e| self.layout.io(e))
    }
}

impl Download<'_> {
    /// Its file.
    pub fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// It is complete and what its digest says: puts it there; it is durable then.
    pub fn commit(self) -> Result<(), LayoutError> {
        let to = self.layout.blob_path(self.digest);
        let commit = || match self.path {
            Ok(path) => {
                self.file.set_permissions(Permissions::from_mode(0o644))?;
                self.file.sync_all()?;
                fs::rename(path, &to)?;
                fs::File::open(self.layout.blobs())?.sync_all()
            }
            Err(own) => publish(own, &to),
        };
        commit().map_err(|e| self.layout.io(e))
    }
}

impl Write for BlobWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.as_file_mut().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

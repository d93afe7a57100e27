//! Taking away what nothing refers to.

use std::{collections::BTreeSet, io};

use fs_err as fs;
use reimage_castore::Sha256;

use super::{Layout, LayoutError};

/// What went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pruned {
    /// Number of blobs.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Layout {
    /// Takes away every blob that no image needs; waits until nobody adds to the layout.
    ///
    /// Fails, taking nothing, if a manifest cannot be read: what it needs is not known then.
    pub fn prune(&self) -> Result<Pruned, LayoutError> {
        let lock = self.lock_file("use.lock")?;
        lock.lock().map_err(|e| self.io(e))?;
        let needed = self.needed()?;
        let mut pruned = Pruned::default();
        let mut take = || -> io::Result<()> {
            for (name, path) in files(&self.blobs())? {
                let digest = name.and_then(|name| format!("sha256:{name}").parse::<Sha256>().ok());
                // What is not named by a digest is not ours.
                if digest.is_some_and(|digest| !needed.contains(&digest)) {
                    pruned.blobs += 1;
                    pruned.bytes += fs::symlink_metadata(&path)?.len();
                    fs::remove_file(&path)?;
                }
            }
            for dir in ["tmp", "partial", "layers-v1"] {
                for (_, path) in files(&self.own(dir))? {
                    let stays =
                        dir == "layers-v1" && fs::read(&path).is_ok_and(|memo| self.holds(&memo));
                    if !stays && path.is_dir() {
                        fs::remove_dir_all(&path)?;
                    } else if !stays {
                        fs::remove_file(&path)?;
                    }
                }
            }
            Ok(())
        };
        take().map_err(|e| self.io(e))?;
        Ok(pruned)
    }

    /// Every blob that an image of the index needs.
    fn needed(&self) -> Result<BTreeSet<Sha256>, LayoutError> {
        let mut needed = BTreeSet::new();
        for entry in self.index()?.manifests {
            for descriptor in self.walk(&entry)? {
                needed.insert(descriptor.digest);
                if descriptor.is_manifest() {
                    let (manifest, _) = self.manifest(&descriptor)?;
                    needed.insert(manifest.config.digest);
                    needed.extend(manifest.layers.iter().map(|layer| layer.digest));
                }
            }
        }
        Ok(needed)
    }

    fn holds(&self, memo: &[u8]) -> bool {
        #[derive(serde::Deserialize)]
        struct Blob {
            digest: Sha256,
            size: u64,
        }
        serde_json::from_slice(memo).is_ok_and(|Blob { digest, size }| self.has(digest, size))
    }
}

/// The files in `dir` with their names, if they are UTF-8; none if it is not there.
#[expect(
    clippy::disallowed_methods,
    reason = "the order in which files are taken away is nobody's concern"
)]
fn files(dir: &std::path::Path) -> io::Result<Vec<(Option<String>, std::path::PathBuf)>> {
    let entries = match fs::read_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    entries.map(|entry| entry.map(|e| (e.file_name().into_string().ok(), e.path()))).collect()
}

//! An archive of images, put aside file by file.

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use fs_err as fs;
use reimage_castore::{Sha256, Sha256Hasher};

use super::{Aside, ImportError, MAX_MEMBERS};
use crate::{
    Layout, Limits, UnpackError, decode,
    layout::{MAX_DOCUMENT, layout_file},
    unpack::{Kind, Members, tree_path},
};

/// The files of an archive by their paths in it.
pub(super) struct Files {
    dir: PathBuf,
    by_path: BTreeMap<String, Aside>,
    /// Symbolic and hard links, by the path that they lead to.
    links: BTreeMap<String, String>,
}

/// Reads `archive` into numbered files in `dir`; nothing of its names reaches the file system.
pub(super) fn read(archive: impl Read, dir: &Path, limits: Limits) -> Result<Files, ImportError> {
    let mut members = Members::new(decode(archive, limits.bytes)?);
    let (by_path, links) = Default::default();
    let mut found = Files { dir: dir.into(), by_path, links };
    let mut count = 0;
    while let Some(member) = members.next().map_err(ImportError::Archive)? {
        count += 1;
        if count > MAX_MEMBERS.min(limits.members) {
            let limit = MAX_MEMBERS.min(limits.members);
            return Err(ImportError::Archive(UnpackError::Members { limit }));
        }
        let path = tree_path(&member.path)?;
        // A name that is no text is named by nobody.
        let Ok(name) = std::str::from_utf8(path.as_bytes()) else { continue };
        match member.kind {
            Kind::File => {
                let aside = put_aside(members.content(), &dir.join(count.to_string()))?;
                found.links.remove(name);
                found.by_path.insert(name.into(), aside);
            }
            Kind::Symlink | Kind::Link => {
                let from = if member.kind == Kind::Link { "" } else { parent(name) };
                if let Some(target) = target(from, &member.link) {
                    found.links.insert(name.into(), target);
                }
            }
            _ => {}
        }
        members.skip_content().map_err(ImportError::Archive)?;
    }
    Ok(found)
}

fn put_aside(mut content: impl Read, path: &Path) -> io::Result<Aside> {
    let mut file = fs::File::create_new(path)?;
    let mut hasher = Sha256Hasher::new();
    let mut buffer = vec![0; 128 << 10];
    let mut size = 0;
    loop {
        let read = content.read(&mut buffer)?;
        if read == 0 {
            return Ok(Aside { path: path.into(), digest: hasher.finish(), size });
        }
        hasher.update(&buffer[..read]);
        file.write_all(&buffer[..read])?;
        size += read as u64;
    }
}

fn parent(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(parent, _)| parent)
}

/// Where a link in the directory `from` leads within the archive; none if out of it.
fn target(from: &str, link: &[u8]) -> Option<String> {
    let link = std::str::from_utf8(link).ok()?;
    let from = if link.starts_with('/') { "" } else { from };
    let mut names: Vec<&str> = from.split('/').filter(|name| !name.is_empty()).collect();
    for name in link.split('/') {
        match name {
            "" | "." => {}
            ".." => drop(names.pop()?),
            name => names.push(name),
        }
    }
    Some(names.join("/"))
}

impl Files {
    pub(super) fn has(&self, path: &str) -> bool {
        self.get(path).is_some()
    }

    /// The file at `path`, behind at most eight links.
    pub(super) fn get(&self, path: &str) -> Option<&Aside> {
        let mut path = path;
        for _ in 0..8 {
            match self.links.get(path) {
                Some(target) => path = target,
                None => return self.by_path.get(path),
            }
        }
        None
    }

    /// Reads a document of at most 8 MiB.
    pub(super) fn read(&self, path: &str) -> Result<Vec<u8>, ImportError> {
        let file = self.get(path).ok_or_else(|| ImportError::Missing { path: path.into() })?;
        let Aside { digest, size, .. } = *file;
        if size > MAX_DOCUMENT {
            return Err(crate::LayoutError::Large { digest, size }.into());
        }
        Ok(fs::read(&file.path)?)
    }

    /// The archive as the layout that it is.
    pub(super) fn as_layout(&self) -> Result<Layout, ImportError> {
        let blobs = self
            .by_path
            .iter()
            .filter_map(|(path, file)| Some((path, path.strip_prefix("blobs/sha256/")?, file)));
        let blobs: Vec<_> = blobs.collect();
        for (path, hex, file) in &blobs {
            if *hex != file.digest.hex() {
                return Err(ImportError::Digest { path: (*path).clone(), found: file.digest });
            }
        }
        let index = self.read("index.json")?;
        let mark = if self.has("oci-layout") { self.read("oci-layout")? } else { layout_file() };
        let blobs: Vec<_> = blobs.into_iter().map(|(_, _, file)| file.clone()).collect();
        layout(&self.dir, &blobs, &index, &mark)
    }

    /// Where the archive was put.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }
}

/// Makes a layout of what was put aside in `dir`.
pub(super) fn layout(
    dir: &Path,
    blobs: &[Aside],
    index: &[u8],
    mark: &[u8],
) -> Result<Layout, ImportError> {
    let dir = dir.join("layout");
    fs::create_dir_all(dir.join("blobs/sha256"))?;
    for Aside { path, digest, .. } in blobs {
        let to = dir.join("blobs/sha256").join(digest.hex());
        // Two files of one content are one blob.
        if path.exists() {
            fs::rename(path, to)?;
        }
    }
    fs::write(dir.join("index.json"), index)?;
    fs::write(dir.join("oci-layout"), mark)?;
    Ok(Layout::open(dir)?)
}

/// Puts a document aside.
pub(super) fn document(dir: &Path, bytes: &[u8]) -> io::Result<Aside> {
    let digest = Sha256::of(bytes);
    let path = dir.join(format!("document-{}", digest.hex()));
    fs::write(&path, bytes)?;
    Ok(Aside { path, digest, size: bytes.len() as u64 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_stay_within() {
        for (from, link, to) in [
            ("a", "../b/layer.tar", Some("b/layer.tar")),
            ("a/b", "./c", Some("a/b/c")),
            ("", "x", Some("x")),
            ("a", "/x", Some("x")),
            ("a", "../../x", None),
            ("", "../x", None),
        ] {
            assert_eq!(target(from, link.as_bytes()).as_deref(), to, "{from} {link}");
        }
    }
}

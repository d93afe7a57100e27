//! Compares a tree with a directory, path by path.

use std::{
    fs::File,
    io::Read,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::Path,
};

use reimage_castore::{Digest, Entry, Hasher, Node, Tree, TreePath, read_dir_sorted};

use super::Result;

/// Prints what differs: `<` is only in the tree, `>` only in the directory, `!` in both.
pub(crate) fn compare(tree: &Tree, root: &Path) -> Result<()> {
    let mut theirs = Vec::new();
    walk(root, &TreePath::root(), &mut theirs)?;
    let theirs: std::collections::BTreeMap<_, _> = theirs.into_iter().collect();
    let mut count = 0;
    for (path, entry) in tree.iter().filter(|(path, _)| !path.is_root()) {
        match theirs.get(path) {
            None => println!("< {path} {}", describe(entry)),
            Some(their) if describe(entry) != *their => {
                println!("! {path} {} | {their}", describe(entry));
            }
            Some(_) => continue,
        }
        count += 1;
    }
    for (path, their) in &theirs {
        if tree.get(path).is_none() {
            println!("> {path} {their}");
            count += 1;
        }
    }
    println!("{count} differences in {} and {} paths", tree.len() - 1, theirs.len());
    Ok(())
}

fn describe(entry: &Entry) -> String {
    let attrs = &entry.attrs;
    let what = match &entry.node {
        Node::File { digest, size } => format!("file {size} {}", digest.short()),
        Node::Symlink { target } => format!("link {}", String::from_utf8_lossy(target)),
        other => other.kind().to_owned(),
    };
    format!("{:04o} {}:{} {what}", attrs.mode, attrs.uid, attrs.gid)
}

fn walk(directory: &Path, at: &TreePath, found: &mut Vec<(TreePath, String)>) -> Result<()> {
    for entry in read_dir_sorted(directory)? {
        let name = TreePath::new(entry.file_name().as_bytes())?;
        let path = at.join(&name)?;
        let metadata = entry.path().symlink_metadata()?;
        let kind = metadata.file_type();
        let mut mode = metadata.mode() & 0o7777;
        let what = if kind.is_file() {
            format!("file {} {}", metadata.len(), digest(&entry.path())?.short())
        } else if kind.is_symlink() {
            mode = 0o777;
            let target = std::fs::read_link(entry.path())?;
            format!("link {}", String::from_utf8_lossy(target.as_os_str().as_bytes()))
        } else if kind.is_dir() {
            "directory".to_owned()
        } else {
            "special".to_owned()
        };
        let line = format!("{mode:04o} {}:{} {what}", metadata.uid(), metadata.gid());
        found.push((path.clone(), line));
        if kind.is_dir() {
            walk(&entry.path(), &path, found)?;
        }
    }
    Ok(())
}

fn digest(path: &Path) -> Result<Digest> {
    let mut file = File::open(path)?;
    let (mut hasher, mut buffer) = (Hasher::new(), vec![0; 1 << 16]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hasher.finish()),
            count => hasher.update(&buffer[..count]),
        }
    }
}

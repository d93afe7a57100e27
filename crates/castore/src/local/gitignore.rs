//! The project's own .gitignore files: from its root down, never the user's, never `.git/info/exclude`.

use std::{io::Read, os::fd::BorrowedFd, path::Path, sync::Arc};

use ignore::gitignore::{Gitignore, GitignoreBuilder};
use rustix::fs::{Mode, OFlags};

/// One directory's .gitignore and those above it.
#[derive(Debug)]
pub(super) struct Ignore {
    rules: Gitignore,
    /// Length in bytes of the directory's path, with its slash, among the paths that are asked for.
    depth: usize,
    above: Option<Arc<Ignore>>,
}

impl Ignore {
    /// Adds the .gitignore in `directory`, whose path has `depth` bytes, if there is one.
    pub(super) fn enter(
        above: Option<Arc<Self>>,
        directory: BorrowedFd<'_>,
        depth: usize,
    ) -> Option<Arc<Self>> {
        // Like git, which follows no link here.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = rustix::fs::openat(directory, ".gitignore", flags, Mode::empty());
        let mut text = Vec::new();
        match file.map(|fd| std::fs::File::from(fd).read_to_end(&mut text)) {
            Ok(Ok(_)) => {}
            _ => return above,
        }
        // Relative to nothing: what is asked for is cut to be seen from the directory.
        let mut builder = GitignoreBuilder::new(".");
        for line in text.split(|b| *b == b'\n') {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            // Like git, which takes a pattern that it cannot read as one that matches nothing.
            let _ = builder.add_line(None, &String::from_utf8_lossy(line));
        }
        match builder.build() {
            Ok(rules) if !rules.is_empty() => Some(Arc::new(Self { rules, depth, above })),
            _ => above,
        }
    }

    /// Whether a path is left out; the file nearest to it that says something decides.
    pub(super) fn excludes(&self, path: &[u8], is_directory: bool) -> bool {
        let mut next = Some(self);
        while let Some(ignore) = next {
            let seen = Path::new(os(&path[ignore.depth..]));
            let verdict = ignore.rules.matched(seen, is_directory);
            if !verdict.is_none() {
                return verdict.is_ignore();
            }
            next = ignore.above.as_deref();
        }
        false
    }
}

fn os(bytes: &[u8]) -> &std::ffi::OsStr {
    std::os::unix::ffi::OsStrExt::from_bytes(bytes)
}

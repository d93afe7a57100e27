//! Whether a step makes the same when it runs again: the second time under other conditions, and how the results
//! differ.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use reimage_castore::{Attrs, Change, Diff, Entry, Node, Output, Store, StoreError};
use reimage_oci::first_difference;

/// Which of the two times a step runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// As always.
    First,
    /// To compare: as another user, on one processor of a machine that is busy, its writes on another file system, in
    /// other directories, later.
    Second,
    /// To see what is made of random numbers: as the first time, but for these.
    Unseeded,
}

/// Does `work` while as many threads as `jobs` keep the processors busy.
pub(crate) fn on_a_busy_machine<T>(jobs: usize, work: impl FnOnce() -> T) -> T {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                // As the least of all: it is to come in between, not to hold up for long. On Linux this is a thread's.
                let _as_before = rustix::process::setpriority_process(None, 19);
                while !done.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        // However `work` ends, the others end with it.
        let _end = End(&done);
        work()
    })
}

struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Differences that are listed.
const LISTED: usize = 10;

/// How two results of one step differ, a line each; none if they do not.
pub(crate) fn differences(
    store: &Store,
    first: &Output,
    second: &Output,
) -> Result<Vec<String>, StoreError> {
    if first == second {
        return Ok(Vec::new());
    }
    let (one, two) = (changes(store, first)?, changes(store, second)?);
    let paths: BTreeSet<_> = one.iter().chain(two.iter()).map(|(path, _)| path).collect();
    let mut lines = Vec::new();
    let mut more = 0;
    for path in paths {
        let (before, after) = (one.get(path), two.get(path));
        if before == after {
            continue;
        }
        if lines.len() == LISTED {
            more += 1;
            continue;
        }
        let how = match (before, after) {
            (_, None) => "only the first time".to_owned(),
            (None, _) => "only the second time".to_owned(),
            (Some(Change::Put(before)), Some(Change::Put(after))) => entries(store, before, after)?,
            (_, Some(Change::Remove)) => "removed the second time only".to_owned(),
            _ => "removed the first time only".to_owned(),
        };
        lines.push(format!("{path}: {how}"));
    }
    if more > 0 {
        lines.push(format!("and {more} more paths"));
    }
    if lines.is_empty() {
        lines.push("other files are hard links of each other".to_owned());
    }
    Ok(lines)
}

fn changes(store: &Store, output: &Output) -> Result<Diff, StoreError> {
    Ok(match output {
        Output::Diff(digest) => (*store.diff(digest)?).clone(),
        Output::Tree(digest) => Diff::of_tree(&*store.tree(digest)?),
    })
}

fn entries(store: &Store, before: &Entry, after: &Entry) -> Result<String, StoreError> {
    Ok(match (&before.node, &after.node) {
        (Node::File { digest: one, size }, Node::File { digest: two, size: other })
            if one != two =>
        {
            let contents = (store.reader(one, *size)?, store.reader(two, *other)?);
            match first_difference(contents.0, contents.1) {
                Ok(Some(how)) => how,
                // The store has told what cannot be read.
                Ok(None) | Err(_) => "other content".to_owned(),
            }
        }
        (Node::Symlink { target: one }, Node::Symlink { target: two }) if one != two => {
            format!("a link to `{}`, then to `{}`", one.escape_ascii(), two.escape_ascii())
        }
        (one, two) if one.kind() != two.kind() => {
            format!("a {}, then a {}", one.kind(), two.kind())
        }
        (one, two) if one != two => format!("another {}", one.kind()),
        _ => attributes(&before.attrs, &after.attrs),
    })
}

fn attributes(before: &Attrs, after: &Attrs) -> String {
    if before.mode != after.mode {
        format!("mode {:04o}, then {:04o}", before.mode, after.mode)
    } else if (before.uid, before.gid) != (after.uid, after.gid) {
        let [one, two] = [before, after].map(|attrs| format!("{}:{}", attrs.uid, attrs.gid));
        format!("owner {one}, then {two}")
    } else if before.mtime != after.mtime {
        "another time".to_owned()
    } else {
        "other extended attributes".to_owned()
    }
}

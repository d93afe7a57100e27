//! What every backend must do; each passes through here.

use std::{
    io::{self, Read},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use reimage_castore::{Digest, Sha256};
use reimage_remote::{Backend, Blob};

use reimage_tests::{Closed, CraneRegistry, DockerRegistry, registry::Registry};

use crate::{
    blob, directory, get, patient, put,
    repository::{credentials, repository, repository_as},
};

/// All of it, on an empty cache.
fn suite(backend: &dyn Backend) {
    blobs(backend);
    half_a_blob(backend);
    blobs_together(backend);
    records(backend);
    records_together(backend);
}

#[test]
fn a_directory() {
    let (there, backend) = directory();
    suite(&*backend);
    let left: Vec<_> = names(there.path()).into_iter().filter(|n| n.starts_with(".tmp")).collect();
    assert_eq!(left, Vec::<String>::new(), "nothing temporary is left");
}

#[test]
fn a_repository() {
    suite(&repository(&Registry::open().host()));
}

#[test]
fn a_repository_of_docker_s_registry() {
    suite(&repository(&DockerRegistry::open().host()));
    // One that wants to know who we are.
    let registry = DockerRegistry::new(Closed { password: true, ..Closed::default() });
    let directory = tempfile::tempdir().expect("a directory");
    suite(&repository_as(&registry.host(), credentials(directory.path(), &registry.host())));
}

#[test]
fn a_repository_of_crane_s_registry() {
    suite(&repository(&CraneRegistry::new().host()));
}

fn blobs(backend: &dyn Backend) {
    let sizes = [0, 1, 4095, 300_000, 5 << 20];
    let contents: Vec<Vec<u8>> = sizes.iter().map(|size| content(7, *size)).collect();
    let mut all: Vec<_> = contents.iter().map(|bytes| blob(bytes)).collect();
    assert_eq!(backend.has(&all).expect("it answers"), [false; 5]);
    assert!(backend.has(&[]).expect("it answers").is_empty());
    for (bytes, blob) in contents.iter().zip(&all) {
        assert_eq!(get(backend, blob), None);
        assert_eq!(put(backend, bytes), *blob);
        assert_eq!(get(backend, blob).as_ref(), Some(bytes));
        put(backend, bytes);
        assert_eq!(get(backend, blob).as_ref(), Some(bytes), "a second time is as once");
    }
    assert_eq!(backend.has(&all).expect("it answers"), [true; 5]);
    all.insert(2, Blob { digest: Sha256::of(b"nobody has this"), size: 15 });
    let there = backend.has(&all).expect("it answers");
    assert_eq!(there, [true, true, false, true, true, true], "in their order");
}

/// Gives some bytes, then fails.
struct Breaks(usize);

impl Read for Breaks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let size = self.0.min(buffer.len());
        if size == 0 {
            return Err(io::Error::other("the disk is broken"));
        }
        self.0 -= size;
        Ok(size)
    }
}

fn half_a_blob(backend: &dyn Backend) {
    for size in [0, 1, 700_000] {
        let blob = Blob { digest: Sha256::of(b"never seen as a whole"), size: 1 << 20 };
        assert!(backend.put(&blob, &mut Breaks(size)).is_err());
        assert_eq!(get(backend, &blob), None);
        assert_eq!(backend.has(&[blob]).expect("it answers"), [false]);
    }
}

fn blobs_together(backend: &dyn Backend) {
    let contents: Vec<_> = (0..4).map(|number| content(100 + number, 600_000)).collect();
    let seen = AtomicUsize::new(0);
    thread::scope(|scope| {
        for number in 0..8 {
            let (contents, seen) = (&contents, &seen);
            scope.spawn(move || {
                for turn in 0..contents.len() {
                    let bytes = &contents[(number + turn) % contents.len()];
                    if number < 4 {
                        put(backend, bytes);
                    }
                    // Whole or not at all, while others write it.
                    if let Some(got) = get(backend, &blob(bytes)) {
                        assert!(got == *bytes, "half a blob was seen");
                        seen.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    assert!(seen.into_inner() >= 16, "who wrote one finds it");
}

fn records(backend: &dyn Backend) {
    let key = Digest::of(b"a key");
    let names = [put(backend, b"what it names")];
    let put = |record: &[u8], refused: Option<&[u8]>| {
        backend.put_record(&key, record, &names, refused).expect("it answers")
    };
    let there = || backend.record(&key).expect("it answers");
    assert_eq!(there(), None);
    assert!(put(b"the first", None));
    assert!(!put(b"the second", None), "one that is there stays");
    assert_eq!(there().as_deref(), Some(&b"the first"[..]));
    assert!(!put(b"the second", Some(b"another")), "only what was refused is replaced");
    assert_eq!(there().as_deref(), Some(&b"the first"[..]));
    assert!(put(b"the second", Some(b"the first")));
    assert_eq!(there().as_deref(), Some(&b"the second"[..]));
    let large = content(3, 1 << 20);
    let other = Digest::of(b"another key");
    assert!(backend.put_record(&other, &large, &[], None).expect("it answers"));
    assert_eq!(backend.record(&other).expect("it answers"), Some(large));
}

fn records_together(backend: &dyn Backend) {
    let key = Digest::of(b"a key that many write");
    let won: Vec<_> = thread::scope(|scope| {
        let write = |number: u8| {
            move || {
                let record = vec![number; 100];
                let won = patient(|| backend.put_record(&key, &record, &[], None));
                let there = patient(|| backend.record(&key)).expect("somebody wrote it");
                assert!(there.len() == 100 && there.iter().all(|byte| *byte == there[0]));
                won.then_some(record)
            }
        };
        let threads: Vec<_> = (0..8).map(|number| scope.spawn(write(number))).collect();
        threads.into_iter().filter_map(|t| t.join().expect("it ends")).collect()
    });
    let there = backend.record(&key).expect("it answers").expect("somebody wrote it");
    assert!(won.contains(&there));
}

fn content(number: u64, size: usize) -> Vec<u8> {
    let words = (0_u64..)
        .flat_map(|word| (word ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    words.take(size).collect()
}

/// The names of all files below.
#[expect(clippy::disallowed_methods, reason = "in no order that matters")]
fn names(directory: &std::path::Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).expect("readable").map(|e| e.expect("readable"));
    let each = entries.flat_map(|entry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        let below = if entry.path().is_dir() { names(&entry.path()) } else { Vec::new() };
        std::iter::once(name).chain(below)
    });
    each.collect()
}

mod of_a_directory {
    //! What only a directory does.

    use std::{
        fs,
        time::{Duration, SystemTime},
    };

    use reimage_remote::{Again, Directory};

    use super::*;

    #[test]
    fn one_that_is_not_mounted_is_no_empty_cache() {
        let missing = Directory::new("/nonexistent/cache", SystemTime::UNIX_EPOCH);
        let key = Digest::of(b"a key");
        let error = missing.record(&key).expect_err("nothing is there");
        assert_eq!(error.again, Again::Never);
        assert!(missing.has(&[blob(b"x")]).is_err());
        assert!(missing.get(&blob(b"x"), &mut Vec::new()).is_err());
        assert!(missing.put(&blob(b"x"), &mut &b"x"[..]).is_err());
        assert!(missing.put_record(&key, b"x", &[], None).is_err());
    }

    #[test]
    fn a_blob_that_was_cut_off_is_put_again() {
        let (there, backend) = directory();
        let one = put(&*backend, b"one blob");
        let hex = one.digest.hex();
        let path = there.path().join("blobs-v1").join(&hex[..2]).join(&hex[2..]);
        fs::write(&path, b"one").expect("it is there");
        assert_eq!(backend.has(&[one]).expect("it answers"), [false]);
        assert_eq!(get(&*backend, &one), None);
        put(&*backend, b"one blob");
        assert_eq!(get(&*backend, &one).as_deref(), Some(&b"one blob"[..]));
        // Whatever lies there that is no file is not followed and not waited for.
        fs::remove_file(&path).expect("it is there");
        std::os::unix::fs::symlink("/etc/passwd", &path).expect("a link");
        assert!(backend.get(&one, &mut Vec::new()).is_err());
        assert_eq!(backend.has(&[one]).expect("it answers"), [false]);
    }

    #[test]
    fn what_is_used_becomes_young() {
        let there = tempfile::tempdir().expect("a directory");
        let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        let backend = Directory::new(there.path(), old + Duration::from_secs(100_000));
        let (used, unused) = (put(&backend, b"used"), put(&backend, b"unused"));
        let path = |blob: &Blob| {
            let hex = blob.digest.hex();
            there.path().join("blobs-v1").join(&hex[..2]).join(&hex[2..])
        };
        for blob in [&used, &unused] {
            let file = fs::File::options().write(true).open(path(blob)).expect("it is there");
            file.set_modified(old).expect("it is ours");
        }
        get(&backend, &used);
        let age = |blob: &Blob| fs::metadata(path(blob)).and_then(|m| m.modified()).expect("there");
        assert!(age(&used) > old);
        assert_eq!(age(&unused), old);
    }
}

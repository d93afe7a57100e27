//! A cache that is slow, broken or gone.

use std::{
    io::{Read as _, Write},
    sync::{Arc, atomic::Ordering},
    thread,
    time::Duration,
};

use reimage_castore::Digest;
use reimage_remote::{Backend, BackendError, Blob, Directory, Metrics, Patience, Unavailable};

use crate::{
    blob, directory,
    faulty::{Fault, Faulty, remote, said},
    get, put,
};

const KEY: Digest = Digest::from_bytes([7; 32]);

fn read(got: Result<Option<std::fs::File>, Unavailable>) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    got.expect("it answers")?.read_to_end(&mut bytes).expect("a file");
    Some(bytes)
}

#[test]
fn what_passes_is_tried_again() {
    let (_there, inner) = directory();
    let one = put(&*inner, b"one blob");
    let script = [Fault::Fails, Fault::Short, Fault::None];
    let (remote, warnings) = remote(Faulty::new(inner, &script));
    assert_eq!(read(remote.get(one)).as_deref(), Some(&b"one blob"[..]));
    assert_eq!(said(&warnings), [""; 0]);
    let expected = Metrics { calls: 3, received: 8, ..Metrics::default() };
    assert_eq!(remote.metrics(), expected);
}

#[test]
fn too_much_of_it_and_the_cache_is_off() {
    let (_there, inner) = directory();
    let faulty = Faulty::new(inner, &[Fault::Fails]);
    let (remote, warnings) = remote(faulty.clone());
    for _ in 0..10 {
        assert_eq!(remote.record(KEY), Err(Unavailable));
    }
    assert!(remote.is_off());
    assert_eq!(faulty.calls.load(Ordering::Relaxed), 9, "three times three, and never again");
    assert_eq!(said(&warnings), ["The cache test: is not used: 503 Service Unavailable"]);
}

/// Whatever a dead cache does, it ends in less than two seconds by what is configured: it keeps silent, or it fails at
/// once as often as it is asked.
#[test]
fn what_users_wait_is_less_than_two_seconds() {
    let Patience { ask, dead, retries, backoff, failures, .. } = Patience::default();
    let most = Duration::from_secs(2);
    assert!(ask < dead && dead < most);
    let retry = |number: u32| (backoff * 2_u32.pow(number)).mul_f64(1.5);
    let waits: Duration = (0..retries).map(retry).sum();
    assert!(waits * failures < most, "{waits:?}");
}

#[test]
fn one_that_says_no_is_asked_once() {
    let (_there, inner) = directory();
    let faulty = Faulty::new(inner, &[Fault::Forbidden]);
    let (remote, warnings) = remote(faulty.clone());
    assert_eq!(remote.has(&[blob(b"x")]), Err(Unavailable));
    assert_eq!(remote.record(KEY), Err(Unavailable));
    assert_eq!(faulty.calls.load(Ordering::Relaxed), 1);
    assert_eq!(said(&warnings), ["The cache test: is not used: 403 Forbidden"]);
}

#[test]
fn one_that_takes_nothing_still_gives() {
    let (_there, inner) = directory();
    let one = put(&*inner, b"one blob");
    let (remote, warnings) = remote(Faulty::new(inner, &[Fault::Forbidden, Fault::None]));
    assert_eq!(remote.put_record(KEY, b"x".to_vec(), vec![], None), Err(Unavailable));
    assert!(remote.takes_nothing() && !remote.is_off());
    assert_eq!(remote.put_record(KEY, b"x".to_vec(), vec![], None), Err(Unavailable));
    assert_eq!(read(remote.get(one)).as_deref(), Some(&b"one blob"[..]));
    assert_eq!(said(&warnings), ["The cache test: takes nothing: 403 Forbidden"]);
}

#[test]
fn a_dead_one_is_waited_for_once() {
    let (_there, inner) = directory();
    let faulty = Faulty::new(inner, &[Fault::Hangs]);
    let (remote, warnings) = remote(faulty.clone());
    // All at once, as a build asks.
    thread::scope(|scope| {
        for _ in 0..30 {
            scope.spawn(|| assert_eq!(remote.record(KEY), Err(Unavailable)));
        }
    });
    for _ in 0..1000 {
        assert_eq!(remote.record(KEY), Err(Unavailable));
        assert_eq!(remote.put(blob(b"x"), || Ok(Box::new(&b"x"[..]))), Err(Unavailable));
    }
    // Sixteen at a time, and the question whether it is there.
    assert!(faulty.calls.load(Ordering::Relaxed) <= 17);
    assert_eq!(said(&warnings), ["The cache test: is not used: it does not answer"]);
}

/// Answers, but takes its time for blobs.
#[derive(Debug)]
struct Slow(Arc<Directory>);

impl Backend for Slow {
    fn has(&self, blobs: &[Blob]) -> Result<Vec<bool>, BackendError> {
        self.0.has(blobs)
    }

    fn get(&self, blob: &Blob, into: &mut dyn Write) -> Result<bool, BackendError> {
        thread::sleep(Duration::from_millis(600));
        self.0.get(blob, into)
    }

    fn put(&self, blob: &Blob, from: &mut dyn std::io::Read) -> Result<(), BackendError> {
        self.0.put(blob, from)?;
        thread::sleep(Duration::from_millis(600));
        Ok(())
    }

    fn record(&self, key: &Digest) -> Result<Option<Vec<u8>>, BackendError> {
        self.0.record(key)
    }

    fn put_record(
        &self,
        key: &Digest,
        record: &[u8],
        blobs: &[Blob],
        refused: Option<&[u8]>,
    ) -> Result<bool, BackendError> {
        self.0.put_record(key, record, blobs, refused)
    }
}

#[test]
fn a_slow_one_is_not_dead() {
    let (_there, inner) = directory();
    let one = put(&*inner, b"one blob");
    let (remote, warnings) = remote(Arc::new(Slow(inner)));
    assert_eq!(read(remote.get(one)).as_deref(), Some(&b"one blob"[..]));
    assert_eq!(remote.put(blob(b"x"), || Ok(Box::new(&b"x"[..]))), Ok(()));
    assert_eq!(said(&warnings), [""; 0]);
}

#[test]
fn something_else_in_a_blob_s_place_is_as_none_and_is_mended() {
    for fault in [Fault::Wrong, Fault::Long] {
        let (_there, inner) = directory();
        let one = put(&*inner, b"one blob");
        let (remote, warnings) = remote(Faulty::new(inner.clone(), &[fault, Fault::None]));
        assert_eq!(read(remote.get(one)), None);
        let warning = format!("The cache test: has something else in the place of {}", one.digest);
        assert_eq!(said(&warnings), [warning]);
        assert_eq!(remote.has(&[one, blob(b"")]), Ok(vec![false, false]));
        assert_eq!(remote.put(one, || Ok(Box::new(&b"one blob"[..]))), Ok(()));
        assert_eq!(remote.has(&[one]), Ok(vec![true]));
        assert_eq!(get(&*inner, &one).as_deref(), Some(&b"one blob"[..]));
    }
}

#[test]
fn what_is_not_what_it_should_be_is_not_sent() {
    let (_there, inner) = directory();
    let (remote, warnings) = remote(inner.clone());
    let one = blob(b"one blob");
    for wrong in [&b"one"[..], b"one blob and more", b"one blub", b""] {
        assert_eq!(remote.put(one, move || Ok(Box::new(wrong))), Err(Unavailable));
        assert_eq!(inner.has(&[one]).expect("it answers"), [false]);
    }
    assert_eq!(remote.put(one, || Err(std::io::ErrorKind::NotFound.into())), Err(Unavailable));
    assert!(!remote.takes_nothing(), "that is no fault of the cache's");
    assert_eq!(said(&warnings), [""; 0]);
}

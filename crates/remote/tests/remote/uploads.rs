//! Several caches: in which order they are read, which are written, and what is said of what was not sent.

use std::{io, sync::Arc, time::Duration};

use reimage_castore::Digest;
use reimage_remote::{Backend, Cache, CacheConfig, Record, Sent, Trust, Upload};

use crate::{
    Made, blob, directory,
    faulty::{Fault, Faulty, remote, said},
};

const LONG: Duration = Duration::from_mins(1);

fn key() -> Digest {
    Digest::of(b"an action")
}

fn cache(remotes: Vec<(Arc<dyn Backend>, bool)>) -> Cache {
    let remotes = remotes.into_iter().map(|(backend, write)| (remote(backend).0, write)).collect();
    Cache::new(CacheConfig { remotes, trust: Trust::Server, signer: None })
}

fn upload(bytes: &'static [u8]) -> Upload {
    (blob(bytes), Arc::new(move || Ok(Box::new(bytes))))
}

fn push(cache: &Cache, name: &str, bytes: &'static [u8]) {
    let upload = upload(bytes);
    let record = Made(vec![upload.0]);
    cache.push(name, key(), move || Ok(Some((record, vec![upload]))));
}

#[test]
fn the_first_that_has_it_gives_and_those_that_may_take() {
    let ((_a, first), (_b, second)) = (directory(), directory());
    let writer = cache(vec![(second.clone(), true)]);
    push(&writer, "one", b"only the second has it");
    assert_eq!(writer.finish(LONG).sent, 1);
    let both = || cache(vec![(first.clone(), false), (second.clone(), true)]);
    let found = Made(vec![blob(b"only the second has it")]);
    assert_eq!(both().find(&key(), Record::blobs), Some(found.clone()));
    assert!(both().get(found.0[0]).is_some());
    assert!(both().get(blob(b"nobody has it")).is_none());
    // The first is only read: nothing comes there.
    let cache = both();
    push(&cache, "one", b"another");
    assert_eq!(cache.finish(LONG), Sent::default());
    assert_eq!(first.has(&found.0).expect("it answers"), [false]);
    // Written to both, it goes to the one that lacks it.
    let cache = crate::uploads::cache(vec![(first.clone(), true), (second.clone(), true)]);
    push(&cache, "one", b"only the second has it");
    assert_eq!(cache.finish(LONG), Sent { sent: 1, not_sent: vec![] });
    assert_eq!(first.has(&found.0).expect("it answers"), [true]);
}

#[test]
fn a_record_comes_after_its_blobs() {
    let (_there, inner) = directory();
    let script = [Fault::None, Fault::None, Fault::Forbidden];
    let cache = cache(vec![(Faulty::new(inner.clone(), &script), true)]);
    push(&cache, "one", b"it is not taken");
    let sent = cache.finish(LONG);
    assert_eq!(sent, Sent { sent: 0, not_sent: vec!["one".to_owned()] });
    let reader = crate::uploads::cache(vec![(inner, true)]);
    assert_eq!(reader.find::<Made>(&key(), Record::blobs), None);
}

#[test]
fn what_cannot_be_prepared_is_not_sent() {
    let (_there, inner) = directory();
    let cache = cache(vec![(inner, true)]);
    cache.push("gone", key(), || Err::<Option<(Made, Vec<Upload>)>, _>(io::Error::other("gone")));
    cache.push("nothing to say", key(), || Ok(None::<(Made, Vec<Upload>)>));
    assert_eq!(cache.finish(LONG).not_sent, ["gone"]);
    assert_eq!(cache.finish(LONG), Sent::default(), "it is said once");
}

#[test]
fn a_cache_that_dies_is_not_waited_for() {
    let (_there, inner) = directory();
    let faulty = Faulty::new(inner, &[Fault::None, Fault::Hangs]);
    let (remote, warnings) = remote(faulty);
    let remotes = vec![(remote, true)];
    let cache = Cache::new(CacheConfig { remotes, trust: Trust::Server, signer: None });
    push(&cache, "one", b"it never arrives");
    push(&cache, "two", b"nor this");
    assert_eq!(cache.finish(Duration::from_hours(1)).not_sent, ["one", "two"]);
    push(&cache, "three", b"nor this");
    assert_eq!(cache.finish(LONG).not_sent, ["three"]);
    assert_eq!(said(&warnings), ["The cache test: is not used: it does not answer"]);
}

#[test]
fn time_runs_out() {
    let (_there, inner) = directory();
    let cache = cache(vec![(inner, true)]);
    cache.push("slow", key(), || {
        std::thread::sleep(Duration::from_secs(2));
        Ok(None::<(Made, Vec<Upload>)>)
    });
    assert_eq!(cache.finish(Duration::ZERO).not_sent, ["slow"]);
}

#[test]
fn a_cache_that_is_only_read_is_sent_nothing() {
    let (_there, inner) = directory();
    let cache = cache(vec![(inner, false)]);
    push(&cache, "one", b"it stays here");
    assert_eq!(cache.finish(LONG), Sent::default());
}

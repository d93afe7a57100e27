//! Records that are used, and those that are refused or missed.

use std::{fs, path::PathBuf, sync::Arc, time::Duration};

use reimage_castore::Digest;
use reimage_remote::{
    Blob, Cache, CacheConfig, Directory, PrivateKey, Record, Trust, Upload, seal,
};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use crate::{
    directory,
    faulty::{Warnings, remote, said},
    put,
};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Made {
    says: String,
    blobs: Vec<Blob>,
}

impl Record for Made {
    const KIND: &'static str = "step";

    fn blobs(&self) -> Vec<Blob> {
        self.blobs.clone()
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Other {
    says: String,
    blobs: Vec<Blob>,
}

impl Record for Other {
    const KIND: &'static str = "target";

    fn blobs(&self) -> Vec<Blob> {
        self.blobs.clone()
    }
}

/// A machine: a cache with a key to sign with, and whom it trusts.
struct Machine {
    cache: Cache,
    warnings: Warnings,
}

fn machine(backend: &Arc<Directory>, trust: Trust, signer: Option<&PrivateKey>) -> Machine {
    let (remote, warnings) = remote(backend.clone());
    let signer = signer.cloned();
    let cache = Cache::new(CacheConfig { remotes: vec![(remote, true)], trust, signer });
    Machine { cache, warnings }
}

impl Machine {
    fn find(&self, key: &Digest) -> Option<Made> {
        self.cache.find(key, Record::blobs)
    }

    fn push(&self, key: Digest, record: &Made) -> usize {
        let record = record.clone();
        let uploads: Vec<Upload> = Vec::new();
        self.cache.push("one", key, move || Ok(Some((record, uploads))));
        let sent = self.cache.finish(Duration::from_mins(1));
        assert_eq!(sent.not_sent, [""; 0]);
        sent.sent
    }
}

fn key() -> Digest {
    Digest::of(b"an action")
}

fn made(says: &str) -> Made {
    Made { says: says.to_owned(), blobs: Vec::new() }
}

/// The only record there.
#[expect(clippy::disallowed_methods, reason = "there is one")]
fn only_record(there: &TempDir) -> PathBuf {
    let one = |directory: PathBuf| {
        let mut entries = fs::read_dir(directory).expect("it is there");
        entries.next().expect("not empty").expect("readable").path()
    };
    one(one(there.path().join("records-v1")))
}

fn trusting(keys: &[&PrivateKey]) -> Trust {
    Trust::Keys(keys.iter().map(|key| key.public()).collect())
}

#[test]
fn a_signed_one_is_used_and_never_overwritten() {
    let ours = PrivateKey::generate();
    let (_there, backend) = directory();
    let writer = machine(&backend, trusting(&[]), Some(&ours));
    assert_eq!(writer.find(&key()), None);
    assert_eq!(writer.push(key(), &made("first")), 1);
    assert_eq!(writer.push(key(), &made("second")), 0, "one is there");
    for reader in
        [machine(&backend, trusting(&[&ours]), None), machine(&backend, Trust::Server, None)]
    {
        assert_eq!(reader.find(&key()), Some(made("first")));
        assert_eq!(reader.cache.find(&key(), |_: &Other| Vec::new()), None, "of another kind");
        assert_eq!(said(&reader.warnings), [""; 0]);
    }
}

#[test]
fn one_that_nobody_trusted_signed_is_refused_and_replaced() {
    let (ours, theirs) = (PrivateKey::generate(), PrivateKey::generate());
    for signer in [None, Some(&theirs)] {
        let (_there, backend) = directory();
        machine(&backend, Trust::Server, signer).push(key(), &made("poison"));
        let reader = machine(&backend, trusting(&[&ours]), None);
        assert_eq!(reader.find(&key()), None);
        assert_eq!(reader.find(&key()), None);
        let warning = "The cache test: has a step that is not used: no trusted key signed it";
        assert_eq!(said(&reader.warnings), [warning], "said once");
        let writer = machine(&backend, trusting(&[&ours]), Some(&ours));
        assert_eq!(writer.find(&key()), None);
        assert_eq!(writer.push(key(), &made("good")), 1);
        assert_eq!(machine(&backend, trusting(&[&ours]), None).find(&key()), Some(made("good")));
    }
}

#[test]
fn a_good_one_under_another_key_is_refused() {
    let ours = PrivateKey::generate();
    let (there, backend) = directory();
    machine(&backend, trusting(&[]), Some(&ours)).push(key(), &made("of an action"));
    let good = fs::read(only_record(&there)).expect("it is there");
    // Whoever may write can put it anywhere: under the key of another action, or as another kind.
    let (other, backend) = directory();
    let elsewhere = Digest::of(b"another action");
    machine(&backend, Trust::Server, None).push(elsewhere, &made("anything"));
    fs::write(only_record(&other), &good).expect("it is there");
    let reader = machine(&backend, trusting(&[&ours]), None);
    assert_eq!(reader.find(&elsewhere), None);
    let warning = "The cache test: has a step that is not used: it is the record of something else";
    assert_eq!(said(&reader.warnings), [warning]);
}

#[test]
fn what_is_damaged_forged_or_cut_off_is_refused() {
    let ours = PrivateKey::generate();
    let (there, backend) = directory();
    let writer = machine(&backend, trusting(&[]), Some(&ours));
    writer.push(key(), &made("good"));
    let path = only_record(&there);
    let good = fs::read(&path).expect("it is there");
    let mut envelope: serde_json::Value = serde_json::from_slice(&good).expect("JSON");
    let payload = envelope["payload"].as_str().expect("text").to_owned();
    envelope["payload"] = (payload[..40].to_owned() + "AAAA" + &payload[44..]).into();
    let forged = serde_json::to_vec(&envelope).expect("JSON");
    let half = good[..good.len() / 2].to_vec();
    let (empty, noise) = (Vec::new(), vec![0xff; 1000]);
    for (bytes, why) in [
        (forged, format!("the signature of key {} is wrong", &ours.public().id()[..12])),
        (half, "it is not a record".to_owned()),
        (empty, "it is not a record".to_owned()),
        (noise, "it is not a record".to_owned()),
    ] {
        fs::write(&path, bytes).expect("it is there");
        let reader = machine(&backend, trusting(&[&ours]), None);
        assert_eq!(reader.find(&key()), None);
        assert_eq!(
            said(&reader.warnings),
            [format!("The cache test: has a step that is not used: {why}")]
        );
    }
    // And whoever makes it again puts a good one there.
    let writer = machine(&backend, trusting(&[]), Some(&ours));
    assert_eq!(writer.push(key(), &made("good")), 1);
    assert_eq!(fs::read(&path).expect("it is there"), good);
}

#[test]
fn one_whose_blobs_were_evicted_is_missed_and_replaced() {
    let ours = PrivateKey::generate();
    let (there, backend) = directory();
    let blobs = vec![put(&*backend, b"one"), put(&*backend, b"two")];
    let record = Made { says: "whole".to_owned(), blobs };
    machine(&backend, trusting(&[]), Some(&ours)).push(key(), &record);
    let reader = machine(&backend, trusting(&[&ours]), None);
    assert_eq!(reader.find(&key()), Some(record.clone()));
    let hex = record.blobs[1].digest.hex();
    fs::remove_file(there.path().join("blobs-v1").join(&hex[..2]).join(&hex[2..])).expect("there");
    assert_eq!(reader.find(&key()), None);
    assert_eq!(
        reader.cache.find(&key(), |_: &Made| Vec::new()),
        Some(record),
        "who needs none of it"
    );
    assert_eq!(said(&reader.warnings), [""; 0], "that is as it goes");
    let writer = machine(&backend, trusting(&[]), Some(&ours));
    assert_eq!(writer.push(key(), &made("made again")), 1);
    assert_eq!(reader.find(&key()), Some(made("made again")));
}

#[test]
fn what_another_version_wrote_is_missed() {
    let ours = PrivateKey::generate();
    let (there, backend) = directory();
    machine(&backend, trusting(&[]), Some(&ours)).push(key(), &made("good"));
    let statement = serde_json::json!({
        "version": 0, "kind": "step", "key": key().to_string(), "record": { "old": true },
    });
    let old = seal(statement.to_string().as_bytes(), Some(&ours));
    fs::write(only_record(&there), old).expect("it is there");
    let reader = machine(&backend, trusting(&[&ours]), None);
    assert_eq!(reader.find(&key()), None);
    assert_eq!(said(&reader.warnings), [""; 0]);
}

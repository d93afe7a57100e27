//! Secrets that steps make: a step's random numbers are the same for everybody who builds it, and so is a key that is made
//! of them. No image publishes one.
//!
//! A file that looks like a secret is a suspect; the result of the step that wrote it names it. When an image holds
//! suspects, their step runs once more with other random numbers: what comes out otherwise was made of them, what comes
//! out the same was unpacked, copied or written down.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io,
    os::unix::fs::FileExt,
};

use reimage_castore::{ActionDigest, ActionResult, Digest, Node, TreePath};
use reimage_plan::{StepId, StepKind};
use reimage_sandbox::Fixed;

use crate::{
    Event, StepError,
    conditions::{Conditions, made_of},
    debian,
    engine::Engine,
    run,
    stack::Stack,
    twice::Turn,
};

/// Bytes of the largest file that is looked at.
const LARGEST: u64 = 64 << 10;

/// Files that tell a machine from others.
const MACHINE_ID: [&str; 2] = ["etc/machine-id", "var/lib/dbus/machine-id"];

/// Whether a file that a step wrote looks like a secret: a private key, or the identity of a machine.
pub(crate) fn is_suspect(path: &TreePath, file: &File, size: u64) -> io::Result<bool> {
    if !(1..=LARGEST).contains(&size) {
        return Ok(false);
    }
    let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
    file.read_exact_at(&mut bytes, 0)?;
    if MACHINE_ID.iter().any(|id| path.as_bytes() == id.as_bytes()) {
        return Ok(bytes.len() >= 32 && bytes[..32].iter().all(u8::is_ascii_hexdigit));
    }
    Ok(bytes.split(|byte| *byte == b'\n').any(begins_a_key))
}

/// `-----BEGIN OPENSSH PRIVATE KEY-----` and its like.
fn begins_a_key(line: &[u8]) -> bool {
    let line = line.trim_ascii_end();
    line.strip_prefix(b"-----BEGIN ").is_some_and(|line| {
        line.ends_with(b"PRIVATE KEY-----") || line.ends_with(b"PRIVATE KEY BLOCK-----")
    })
}

/// Fails if a layer of `image` holds a secret that a step made.
pub(crate) fn check(engine: &Engine<'_>, image: StepId, stack: &Stack) -> Result<(), StepError> {
    let suspicious = made_of(engine.plan, image).into_iter().filter(|id| {
        !engine.made(*id).secrets.is_empty() && !engine.given_up(*id).contains(&Fixed::Entropy)
    });
    let suspicious: Vec<_> = suspicious.collect();
    if suspicious.is_empty() {
        return Ok(());
    }
    // What lies in a lower layer is published, whatever a higher one does to it.
    let mut published = BTreeMap::new();
    for layer in &stack.0 {
        for (path, change) in layer.diff.iter() {
            if let Some(Node::File { digest, .. }) = change.entry().map(|entry| &entry.node) {
                published.entry(digest).or_insert(path);
            }
        }
    }
    for id in suspicious {
        let secrets = &engine.made(id).secrets;
        let mut here = secrets.iter().filter(|(_, content)| published.contains_key(content));
        if here.next().is_none() || !has_fixed_entropy(engine, id) {
            continue;
        }
        let made = made_by(engine, id, secrets)?;
        let found = secrets.iter().find_map(|(path, content)| {
            made.contains(path).then(|| published.get(content)).flatten()
        });
        if let Some(path) = found {
            return Err(StepError::Secret {
                step: engine.name(id),
                place: engine.place(id),
                image: engine.name(image),
                path: (*path).clone(),
            });
        }
    }
    Ok(())
}

fn has_fixed_entropy(engine: &Engine<'_>, id: StepId) -> bool {
    let conditions = match &engine.plan.step(id).kind {
        StepKind::Run(run) => Conditions::of(run),
        _ => Conditions::BASELINE,
    };
    conditions.fixed().contains(&Fixed::Entropy)
}

/// Which of `secrets` step `id` made; it is asked once.
fn made_by(
    engine: &Engine<'_>,
    id: StepId,
    secrets: &[(TreePath, Digest)],
) -> Result<BTreeSet<TreePath>, StepError> {
    let Some(action) = engine.made(id).action else { return Ok(BTreeSet::new()) };
    let key = verdict_key(&action);
    if let Some(verdict) = engine.store().memo(&key)?
        && let Ok(made) = serde_json::from_slice(&verdict)
    {
        return Ok(made);
    }
    if let Some(made) = engine.cached_verdict(&key) {
        return Ok(made);
    }
    engine.say(Event::Started { step: id, name: engine.name(id) });
    let again = again(engine, id)?;
    engine.say(Event::Finished { step: id, name: engine.name(id), millis: Some(again.millis) });
    let made = secrets.iter().filter(|secret| !again.secrets.contains(secret));
    let made: BTreeSet<_> = made.map(|(path, _)| path.clone()).collect();
    let verdict = serde_json::to_vec(&made).expect("paths are strings");
    engine.store().put_memo(&key, &verdict)?;
    engine.give_verdict(id, key, &made);
    Ok(made)
}

fn again(engine: &Engine<'_>, id: StepId) -> Result<ActionResult, StepError> {
    match &engine.plan.step(id).kind {
        StepKind::Run(step) => run::again(engine, id, step, Turn::Unseeded),
        StepKind::Debian(step) => debian::again(engine, id, step, Turn::Unseeded),
        _ => Err(engine.error(id, "It runs nothing that could be run again")),
    }
}

/// Where it is remembered which suspects of a result were made.
fn verdict_key(action: &ActionDigest) -> Digest {
    Digest::of(format!("reimage secrets 1\n{action}").as_bytes())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn suspect(path: &str, text: &str) -> bool {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(text.as_bytes()).expect("written");
        let path = TreePath::new(path).expect("a good path");
        is_suspect(&path, &file, text.len() as u64).expect("read")
    }

    #[test]
    fn what_looks_like_a_secret() {
        for kind in ["", "RSA ", "EC ", "ENCRYPTED ", "OPENSSH "] {
            assert!(suspect(
                "k",
                &format!("a certificate\n-----BEGIN {kind}PRIVATE KEY-----\nMII\n")
            ));
        }
        assert!(suspect("k", "-----BEGIN PGP PRIVATE KEY BLOCK-----\r\n"));
        assert!(suspect("etc/machine-id", "0123456789abcdef0123456789abcdef\n"));
        assert!(suspect("var/lib/dbus/machine-id", "0123456789abcdef0123456789abcdef"));
        let no = [
            ("k", "-----BEGIN PUBLIC KEY-----\n"),
            ("k", "grep -- '-----BEGIN PRIVATE KEY-----'\n"),
            ("etc/machine-id", "uninitialized\n"),
            ("etc/machine-id", ""),
            ("id", "0123456789abcdef0123456789abcdef\n"),
        ];
        for (path, text) in no {
            assert!(!suspect(path, text), "{path}: {text}");
        }
        let long = format!("-----BEGIN PRIVATE KEY-----\n{}", "x".repeat(1 << 16));
        assert!(!suspect("k", &long), "larger than any key");
    }
}

//! The skeleton of a base image: what its layers change, without their contents.
//!
//! Whatever stands on a base follows from that, its own layers to the byte and the keys of steps, so that a layer is
//! downloaded only when somebody reads its files. It is one blob, pinned in the lock:
//!
//! ```text
//! reimage skeleton 1
//! the diffs of the layers, lowest first: each the bytes of its canonical encoding
//! contents that keys depend on, too, as bytes: the list of installed packages, if there is one
//! ```

use std::{collections::BTreeSet, io::Write as _, sync::Arc};

use reimage_castore::{
    DecodeError, Decoder, Diff, Digest, Encoder, LayerAction, Node, Sha256, Tree, TreePath, View,
    empty,
};
use reimage_plan::{OciPin, SkeletonPin, StepId};
use serde::{Deserialize, Serialize};

use crate::{
    StepError,
    base::{BaseError, BaseLayer, diffs},
    debian::STATUS,
    engine::{Engine, Made},
    sources::{blob, by_digest, by_digest_if_had},
};

/// The format; a change of it must move the version of the unpacker, which the lock names, too.
const MAGIC: &str = "reimage skeleton 1\n";

/// Bytes of a list of packages beyond which it stays in its layer: 16 MiB.
const MAX_CONTENT: u64 = 16 << 20;

/// What is known of layers without having them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Skeleton {
    /// What each layer changes, lowest first.
    pub(crate) diffs: Vec<Arc<Diff>>,
    /// Contents of some of their files.
    pub(crate) contents: Vec<Vec<u8>>,
}

impl Skeleton {
    /// The only form in which it is written.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut encoder = Encoder::new(MAGIC);
        encoder.list(self.diffs.iter(), |e, diff| {
            e.bytes(&diff.encode());
        });
        encoder.list(self.contents.iter(), |e, content| {
            e.bytes(content);
        });
        encoder.finish()
    }

    /// Reads what `encode` has written. Diffs that do not lie on each other, and contents of none of their files, are
    /// none.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut decoder = Decoder::new(bytes, MAGIC)?;
        let mut tree = Tree::default();
        let diffs = decoder.list(|d| {
            let diff = Diff::decode(d.bytes()?)?;
            diff.apply(&mut tree).map_err(|e| d.error(e.to_string()))?;
            Ok(Arc::new(diff))
        })?;
        let files = || diffs.iter().flat_map(|diff| diff.blobs()).collect::<BTreeSet<_>>();
        let mut left = None;
        let contents = decoder.list(|d| {
            let content = d.bytes()?;
            if left.get_or_insert_with(files).remove(&(Digest::of(content), content.len() as u64)) {
                return Ok(content.to_vec());
            }
            Err(d.error("contents of no file, or again"))
        })?;
        decoder.finish()?;
        Ok(Self { diffs, contents })
    }
}

/// The skeleton that a pin names, if it is one of ours: another unpacker may see other things in the same layers.
fn ours(pin: &OciPin) -> Option<&SkeletonPin> {
    pin.skeleton.as_ref().filter(|skeleton| skeleton.unpacker == LayerAction::OPERATION)
}

/// Whether a pin lacks a skeleton of ours.
pub(crate) fn is_lacking(pin: &OciPin) -> bool {
    ours(pin).is_none()
}

/// Makes the skeleton of layers that are here, keeps it, and says what it is.
pub(crate) fn keep(
    engine: &Engine<'_>,
    id: StepId,
    layers: &[BaseLayer],
) -> Result<SkeletonPin, StepError> {
    let view = View::new(diffs(layers));
    let status = TreePath::new(STATUS).expect("a constant is a good path");
    let mut contents = Vec::new();
    if let Some(Node::File { digest, size: 1..=MAX_CONTENT }) =
        view.get(&status).map(|entry| &entry.node)
    {
        contents.push(*digest);
    }
    let bytes = contents.iter().map(|digest| engine.store().read(digest));
    let skeleton = Skeleton { diffs: diffs(layers), contents: bytes.collect::<Result<_, _>>()? };
    let bytes = skeleton.encode();
    let sha256 = Sha256::of(&bytes);
    by_digest(engine, id, sha256, |file| {
        // An earlier run may have begun it.
        empty(file)?;
        Ok(file.write_all(&bytes)?)
    })?;
    let unpacker = LayerAction::OPERATION.to_owned();
    let pin = SkeletonPin { unpacker, sha256, size: bytes.len() as u64 };
    let diffs = layers.iter().map(|layer| layer.digest).collect();
    Known { diffs, contents }.keep(engine, &pin)?;
    Ok(pin)
}

/// Fails if the layers, which are here, are not those of the skeleton that their pin names.
pub(crate) fn check(
    engine: &Engine<'_>,
    id: StepId,
    (image, pin): (&str, &OciPin),
    layers: &[BaseLayer],
) -> Result<(), StepError> {
    let Some(pinned) = ours(pin) else { return Ok(()) };
    let digests = layers.iter().map(|layer| layer.digest);
    if known(engine, pinned)?.is_some_and(|known| digests.eq(known.diffs)) {
        return Ok(());
    }
    if keep(engine, id, layers)? == *pinned {
        return Ok(());
    }
    Err(engine.error(id, BaseError::Skeleton { image: image.to_owned() }))
}

/// The file of a skeleton, if it can be had without the layers: from the store, a lock bundle, a cache.
pub(crate) fn file(
    engine: &Engine<'_>,
    id: StepId,
    pinned: &SkeletonPin,
) -> Result<Option<Made>, StepError> {
    by_digest_if_had(engine, id, pinned.sha256, |file| {
        Ok(engine.cached_blob((pinned.sha256, pinned.size), file)?)
    })
}

/// The digests of what the layers change, lowest first, by the skeleton that a pin names, as far as it can be had without
/// them and can be read. They are in the store, and so are contents that keys depend on. A rebuild takes nobody's word
/// for what is in layers.
pub(crate) fn find(
    engine: &Engine<'_>,
    id: StepId,
    pin: &OciPin,
) -> Result<Option<Vec<Digest>>, StepError> {
    let Some(pinned) = ours(pin).filter(|_| engine.context.rebuild.is_none()) else {
        return Ok(None);
    };
    let store = engine.store();
    // No layer need be fetched for what is empty.
    store.put(&[])?;
    let count = pin.blobs.len().saturating_sub(1);
    if let Some(Known { diffs, contents }) = known(engine, pinned)?
        && diffs.len() == count
        && diffs.iter().chain(&contents).all(|digest| store.has(digest))
    {
        return Ok(Some(diffs));
    }
    let Some(file) = file(engine, id, pinned)? else { return Ok(None) };
    let (digest, _) = blob(engine, id, &file)?;
    // What cannot be read is found to be wrong when the layers are here.
    let Ok(Skeleton { diffs, contents }) = Skeleton::decode(&store.read(&digest)?) else {
        return Ok(None);
    };
    if diffs.len() != count {
        return Ok(None);
    }
    let contents = contents.iter().map(|content| store.put(content)).collect::<Result<_, _>>()?;
    let diffs = diffs.into_iter().map(|diff| store.put_diff(diff)).collect::<Result<_, _>>()?;
    let known = Known { diffs, contents };
    known.keep(engine, pinned)?;
    Ok(Some(known.diffs))
}

/// What was found in a skeleton, so that it need not be read again.
#[derive(Serialize, Deserialize)]
struct Known {
    diffs: Vec<Digest>,
    contents: Vec<Digest>,
}

impl Known {
    fn keep(&self, engine: &Engine<'_>, pinned: &SkeletonPin) -> Result<(), StepError> {
        let bytes = serde_json::to_vec(self).expect("digests are text");
        Ok(engine.store().put_memo(&known_key(pinned), &bytes)?)
    }
}

fn known(engine: &Engine<'_>, pinned: &SkeletonPin) -> Result<Option<Known>, StepError> {
    let memo = engine.store().memo(&known_key(pinned))?;
    Ok(memo.and_then(|memo| serde_json::from_slice(&memo).ok()))
}

fn known_key(pinned: &SkeletonPin) -> Digest {
    Digest::of(format!("reimage skeleton known 1\n{}\n", pinned.sha256).as_bytes())
}

#[cfg(test)]
mod tests {
    use reimage_castore::{Change, Entry};

    use super::*;

    fn path(path: &str) -> TreePath {
        TreePath::new(path).expect("a good path")
    }

    fn skeleton() -> Skeleton {
        let (mut lower, mut upper) = (Diff::new(), Diff::new());
        lower.insert(path("etc"), Change::Put(Entry::directory()));
        lower.insert(path("etc/a"), Change::Put(Entry::file(Digest::of(b"text"), 4)));
        upper.insert(path("etc/a"), Change::Remove);
        upper.insert(path("etc/b"), Change::Put(Entry::symlink("a")));
        Skeleton { diffs: vec![lower.into(), upper.into()], contents: vec![b"text".to_vec()] }
    }

    #[test]
    fn one_form_and_nothing_else() {
        let bytes = skeleton().encode();
        assert_eq!(Skeleton::decode(&bytes), Ok(skeleton()));
        for end in 0..bytes.len() {
            assert!(Skeleton::decode(&bytes[..end]).is_err(), "{end}");
        }
        let none = |change: fn(&mut Skeleton)| {
            let mut changed = skeleton();
            change(&mut changed);
            Skeleton::decode(&changed.encode()).expect_err("it is none").what
        };
        assert_eq!(none(|s| s.contents.push(b"text".to_vec())), "contents of no file, or again");
        assert_eq!(none(|s| s.contents[0].push(b'!')), "contents of no file, or again");
        let error = none(|s| drop(s.diffs.remove(0)));
        assert!(error.contains("etc"), "{error}");
    }
}

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

use std::{
    collections::BTreeSet,
    io::{self, Write as _},
    sync::Arc,
};

use reimage_castore::{
    DecodeError, Decoder, Diff, Digest, Encoder, LayerAction, Node, Sha256, Tree, TreePath, View,
};
use reimage_plan::{OciPin, SkeletonPin, StepId};

use crate::{
    StepError,
    base::BaseError,
    debian::STATUS,
    engine::Engine,
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

/// The skeleton of layers that are here.
fn of_layers(engine: &Engine<'_>, diffs: Vec<Arc<Diff>>) -> Result<Vec<u8>, StepError> {
    let view = View::new(diffs.clone());
    let status = TreePath::new(STATUS).expect("a constant is a good path");
    let mut contents = Vec::new();
    if let Some(Node::File { digest, size: 1..=MAX_CONTENT }) =
        view.get(&status).map(|entry| &entry.node)
    {
        contents.push(engine.store().read(digest)?);
    }
    Ok(Skeleton { diffs, contents }.encode())
}

/// Makes the skeleton of layers that are here, keeps it, and says what it is.
pub(crate) fn keep(
    engine: &Engine<'_>,
    id: StepId,
    diffs: Vec<Arc<Diff>>,
) -> Result<SkeletonPin, StepError> {
    let bytes = of_layers(engine, diffs)?;
    let sha256 = Sha256::of(&bytes);
    by_digest(engine, id, sha256, |file| {
        // An earlier run may have begun it.
        file.set_len(0)?;
        io::Seek::rewind(file)?;
        Ok(file.write_all(&bytes)?)
    })?;
    let unpacker = LayerAction::OPERATION.to_owned();
    Ok(SkeletonPin { unpacker, sha256, size: bytes.len() as u64 })
}

/// Fails if the layers, which are here, are not those of the skeleton that their pin names.
pub(crate) fn check(
    engine: &Engine<'_>,
    id: StepId,
    (image, pin): (&str, &OciPin),
    diffs: Vec<Arc<Diff>>,
) -> Result<(), StepError> {
    let Some(pinned) = ours(pin) else { return Ok(()) };
    if keep(engine, id, diffs)? == *pinned {
        return Ok(());
    }
    Err(engine.error(id, BaseError::Skeleton { image: image.to_owned() }))
}

/// The skeleton that a pin names, as far as it can be had without the layers and can be read: from the store, a lock
/// bundle, a cache. A rebuild takes nobody's word for what is in layers.
pub(crate) fn find(
    engine: &Engine<'_>,
    id: StepId,
    pin: &OciPin,
) -> Result<Option<Skeleton>, StepError> {
    let Some(pinned) = ours(pin).filter(|_| engine.context.rebuild.is_none()) else {
        return Ok(None);
    };
    let file = by_digest_if_had(engine, id, pinned.sha256, |file| {
        Ok(engine.cached_blob((pinned.sha256, pinned.size), file)?)
    })?;
    let Some(file) = file else { return Ok(None) };
    let (digest, _) = blob(engine, id, &file)?;
    let skeleton = Skeleton::decode(&engine.store().read(&digest)?).ok();
    // What cannot be read is found to be wrong when the layers are here.
    Ok(skeleton.filter(|skeleton| skeleton.diffs.len() + 1 == pin.blobs.len()))
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

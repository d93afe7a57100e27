//! What a build takes from a cache of the team and gives to it (docs/cache.md).
//!
//! A result that is found is first only what it says of itself: its diff or tree, from which the keys of the steps
//! upon it follow. Its contents come when a step is to run on them or a layer is to be packed of them, so what only
//! lies below comes never. What turns out to be gone by then is made again: the attempt ends as with any blob that is
//! missing in the store, and in the next one the result is not found.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Read},
    sync::{Arc, Mutex, PoisonError},
};

use rayon::prelude::*;
use reimage_castore::{ActionDigest, ActionResult, Digest, Output, Store, TreePath};
use reimage_http::parallel;
use reimage_oci::{self as oci, Away, PackedLayer, Profile};
use reimage_plan::StepId;
use reimage_remote::{Blob, Cache, Content, Record, packs, read_pack};
use serde::{Deserialize, Serialize};

use crate::{
    StepError,
    base::{self, BaseLayer},
    baseline::FILE_TIME,
    build::{Context, ImageRecord, Purpose, TargetOutput},
    engine::{Engine, Made},
    image,
};

mod give;
mod pinned;

pub(crate) use give::Givings;

/// Bytes of a layer's archive beyond the contents that it should hold.
const HEADERS: u64 = 64 << 20;

/// The result of a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StepSaid {
    /// The canonical encoding of the action result, in hexadecimal digits.
    result: String,
    /// A pack of the encoding of its diff or tree, and the size of that in bytes.
    value: (Blob, u64),
    /// How what that names travels.
    contents: Contents,
}

/// How contents travel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Contents {
    /// In packs, in the order of paths.
    Packs(Vec<Blob>),
    /// As a layer of an image.
    Layer(Blob),
    /// Not at all: they are fetched again by their pin.
    Pinned,
}

/// A layer as it is packed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LayerSaid {
    profile: String,
    blob: Blob,
    diff_id: reimage_castore::Sha256,
}

/// What a whole target came to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum TargetSaid {
    /// An image: its documents as they are, its layers, and where those of its base images can be had.
    Image {
        image: ImageRecord,
        documents: Vec<String>,
        layers: Vec<Blob>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        away: Vec<Away>,
    },
    /// A tree: a pack of its encoding, the size of that, and packs of its contents.
    Tree { digest: Digest, value: (Blob, u64), packs: Vec<Blob> },
    /// A check that passed.
    Passed,
}

/// Which suspects of a result its step made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct VerdictSaid(BTreeSet<TreePath>);

impl Record for StepSaid {
    const KIND: &'static str = "step";

    fn blobs(&self) -> Vec<Blob> {
        let contents = match &self.contents {
            Contents::Packs(packs) => packs.as_slice(),
            Contents::Layer(layer) => std::slice::from_ref(layer),
            Contents::Pinned => &[],
        };
        [&[self.value.0], contents].concat()
    }
}

impl Record for LayerSaid {
    const KIND: &'static str = "layer";

    fn blobs(&self) -> Vec<Blob> {
        vec![self.blob]
    }
}

impl Record for TargetSaid {
    const KIND: &'static str = "target";

    fn blobs(&self) -> Vec<Blob> {
        match self {
            Self::Image { layers, .. } => layers.clone(),
            Self::Tree { value, packs, .. } => [&[value.0], &packs[..]].concat(),
            Self::Passed => Vec::new(),
        }
    }
}

impl Record for VerdictSaid {
    const KIND: &'static str = "verdict";

    fn blobs(&self) -> Vec<Blob> {
        Vec::new()
    }
}

/// Where contents can be had that are not here.
#[derive(Default)]
pub(crate) struct Origins(Mutex<BTreeMap<Digest, Arc<Origin>>>);

struct Origin {
    how: How,
    contents: Vec<Content>,
    /// Held by who takes it.
    taking: Mutex<()>,
}

/// How contents come.
enum How {
    /// From a cache.
    Cache(Cached),
    /// As the layer of this number of a base image, the one of this step.
    Base(StepId, usize, Arc<Vec<BaseLayer>>),
}

/// How a cache has contents.
#[derive(Clone, Copy)]
enum Cached {
    /// As a pack.
    Pack(Blob),
    /// As a layer of an image.
    Layer(Blob),
}

impl Cached {
    fn blob(self) -> Blob {
        let (Self::Pack(blob) | Self::Layer(blob)) = self;
        blob
    }
}

impl How {
    /// Bytes that are brought.
    fn size(&self) -> u64 {
        match self {
            Self::Cache(cached) => cached.blob().size,
            Self::Base(_, at, layers) => layers[*at].carried.descriptor.size,
        }
    }
}

impl Origins {
    fn is_empty(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    fn add(&self, how: How, contents: Vec<Content>) {
        let origin = Arc::new(Origin { how, contents, taking: Mutex::default() });
        let mut origins = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (digest, _) in &origin.contents {
            // Of two the one of which less comes along.
            let there = origins.entry(*digest).or_insert_with(|| origin.clone());
            if origin.how.size() < there.how.size() {
                *there = origin.clone();
            }
        }
    }

    /// The contents that layer `at` of the base image of step `id` brings.
    pub(crate) fn add_base(
        &self,
        id: StepId,
        at: usize,
        layers: &Arc<Vec<BaseLayer>>,
        contents: Vec<Content>,
    ) {
        self.add(How::Base(id, at, layers.clone()), contents);
    }

    fn of(&self, content: &Digest) -> Option<Arc<Origin>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(content).cloned()
    }
}

impl Engine<'_> {
    /// The cache that results come from; none if every step is to run.
    pub(crate) fn cache(&self) -> Option<&Cache> {
        taken_from(self.context)
    }

    /// What a cache says of `action`, with its diff or tree here; its contents may not be.
    pub(crate) fn look_up_in_cache(
        &self,
        action: &ActionDigest,
    ) -> Result<Option<Made>, StepError> {
        let Some(cache) = self.cache() else { return Ok(None) };
        // What was found once is found again without asking.
        let memo = self.store().memo(&said_key(action))?;
        let memo = memo.and_then(|memo| serde_json::from_slice::<StepSaid>(&memo).ok());
        if let Some(said) = memo
            && let Some(made) = self.take_result(cache, action, &said)?
        {
            return Ok(Some(made));
        }
        let Some(said) = cache.find::<StepSaid>(action.digest(), Record::blobs) else {
            return Ok(None);
        };
        let made = self.take_result(cache, action, &said)?;
        if made.is_some() {
            let memo = serde_json::to_vec(&said).expect("a record is plain data");
            self.store().put_memo(&said_key(action), &memo)?;
        }
        Ok(made)
    }

    fn take_result(
        &self,
        cache: &Cache,
        action: &ActionDigest,
        said: &StepSaid,
    ) -> Result<Option<Made>, StepError> {
        // A result of another version is none.
        let Some(result) = unhex(&said.result).and_then(|r| ActionResult::decode(&r).ok()) else {
            return Ok(None);
        };
        let (Output::Diff(digest) | Output::Tree(digest)) = result.output;
        if !take_value(self.store(), cache, digest, said.value) {
            return Ok(None);
        }
        let (value, contents): (_, Vec<Content>) = match self.value(&result.output) {
            Ok(value) => match &value {
                crate::stack::Value::Tree(tree, _) => (value.clone(), tree.blobs().collect()),
                crate::stack::Value::Diff(diff, _) => (value.clone(), diff.blobs().collect()),
                crate::stack::Value::Image | crate::stack::Value::Base(_) => return Ok(None),
            },
            // It has the digest and is no diff or tree.
            Err(_) => return Ok(None),
        };
        if contents.iter().any(|(content, _)| cache.gave_up(content)) {
            return Ok(None);
        }
        match &said.contents {
            Contents::Packs(blobs) => {
                let packs = packs(contents);
                if packs.len() != blobs.len() {
                    return Ok(None);
                }
                for (blob, contents) in blobs.iter().zip(packs) {
                    self.origins.add(How::Cache(Cached::Pack(*blob)), contents);
                }
            }
            Contents::Layer(blob) => self.origins.add(How::Cache(Cached::Layer(*blob)), contents),
            Contents::Pinned => {}
        }
        // It is complete when its contents are.
        self.store().put_result(action, &result)?;
        for message in result.notes {
            self.say(crate::Event::Warning { name: "cache".to_owned(), message });
        }
        let secrets = result.secrets;
        Ok(Some(Made { value, action: Some(*action), millis: None, secrets, cached: true }))
    }

    /// Whether a cache has a result of `action`.
    pub(crate) fn is_in_cache(&self, action: &ActionDigest) -> Result<bool, StepError> {
        Ok(self.look_up_in_cache(action)?.is_some())
    }

    /// Brings these contents here, as far as they are not and a cache or a base image has them. What a cache does not
    /// give is missed by who uses it, and its result is not taken from a cache again; a layer of a base image that
    /// cannot be had is an error.
    pub(crate) fn need(
        &self,
        contents: impl IntoIterator<Item = Content>,
    ) -> Result<(), StepError> {
        if self.origins.is_empty() {
            return Ok(());
        }
        let contents: Vec<Content> = contents.into_iter().collect();
        let missing = self.store().missing(contents);
        let mut origins: Vec<Arc<Origin>> = Vec::new();
        for origin in missing.iter().filter_map(|content| self.origins.of(content)) {
            if !origins.iter().any(|there| Arc::ptr_eq(there, &origin)) {
                origins.push(origin);
            }
        }
        // In threads of its own: one of rayon's that waits goes on with other work, which may want the same lock.
        parallel(self.context.sources.registry().parallel(), &origins, |origin| {
            let _taking = origin.taking.lock().unwrap_or_else(PoisonError::into_inner);
            // Another step may have needed it.
            if self.store().missing(origin.contents.iter().copied()).is_empty() {
                return Ok(());
            }
            match (&origin.how, self.cache()) {
                (How::Base(id, at, layers), _) => base::bring(self, *id, *at, layers),
                (How::Cache(_), None) => Ok(()),
                (How::Cache(cached), Some(cache)) => {
                    let _ = take(self.store(), cache, *cached, &origin.contents);
                    Ok(())
                }
            }
        })?;
        if let Some(cache) = self.cache() {
            for content in missing {
                if !self.store().has(&content) {
                    cache.give_up(content);
                }
            }
        }
        Ok(())
    }

    /// What a cache says which suspects a step made.
    pub(crate) fn cached_verdict(&self, key: &Digest) -> Option<BTreeSet<TreePath>> {
        let VerdictSaid(made) = self.cache()?.find::<VerdictSaid>(key, |_| Vec::new())?;
        Some(made)
    }

    /// What the layer of `key` was packed to, with its blob in the layout; whoever asks remembers it there.
    pub(crate) fn cached_layer(&self, session: &oci::Session, key: &Digest) -> Option<PackedLayer> {
        let cache = self.cache()?;
        let layout = session.layout();
        let needed = |said: &LayerSaid| {
            let there = layout.has(said.blob.digest, said.blob.size);
            if there { Vec::new() } else { vec![said.blob] }
        };
        let LayerSaid { profile, blob, diff_id } = cache.find::<LayerSaid>(key, needed)?;
        let profile = Profile::ALL.into_iter().find(|known| known.name() == profile)?;
        take_blob(self.context, cache, session, blob)?;
        Some(PackedLayer { profile, digest: blob.digest, size: blob.size, diff_id })
    }
}

/// What a cache says that a whole target came to be, with all of it here.
pub(crate) fn target(context: &Context<'_>, key: &Digest) -> Option<TargetOutput> {
    let cache = taken_from(context)?;
    // What stays there must be there.
    let needed = |said: &TargetSaid| {
        if context.purpose == Purpose::SendOn { said.blobs() } else { Vec::new() }
    };
    match cache.find::<TargetSaid>(key, needed)? {
        TargetSaid::Passed => Some(TargetOutput::Passed),
        TargetSaid::Tree { digest, value, packs: blobs } => {
            if !take_value(context.store, cache, digest, value) {
                return None;
            }
            let packs = packs(context.store.tree(&digest).ok()?.blobs());
            if packs.len() != blobs.len() {
                return None;
            }
            let taken = packs.into_par_iter().zip(blobs).all(|(contents, blob)| {
                context.store.missing(contents.iter().copied()).is_empty()
                    || take(context.store, cache, Cached::Pack(blob), &contents).is_ok()
            });
            let complete = taken && context.store.tree_is_complete(&digest).ok()?;
            complete.then_some(TargetOutput::Tree(digest))
        }
        TargetSaid::Image { image, documents, layers, away } => {
            let session = context.layout.session().ok()?;
            let took = |blob: Blob| take_blob(context, cache, &session, blob).is_some();
            if !layers.into_par_iter().all(took) {
                return None;
            }
            for layer in away {
                session.note(&layer).ok()?;
            }
            for document in documents {
                let bytes = document.as_bytes();
                let digest = reimage_castore::Sha256::of(bytes);
                session.add_blob(digest, bytes.len() as u64, bytes).ok()?;
            }
            drop(session);
            let whole = image::is_there(context, &image).ok()?;
            whole.then_some(TargetOutput::Image(image))
        }
    }
}

/// The cache that results come from.
fn taken_from<'a>(context: &'a Context<'_>) -> Option<&'a Cache> {
    // Who runs a step again to compare wants none of another's results.
    context.cache.filter(|_| !context.twice && context.rebuild.is_none())
}

/// Brings the encoding of a diff or tree into the store; false: it cannot be had.
fn take_value(store: &Store, cache: &Cache, digest: Digest, (blob, size): (Blob, u64)) -> bool {
    store.has_sized(&digest, size)
        || take(store, cache, Cached::Pack(blob), &[(digest, size)]).is_ok()
}

fn take(store: &Store, cache: &Cache, cached: Cached, contents: &[Content]) -> io::Result<()> {
    let file = cache.get(cached.blob()).ok_or(io::ErrorKind::NotFound)?;
    // No pack has what is empty.
    store.put(&[]).map_err(io::Error::other)?;
    match cached {
        Cached::Pack(_) => read_pack(store, contents, file),
        Cached::Layer(_) => read_layer(store, contents, file),
    }
}

/// Takes the contents of a layer into the store.
fn read_layer(store: &Store, contents: &[Content], layer: impl Read) -> io::Result<()> {
    let mut bytes = HEADERS;
    for (_, size) in contents {
        bytes = bytes.saturating_add(*size);
    }
    let limits = oci::Limits { bytes, ..oci::Limits::default() };
    let archive = oci::decode(layer, limits.bytes)?;
    let put = |from: &mut dyn Read| store.put_reader(from).map_err(io::Error::other);
    let view = reimage_castore::View::default();
    oci::unpack(archive, &view, FILE_TIME, limits, put).map_err(io::Error::other)?;
    Ok(())
}

/// Brings a layer into the layout, or a note of it where the image is only sent on.
fn take_blob(
    context: &Context<'_>,
    cache: &Cache,
    session: &oci::Session,
    Blob { digest, size }: Blob,
) -> Option<()> {
    if session.layout().has(digest, size) {
        return Some(());
    }
    if context.purpose == Purpose::SendOn {
        return session.note(&Away { digest, size, image: None }).ok();
    }
    session.add_blob(digest, size, cache.get(Blob { digest, size })?).ok()
}

/// Where it is remembered what a cache said of a step.
fn said_key(action: &ActionDigest) -> Digest {
    Digest::of(format!("reimage cached step 1\n{action}").as_bytes())
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_digits() {
        assert_eq!(reimage_castore::hex(&[0, 0x1f, 0xff]), "001fff");
        assert_eq!(unhex("001fff"), Some(vec![0, 0x1f, 0xff]));
        assert_eq!(unhex("0x"), None);
        assert_eq!(unhex("ä"), None);
    }
}

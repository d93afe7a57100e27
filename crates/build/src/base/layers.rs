//! The layers of a base image: unpacked, or known by their skeleton and brought when somebody needs what they hold.

use std::{
    collections::BTreeSet,
    io::{self, Read},
    sync::Arc,
};

use reimage_castore::{
    Action, ActionDigest, ActionResult, Diff, Digest, LayerAction, Output, Sha256, View,
};
use reimage_http::parallel;
use reimage_oci::{self as oci, CarriedLayer, Descriptor};
use reimage_plan::{Oci, OciPin, StepId, StepKind};

use super::{Base, BaseError, fetched, pin_of};
use crate::{
    StepError,
    baseline::FILE_TIME,
    engine::{Engine, Made},
    skeleton,
    sources::blob,
    stack::Value,
};

/// A layer of a base image: what it changes, and the bytes that it is.
#[derive(Debug, Clone)]
pub(crate) struct BaseLayer {
    /// What it changes in those below it.
    pub(crate) diff: Arc<Diff>,
    /// The digest of that.
    pub(crate) digest: Digest,
    /// How an image carries it.
    pub(crate) carried: Arc<CarriedLayer>,
}

/// What the layers change: by the skeleton as far as they are not here, which are fetched when they are needed; without
/// one all are.
pub(crate) fn step(engine: &Engine<'_>, id: StepId, oci: &Oci) -> Result<Made, StepError> {
    let pin = pin_of(engine, id)?;
    let base = engine.base(id);
    let here = unpacked(engine, base)?;
    let all_here = here.len() == base.layers.len();
    let skeleton = if all_here { None } else { skeleton::find(engine, id, pin)? };
    let layers = match skeleton {
        None => Arc::new(all(engine, id, oci, pin, base)?),
        Some(skeleton) => {
            let layers = Arc::new(of_skeleton(engine, base, skeleton)?);
            if !here.iter().eq(layers.iter().take(here.len()).map(|layer| &layer.digest)) {
                return Err(engine.error(id, BaseError::Skeleton { image: oci.image.clone() }));
            }
            let mut below = BTreeSet::new();
            for (at, layer) in layers.iter().enumerate() {
                // What a lower layer has, too, this one may only link to.
                let new = layer.diff.blobs().filter(|content| below.insert(*content)).collect();
                if at >= here.len() {
                    engine.origins.add_base(id, at, &layers, new);
                }
            }
            layers
        }
    };
    engine.give_base(id, pin);
    Ok(Made::here(Value::Base(layers)))
}

pub(crate) fn diffs(layers: &[BaseLayer]) -> Vec<Arc<Diff>> {
    layers.iter().map(|layer| layer.diff.clone()).collect()
}

/// The layers as a skeleton has them; their diffs are in the store, and their contents come when they are needed.
fn of_skeleton(
    engine: &Engine<'_>,
    base: &Base,
    digests: Vec<Digest>,
) -> Result<Vec<BaseLayer>, StepError> {
    let layers = digests.into_iter().zip(&base.layers).map(|(digest, carried)| {
        let diff = engine.store().diff(&digest)?;
        Ok(BaseLayer { diff, digest, carried: carried.clone() })
    });
    layers.collect()
}

/// Fetches the layers that are not here unpacked, and unpacks each upon those below it.
pub(super) fn all(
    engine: &Engine<'_>,
    id: StepId,
    oci: &Oci,
    pin: &OciPin,
    base: &Base,
) -> Result<Vec<BaseLayer>, StepError> {
    let here = unpacked(engine, base)?;
    let fetch = |carried: &Arc<CarriedLayer>| {
        fetched(engine, id, oci, pin, (carried.descriptor.digest, carried.descriptor.size))
    };
    parallel(engine.context.sources.registry().parallel(), &base.layers[here.len()..], fetch)?;
    let mut layers: Vec<BaseLayer> = Vec::with_capacity(base.layers.len());
    for (at, carried) in base.layers.iter().enumerate() {
        let digest = match here.get(at) {
            Some(digest) => *digest,
            None => unpack_upon(engine, id, &layers, carried, &fetch(carried)?)?,
        };
        let (diff, carried) = (engine.store().diff(&digest)?, carried.clone());
        layers.push(BaseLayer { diff, digest, carried });
    }
    skeleton::check(engine, id, (&oci.image, pin), &layers)?;
    Ok(layers)
}

/// Unpacks the file of a layer upon those below it.
fn unpack_upon(
    engine: &Engine<'_>,
    id: StepId,
    below: &[BaseLayer],
    carried: &CarriedLayer,
    file: &Made,
) -> Result<Digest, StepError> {
    let (content, size) = blob(engine, id, file)?;
    let reader = engine.store().reader(&content, size)?;
    let (layer, view) = ((&carried.descriptor, carried.diff_id), View::new(diffs(below)));
    unpack(engine, id, layer, below.iter().map(|layer| layer.digest).collect(), &view, reader)
}

/// Brings the contents of layer `at` of the base image of step `id`, which its skeleton has told of.
pub(crate) fn bring(
    engine: &Engine<'_>,
    id: StepId,
    at: usize,
    layers: &[BaseLayer],
) -> Result<(), StepError> {
    let StepKind::Oci(oci) = &engine.plan.step(id).kind else {
        unreachable!("only an `Oci` step is a base image")
    };
    let (layer, below) = (&layers[at], &layers[..at]);
    let Descriptor { digest, size, .. } = layer.carried.descriptor;
    let file = fetched(engine, id, oci, pin_of(engine, id)?, (digest, size));
    let file = file.map_err(|error| match error {
        StepError::Step { source, .. } => {
            engine.error(id, BaseError::Needed { image: oci.image.clone(), digest, source })
        }
        other => other,
    })?;
    if unpack_upon(engine, id, below, &layer.carried, &file)? == layer.digest {
        return Ok(());
    }
    Err(engine.error(id, BaseError::Skeleton { image: oci.image.clone() }))
}

/// What a layer, upon those below it, is found by.
fn layer_key(layer: Sha256, below: Vec<Digest>) -> ActionDigest {
    Action::Layer(LayerAction { layer, below }).digest()
}

/// The diff that a layer was unpacked to upon those below it, if it is here.
pub(crate) fn unpacked_before(
    engine: &Engine<'_>,
    layer: Sha256,
    below: Vec<Digest>,
) -> Result<Option<Digest>, StepError> {
    let result = engine.store().result(&layer_key(layer, below))?;
    Ok(match result.map(|result| result.output) {
        Some(Output::Diff(digest)) => Some(digest),
        _ => None,
    })
}

/// The diffs that its layers were unpacked to, lowest first, as far as they are here.
fn unpacked(engine: &Engine<'_>, base: &Base) -> Result<Vec<Digest>, StepError> {
    let mut here = Vec::new();
    for carried in &base.layers {
        let layer = carried.descriptor.digest;
        let Some(digest) = unpacked_before(engine, layer, here.clone())? else { break };
        here.push(digest);
    }
    Ok(here)
}

/// Whether what its layers change is known without fetching one.
pub(crate) fn is_here(engine: &Engine<'_>, id: StepId) -> Result<bool, StepError> {
    let base = engine.base(id);
    Ok(unpacked(engine, base)?.len() == base.layers.len()
        || skeleton::find(engine, id, pin_of(engine, id)?)?.is_some())
}

/// Unpacks a layer upon those below it, and keeps what comes of it.
pub(crate) fn unpack(
    engine: &Engine<'_>,
    id: StepId,
    (layer, diff_id): (&Descriptor, Sha256),
    below: Vec<Digest>,
    view: &View,
    reader: impl Read,
) -> Result<Digest, StepError> {
    let store = engine.store();
    let contents = |content: &mut dyn Read| store.put_reader(content).map_err(io::Error::other);
    let limits = oci::Limits::default();
    let diff = oci::unpack_layer(reader, layer, diff_id, view, FILE_TIME, limits, contents);
    let digest = store.put_diff(Arc::new(diff.map_err(|e| engine.error(id, e))?))?;
    let key = layer_key(layer.digest, below);
    store.put_result(&key, &ActionResult::new(Output::Diff(digest)))?;
    Ok(digest)
}

//! `Oci`: an image of a registry to stand on. Its layers are unpacked to be seen, and carried as the bytes they are.

use std::{
    io::{self, Read, Write as _},
    sync::Arc,
};

use reimage_castore::{
    Action, ActionDigest, ActionResult, Diff, Digest, LayerAction, Output, Sha256, View,
};
use reimage_http::parallel;
use reimage_oci::{
    self as oci, CarriedLayer, Descriptor, History, ImageConfig, Index, Manifest, Reference,
    ReferenceError, Session,
};
use reimage_plan::{Oci, OciPin, Pin, Plan, StepId, StepKind};
use reimage_registry::{Repository, flat, select};
use thiserror::Error;

use crate::{
    StepError,
    baseline::FILE_TIME,
    engine::{Engine, Made},
    image::platform,
    sources::{blob, by_digest, progress},
    stack::Value,
};

/// An image that cannot be stood on.
#[derive(Debug, Error)]
pub(crate) enum BaseError {
    /// Its name is none.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// It is for another platform.
    #[error("`{image}` is for {there}, and it is asked for {wanted}")]
    Platform {
        /// The image.
        image: String,
        /// What it is for.
        there: String,
        /// What is wanted.
        wanted: String,
    },
    /// Its documents do not speak of the same layers.
    #[error("The manifest of `{image}` names {layers} layers and its configuration {diff_ids}")]
    Count {
        /// The image.
        image: String,
        /// In the manifest.
        layers: usize,
        /// In the configuration.
        diff_ids: usize,
    },
    /// Something else than layers of files.
    #[error(
        "`{image}` has a layer of the media type `{media_type}`, which is no archive that can be carried"
    )]
    Layer {
        /// The image.
        image: String,
        /// Of the layer.
        media_type: String,
    },
    /// The lock names other blobs than the manifest that it pins.
    #[error("The lock's blobs of `{image}` are not those of its manifest")]
    Blobs {
        /// The image.
        image: String,
    },
}

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

/// What a pinned image says of itself.
#[derive(Debug, Clone)]
pub(crate) struct Base {
    /// What runs.
    pub(crate) config: Arc<oci::Config>,
    layers: Vec<Arc<CarriedLayer>>,
}

fn repository<'e>(
    engine: &'e Engine<'_>,
    oci: &Oci,
) -> Result<(Repository<'e>, Reference), BaseError> {
    let name: Reference = oci.image.parse()?;
    let name = name.or_latest();
    Ok((engine.context.sources.registry().repository(name.registry(), name.path()), name))
}

/// Asks the registry what the image is now, and returns its pin.
pub(crate) fn pin(engine: &Engine<'_>, id: StepId, oci: &Oci) -> Result<OciPin, StepError> {
    let (from, name) = repository(engine, oci).map_err(|e| engine.error(id, e))?;
    let registry = |e| engine.error(id, e);
    let mut found = from.find(name.tag(), name.digest()).map_err(registry)?;
    if found.descriptor.is_index() {
        let index = Index::parse(found.descriptor.digest, &found.bytes);
        let index = index.map_err(|e| engine.error(id, e))?;
        flat(found.descriptor.digest, &index).map_err(registry)?;
        let one = select(&index, &platform(&oci.platform)).map_err(registry)?;
        found = from.find(None, Some(one.digest)).map_err(registry)?;
    }
    let digest = found.descriptor.digest;
    let manifest = Manifest::parse(digest, &found.bytes).map_err(|e| engine.error(id, e))?;
    by_digest(engine, id, digest, |file| Ok(file.write_all(&found.bytes)?))?;
    let blobs = [&manifest.config].into_iter().chain(&manifest.layers);
    let blobs = blobs.map(|blob| (blob.digest, blob.size)).collect();
    let pin = OciPin { digest, size: found.descriptor.size, blobs };
    // Whatever is wrong with it is said now.
    read(engine, id, oci, &pin)?;
    Ok(pin)
}

/// The file of a digest that a pin names.
pub(crate) fn fetched(
    engine: &Engine<'_>,
    id: StepId,
    oci: &Oci,
    pin: &OciPin,
    (sha256, size): (Sha256, u64),
) -> Result<Made, StepError> {
    by_digest(engine, id, sha256, |file| {
        if engine.cached_blob((sha256, size), file)? {
            return Ok(());
        }
        let (from, _) = repository(engine, oci)?;
        if sha256 == pin.digest {
            let found = from.find(None, Some(sha256))?;
            return Ok(file.write_all(&found.bytes)?);
        }
        let what = format!("{} {}", oci.image, &sha256.hex()[..12]);
        let progress = progress(engine, &what);
        from.fetch(sha256, size, file, &|_, done, total| progress(done, Some(total)))?;
        Ok(())
    })
}

/// Reads manifest and configuration of a pinned image.
pub(crate) fn read(
    engine: &Engine<'_>,
    id: StepId,
    oci: &Oci,
    pin: &OciPin,
) -> Result<Base, StepError> {
    let bytes = |file: (Sha256, u64)| -> Result<Vec<u8>, StepError> {
        let (digest, _) = blob(engine, id, &fetched(engine, id, oci, pin, file)?)?;
        Ok(engine.store().read(&digest)?)
    };
    let failed = |e: BaseError| engine.error(id, e);
    let image = || oci.image.clone();
    let manifest = bytes((pin.digest, pin.size))?;
    let manifest = Manifest::parse(pin.digest, &manifest).map_err(|e| engine.error(id, e))?;
    let named = [&manifest.config].into_iter().chain(&manifest.layers);
    if !named.map(|blob| (blob.digest, blob.size)).eq(pin.blobs.iter().copied()) {
        return Err(failed(BaseError::Blobs { image: image() }));
    }
    let config = bytes((manifest.config.digest, manifest.config.size))?;
    let config = ImageConfig::parse(manifest.config.digest, &config);
    let config = config.map_err(|e| engine.error(id, e))?;
    let there = &config.platform;
    if (&*there.os, &*there.architecture) != ("linux", &*oci.platform.architecture) {
        let there = format!("{}/{}", there.os, there.architecture);
        let wanted = oci.platform.to_string();
        return Err(failed(BaseError::Platform { image: image(), there, wanted }));
    }
    let (layers, diff_ids) = (manifest.layers.len(), config.rootfs.diff_ids.len());
    if layers != diff_ids {
        return Err(failed(BaseError::Count { image: image(), layers, diff_ids }));
    }
    let mut history = histories(&config, layers).into_iter();
    let mut carried = Vec::with_capacity(layers);
    for (layer, diff_id) in manifest.layers.iter().zip(&config.rootfs.diff_ids) {
        let Some(media_type) = media_type(&layer.media_type) else {
            let media_type = layer.media_type.clone();
            return Err(failed(BaseError::Layer { image: image(), media_type }));
        };
        let descriptor = Descriptor::new(media_type, layer.digest, layer.size);
        let history = history.next().unwrap_or_default();
        carried.push(Arc::new(CarriedLayer { descriptor, diff_id: *diff_id, history }));
    }
    Ok(Base { config: Arc::new(config.config()), layers: carried })
}

/// The history of each layer: its own entry, and before it those of no layer.
fn histories(config: &ImageConfig, layers: usize) -> Vec<Vec<History>> {
    let entries = config.history.clone().unwrap_or_default();
    if entries.iter().filter(|entry| !entry.empty_layer).count() != layers {
        // One that does not fit says nothing.
        return vec![vec![History::default()]; layers];
    }
    let mut histories: Vec<Vec<History>> = vec![Vec::new()];
    for entry in entries {
        let ends = !entry.empty_layer;
        histories.last_mut().expect("there is always one").push(entry);
        if ends {
            histories.push(Vec::new());
        }
    }
    // What comes after the last layer stays with it.
    let rest = histories.pop().unwrap_or_default();
    if let Some(last) = histories.last_mut() {
        last.extend(rest);
    }
    histories
}

/// OCI's media type of a layer, docker's renamed; none if it is none.
fn media_type(media_type: &str) -> Option<&str> {
    Some(match media_type {
        "application/vnd.docker.image.rootfs.diff.tar" => "application/vnd.oci.image.layer.v1.tar",
        "application/vnd.docker.image.rootfs.diff.tar.gzip" => {
            "application/vnd.oci.image.layer.v1.tar+gzip"
        }
        "application/vnd.docker.image.rootfs.diff.tar.zstd" => {
            "application/vnd.oci.image.layer.v1.tar+zstd"
        }
        "application/vnd.oci.image.layer.v1.tar"
        | "application/vnd.oci.image.layer.v1.tar+gzip"
        | "application/vnd.oci.image.layer.v1.tar+zstd" => media_type,
        _ => return None,
    })
}

/// The configuration of each pinned `Oci` of a plan, by step.
pub(crate) fn of_plan(engine: &Engine<'_>, plan: &Plan) -> Result<Vec<Option<Base>>, StepError> {
    let base = |id: StepId| match (&plan.step(id).kind, plan.pin(id)) {
        (StepKind::Oci(oci), Some(Pin::Oci(pin))) => read(engine, id, oci, pin).map(Some),
        _ => Ok(None),
    };
    plan.ids().map(base).collect()
}

/// Fetches the layers and unpacks each upon those below it.
pub(crate) fn step(engine: &Engine<'_>, id: StepId, oci: &Oci) -> Result<Made, StepError> {
    let Some(Pin::Oci(pin)) = engine.plan.pin(id) else {
        return Err(engine.error(id, "It is not pinned"));
    };
    let base = engine.base(id);
    let fetch = |carried: &Arc<CarriedLayer>| {
        fetched(engine, id, oci, pin, (carried.descriptor.digest, carried.descriptor.size))
    };
    let here = unpacked(engine, id)?;
    parallel(engine.context.sources.registry().parallel(), &base.layers[here.len()..], fetch)?;
    let mut layers: Vec<BaseLayer> = Vec::with_capacity(base.layers.len());
    for (at, carried) in base.layers.iter().enumerate() {
        let digest = if let Some(digest) = here.get(at) {
            *digest
        } else {
            let view = View::new(layers.iter().map(|layer| layer.diff.clone()).collect());
            let below = layers.iter().map(|layer| layer.digest).collect();
            let (content, size) = blob(engine, id, &fetch(carried)?)?;
            let reader = engine.store().reader(&content, size)?;
            unpack(engine, id, (&carried.descriptor, carried.diff_id), below, &view, reader)?
        };
        let (diff, carried) = (engine.store().diff(&digest)?, carried.clone());
        layers.push(BaseLayer { diff, digest, carried });
    }
    engine.give_base(id, pin);
    Ok(Made::here(Value::Base(Arc::new(layers))))
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
fn unpacked(engine: &Engine<'_>, id: StepId) -> Result<Vec<Digest>, StepError> {
    let mut here = Vec::new();
    for carried in &engine.base(id).layers {
        let layer = carried.descriptor.digest;
        let Some(digest) = unpacked_before(engine, layer, here.clone())? else { break };
        here.push(digest);
    }
    Ok(here)
}

/// Whether all of its layers are here, unpacked.
pub(crate) fn is_here(engine: &Engine<'_>, id: StepId) -> Result<bool, StepError> {
    Ok(unpacked(engine, id)?.len() == engine.base(id).layers.len())
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

/// Puts a layer's bytes into the image layout, if they are not there.
pub(crate) fn carry(
    engine: &Engine<'_>,
    id: StepId,
    carried: &CarriedLayer,
    session: &Session,
) -> Result<(), StepError> {
    let Descriptor { digest, size, .. } = carried.descriptor;
    if session.layout().has(digest, size) {
        return Ok(());
    }
    let (StepKind::Oci(oci), Some(Pin::Oci(pin))) =
        (&engine.plan.step(id).kind, engine.plan.pin(id))
    else {
        return Err(engine.error(id, "It is not pinned"));
    };
    let file = fetched(engine, id, oci, pin, (digest, size))?;
    let (content, length) = blob(engine, id, &file)?;
    let mut reader = engine.store().reader(&content, length)?;
    let mut writer = session.new_blob().map_err(|e| engine.error(id, e))?;
    io::copy(&mut reader, &mut writer).map_err(|e| engine.error(id, e))?;
    writer.commit(digest).map_err(|e| engine.error(id, e))
}

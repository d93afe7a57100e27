//! `Oci`: an image of a registry to stand on. Its layers are unpacked to be seen, and carried as the bytes they are.

use std::{
    error::Error,
    fs::File,
    io::{self, Write as _},
    sync::Arc,
};

use reimage_castore::{Sha256, empty};
use reimage_oci::{
    self as oci, Away, CONFIG, CarriedLayer, DOCKER_CONFIG, Descriptor, History, ImageConfig,
    Index, Manifest, Reference, ReferenceError, Session,
};
use reimage_plan::{Oci, OciPin, Pin, Plan, StepId, StepKind};
use reimage_registry::{Repository, flat, select};
use thiserror::Error;

use crate::{
    StepError,
    engine::{Engine, Made},
    image::platform,
    skeleton,
    sources::{blob, by_digest, by_digest_if_had, progress},
};

mod layers;

use layers::all;
pub(crate) use layers::{BaseLayer, bring, diffs, is_here, step, unpack, unpacked_before};

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
    /// It is something else than an image.
    #[error("`{image}` is no image: its configuration is of the media type `{media_type}`")]
    Artifact {
        /// What it is.
        image: String,
        /// Of its configuration.
        media_type: String,
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
    /// A layer that cannot be had, now that somebody reads it.
    #[error("The layer {} of the base image `{image}` is needed now, and cannot be had", &digest.hex()[..12])]
    Needed {
        /// The image.
        image: String,
        /// Digest of the layer.
        digest: Sha256,
        /// Why.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The lock's skeleton says something else than the layers.
    #[error(
        "The lock's skeleton of `{image}` is not that of its layers: remove the line `skeleton` of the image from \
         reimage.lock, and run `reimage lock`"
    )]
    Skeleton {
        /// The image.
        image: String,
    },
    /// The lock names other blobs than the manifest that it pins.
    #[error("The lock's blobs of `{image}` are not those of its manifest")]
    Blobs {
        /// The image.
        image: String,
    },
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
    let pin = OciPin { digest, size: found.descriptor.size, blobs, skeleton: None };
    with_skeleton(engine, id, oci, pin)
}

/// The pin with the skeleton of its layers, which are downloaded for that: whatever is wrong with them is said now.
pub(crate) fn with_skeleton(
    engine: &Engine<'_>,
    id: StepId,
    oci: &Oci,
    pin: OciPin,
) -> Result<OciPin, StepError> {
    let pin = OciPin { skeleton: None, ..pin };
    let base = read(engine, id, oci, &pin)?;
    let layers = all(engine, id, oci, &pin, &base)?;
    let skeleton = skeleton::keep(engine, id, &layers)?;
    Ok(OciPin { skeleton: Some(skeleton), ..pin })
}

/// The file of a digest that a pin names.
pub(crate) fn fetched(
    engine: &Engine<'_>,
    id: StepId,
    oci: &Oci,
    pin: &OciPin,
    (sha256, size): (Sha256, u64),
) -> Result<Made, StepError> {
    if let Some(pinned) = pin.skeleton.as_ref().filter(|pinned| pinned.sha256 == sha256)
        && skeleton::file(engine, id, pinned)?.is_none()
    {
        // No registry has it: it is made of the layers.
        skeleton::keep(engine, id, &all(engine, id, oci, pin, engine.base(id))?)?;
    }
    by_digest(engine, id, sha256, |file| {
        if from_images(engine, (sha256, size), file)? || engine.cached_blob((sha256, size), file)? {
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

/// Writes a blob that the image store has to `into`; one that is damaged is as none.
fn from_images(
    engine: &Engine<'_>,
    (sha256, size): (Sha256, u64),
    into: &mut File,
) -> io::Result<bool> {
    let Ok(mut blob) = engine.context.layout.open_blob(sha256, size) else { return Ok(false) };
    // An earlier run may have begun it.
    empty(into)?;
    let copied = io::copy(&mut blob, into).is_ok();
    if !copied {
        empty(into)?;
    }
    Ok(copied)
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
    let config =
        ImageConfig::parse(manifest.config.digest, &config).map_err(|e| {
            match &*manifest.config.media_type {
                CONFIG | DOCKER_CONFIG => engine.error(id, e),
                other => {
                    failed(BaseError::Artifact { image: image(), media_type: other.to_owned() })
                }
            }
        })?;
    let there = &config.platform;
    // What was made of an empty image says nothing, and engines run it.
    let fits = |there: &str, wanted: &str| there.is_empty() || there == wanted;
    if !fits(&there.os, "linux") || !fits(&there.architecture, &oci.platform.architecture) {
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
        // What annotations say is where to find files in it, for whoever pulls lazily.
        let annotations = layer.annotations.clone();
        let descriptor = Descriptor::new(media_type, layer.digest, layer.size);
        let descriptor = Descriptor { annotations, ..descriptor };
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

fn pin_of<'e>(engine: &'e Engine<'_>, id: StepId) -> Result<&'e OciPin, StepError> {
    match engine.plan.pin(id) {
        Some(Pin::Oci(pin)) => Ok(pin),
        _ => Err(engine.error(id, "It is not pinned")),
    }
}

/// Puts a layer's bytes into the image layout, if they are not there and can be had without its registry; in any case
/// a note of who has them. A rebuild compares bytes.
pub(crate) fn carry(
    engine: &Engine<'_>,
    id: StepId,
    carried: &CarriedLayer,
    session: &Session,
) -> Result<(), StepError> {
    let Descriptor { digest, size, .. } = carried.descriptor;
    let StepKind::Oci(oci) = &engine.plan.step(id).kind else {
        unreachable!("only layers of an `Oci` step are carried")
    };
    let away = Away { digest, size, image: Some(oci.image.clone()) };
    session.note(&away).map_err(|e| engine.error(id, e))?;
    if session.layout().has(digest, size) {
        return Ok(());
    }
    let file = match engine.context.rebuild {
        None => by_digest_if_had(engine, id, digest, |_| Ok(false))?,
        Some(_) => Some(fetched(engine, id, oci, pin_of(engine, id)?, (digest, size))?),
    };
    let Some(file) = file else { return Ok(()) };
    let (content, length) = blob(engine, id, &file)?;
    let mut reader = engine.store().reader(&content, length)?;
    let mut writer = session.new_blob().map_err(|e| engine.error(id, e))?;
    io::copy(&mut reader, &mut writer).map_err(|e| engine.error(id, e))?;
    writer.commit(digest).map_err(|e| engine.error(id, e))
}

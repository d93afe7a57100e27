//! An image: its stack packed layer by layer, its configuration, its manifest.

use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error,
    io,
};

use rayon::prelude::*;
use reimage_castore::{Digest, Sha256, View};
use reimage_oci::{
    self as oci, Descriptor, ImageLayer, LayerContent, LayoutError, Profile, Reference,
    ReferenceError,
};
use reimage_plan::{self as plan, Compression, Image, Plan, Platform, StepId, StepKind};

use crate::{
    StepError, base,
    baseline::FILE_TIME,
    build::{Context, ImageRecord, Purpose},
    conditions::{made_of, real, words},
    engine::Engine,
    history, secrets,
    stack::Stack,
};

/// The annotation of a manifest that says what of the machine steps saw: `clock, entropy`.
const NOT_REPRODUCIBLE: &str = "dev.reimage.not-reproducible";

/// The annotation of a manifest that says what its steps demand and its machine could not give: it stays there.
pub const DEGRADED: &str = "dev.reimage.degraded";

/// Fails at an image of more layers than engines take, before a step of it has run.
pub(crate) fn check_layers(plan: &Plan) -> Result<(), StepError> {
    for target in &plan.spec().targets {
        for id in plan.images(target.step) {
            let step = plan.step(id);
            let StepKind::Image(image) = &step.kind else { continue };
            let layers = plan.stack_of(&image.layers);
            let layers =
                layers.iter().filter(|id| !matches!(plan.step(**id).kind, StepKind::Image(_)));
            oci::check_layers(layers.count()).map_err(|error| StepError::new(step, error))?;
        }
    }
    Ok(())
}

/// Packs what is not packed yet, and puts the image into the layout under its tags.
pub(crate) fn image(
    engine: &Engine<'_>,
    id: StepId,
    image: &Image,
) -> Result<ImageRecord, StepError> {
    packed(engine, id, image, Some(&image.tags))
}

/// Makes the images of an index, and puts it into the layout under its tags.
pub(crate) fn index(
    engine: &Engine<'_>,
    id: StepId,
    index: &plan::Index,
) -> Result<ImageRecord, StepError> {
    let names = names(&index.tags).map_err(|e| engine.error(id, e))?;
    let session = engine.context.layout.session().map_err(|e| engine.error(id, e))?;
    let (mut manifests, mut platforms, mut size) = (Vec::new(), BTreeMap::new(), 0);
    for image in &index.images {
        let StepKind::Image(step) = &engine.plan.step(*image).kind else {
            unreachable!("an index is of images")
        };
        let made = packed(engine, *image, step, None)?;
        let platform = Some(platform(&step.platform));
        manifests.push(Descriptor { platform, ..made.descriptor() });
        platforms.insert(step.platform.to_string(), made.digest);
        size += made.size;
    }
    let assembled = oci::assemble_index(manifests, &index.annotations);
    session.put(&assembled).map_err(|e| engine.error(id, e))?;
    let descriptor = assembled.descriptor;
    session.name(&descriptor, &names).map_err(|e| engine.error(id, e))?;
    Ok(ImageRecord {
        digest: descriptor.digest,
        manifest_size: descriptor.size,
        size,
        tags: names.iter().map(ToString::to_string).collect(),
        platforms,
    })
}

/// An image under these names, or as one of an index.
fn packed(
    engine: &Engine<'_>,
    id: StepId,
    image: &Image,
    tags: Option<&[String]>,
) -> Result<ImageRecord, StepError> {
    let stack = engine.stack(id)?;
    let profile = match image.compression {
        Compression::Gzip => Profile::Gzip1,
        Compression::Zstd => Profile::Zstd1,
        Compression::None => Profile::Plain,
    };
    secrets::check(engine, id, &stack)?;
    let names = tags.map(names).transpose().map_err(|e| engine.error(id, e))?;
    let session = engine.context.layout.session().map_err(|e| engine.error(id, e))?;
    let layers = pack(engine, &session, &stack, profile);
    // What is wrong with a base image is not the image's fault.
    let layers = layers.map_err(|e| e.downcast().map_or_else(|e| engine.error(id, e), |e| *e))?;
    let size = layers.iter().map(|layer| layer.descriptor().size).sum();
    let mut annotations = image.annotations.clone();
    let real = real(engine.plan, id, |id| engine.given_up(id)).into_values().flatten().collect();
    if real != BTreeSet::new() {
        // Not the names of the steps: a name is in no digest.
        annotations.insert(NOT_REPRODUCIBLE.to_owned(), words(&real));
    }
    let steps = made_of(engine.plan, id);
    let degraded: BTreeSet<_> = steps.into_iter().flat_map(|id| engine.given_up(id)).collect();
    if !degraded.is_empty() {
        annotations.insert(DEGRADED.to_owned(), words(&degraded));
    }
    let value = oci::Image {
        config: (*engine.config(id)).clone(),
        platform: platform(&image.platform),
        created: image.created.unwrap_or(FILE_TIME),
        layers,
        annotations,
    };
    let assembled = oci::assemble(&value).map_err(|e| engine.error(id, e))?;
    let added = match &names {
        Some(names) => session.add(&assembled, names),
        None => session.put_documents(&assembled),
    };
    added.map_err(|e| engine.error(id, e))?;
    let descriptor = assembled.manifest.descriptor;
    Ok(ImageRecord {
        digest: descriptor.digest,
        manifest_size: descriptor.size,
        size,
        tags: names.iter().flatten().map(ToString::to_string).collect(),
        platforms: BTreeMap::new(),
    })
}

/// A platform of a spec as images name it.
pub fn platform(platform: &Platform) -> oci::Platform {
    let Platform { architecture, variant } = platform.clone();
    oci::Platform { architecture, os: "linux".to_owned(), variant }
}

/// Packs each layer, unless that was done here before, or elsewhere and a cache has it; those of a base image are bytes
/// already, here or elsewhere.
fn pack(
    engine: &Engine<'_>,
    session: &oci::Session,
    stack: &Stack,
    profile: Profile,
) -> Result<Vec<ImageLayer>, Box<dyn Error + Send + Sync>> {
    let mut view = View::default();
    let mut contents = Vec::with_capacity(stack.0.len());
    for layer in &stack.0 {
        let own = layer.carried.is_none();
        let content = own.then(|| LayerContent::new(&view, &layer.diff)).transpose()?;
        view.push(layer.diff.clone());
        contents.push(content.map(|content| (content.key(profile, FILE_TIME), content)));
    }
    let found = contents.par_iter().map(|content| {
        let (key, _) = content.as_ref()?;
        let context = engine.context;
        let here = session.remembered(*key);
        match here.filter(|p| is_whole(context, p.digest, p.size)) {
            None => engine.cached_layer(session, key).map(|packed| (packed, true)),
            here => here.map(|packed| (packed, false)),
        }
    });
    let found: Vec<_> = found.collect();
    let mut all = Vec::with_capacity(found.len());
    for ((layer, content), found) in stack.0.iter().zip(contents).zip(found) {
        let created_by = history::created_by(engine.plan.step(layer.step));
        let Some((key, content)) = content else {
            let carried = layer.carried.clone().expect("what is not packed is carried");
            base::carry(engine, layer.step, &carried, session)?;
            all.push(ImageLayer::Carried(carried));
            continue;
        };
        if let Some((packed, cached)) = found {
            if cached {
                session.remember(key, &packed)?;
            } else if session.layout().has(packed.digest, packed.size) {
                engine.give_layer(session.layout(), layer, key, packed);
            }
            all.push(ImageLayer::Packed { packed, created_by });
            continue;
        }
        let sizes: BTreeMap<Digest, u64> = layer.diff.blobs().collect();
        let open = |digest: &Digest| {
            let size = sizes.get(digest).copied().ok_or(io::ErrorKind::NotFound)?;
            engine.store().reader(digest, size).map_err(io::Error::other)
        };
        engine.need(layer.diff.blobs())?;
        let packed = session.pack(&content, profile, FILE_TIME, open)?;
        engine.give_layer(session.layout(), layer, key, packed);
        all.push(ImageLayer::Packed { packed, created_by });
    }
    Ok(all)
}

fn names(tags: &[String]) -> Result<Vec<Reference>, ReferenceError> {
    tags.iter().map(|tag| tag.parse()).collect()
}

/// Whether a layer is here, or can be brought for as long as its image can; of an image that is only sent on a cache may
/// have it, too.
fn is_whole(context: &Context<'_>, digest: Sha256, size: u64) -> bool {
    let noted = || context.layout.noted(digest, size);
    context.layout.has(digest, size)
        || noted().is_some_and(|away| context.purpose == Purpose::SendOn || away.image.is_some())
}

/// Whether an image that was made before is still whole in the layout; then it gets its tags again, for another
/// build may have taken them.
pub(crate) fn is_there(context: &Context<'_>, image: &ImageRecord) -> Result<bool, LayoutError> {
    let layout = context.layout;
    let descriptor = image.descriptor();
    // A document that cannot be read is as none: the image is made again.
    let Ok(documents) = layout.walk(&descriptor) else { return Ok(false) };
    for document in documents.iter().filter(|document| document.is_manifest()) {
        if !layout.has(document.digest, document.size) {
            return Ok(false);
        }
        let Ok((manifest, _)) = layout.manifest(document) else { return Ok(false) };
        let (config, layers) = (&manifest.config, &manifest.layers);
        if !layout.has(config.digest, config.size)
            || !layers.iter().all(|layer| is_whole(context, layer.digest, layer.size))
        {
            return Ok(false);
        }
    }
    let names: Result<Vec<Reference>, _> = image.tags.iter().map(|tag| tag.parse()).collect();
    let Ok(names) = names else { return Ok(false) };
    let tagged = layout.images()?.into_iter().any(|there| {
        there.descriptor.digest == image.digest
            && image.tags.iter().all(|tag| there.names.contains(tag))
    });
    if !tagged {
        layout.session()?.name(&descriptor, &names)?;
    }
    Ok(true)
}

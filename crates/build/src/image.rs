//! An image: its stack packed layer by layer, its configuration, its manifest.

use std::io;

use reimage_castore::{Digest, View};
use reimage_oci::{self as oci, ImageLayer, LayerContent, Profile, Reference};
use reimage_plan::{Compression, Image, StepId};

use crate::{
    StepError,
    baseline::FILE_TIME,
    build::ImageRecord,
    engine::Engine,
    history,
};

/// Packs what is not packed yet, and puts the image into the layout under its tags.
pub(crate) fn image(engine: &Engine<'_>, id: StepId, image: &Image) -> Result<ImageRecord, StepError> {
    let stack = engine.stack(id)?;
    let profile = match image.compression {
        Compression::Gzip => Profile::Gzip1,
        Compression::Zstd => Profile::Zstd1,
        Compression::None => Profile::Plain,
    };
    let session = engine.context.layout.session().map_err(|e| engine.error(id, e))?;
    let mut view = View::default();
    let mut layers = Vec::with_capacity(stack.0.len());
    for layer in &stack.0 {
        let content = LayerContent::new(&view, &layer.diff).map_err(|e| engine.error(id, e))?;
        view.push(layer.diff.clone());
        let open = |digest: &Digest| engine.store().open_any(digest).map_err(io::Error::other);
        let packed = session.pack(&content, profile, FILE_TIME, open).map_err(|e| engine.error(id, e))?;
        layers.push(ImageLayer { packed, created_by: history::created_by(engine.plan.step(layer.step)) });
    }
    let size = layers.iter().map(|layer| layer.packed.size).sum();
    let value = oci::Image {
        config: (*engine.config(id)).clone(),
        platform: oci::Platform::default(),
        created: image.created.unwrap_or(FILE_TIME),
        layers,
        annotations: image.annotations.clone(),
    };
    let assembled = oci::assemble(&value).map_err(|e| engine.error(id, e))?;
    let names: Vec<Reference> =
        image.tags.iter().map(|tag| tag.parse()).collect::<Result<_, _>>().map_err(|e| engine.error(id, e))?;
    session.add(&assembled, &names).map_err(|e| engine.error(id, e))?;
    let descriptor = assembled.manifest.descriptor;
    Ok(ImageRecord {
        digest: descriptor.digest,
        manifest_size: descriptor.size,
        size,
        tags: names.iter().map(ToString::to_string).collect(),
    })
}

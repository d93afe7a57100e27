//! What is made here goes to the caches that are written to, behind the build.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use reimage_castore::{ActionDigest, Digest, Output, Sha256, Store, TreePath, hex};
use reimage_oci::{Descriptor, Layout, PackedLayer};
use reimage_plan::{Plan, Section, StepId, StepKind};
use reimage_remote::{Blob, Cache, Content, Upload, packs, write_pack};

use super::{Contents, LayerSaid, StepSaid, TargetSaid, VerdictSaid};
use crate::{
    build::{Context, TargetOutput},
    engine::{Engine, Made},
    stack::{Layer, Value},
};

/// What waits to be given as a layer of an image that is not packed yet.
#[derive(Default)]
pub(crate) struct Givings {
    /// Steps that are a layer of an image that is built.
    layers: BTreeSet<StepId>,
    waiting: Mutex<BTreeMap<StepId, ActionDigest>>,
}

impl Givings {
    /// For the images of a plan.
    pub(crate) fn new(plan: &Plan) -> Self {
        let images = plan.spec().targets.iter().filter(|target| target.section == Section::Images);
        let images = images.flat_map(|target| plan.images(target.step));
        Self { layers: images.flat_map(|id| plan.stack(id)).collect(), waiting: Mutex::default() }
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeMap<StepId, ActionDigest>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Engine<'_> {
    /// The cache that results go to; none if nothing is written, or they are not what everybody would get.
    pub(super) fn given_to(&self, id: StepId) -> Option<&Cache> {
        let cache = given_to(self.context)?;
        let sound = !self.context.degraded || self.is_sound(id);
        sound.then_some(cache)
    }

    /// Whether all that step `id` stands on had all it demands.
    fn is_sound(&self, id: StepId) -> bool {
        let (mut seen, mut next) = (BTreeSet::new(), vec![id]);
        while let Some(id) = next.pop() {
            if seen.insert(id) {
                if !self.given_up(id).is_empty() {
                    return false;
                }
                next.extend(self.plan.step(id).kind.references());
            }
        }
        true
    }

    /// Gives what step `id` came to be, if that took a process or a server.
    pub(crate) fn give_step(&self, id: StepId, made: &Made) {
        let kind = &self.plan.step(id).kind;
        let Some(action) = made.action.filter(|_| !made.cached) else { return };
        let how = match kind {
            StepKind::Run(_) | StepKind::Debian(_) => How::Packs,
            StepKind::Http(_) => How::Pinned,
            _ => return,
        };
        let Some(cache) = self.given_to(id) else { return };
        if self.givings.layers.contains(&id) && matches!(made.value, Value::Diff(..)) {
            self.givings.waiting().insert(id, action);
            return;
        }
        give_step(cache, self.store(), &self.name(id), action, how);
    }

    /// Gives a layer that was packed here, and the step that made it.
    pub(crate) fn give_layer(
        &self,
        layout: &Layout,
        layer: &Layer,
        key: Digest,
        packed: PackedLayer,
    ) {
        let Some(cache) = self.given_to(layer.step) else { return };
        let PackedLayer { profile, digest, size, diff_id } = packed;
        let blob = Blob { digest, size };
        let name = self.name(layer.step);
        let profile = profile.name().to_owned();
        let source = layout.clone();
        cache.push(&format!("the layer of `{name}`"), key, move || {
            let said = LayerSaid { profile, blob, diff_id };
            Ok(Some((said, vec![of_layout(source, blob)])))
        });
        // Only as it stands here are its contents all in the layer.
        let its_own =
            matches!(&self.made(layer.step).value, Value::Diff(_, own) if *own == layer.digest);
        if its_own && let Some(action) = self.givings.waiting().remove(&layer.step) {
            let how = How::Layer(layout.clone(), blob);
            give_step(cache, self.store(), &name, action, how);
        }
    }

    /// Gives what waited for an image that was not made.
    pub(crate) fn give_the_rest(&self) {
        for (id, action) in std::mem::take(&mut *self.givings.waiting()) {
            if let Some(cache) = self.given_to(id) {
                give_step(cache, self.store(), &self.name(id), action, How::Packs);
            }
        }
    }

    /// Gives which suspects step `id` made.
    pub(crate) fn give_verdict(&self, id: StepId, key: Digest, made: &BTreeSet<TreePath>) {
        if let Some(cache) = self.given_to(id) {
            let said = VerdictSaid(made.clone());
            let name = format!("the verdict on `{}`", self.name(id));
            cache.push(&name, key, move || Ok(Some((said, Vec::new()))));
        }
    }

    /// Gives what a whole target came to be.
    pub(crate) fn give_target(&self, path: &str, id: StepId, key: Digest, output: &TargetOutput) {
        let Some(cache) = self.given_to(id) else { return };
        let (store, layout) = (self.store().clone(), self.context.layout.clone());
        let (output, carried) = (output.clone(), self.carried(id));
        cache.push(&format!("`{path}`"), key, move || {
            target(&store, &layout, output, &carried).map(Some)
        });
    }

    /// The layers of base images in the images that `id` is or is of.
    fn carried(&self, id: StepId) -> BTreeSet<Sha256> {
        let stacks = self.plan.images(id).into_iter().filter_map(|image| self.stack(image).ok());
        let layers = stacks.flat_map(|stack| stack.0.clone());
        layers.filter_map(|layer| Some(layer.carried?.descriptor.digest)).collect()
    }
}

/// How the contents of a step travel.
enum How {
    Packs,
    Layer(Layout, Blob),
    Pinned,
}

fn given_to<'a>(context: &'a Context<'_>) -> Option<&'a Cache> {
    let wanted = context.rebuild.is_none();
    context.cache.filter(|cache| wanted && cache.is_written())
}

fn give_step(cache: &Cache, store: &Store, name: &str, action: ActionDigest, how: How) {
    let store = store.clone();
    cache.push(&format!("`{name}`"), *action.digest(), move || {
        // A result that is gone by now is nobody's.
        let result = store.result_record(&action).map_err(io::Error::other)?;
        let Some(result) = result else { return Ok(None) };
        let (digest, contents): (Digest, Vec<Content>) = match &result.output {
            Output::Diff(digest) => {
                let diff = store.diff(digest).map_err(io::Error::other)?;
                (*digest, diff.blobs().collect())
            }
            Output::Tree(digest) => {
                let tree = store.tree(digest).map_err(io::Error::other)?;
                (*digest, tree.blobs().collect())
            }
        };
        let mut uploads = Vec::new();
        let value = value(&store, digest, &mut uploads)?;
        let contents = match how {
            How::Packs => Contents::Packs(in_packs(&store, contents, &mut uploads)?),
            How::Layer(layout, blob) => {
                uploads.push(of_layout(layout, blob));
                Contents::Layer(blob)
            }
            How::Pinned => Contents::Pinned,
        };
        Ok(Some((StepSaid { result: hex(&result.encode()), value, contents }, uploads)))
    });
}

/// What a target came to be. Layers of base images, `carried`, go by their own record.
fn target(
    store: &Store,
    layout: &Layout,
    output: TargetOutput,
    carried: &BTreeSet<Sha256>,
) -> io::Result<(TargetSaid, Vec<Upload>)> {
    let mut uploads = Vec::new();
    let said = match output {
        TargetOutput::Passed => TargetSaid::Passed,
        TargetOutput::Tree(digest) => {
            let tree = store.tree(&digest).map_err(io::Error::other)?;
            let value = value(store, digest, &mut uploads)?;
            let packs = in_packs(store, tree.blobs().collect(), &mut uploads)?;
            TargetSaid::Tree { digest, value, packs }
        }
        TargetOutput::Image(image) => {
            let (mut documents, mut layers) = (Vec::new(), BTreeMap::new());
            let mut read = |descriptor: &Descriptor| {
                let bytes = layout.read_document(descriptor).map_err(io::Error::other)?;
                documents.push(String::from_utf8(bytes).map_err(io::Error::other)?);
                io::Result::Ok(())
            };
            for descriptor in layout.walk(&image.descriptor()).map_err(io::Error::other)? {
                read(&descriptor)?;
                if descriptor.is_manifest() {
                    let (manifest, _) = layout.manifest(&descriptor).map_err(io::Error::other)?;
                    read(&manifest.config)?;
                    let blob = |layer: &Descriptor| Blob { digest: layer.digest, size: layer.size };
                    let noted = |layer: &Descriptor| layout.noted(layer.digest, layer.size);
                    layers.extend(manifest.layers.iter().map(|layer| (blob(layer), noted(layer))));
                }
            }
            let (layers, away): (Vec<_>, Vec<_>) = layers
                .into_iter()
                .partition(|(blob, away)| away.is_none() || !carried.contains(&blob.digest));
            let layers: Vec<_> = layers.into_iter().map(|(blob, _)| blob).collect();
            let away = away.into_iter().filter_map(|(_, away)| away).collect();
            uploads.extend(layers.iter().map(|blob| of_layout(layout.clone(), *blob)));
            TargetSaid::Image { image, documents, layers, away }
        }
    };
    Ok((said, uploads))
}

/// A pack of the encoding of a diff or tree.
fn value(store: &Store, digest: Digest, uploads: &mut Vec<Upload>) -> io::Result<(Blob, u64)> {
    let size = store.read(&digest).map_err(io::Error::other)?.len() as u64;
    Ok((packed(store, &[(digest, size)], uploads)?, size))
}

fn in_packs(
    store: &Store,
    contents: Vec<Content>,
    uploads: &mut Vec<Upload>,
) -> io::Result<Vec<Blob>> {
    packs(contents).into_iter().map(|pack| packed(store, &pack, uploads)).collect()
}

/// Packs these; the pack lies in a file until it is sent.
fn packed(store: &Store, contents: &[Content], uploads: &mut Vec<Upload>) -> io::Result<Blob> {
    let (blob, path) = write_pack(store, contents)?;
    let open = move || -> io::Result<Box<dyn io::Read + Send>> { Ok(Box::new(File::open(&path)?)) };
    uploads.push((blob, Arc::new(open)));
    Ok(blob)
}

fn of_layout(layout: Layout, blob: Blob) -> Upload {
    let open = move || -> io::Result<Box<dyn io::Read + Send>> {
        let file = layout.open_blob(blob.digest, blob.size).map_err(io::Error::other)?;
        Ok(Box::new(file))
    };
    (blob, Arc::new(open))
}

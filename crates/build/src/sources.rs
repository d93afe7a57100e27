//! Sources as trees: `Local`, and `Http` by its pin.

use std::{error::Error, fs::File, io, iter::successors};

use reimage_castore::{
    Action, ActionDigest, Digest, Entry, Node, Output, Sha256, Sha256Hasher, Store, Tree,
    UnpackAction,
};
use reimage_fetch as fetch;
use reimage_oci::VerifiedReader;
use reimage_plan::{Http, HttpPin, Local, Pin, StepId, Unpack};

use crate::{
    Event, StepError,
    engine::{Engine, Made},
    stack::Value,
};

/// A blob: its digest and its size in bytes.
type Blob = (Digest, u64);

/// A local tree, or the contents of the archive that it is.
pub(crate) fn local(
    engine: &Engine<'_>,
    id: StepId,
    local: &Local,
    digest: &Digest,
) -> Result<Made, StepError> {
    let tree = engine.store().tree(digest)?;
    let Some(unpack) = &local.unpack else { return Ok(Made::here(Value::Tree(tree, *digest))) };
    let Node::File { digest, size } = tree.root().node else {
        return Err(engine.error(id, "`unpack` takes an archive, and this is a directory"));
    };
    let mut sha256 = Sha256Hasher::new();
    let mut reader = engine.store().reader(&digest, size)?;
    io::copy(&mut reader, &mut sha256).map_err(|e| engine.error(id, e))?;
    let name = local.path.display().to_string();
    unpacked(engine, id, &name, unpack, sha256.finish(), || Ok((digest, size)))
}

/// What a file by its pin, or its contents, is found by.
pub(crate) fn action(
    engine: &Engine<'_>,
    id: StepId,
    http: &Http,
) -> Result<ActionDigest, StepError> {
    let Some(Pin::Http(pin)) = engine.plan.pin(id) else {
        return Err(engine.error(id, "It is not pinned"));
    };
    let action = match &http.unpack {
        None => Action::Fetch(pin.sha256),
        Some(unpack) => Action::Unpack(UnpackAction { archive: pin.sha256, strip: unpack.strip }),
    };
    Ok(action.digest())
}

/// A file by its pin, or the contents of the archive that it is.
pub(crate) fn http(engine: &Engine<'_>, id: StepId, http: &Http) -> Result<Made, StepError> {
    let Some(Pin::Http(pin)) = engine.plan.pin(id) else {
        return Err(engine.error(id, "It is not pinned"));
    };
    let action = action(engine, id, http)?;
    if engine.cache().is_some()
        && engine.look_up(&action)?.is_none()
        && let Some(made) = engine.look_up_in_cache(&action)?
    {
        return Ok(made);
    }
    let file = || fetched(engine, id, http, pin);
    match &http.unpack {
        None => file(),
        Some(unpack) => {
            unpacked(engine, id, &http.url, unpack, pin.sha256, || blob(engine, id, &file()?))
        }
    }
}

/// The file of a pin.
pub(crate) fn fetched(
    engine: &Engine<'_>,
    id: StepId,
    http: &Http,
    pin: &HttpPin,
) -> Result<Made, StepError> {
    by_digest(engine, id, pin.sha256, |file| {
        let progress = progress(engine, &http.url);
        engine.context.sources.fetch_http(&http.url, Some(pin), file, &progress)?;
        Ok(())
    })
}

/// Downloads what `url` gives now into the store, and returns its pin.
pub(crate) fn pin_http(engine: &Engine<'_>, id: StepId, url: &str) -> Result<HttpPin, StepError> {
    let mut file = engine.temporary(id)?;
    let progress = progress(engine, url);
    let pin = engine.context.sources.fetch_http(url, None, &mut file, &progress);
    let pin = pin.map_err(|e| engine.error(id, e))?;
    by_digest(engine, id, pin.sha256, |into| {
        io::Seek::rewind(&mut file)?;
        io::copy(&mut file, into)?;
        Ok(())
    })?;
    Ok(pin)
}

/// The file of this digest as a tree, from the store, else from a lock bundle, else as `fetch` writes it: it is given
/// what an earlier run has begun.
pub(crate) fn by_digest(
    engine: &Engine<'_>,
    id: StepId,
    sha256: Sha256,
    fetch: impl FnOnce(&mut File) -> Result<(), Box<dyn Error + Send + Sync>>,
) -> Result<Made, StepError> {
    let found = by_digest_if_had(engine, id, sha256, |file| fetch(file).map(|()| true))?;
    Ok(found.expect("what was fetched is had"))
}

/// The same; none if `fetch` says that it has written nothing.
pub(crate) fn by_digest_if_had(
    engine: &Engine<'_>,
    id: StepId,
    sha256: Sha256,
    fetch: impl FnOnce(&mut File) -> Result<bool, Box<dyn Error + Send + Sync>>,
) -> Result<Option<Made>, StepError> {
    let action = Action::Fetch(sha256).digest();
    engine.pure_if_had(&action, || file_of(engine, id, sha256, fetch))
}

/// The file of a digest that is not in the store.
fn file_of(
    engine: &Engine<'_>,
    id: StepId,
    sha256: Sha256,
    fetch: impl FnOnce(&mut File) -> Result<bool, Box<dyn Error + Send + Sync>>,
) -> Result<Option<Tree>, StepError> {
    if let Some(tree) = from_other_store(engine, id, sha256)? {
        return Ok(Some(tree));
    }
    if let Some(file) = from_bundle(engine, id, sha256)? {
        let (digest, size) = engine.store().put_file(&file)?;
        return Ok(Some(Tree::new(Entry::file(digest, size))));
    }
    let mut partial = engine.store().partial(&sha256)?;
    if !fetch(&mut partial.file).map_err(|e| engine.error(id, e))? {
        return Ok(None);
    }
    io::Seek::rewind(&mut partial.file).map_err(|e| engine.error(id, e))?;
    let (digest, size) = engine.store().put_file(&partial.file)?;
    partial.done().map_err(|e| engine.error(id, e))?;
    Ok(Some(Tree::new(Entry::file(digest, size))))
}

/// The content that a file of this digest has in a store, and its size in bytes, if all of it is there.
pub(crate) fn file_in(store: &Store, sha256: Sha256) -> Option<Blob> {
    let result = store.result(&Action::Fetch(sha256).digest()).ok()??;
    let Output::Tree(tree) = result.output else { return None };
    match store.tree(&tree).ok()?.root().node {
        Node::File { digest, size } => Some((digest, size)),
        _ => None,
    }
}

/// The file from the store of which a rebuild uses nothing else, read and digested again.
fn from_other_store(
    engine: &Engine<'_>,
    id: StepId,
    sha256: Sha256,
) -> Result<Option<Tree>, StepError> {
    let Some(other) = engine.context.rebuild else { return Ok(None) };
    // What cannot be had there is fetched.
    let Some((digest, size)) = file_in(other, sha256) else { return Ok(None) };
    let mut file = engine.temporary(id)?;
    let Ok(reader) = other.reader(&digest, size) else { return Ok(None) };
    if io::copy(&mut VerifiedReader::new(reader, sha256, size), &mut file).is_err() {
        return Ok(None);
    }
    io::Seek::rewind(&mut file).map_err(|e| engine.error(id, e))?;
    let (digest, size) = engine.store().put_file(&file)?;
    Ok(Some(Tree::new(Entry::file(digest, size))))
}

/// A copy of the file from a lock bundle; one that is damaged is as good as none, but for a warning.
fn from_bundle(engine: &Engine<'_>, id: StepId, sha256: Sha256) -> Result<Option<File>, StepError> {
    if engine.context.bundles.is_empty() {
        return Ok(None);
    }
    let mut file = engine.temporary(id)?;
    let found = engine.context.bundles.iter().any(|bundle| {
        bundle.copy(&sha256, &mut file).unwrap_or_else(|error| {
            engine.say(Event::Warning { name: engine.name(id), message: causes(&error) });
            false
        })
    });
    io::Seek::rewind(&mut file).map_err(|e| engine.error(id, e))?;
    Ok(found.then_some(file))
}

/// An error with all its causes, in one line.
pub(crate) fn causes(error: &(dyn Error + 'static)) -> String {
    let causes = successors(Some(error), |&error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// The blob of a step that is a file.
pub(crate) fn blob(engine: &Engine<'_>, id: StepId, made: &Made) -> Result<Blob, StepError> {
    match &made.value {
        Value::Tree(tree, _) => match tree.root().node {
            Node::File { digest, size } => Ok((digest, size)),
            _ => Err(engine.error(id, "It is a directory, and a file is wanted")),
        },
        Value::Diff(..) | Value::Image | Value::Base(_) => {
            Err(engine.error(id, "It is a layer, and a file is wanted"))
        }
    }
}

fn unpacked(
    engine: &Engine<'_>,
    id: StepId,
    name: &str,
    unpack: &Unpack,
    archive: Sha256,
    blob: impl FnOnce() -> Result<Blob, StepError>,
) -> Result<Made, StepError> {
    let action = Action::Unpack(UnpackAction { archive, strip: unpack.strip });
    engine.pure(&action.digest(), || {
        let (digest, size) = blob()?;
        // The reader of zip archives seeks, which a verifying reader cannot: a verified copy can.
        let mut file = engine.temporary(id)?;
        io::copy(&mut engine.store().reader(&digest, size)?, &mut file)
            .map_err(|e| engine.error(id, e))?;
        io::Seek::rewind(&mut file).map_err(|e| engine.error(id, e))?;
        let limits = fetch::Limits::default();
        fetch::unpack(engine.store(), name, file, unpack.strip, limits)
            .map_err(|e| engine.error(id, e))
    })
}

/// Says how far the download of `what` is.
pub(crate) fn progress<'a>(
    engine: &'a Engine<'_>,
    what: &'a str,
) -> impl Fn(u64, Option<u64>) + Sync + 'a {
    move |done, total| engine.say(Event::Download { what: what.to_owned(), done, total })
}

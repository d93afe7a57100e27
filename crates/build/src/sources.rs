//! Sources as trees: `Local`, and `Http` by its pin.

use std::sync::Arc;

use reimage_castore::{Action, Digest, Entry, Node, Sha256, Tree, UnpackAction};
use reimage_plan::{Http, HttpPin, Local, Pin, StepId, Unpack};

use crate::{
    StepError,
    engine::{Engine, Made},
    stack::Value,
};

/// A local tree, or the contents of the archive that it is.
pub(crate) fn local(
    engine: &Engine<'_>,
    id: StepId,
    local: &Local,
    digest: &Digest,
) -> Result<Made, StepError> {
    let tree = engine.store().tree(digest)?;
    match &local.unpack {
        None => Ok(Made::here(Value::Tree(tree, *digest))),
        Some(unpack) => {
            let Node::File { digest, size } = tree.root().node else {
                return Err(engine.error(id, "`unpack` takes an archive, and this is a directory"));
            };
            let mut sha256 = reimage_castore::Sha256Hasher::new();
            std::io::copy(&mut engine.store().open(&digest, size)?, &mut sha256)
                .map_err(|e| engine.error(id, e))?;
            unpacked(engine, id, unpack, sha256.finish(), || Ok((digest, size)))
        }
    }
}

/// A file by its pin, or the contents of the archive that it is.
pub(crate) fn http(engine: &Engine<'_>, id: StepId, http: &Http) -> Result<Made, StepError> {
    let Some(Pin::Http(pin)) = engine.plan.pin(id) else {
        return Err(engine.error(id, "It is not pinned"));
    };
    let fetch = || fetched(engine, id, &http.url, pin);
    match &http.unpack {
        None => engine.pure(&Action::Fetch(pin.sha256).digest(), || {
            let (digest, size) = fetch()?;
            Ok(Tree::new(Entry::file(digest, size)))
        }),
        Some(unpack) => unpacked(engine, id, unpack, pin.sha256, || {
            let made = engine.pure(&Action::Fetch(pin.sha256).digest(), || {
                let (digest, size) = fetch()?;
                Ok(Tree::new(Entry::file(digest, size)))
            })?;
            let Value::Tree(tree, _) = made.value else { unreachable!("`pure` makes trees") };
            let Node::File { digest, size } = tree.root().node else {
                unreachable!("a fetched file is a file")
            };
            Ok((digest, size))
        }),
    }
}

//! Brings layers whose bytes nobody has needed so far: images of lazy bases are whole without them.

use std::{error::Error, io};

use reimage_castore::empty;
use reimage_http::parallel;
use reimage_oci::{Away, Descriptor, Layout, LayoutError, Reference, Session};
use reimage_remote::Blob;

use crate::{BuildError, Context, Event, sources};

/// Brings the layers of `image`, which is in the image store, that are not there: from the store, a lock bundle, a
/// cache, its registry.
pub fn bring(image: &Descriptor, context: &Context<'_>) -> Result<(), BuildError> {
    let away = context.layout.away(image)?;
    if away.is_empty() {
        return Ok(());
    }
    let session = context.layout.session()?;
    parallel(context.sources.registry().parallel(), &away, |away| {
        bring_one(away, &session, context)
    })?;
    Ok(())
}

/// Opens the blob of a layer, which is brought if it is elsewhere.
pub(crate) fn open(
    layer: &Descriptor,
    context: &Context<'_>,
) -> Result<impl io::Read + use<>, Box<dyn Error + Send + Sync>> {
    let layout: &Layout = context.layout;
    match layout.open_blob(layer.digest, layer.size) {
        Err(LayoutError::Away { away, .. }) => {
            bring_one(&away, &layout.session()?, context)?;
            Ok(layout.open_blob(layer.digest, layer.size)?)
        }
        blob => Ok(blob?),
    }
}

fn bring_one(away: &Away, session: &Session, context: &Context<'_>) -> Result<(), BuildError> {
    fetch(away, session, context).map_err(|source| {
        let Away { digest, image, .. } = away.clone();
        BuildError::Away { digest, image, source }
    })
}

fn fetch(
    away: &Away,
    session: &Session,
    context: &Context<'_>,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let Away { digest, size, ref image } = *away;
    if let Some((content, length)) = sources::file_in(context.store, digest) {
        return Ok(session.add_blob(digest, size, context.store.reader(&content, length)?)?);
    }
    if let Some(file) = context.cache.and_then(|cache| cache.get(Blob { digest, size })) {
        return Ok(session.add_blob(digest, size, file)?);
    }
    let mut download = session.download(digest)?;
    for bundle in context.bundles.iter().filter(|bundle| bundle.has(&digest, size)) {
        // What an earlier run has begun is not as good.
        empty(download.file())?;
        // One that is damaged is as none: it is fetched.
        if bundle.copy(&digest, download.file()).unwrap_or(false) {
            return Ok(download.commit()?);
        }
    }
    let image = image.as_ref().ok_or("No cache that is used here has it any more")?;
    let name: Reference = image.parse()?;
    let from = context.sources.registry().repository(name.registry(), name.path());
    let what = format!("{image} {}", &digest.hex()[..12]);
    let progress = |done, total| {
        let what = what.clone();
        (context.events)(Event::Download { what, done, total: Some(total) });
    };
    from.fetch(digest, size, download.file(), &|_, done, total| progress(done, total))?;
    Ok(download.commit()?)
}

//! One pass from content to blob: cut into frames, encode in parallel, digest twice, write.
//!
//! ```text
//! caller's thread          threads of one pool         one more thread, in order
//! bytes -> frames -------> encode each frame --------> DiffID, digest, sink
//! ```
//! What is under way is bounded, whatever the layer and the machine: 64 MiB of content, as much encoded.

use std::{
    io::{self, Write},
    sync::{LazyLock, mpsc},
    thread,
};

use rayon::{ThreadPool, ThreadPoolBuilder};
use reimage_castore::{Sha256, Sha256Hasher};

use crate::Profile;

/// Content under way in bytes, and as much again encoded.
const UNDER_WAY: usize = 64 << 20;

/// Only encoders run here, which never wait: whoever packs may wait for it from a thread of any other pool.
static POOL: LazyLock<ThreadPool> = LazyLock::new(|| {
    ThreadPoolBuilder::new()
        .thread_name(|number| format!("encode-{number}"))
        .build()
        .expect("a process that packs may start threads")
});

/// What came out of [`compress`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Compressed {
    /// Of the content.
    pub(crate) diff_id: Sha256,
    /// Of the blob.
    pub(crate) digest: Sha256,
    /// Of the blob in bytes.
    pub(crate) size: u64,
}

/// One frame on its way.
#[derive(Default)]
struct Frame {
    content: Vec<u8>,
    encoded: Vec<u8>,
}

/// Takes content and cuts it into frames.
pub(crate) struct Frames<'a> {
    profile: Profile,
    current: Frame,
    order: mpsc::SyncSender<mpsc::Receiver<Frame>>,
    used: &'a mpsc::Receiver<Frame>,
}

/// Runs `produce`, whose content goes encoded to `sink`.
///
/// Fails with the error of `produce`, or with the sink's if writing was what failed.
pub(crate) fn compress<E: From<io::Error>>(
    profile: Profile,
    sink: &mut (dyn Write + Send),
    produce: impl FnOnce(&mut Frames<'_>) -> Result<(), E>,
) -> Result<Compressed, E> {
    let (order, ordered) = mpsc::sync_channel(UNDER_WAY / profile.frame());
    let (give_back, used) = mpsc::channel();
    thread::scope(|scope| {
        let consumer = thread::Builder::new()
            .name("digest".into())
            .spawn_scoped(scope, move || consume(profile, sink, &ordered, &give_back))?;
        let mut frames = Frames { profile, current: Frame::default(), order, used: &used };
        let produced = produce(&mut frames).and_then(|()| Ok(frames.send()?));
        drop(frames);
        let written = consumer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        // The sink's error comes first: it is why the producer could not go on.
        let compressed = written?;
        produced.map(|()| compressed)
    })
}

fn consume(
    profile: Profile,
    sink: &mut (dyn Write + Send),
    ordered: &mpsc::Receiver<mpsc::Receiver<Frame>>,
    give_back: &mpsc::Sender<Frame>,
) -> io::Result<Compressed> {
    let mut content = Sha256Hasher::new();
    let mut blob = Sha256Hasher::new();
    let mut size = 0;
    for frame in ordered {
        let frame = frame.recv().expect("an encoder always sends the frame that it was given");
        content.update(&frame.content);
        if profile == Profile::Plain {
            sink.write_all(&frame.content)?;
            size += frame.content.len() as u64;
        } else {
            blob.update(&frame.encoded);
            sink.write_all(&frame.encoded)?;
            size += frame.encoded.len() as u64;
        }
        // Nobody takes it back at the end.
        let _ = give_back.send(frame);
    }
    let diff_id = content.finish();
    let digest = if profile == Profile::Plain { diff_id } else { blob.finish() };
    Ok(Compressed { diff_id, digest, size })
}

impl Frames<'_> {
    /// Sends what there is, however small, on its way.
    fn send(&mut self) -> io::Result<()> {
        if self.current.content.is_empty() {
            return Ok(());
        }
        let mut next = self.used.try_recv().unwrap_or_default();
        next.content.clear();
        let mut frame = std::mem::replace(&mut self.current, next);
        let (done, result) = mpsc::channel();
        self.order.send(result).map_err(|_| io::ErrorKind::BrokenPipe)?;
        if self.profile == Profile::Plain {
            let _ = done.send(frame);
            return Ok(());
        }
        let profile = self.profile;
        POOL.spawn(move || {
            profile.encode(&frame.content, &mut frame.encoded);
            // The consumer is gone only after an error.
            let _ = done.send(frame);
        });
        Ok(())
    }
}

impl Write for Frames<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let size = self.profile.frame();
        let content = &mut self.current.content;
        if content.capacity() == 0 {
            content.reserve_exact(size);
        }
        let taken = bytes.len().min(size - content.len());
        content.extend_from_slice(&bytes[..taken]);
        if content.len() == size {
            self.send()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;

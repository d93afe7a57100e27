//! Work on many things at once, as many as are allowed.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Runs `each` over `items` in at most `threads` threads; stops at the first failure and returns it, or the results in
/// the order of the items.
pub fn parallel<T: Sync, R: Send, E: Send>(
    threads: usize,
    items: &[T],
    each: impl Fn(&T) -> Result<R, E> + Sync,
) -> Result<Vec<R>, E> {
    let next = AtomicUsize::new(0);
    let worker = || {
        let mut done = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(at) else { return Ok(done) };
            match each(item) {
                Ok(result) => done.push((at, result)),
                Err(error) => {
                    next.store(items.len(), Ordering::Relaxed);
                    return Err((at, error));
                }
            }
        }
    };
    let threads = threads.clamp(1, items.len().max(1));
    let results: Vec<_> = std::thread::scope(|scope| {
        let handles: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        let join = |handle: std::thread::ScopedJoinHandle<'_, _>| {
            handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        handles.into_iter().map(join).collect()
    });
    let (mut done, mut first) = (Vec::new(), None);
    for result in results {
        match result {
            Ok(part) => done.extend(part),
            Err((at, error)) if first.as_ref().is_none_or(|(earlier, _)| at < *earlier) => {
                first = Some((at, error));
            }
            Err(_) => {}
        }
    }
    if let Some((_, error)) = first {
        return Err(error);
    }
    done.sort_by_key(|(at, _)| *at);
    Ok(done.into_iter().map(|(_, result)| result).collect())
}

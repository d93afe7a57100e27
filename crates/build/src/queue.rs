//! Runs a graph of work on several threads: what is ready and heaviest first, each piece once.
//!
//! Generic and without side effects of its own, so that hundreds of graphs can be tried without a sandbox.

use std::{
    collections::BinaryHeap,
    sync::{Condvar, Mutex, PoisonError},
};

/// What became of one piece of work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Done<T, E> {
    /// It was done.
    Ok(T),
    /// It failed.
    Failed(E),
    /// It was not begun: something it needs failed, or something else did and nothing more was to begin.
    Skipped,
}

/// A graph: for each piece the pieces it needs, and its weight (the heaviest of those ready runs first).
pub(crate) struct Graph<'a> {
    /// What each piece needs; a piece may be named twice.
    pub(crate) needs: &'a [Vec<usize>],
    /// How long the chain above each piece is.
    pub(crate) heights: &'a [usize],
}

/// How it is run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Options {
    /// Threads, at least one.
    pub(crate) jobs: usize,
    /// After a failure go on with what does not need it.
    pub(crate) keep_going: bool,
}

struct State<T, E> {
    ready: BinaryHeap<(usize, std::cmp::Reverse<usize>)>,
    waits_for: Vec<usize>,
    done: Vec<Option<Done<T, E>>>,
    running: usize,
    stopped: bool,
}

/// Calls `work` for every piece after those it needs, and returns what became of each.
pub(crate) fn run<T: Send, E: Send>(
    graph: &Graph<'_>,
    options: Options,
    work: impl Fn(usize) -> Result<T, E> + Sync,
) -> Vec<Done<T, E>> {
    let count = graph.needs.len();
    let mut needed_by = vec![Vec::new(); count];
    let mut waits_for = vec![0; count];
    for (piece, needs) in graph.needs.iter().enumerate() {
        for need in needs {
            needed_by[*need].push(piece);
            waits_for[piece] += 1;
        }
    }
    let ready = |piece: usize| (graph.heights[piece], std::cmp::Reverse(piece));
    let state = Mutex::new(State {
        ready: (0..count).filter(|piece| waits_for[*piece] == 0).map(ready).collect(),
        waits_for,
        done: (0..count).map(|_| None).collect(),
        running: 0,
        stopped: false,
    });
    let changed = Condvar::new();
    let worker = || {
        let mut guard = state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if guard.stopped && !options.keep_going {
                guard.ready.clear();
            }
            let Some((_, std::cmp::Reverse(piece))) = guard.ready.pop() else {
                if guard.running == 0 {
                    changed.notify_all();
                    return;
                }
                guard = changed.wait(guard).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            guard.running += 1;
            drop(guard);
            let result = work(piece);
            guard = state.lock().unwrap_or_else(PoisonError::into_inner);
            guard.running -= 1;
            match result {
                Ok(value) => {
                    guard.done[piece] = Some(Done::Ok(value));
                    for above in &needed_by[piece] {
                        guard.waits_for[*above] -= 1;
                        if guard.waits_for[*above] == 0 {
                            guard.ready.push(ready(*above));
                        }
                    }
                }
                Err(error) => {
                    guard.done[piece] = Some(Done::Failed(error));
                    guard.stopped = true;
                }
            }
            changed.notify_all();
        }
    };
    std::thread::scope(|scope| {
        // The calling thread works, too: with one job nothing is spawned.
        for _ in 1..options.jobs.clamp(1, count.max(1)) {
            scope.spawn(worker);
        }
        worker();
    });
    let state = state.into_inner().unwrap_or_else(PoisonError::into_inner);
    state.done.into_iter().map(|done| done.unwrap_or(Done::Skipped)).collect()
}

#[cfg(test)]
mod tests;

//! The directories that a stack is mounted from.
//!
//! A chain of a thousand steps must not be a thousand overlay layers, and merging a base of ten thousand files
//! again for every step would cost more than the step: so small neighbours are merged in aligned groups of 16
//! and 256, which the next step of the chain finds made, and what is large stays alone.

use std::{path::PathBuf, sync::Arc};

use reimage_castore::{Diff, Digest, Hasher, Materialize, Materialized, Owners, TreePath, View};
use reimage_sandbox::{Ids, Owner};

use crate::{
    StepError,
    baseline::FILE_TIME,
    engine::Engine,
    execute::absolute,
    stack::{Layer, Stack},
};

/// Changes beyond which a diff is never merged with others.
const SMALL: usize = 1000;

/// One in how many of a large layer's changes may differ from one laid out before, for it to be laid over that.
const NEAR: usize = 8;

/// Neighbours that are merged at each level, largest first.
const GROUPS: [usize; 2] = [256, 16];

/// What overlayfs gets.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lowers {
    /// Directories, lowest first.
    pub(crate) paths: Vec<PathBuf>,
    /// Owners that no directory can say: those of symbolic links and fifos.
    pub(crate) owners: Vec<Owner>,
}

impl Engine<'_> {
    /// Materialises `stack`, with owners kept like `ids` has them, as far as it is not there already.
    pub(crate) fn lowers(&self, stack: &Stack, ids: Ids) -> Result<Lowers, StepError> {
        self.need(stack.0.iter().flat_map(|layer| layer.diff.blobs()))?;
        let mut lowers = Lowers::default();
        for (from, to) in groups(&stack.0) {
            let digest = self.composed(&stack.0, from, to)?;
            let below = view(&stack.0[..from]);
            let how = Materialize {
                below: &below,
                owners: if ids.physical() { Owners::Physical } else { Owners::Recorded },
                time: FILE_TIME,
                nanos: nanoseconds(stack.0[from].source),
            };
            let large = to - from == 1 && stack.0[from].diff.len() > SMALL;
            let roots = match large.then(|| self.near(&stack.0, from, &how)).transpose()?.flatten()
            {
                Some(roots) => roots,
                None => vec![self.store().materialize(&digest, &how)?],
            };
            for root in roots {
                lowers.owners.extend(root.owners.iter().map(owner));
                // Equal diffs are one directory, which overlayfs takes once: only the highest is seen anyway.
                lowers.paths.retain(|path| *path != root.path);
                lowers.paths.push(root.path);
            }
        }
        // A higher layer's word on a path replaces a lower one's.
        lowers.owners.reverse();
        lowers.owners.sort_by(|a, b| a.path.cmp(&b.path));
        lowers.owners.dedup_by(|a, b| a.path == b.path);
        Ok(lowers)
    }

    /// The large layer `at` of a stack as what the same step was the last time and, on it, what has changed since: a
    /// project of thousands of files of which one was edited is not written again.
    fn near(
        &self,
        layers: &[Layer],
        at: usize,
        how: &Materialize<'_>,
    ) -> Result<Option<Vec<Materialized>>, StepError> {
        let (store, layer) = (self.store(), &layers[at]);
        let key = near_key(&self.name(layer.step), &digest_of(&layers[..at]), how);
        if store.materialized(&layer.digest, how)?.is_some() {
            return Ok(None);
        }
        let near = store.memo(&key)?.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
        let near = near.map(Digest::from_bytes);
        if let Some(near) = near
            && let Some(root) = store.materialized(&near, how)?
        {
            let near = store.diff(&near)?;
            let most = layer.diff.len() / NEAR;
            if let Some(step) = how.below.step_over(&near, &layer.diff, most) {
                let mut below = how.below.clone();
                below.push(near);
                let step = store.put_diff(Arc::new(step))?;
                let above = store.materialize(&step, &Materialize { below: &below, ..*how })?;
                return Ok(Some(vec![root, above]));
            }
        }
        store.put_memo(&key, layer.digest.as_bytes())?;
        Ok(None)
    }

    /// The digest of the layers `from..to` as one diff.
    fn composed(&self, layers: &[Layer], from: usize, to: usize) -> Result<Digest, StepError> {
        if to - from == 1 {
            return Ok(layers[from].digest);
        }
        let key = (digest_of(&layers[..from]), digest_of(&layers[from..to]));
        if let Some(digest) = self.lock_composed().get(&key) {
            return Ok(*digest);
        }
        // The parts are made as this one is: 16 of 16 for the largest.
        let step = GROUPS.iter().copied().find(|size| *size < to - from).unwrap_or(1);
        let bottom = view(&layers[..from]);
        let mut all = Diff::new();
        for part in (from..to).step_by(step) {
            let end = (part + step).min(to);
            let diff = self.store().diff(&self.composed(layers, part, end)?)?;
            all = bottom.compose(&all, &diff);
        }
        let digest = self.store().put_diff(Arc::new(all))?;
        self.lock_composed().insert(key, digest);
        Ok(digest)
    }
}

/// Where it is remembered what a step was laid out as. Its name will do: it is a hint, of no effect on any result.
fn near_key(name: &str, below: &Digest, how: &Materialize<'_>) -> Digest {
    Digest::of(
        format!("reimage near 1\n{name}\n{below}\n{:?} {}", how.owners, how.nanos).as_bytes(),
    )
}

fn view(layers: &[Layer]) -> View {
    View::new(layers.iter().map(|layer| layer.diff.clone()).collect())
}

fn digest_of(layers: &[Layer]) -> Digest {
    let mut hasher = Hasher::new();
    for layer in layers {
        hasher.update(layer.digest.as_bytes());
    }
    hasher.finish()
}

/// Cuts a stack into ranges to be merged: runs of small neighbours of one kind, aligned to their beginning.
fn groups(layers: &[Layer]) -> Vec<(usize, usize)> {
    let small = |layer: &Layer| layer.diff.len() <= SMALL;
    let mut ranges = Vec::new();
    let mut from = 0;
    while from < layers.len() {
        let alike = |layer: &&Layer| small(layer) && layer.source == layers[from].source;
        let run = layers[from..].iter().take_while(alike).count().max(1);
        let mut at = from;
        for size in GROUPS.into_iter().chain([1]) {
            while at + size <= from + run {
                ranges.push((at, at + size));
                at += size;
            }
        }
        from += run;
    }
    ranges
}

fn owner((path, uid, gid): &(TreePath, u32, u32)) -> Owner {
    Owner { path: absolute(path), uid: *uid, gid: *gid }
}

/// The time of files that a layer has, within the second F: sources are older than what is made of them,
/// outputs of earlier steps older still (docs/steps.md).
fn nanoseconds(source: bool) -> u32 {
    u32::from(source)
}

#[cfg(test)]
mod tests {
    use reimage_castore::{Change, Entry};
    use reimage_plan::StepId;

    use super::*;

    fn layer(changes: usize, source: bool) -> Layer {
        let mut diff = Diff::new();
        for number in 0..changes {
            let path = TreePath::new(number.to_string()).expect("a path");
            diff.insert(path, Change::Put(Entry::directory()));
        }
        let digest = diff.digest();
        Layer { step: StepId(0), diff: Arc::new(diff), digest, source, carried: None }
    }

    #[test]
    fn small_neighbours_are_merged_and_large_ones_stay() {
        let mut layers = vec![layer(2000, false)];
        layers.extend((0..300).map(|_| layer(1, false)));
        layers.push(layer(1, true));
        let groups = groups(&layers);
        assert_eq!(groups[0], (0, 1));
        assert_eq!(groups[1], (1, 257));
        assert_eq!(groups[2], (257, 273));
        assert_eq!(groups[3], (273, 289));
        assert_eq!(groups.len(), 4 + 12 + 1);
        let ends: Vec<_> = groups.windows(2).map(|pair| (pair[0].1, pair[1].0)).collect();
        assert!(ends.iter().all(|(end, begin)| end == begin), "nothing is left out: {groups:?}");
    }
}

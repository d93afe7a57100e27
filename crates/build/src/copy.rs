//! The pure tree operation: take a node, filter, own, place.
//!
//! What is above the node in the result is only implied, so that laid upon a root it changes nothing of it.

use std::sync::Arc;

use reimage_castore::{
    Action, CopyAction, Diff, Entry, LayError, Node, Patterns, Source, Tree, TreePath, View,
};
use reimage_plan::{Copy, StepId};
use thiserror::Error;

use crate::{
    StepError,
    engine::{Engine, Made},
    stack::Stack,
};

/// A copy that cannot be made.
#[derive(Debug, Error)]
pub(crate) enum CopyError {
    /// There is nothing at `path`.
    #[error("There is no `{path}` in what it copies from{}", there(.nearest.as_ref()))]
    NothingThere {
        /// The path.
        path: TreePath,
        /// The nearest directory above that is there, and some names in it.
        nearest: Option<(TreePath, Vec<String>)>,
    },
    /// A path through something that is no directory.
    #[error(transparent)]
    Lay(#[from] LayError),
    /// A pattern that is none.
    #[error(transparent)]
    Pattern(#[from] reimage_castore::PatternError),
    /// Nothing is left.
    #[error("Nothing of `{path}` is left: no file matches `include` and not `exclude`")]
    NothingLeft {
        /// The path.
        path: TreePath,
    },
    /// A tree that cannot be.
    #[error(transparent)]
    Tree(#[from] reimage_castore::TreeError),
    /// A path becomes too long.
    #[error(transparent)]
    Path(#[from] reimage_castore::PathError),
}

fn there(nearest: Option<&(TreePath, Vec<String>)>) -> String {
    match nearest {
        None => String::new(),
        Some((at, names)) if names.is_empty() => format!("; `{at}` is empty"),
        Some((at, names)) => format!("; in `{at}` there is {}", names.join(", ")),
    }
}

/// Makes the copy, or finds it made.
pub(crate) fn step(engine: &Engine<'_>, id: StepId, step: &Copy) -> Result<Made, StepError> {
    let single = match step.from[..] {
        [one] => engine.made(one).value.tree(),
        _ => None,
    };
    let root = TreePath::root();
    let path = step.path.as_ref().unwrap_or(&root);
    let stack = if single.is_some() { Stack::default() } else { engine.stack_for(&step.from)? };
    let from = match &single {
        Some((_, digest)) => vec![Source::Tree(*digest)],
        None => stack.digests().into_iter().map(Source::Diff).collect(),
    };
    let action = Action::Copy(CopyAction {
        from,
        path: path.clone(),
        to: step.to.as_ref().unwrap_or(path).clone(),
        include: step.include.clone(),
        exclude: step.exclude.clone(),
        chown: step.chown.map(|owner| (owner.uid, owner.gid)),
        chmod: step.chmod.as_ref().map(|mode| mode.as_str().to_owned()),
        mtime: step.mtime,
    });
    engine.pure(&action.digest(), || {
        let (view, tree) = if let Some((tree, _)) = &single {
            (View::new(vec![Arc::new(Diff::of_tree(tree))]), tree.clone())
        } else {
            let view = stack.view();
            let tree = view.tree().map_err(|e| engine.error(id, e))?;
            (view, Arc::new(tree))
        };
        copy(&view, &tree, step).map_err(|e| engine.error(id, e))
    })
}

/// Makes the copy of `source`, which `view` shows, too.
fn copy(view: &View, source: &Tree, copy: &Copy) -> Result<Tree, CopyError> {
    let root = TreePath::root();
    let asked = copy.path.as_ref().unwrap_or(&root);
    // Links to directories on the way are followed, the last name is taken as it is.
    let path = match (asked.parent(), asked.name()) {
        (Some(parent), Some(name)) if !parent.is_root() => {
            view.resolve(&parent)?.join(&TreePath::new(name)?)?
        }
        _ => asked.clone(),
    };
    if source.get(&path).is_none() {
        return Err(nothing_there(source, &path));
    }
    let taken = filter(source, &path, copy)?;
    let to = copy.to.as_ref().unwrap_or(asked);
    let mut placed = Tree::default();
    for (below, entry) in &taken {
        let at = to.join(below)?;
        let entry = own(entry.clone(), copy);
        if at.is_root() {
            placed = Tree::new(entry);
        } else {
            placed.insert_deep(at, entry)?;
        }
    }
    for group in taken.links().iter() {
        let group = group.iter().map(|path| to.join(path)).collect::<Result<_, _>>()?;
        placed.link(group)?;
    }
    Ok(placed)
}

/// The node at `path` as a tree of its own, without what the patterns leave out.
fn filter(source: &Tree, path: &TreePath, copy: &Copy) -> Result<Tree, CopyError> {
    let include = copy.include.as_deref().map(Patterns::new).transpose()?;
    let exclude = Patterns::new(&copy.exclude)?;
    let mut taken: Option<Tree> = None;
    for (at, entry) in source.below(path) {
        let below = at.below(path).expect("it was asked for what lies below");
        let excluded = !below.is_root() && exclude.matches(&below);
        let included =
            include.as_ref().is_none_or(|include| below.is_root() || include.matches(&below));
        if excluded || (!included && !below.is_root()) {
            continue;
        }
        match &mut taken {
            None => {
                // With patterns a directory is there for what lies in it.
                let entry = if include.is_some() && entry.is_directory() {
                    Entry::implied()
                } else {
                    entry.clone()
                };
                taken = Some(Tree::new(entry));
            }
            Some(taken) => {
                // A directory on the way that no pattern names keeps its attributes.
                for above in below.ancestors().skip(1) {
                    if taken.get(&above).is_none() {
                        let there =
                            source.get(&path.join(&above)?).cloned().unwrap_or_else(Entry::implied);
                        taken.insert_deep(above, there)?;
                    }
                }
                taken.insert(below, entry.clone())?;
            }
        }
    }
    let taken = taken.expect("the node itself is always taken");
    if include.is_some() && taken.len() == 1 && taken.root().is_directory() {
        return Err(CopyError::NothingLeft { path: path.clone() });
    }
    let mut linked = taken;
    for group in source.links().iter() {
        let group: Vec<_> = group
            .iter()
            .filter_map(|p| p.below(path))
            .filter(|p| linked.get(p).is_some())
            .collect();
        if group.len() > 1 {
            linked.link(group)?;
        }
    }
    Ok(linked)
}

fn own(mut entry: Entry, copy: &Copy) -> Entry {
    if entry.node == Node::Implied && (copy.chown.is_some() || copy.chmod.is_some()) {
        entry.node = Node::Directory;
    }
    if let Some(owner) = copy.chown {
        (entry.attrs.uid, entry.attrs.gid) = (owner.uid, owner.gid);
    }
    if let Some(mode) = copy.chmod.as_ref().filter(|_| !matches!(entry.node, Node::Symlink { .. }))
    {
        entry.attrs.mode = mode.apply(entry.attrs.mode, entry.is_directory());
    }
    if copy.mtime.is_some() {
        entry.attrs.mtime = copy.mtime;
    }
    entry
}

fn nothing_there(source: &Tree, path: &TreePath) -> CopyError {
    let above: Vec<_> = path.ancestors().collect();
    let nearest =
        above.into_iter().rev().find(|above| source.get(above).is_some_and(Entry::is_directory));
    let nearest = nearest.map(|at| {
        let depth = at.components().count() + 1;
        let inside = source.below(&at).filter(|(p, _)| p.components().count() == depth);
        let names = inside
            .filter_map(|(p, _)| p.name())
            .map(|n| format!("`{}`", String::from_utf8_lossy(n)));
        let names: Vec<_> = names.take(8).collect();
        (at, names)
    });
    CopyError::NothingThere { path: path.clone(), nearest }
}

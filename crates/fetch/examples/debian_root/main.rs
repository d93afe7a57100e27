//! Builds a root from .deb files as a build does, and compares it with a root that others made.
//!
//! `debian_root STORE DEBS [--from DEBS] [--with DIRECTORY] [--skip] [--ids notify|mapped] [--order FILE]`: DEBS is
//! a directory of .deb files, those of `--from` are installed first; DIRECTORY a root that, say, mmdebstrap made of
//! the same packages; FILE gets the packages in the order of their configuration. The time of each phase is printed.

#![expect(clippy::print_stdout, clippy::single_match_else, reason = "it is a tool for a terminal")]

use std::{
    collections::BTreeMap,
    error::Error,
    ffi::OsString,
    fs::File,
    io::Read,
    os::fd::AsFd,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use rayon::prelude::*;
use reimage_castore::{
    Action, ActionResult, Attrs, Captured, DebAction, Diff, Entry, Materialize, Node, Output,
    Owners, Patterns, Sha256, Sha256Hasher, Store, TreePath, View, read_dir_sorted, xattr_allowed,
};
use reimage_fetch::{
    Limits,
    debian::{
        deb::{Package, UnpackOptions, unpack_deb},
        install::{ARGV, INPUT, prepare, unpack_only},
    },
};
use reimage_sandbox::{
    Command, EntryKind, Ids, IdsSetting, Input, Outcome, Owner, Streams, Zygote, start,
};

mod compare;

const FILE_TIME: i64 = 1_793_491_200;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Result<()> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let option = |name: &str| {
        let at = arguments.iter().position(|a| a == name)?;
        arguments.get(at + 1).cloned()
    };
    let ids = match option("--ids").as_deref() {
        Some("notify") => IdsSetting::Notify,
        Some("mapped") => IdsSetting::Mapped,
        _ => IdsSetting::Auto,
    };
    let zygote = start(ids);
    let store = Store::open(Path::new(&arguments[0]))?;
    let clock = Clock(Instant::now());
    let packages = packages(&store, Path::new(&arguments[1]))?;
    clock.lap("unpack");
    let result = if arguments.iter().any(|a| a == "--skip") {
        let diff = unpack_only(
            &store,
            &View::default(),
            &packages.iter().map(|p| p.0.clone()).collect::<Vec<_>>(),
        )?;
        clock.lap("merge");
        diff
    } else {
        let mut view = View::default();
        if let Some(from) = option("--from") {
            let from = self::packages(&store, Path::new(&from))?;
            view.push(Arc::new(install(&store, &zygote, &view, &from, &clock, None)?));
        }
        let order = option("--order").map(PathBuf::from);
        let top = install(&store, &zygote, &view, &packages, &clock, order)?;
        view.layers()
            .iter()
            .try_fold(Diff::new(), |below, layer| {
                Ok::<_, Box<dyn Error + Send + Sync>>(View::default().compose(&below, layer))
            })
            .map(|below| View::default().compose(&below, &top))?
    };
    let mut tree = reimage_castore::Tree::default();
    result.apply(&mut tree)?;
    println!("{} paths, tree {}", tree.len(), tree.digest());
    if let Some(other) = option("--with") {
        compare::compare(&tree, Path::new(&other))?;
    }
    Ok(())
}

struct Clock(Instant);

impl Clock {
    fn lap(&self, what: &str) {
        println!("{:>8.2} s  {what}", self.0.elapsed().as_secs_f64());
    }
}

/// Unpacks all packages of a directory, each once in the life of the store.
fn packages(store: &Store, directory: &Path) -> Result<Vec<(Package, PathBuf)>> {
    let debs = read_dir_sorted(directory)?.into_iter().map(|entry| entry.path());
    let debs: Vec<_> = debs.filter(|p| p.extension().is_some_and(|e| e == "deb")).collect();
    debs.into_par_iter()
        .map(|path| {
            let name = path.display().to_string();
            let digest = sha256(&path)?;
            let action = Action::Deb(DebAction { package: digest, exclude: Vec::new() }).digest();
            let tree = match store.result(&action)? {
                Some(ActionResult { output: Output::Tree(tree), .. }) => store.tree(&tree)?,
                _ => {
                    let exclude = Patterns::default();
                    let limits = Limits::default();
                    let options = UnpackOptions { exclude: &exclude, file_time: FILE_TIME, limits };
                    let tree = unpack_deb(store, &name, File::open(&path)?, &options)?;
                    let tree = Arc::new(tree);
                    let result = ActionResult::new(Output::Tree(store.put_tree(tree.clone())?));
                    store.put_result(&action, &result)?;
                    tree
                }
            };
            Ok((Package::open(store, &name, digest, &tree)?, path))
        })
        .collect()
}

fn sha256(path: &Path) -> Result<Sha256> {
    let mut hasher = Sha256Hasher::new();
    let mut bytes = Vec::new();
    File::open(path)?.read_to_end(&mut bytes)?;
    hasher.update(&bytes);
    Ok(hasher.finish())
}

fn install(
    store: &Store,
    zygote: &Zygote,
    view: &View,
    packages: &[(Package, PathBuf)],
    clock: &Clock,
    order: Option<PathBuf>,
) -> Result<Diff> {
    let paths: BTreeMap<_, _> = packages.iter().map(|(p, path)| (p.digest, path)).collect();
    let all: Vec<_> = packages.iter().map(|(package, _)| package.clone()).collect();
    clock.lap("clone");
    let install = prepare(store, view, &all, |digest| {
        let file = File::open(paths[digest]).map_err(Box::<dyn Error + Send + Sync>::from)?;
        Ok::<_, Box<dyn Error + Send + Sync>>(store.put_file(&file)?)
    })
    .map_err(|error: Box<dyn Error + Send + Sync>| error)?;
    println!("unpacked by dpkg: {}", install.unpacked_by_dpkg.join(" "));
    clock.lap("prepare");
    if let Some(file) = order {
        let debs: Vec<_> =
            install.order.iter().map(|n| packages[*n].1.display().to_string()).collect();
        fs_err::write(file, debs.join("\n") + "\n")?;
    }
    let diff = Arc::new(install.diff);
    let owners = if zygote.ids() == Ids::Notify { Owners::Recorded } else { Owners::Physical };
    let mut above = View::default();
    let (mut lowers, mut recorded) = (Vec::new(), Vec::new());
    for layer in view.layers().iter().chain([&diff]) {
        let digest = store.put_diff(layer.clone())?;
        let how = Materialize { below: &above, owners, time: FILE_TIME, nanos: 0 };
        let root = store.materialize(&digest, &how)?;
        lowers.push(root.path);
        recorded.extend(root.owners);
        above.push(layer.clone());
    }
    let input = store.put_diff(Diff::of_tree(&install.input))?;
    let how = Materialize { below: &View::default(), owners, time: FILE_TIME, nanos: 0 };
    let input = store.materialize(&input, &how)?;
    clock.lap("materialize");
    let scratch = store.tmp_name();
    fs_err::create_dir(&scratch)?;
    let mut command = Command::new(&scratch, ARGV.iter().map(OsString::from));
    command.lowers = lowers;
    command.inputs = vec![Input { target: INPUT.into(), lowers: vec![input.path] }];
    command.env = [
        ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
        ("LC_ALL", "C.UTF-8"),
        ("HOME", "/root"),
        ("TZ", "UTC"),
        ("SOURCE_DATE_EPOCH", "1793491200"),
    ]
    .map(|(name, value)| (name.into(), value.into()))
    .into();
    command.owners = recorded
        .iter()
        .map(|(path, uid, gid)| Owner {
            path: Path::new("/").join(path.as_path()),
            uid: *uid,
            gid: *gid,
        })
        .collect();
    let null = File::open("/dev/null")?;
    let error = std::io::stderr();
    let streams = Streams { input: null.as_fd(), output: error.as_fd(), error: error.as_fd() };
    let outcome = zygote.run(&command, streams)?;
    clock.lap("configure");
    if !outcome.succeeded() {
        return Err(format!("{}, {:?}", outcome.status, outcome.voided).into());
    }
    let captured = above.diff(&capture(store, &outcome)?)?;
    drop(outcome);
    reimage_sandbox::remove_tree(&scratch)?;
    println!("{} paths written", captured.len());
    let whole = view.compose(&diff, &captured);
    clock.lap("capture");
    Ok(whole)
}

fn capture(store: &Store, outcome: &Outcome) -> Result<Captured> {
    let skip = ["/run", "/tmp", "/var/tmp"].map(PathBuf::from);
    let mut captured = Captured::default();
    let mut links: BTreeMap<u64, Vec<TreePath>> = BTreeMap::new();
    for entry in outcome.entries(&skip)? {
        let entry = entry?;
        let path = TreePath::new(&entry.path)?;
        let mut attrs = Attrs::mode(entry.mode).owned(entry.uid, entry.gid);
        attrs.mtime = Some(entry.mtime.0).filter(|time| *time < FILE_TIME);
        for (name, value) in entry.xattrs.iter().filter(|(name, _)| xattr_allowed(name)) {
            attrs.set_xattr(name, value)?;
        }
        let node = match entry.kind {
            EntryKind::Directory { opaque } => {
                if opaque {
                    captured.opaque.insert(path.clone());
                }
                Node::Directory
            }
            EntryKind::File { file, .. } => {
                let (digest, size) = store.put_file(&file)?;
                if entry.links > 1 {
                    links.entry(entry.inode).or_default().push(path.clone());
                }
                Node::File { digest, size }
            }
            EntryKind::Symlink { target } => {
                attrs.mode = 0o777;
                Node::Symlink { target: target.into() }
            }
            EntryKind::Whiteout => {
                captured.entries.insert(path, None);
                continue;
            }
            _ => continue,
        };
        captured.entries.insert(path, Some(Entry { node, attrs }));
    }
    captured.links = links.into_values().filter(|group| group.len() > 1).collect();
    Ok(captured)
}

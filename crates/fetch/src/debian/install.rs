//! Installs packages on a root: everything that needs no process is done here, as pure functions on trees.
//!
//! dpkg unpacks a package at a time, renames every file into its place and writes its database anew for each.
//! Here the trees of all packages, unpacked once and shared, are laid into one diff together with the database
//! that dpkg would have written, each package `unpacked`; what is left for the one sandboxed step that stands
//! on it is what only a process can do: the packages' scripts, by real dpkg, in dpkg's order ([`Install`]).
//!
//! A package is *placed* so if that cannot be told from dpkg's own doing. Otherwise dpkg unpacks it in the step:
//! one whose `preinst` does something, one that meets a diversion, a changed mode or another package's file, one
//! that upgrades what is there, or takes a conffile away. On an empty root the essential packages are
//! placed whatever their `preinst` says, for there is no shell to run it; it runs first thing in the step, as
//! with mmdebstrap, which also unpacks them before.

use std::collections::{BTreeMap, BTreeSet};

use reimage_castore::{
    Change, Diff, Digest, Entry, Node, Sha256, Store, StoreError, Tree, TreePath, View,
};
use thiserror::Error;

use super::deb::{ControlError, DebError, Package};

mod database;
mod driver;
mod merge;
mod order;
mod renamed;
mod status;

pub use driver::{DRIVER_VERSION, SCRUB_VERSION};
pub use renamed::link_renamed;
pub use status::Installed;

use database::Database;
use merge::{Clash, Merge};
use order::Order;

/// Where the input of the step lies in its root: the driver and the packages that dpkg unpacks itself.
pub const INPUT: &str = "/run/reimage/debian";

/// The program and arguments of the step.
pub const ARGV: [&str; 2] = ["/bin/sh", "/run/reimage/debian/driver"];

/// Packages that cannot be installed.
#[derive(Debug, Error)]
pub enum InstallError {
    /// A package's tree cannot be read.
    #[error(transparent)]
    Package(#[from] DebError),
    /// The dpkg database of the root cannot be read.
    #[error("The dpkg database of the root is bad: `{path}`")]
    Database {
        /// The file.
        path: TreePath,
        /// What is wrong with it.
        #[source]
        source: ControlError,
    },
    /// The store fails.
    #[error("Cannot prepare the installation")]
    Store(#[from] StoreError),
    /// Two packages, or a package and the root, have something at the same path.
    #[error("The package `{package}` cannot be unpacked: {clash}")]
    Clash {
        /// The package.
        package: String,
        /// What it meets.
        clash: Clash,
    },
    /// The root has no dpkg, so nothing can be configured there.
    #[error(
        "The root has no dpkg: install Debian's essential packages with it (`essential = true`), or unpack only \
         (`scripts = 'skip`)"
    )]
    NoDpkg,
    /// Two packages of one name.
    #[error("The package `{package}` comes twice")]
    Twice {
        /// Its name.
        package: String,
    },
}

/// What the step that installs packages needs.
#[derive(Debug)]
pub struct Install {
    /// What lies on the root before the step starts: files and database of the placed packages.
    pub diff: Diff,
    /// What the step finds at [`INPUT`].
    pub input: Tree,
    /// The packages that dpkg unpacks in the step; their blobs are in `input`.
    pub unpacked_by_dpkg: Vec<String>,
    /// All packages, by their numbers, in the order of their configuration.
    pub order: Vec<usize>,
}

/// Prepares the installation of `packages` on the root that `view` shows (scripts run).
///
/// `blob` gives the content of a .deb that dpkg must unpack itself: its digest and size in the store.
pub fn prepare<E>(
    store: &Store,
    view: &View,
    packages: &[Package],
    blob: impl Fn(&Sha256) -> Result<(Digest, u64), E>,
) -> Result<Install, E>
where
    E: From<InstallError>,
{
    let plan = plan(store, view, packages)?;
    let by_dpkg: Vec<_> =
        packages.iter().enumerate().filter(|(number, _)| !plan.placed.contains(number)).collect();
    let mut input = Tree::default();
    for (number, package) in &by_dpkg {
        let (digest, size) = blob(&package.digest)?;
        let path = file(&driver::deb_name(*number));
        input.insert_deep(path, Entry::file(digest, size)).expect("`debs` is a directory");
    }
    let script = driver::script(packages, &plan);
    let digest = store.put(script.as_bytes()).map_err(InstallError::from)?;
    input
        .insert(file("driver"), Entry::file(digest, script.len() as u64))
        .expect("the root is a directory");
    let unpacked_by_dpkg = by_dpkg.iter().map(|(_, p)| p.control.name().to_owned()).collect();
    let order = plan.order.all().collect();
    Ok(Install { diff: plan.diff, input, unpacked_by_dpkg, order })
}

/// Unpacks `packages` on the root that `view` shows and records them as unpacked; nothing is run (scripts skipped).
///
/// The result is what `dpkg --unpack` leaves behind, but for what `preinst` scripts do, and with conffiles in
/// their places: `dpkg -l`, `dpkg -L`, `dpkg -V`, `dpkg --configure -a` and readers of the status file such as
/// scanners for vulnerabilities find a database like any other.
pub fn unpack_only(store: &Store, view: &View, packages: &[Package]) -> Result<Diff, InstallError> {
    let installed = Installed::read(store, view)?;
    let order = Order::new(packages, &installed)?;
    let mut merge = Merge::new(view);
    let mut database = Database::open(store, view, installed)?;
    if view.layers().is_empty() {
        merge.merged_usr();
    }
    for number in order.all() {
        let package = &packages[number];
        let name = package.control.name();
        merge
            .add(package, false)
            .map_err(|clash| InstallError::Clash { package: name.to_owned(), clash })?;
        database.add(package, true)?;
    }
    Database::make_directories(&mut merge);
    let mut diff = merge.finish();
    database.write(&mut diff)?;
    Ok(diff)
}

/// Who does what.
#[derive(Debug)]
struct InstallPlan {
    order: Order,
    placed: BTreeSet<usize>,
    /// Those of the placed whose `preinst` runs in the step.
    preinst: BTreeSet<usize>,
    diff: Diff,
}

fn plan(store: &Store, view: &View, packages: &[Package]) -> Result<InstallPlan, InstallError> {
    let installed = Installed::read(store, view)?;
    let order = Order::new(packages, &installed)?;
    if installed.is_empty() && order.essential.is_empty() {
        return Err(InstallError::NoDpkg);
    }
    let mut merge = Merge::new(view);
    if view.layers().is_empty() {
        merge.merged_usr();
    }
    let essential: BTreeSet<_> = order.essential.iter().copied().collect();
    let overrides = status::overrides(store, view)?;
    let (mut placed, mut preinst) = (BTreeSet::new(), BTreeSet::new());
    let mut database = Database::open(store, view, installed)?;
    for number in order.all() {
        let package = &packages[number];
        let first = essential.contains(&number);
        let script = package.member(store, "preinst")?;
        let quiet = status::does_nothing(&script);
        let plain = !database.installed().has(package.control.name())
            && !package.conffiles.iter().any(|conffile| conffile.remove)
            && !overrides.touch(package);
        if !(first || (quiet && plain)) {
            continue;
        }
        match merge.add(package, !first) {
            Ok(()) => {}
            Err(_) if !first => continue,
            Err(clash) => {
                let package = package.control.name().to_owned();
                return Err(InstallError::Clash { package, clash });
            }
        }
        database.add(package, first)?;
        placed.insert(number);
        if !quiet {
            preinst.insert(number);
        }
    }
    Database::make_directories(&mut merge);
    let mut diff = merge.finish();
    database.write(&mut diff)?;
    Ok(InstallPlan { order, placed, preinst, diff })
}

/// A path that is written here.
fn file(path: &str) -> TreePath {
    TreePath::new(path).expect("a constant, or the name of a package, which was checked")
}

/// The text of a small file of a root; empty if it is not there.
fn text(store: &Store, view: &View, path: &str) -> Result<Vec<u8>, StoreError> {
    let Ok(path) = view.resolve(&file(path)) else { return Ok(Vec::new()) };
    match view.get(&path).map(|entry| &entry.node) {
        Some(Node::File { digest, .. }) => store.read(digest),
        _ => Ok(Vec::new()),
    }
}

/// Puts a file into a diff.
fn put_file(store: &Store, diff: &mut Diff, path: &str, bytes: &[u8]) -> Result<(), StoreError> {
    let digest = store.put(bytes)?;
    diff.insert(file(path), Change::Put(Entry::file(digest, bytes.len() as u64)));
    Ok(())
}

/// Names of packages and what is known of each.
type ByName<T> = BTreeMap<String, T>;

#[cfg(test)]
mod tests;

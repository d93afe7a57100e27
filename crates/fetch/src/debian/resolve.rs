//! Resolves a list of package names to the exact packages that `apt-get install` would choose.

mod explain;
mod mark;
#[cfg(test)]
mod tests;

use super::{
    universe::{PkgId, Universe, VerId},
    version::DebVersion,
};
use mark::Marks;
use reimage_plan::PackagePin;
use std::collections::BTreeSet;

/// What is asked of a universe.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Package names, as `apt-get install` takes them: `name`, `name=version`.
    pub packages: Vec<String>,
    /// Debian's essential packages, too.
    pub essential: bool,
    /// Recommended packages, too.
    pub recommends: bool,
    /// Names and versions to choose where there is a choice: what was chosen before.
    pub keep: Vec<(String, String)>,
}

/// Why a request has no answer.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ResolveError {
    /// No index lists a package of that name.
    #[error("No package `{name}` in {suites}{}", did_you_mean(.suggestions))]
    NoSuchPackage {
        /// The name.
        name: String,
        /// The suites searched.
        suites: String,
        /// Names that are close.
        suggestions: Vec<String>,
    },
    /// The name is virtual, and several packages provide it.
    #[error("`{name}` is a virtual package: name one of those that provide it: {}", .providers.join(", "))]
    Virtual {
        /// The name.
        name: String,
        /// The packages that provide it.
        providers: Vec<String>,
    },
    /// The package exists, but not in that version.
    #[error("No version {version} of `{name}` in {suites}, which have {}", .known.join(", "))]
    NoSuchVersion {
        /// The package.
        name: String,
        /// The version asked for.
        version: String,
        /// The suites searched.
        suites: String,
        /// The versions that are there.
        known: Vec<String>,
    },
    /// Something needs what is not there or cannot be installed beside the rest.
    #[error("The packages cannot be installed: {reason}")]
    Unsatisfiable {
        /// The chain from a package asked for to the obstacle.
        reason: String,
    },
    /// What is asked for could be installed only by removing what the root has.
    #[error("The packages cannot be installed without removing {}, which the root has", .packages.join(", "))]
    Removal {
        /// The packages that would have to go.
        packages: Vec<String>,
    },
}

fn did_you_mean(suggestions: &[String]) -> String {
    match suggestions {
        [] => String::new(),
        [one] => format!("; did you mean `{one}`?"),
        several => format!("; did you mean one of `{}`?", several.join("`, `")),
    }
}

/// Room for apt's depth of recursion, in bytes.
const STACK: usize = 256 << 20;

/// Chooses the packages to install for a request, sorted by name.
///
/// What the universe has as installed is not among them, unless something needs a newer version of it.
pub fn resolve(universe: &Universe, request: &Request) -> Result<Vec<PackagePin>, ResolveError> {
    std::thread::scope(|scope| {
        let worker = std::thread::Builder::new().name("resolve".into()).stack_size(STACK);
        let handle = worker.spawn_scoped(scope, || resolve_here(universe, request));
        let handle = handle.expect("the system has room for one more thread");
        handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn resolve_here(universe: &Universe, request: &Request) -> Result<Vec<PackagePin>, ResolveError> {
    let mut marks = Marks::new(universe, request.recommends);
    for (name, version) in &request.keep {
        keep(universe, &mut marks, name, version);
    }
    let mut wanted = Vec::new();
    if request.essential {
        let essential = universe.real_names().filter_map(|name| universe.find(name));
        wanted.extend(essential.filter(|id| universe.package(*id).essential));
    }
    for name in &request.packages {
        let (package, version) = find(universe, name)?;
        if let Some(version) = version {
            marks.set_candidate(package, version);
        }
        wanted.push(package);
    }
    let mut seen = BTreeSet::new();
    wanted.retain(|id| seen.insert(*id));
    prefer_merged_usr(universe, &mut marks, &wanted);

    marks.install_all(&wanted);
    if let Some((owner, dependency)) = marks.broken() {
        let reason = explain::explain(universe, &marks, &wanted, owner, dependency);
        return Err(ResolveError::Unsatisfiable { reason });
    }
    let removed = marks.deletes();
    if !removed.is_empty() {
        let packages = removed.iter().map(|id| format!("`{}`", universe.name(*id))).collect();
        return Err(ResolveError::Removal { packages });
    }
    let mut chosen: Vec<PackagePin> =
        marks.installs().into_iter().filter_map(|id| describe(universe, id)).collect();
    chosen.sort();
    Ok(chosen)
}

/// Prefers a version that was chosen before, if it is there and not older than what is installed.
fn keep(universe: &Universe, marks: &mut Marks<'_>, name: &str, version: &str) {
    let Some(package) = universe.find(name) else { return };
    let entry = universe.package(package);
    let installed = entry.installed.map(|id| &universe.version_of(id).number);
    let kept =
        entry.versions.iter().find(|id| universe.version_of(**id).number.as_str() == version);
    if let Some(id) = kept
        && installed.is_none_or(|installed| universe.version_of(*id).number >= *installed)
    {
        marks.set_candidate(package, *id);
    }
}

/// Rules out `usrmerge`, which converts a root: ours are born merged, so `usr-is-merged` does.
fn prefer_merged_usr(universe: &Universe, marks: &mut Marks<'_>, wanted: &[PkgId]) {
    let Some(usrmerge) = universe.find("usrmerge") else { return };
    let alternative =
        universe.find("usr-is-merged").is_some_and(|id| universe.candidate(id).is_some());
    if alternative && universe.package(usrmerge).installed.is_none() && !wanted.contains(&usrmerge)
    {
        marks.rule_out(usrmerge);
    }
}

/// Finds the package that a name of the request means.
fn find(universe: &Universe, request: &str) -> Result<(PkgId, Option<VerId>), ResolveError> {
    let (name, version) =
        request.split_once('=').map_or((request, None), |(name, version)| (name, Some(version)));
    let suffix = format!(":{}", universe.architecture());
    let name = name.strip_suffix(suffix.as_str()).unwrap_or(name);
    let package = universe.find(name);
    let unknown = || ResolveError::NoSuchPackage {
        name: name.to_owned(),
        suites: suites(universe),
        suggestions: suggestions(universe, name),
    };
    let id = package.ok_or_else(unknown)?;
    let entry = universe.package(id);
    if entry.versions.is_empty() {
        let providers: BTreeSet<PkgId> = entry
            .providers
            .iter()
            .map(|(id, _)| (*id, universe.version_of(*id).package))
            .filter(|(id, package)| universe.candidate(*package) == Some(*id))
            .map(|(_, package)| package)
            .collect();
        let mut names: Vec<String> =
            providers.iter().map(|id| universe.name(*id).to_owned()).collect();
        names.sort();
        return match (providers.first(), names.len()) {
            (None, _) => Err(unknown()),
            (Some(only), 1) => Ok((*only, None)),
            _ => Err(ResolveError::Virtual { name: name.to_owned(), providers: names }),
        };
    }
    let Some(version) = version else { return Ok((id, None)) };
    let wanted = DebVersion::new(version);
    match entry.versions.iter().find(|id| universe.version_of(**id).number == wanted) {
        Some(version) => Ok((id, Some(*version))),
        None => Err(ResolveError::NoSuchVersion {
            name: name.to_owned(),
            version: version.to_owned(),
            suites: suites(universe),
            known: entry
                .versions
                .iter()
                .map(|id| universe.version_of(*id).number.to_string())
                .collect(),
        }),
    }
}

fn suites(universe: &Universe) -> String {
    let mut names: Vec<&str> = Vec::new();
    for index in &universe.indexes {
        if !names.contains(&index.suite.as_str()) {
            names.push(&index.suite);
        }
    }
    if names.is_empty() { "any suite".to_owned() } else { names.join(", ") }
}

/// Returns up to three names that are a small slip away.
fn suggestions(universe: &Universe, name: &str) -> Vec<String> {
    let bound = 1 + name.chars().count() / 5;
    let mut close: Vec<(usize, &str)> = universe
        .real_names()
        .filter(|other| other.len().abs_diff(name.len()) <= bound)
        .map(|other| (strsim::osa_distance(name, other), other))
        .filter(|(distance, _)| *distance <= bound)
        .collect();
    close.sort_unstable();
    close.into_iter().take(3).map(|(_, name)| name.to_owned()).collect()
}

fn describe(universe: &Universe, id: VerId) -> Option<PackagePin> {
    let version = universe.version_of(id);
    let file = version.files.first()?;
    let index = &universe.indexes[file.index];
    Some(PackagePin {
        suite: index.suite.clone(),
        name: universe.name(version.package).to_owned(),
        version: version.number.to_string(),
        architecture: version.architecture.to_string(),
        path: file.path.to_string(),
        sha256: file.sha256,
        size: file.size,
    })
}

//! Compares two directories path by path, save what is known to differ.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::Path,
    process::Command,
};

use super::{
    differences::{Known, matches},
    tree::{Node, read},
};

/// What came of a comparison.
#[derive(Debug, Default)]
pub(super) struct Compared {
    /// How many paths both have together.
    pub(super) paths: usize,
    /// What nothing explains, a line each.
    pub(super) unexplained: Vec<String>,
    /// How many differences each known one explains, by its number.
    pub(super) explained: Vec<usize>,
}

/// Compares `ours` with `theirs`.
pub(super) fn compare(
    ours: &Path,
    theirs: &Path,
    known: &[Known],
    verbose: bool,
) -> Result<Compared, String> {
    let (mut mine, mut other) = (read(ours)?, read(theirs)?);
    let (names, other_names) = (Accounts::read(ours), Accounts::read(theirs));
    for node in mine.values_mut() {
        names.name(node);
    }
    for node in other.values_mut() {
        other_names.name(node);
    }
    let paths: BTreeSet<_> = mine.keys().chain(other.keys()).collect();
    let mut compared =
        Compared { paths: paths.len(), explained: vec![0; known.len()], ..Compared::default() };
    for path in paths {
        let (a, b) = (mine.get(path), other.get(path));
        let what = match (a, b) {
            (Some(_), None) => Some("only ours".to_owned()),
            (None, Some(_)) => Some("only theirs".to_owned()),
            (Some(a), Some(b)) if a != b => Some(attributes(a, b)),
            (Some(_), Some(_)) => {
                let same = same_content(&ours.join(path), &theirs.join(path))
                    .map_err(|e| format!("{}: {e}", path.display()))?;
                (!same).then(|| "content".to_owned())
            }
            (None, None) => None,
        };
        let Some(what) = what else { continue };
        let name = path.display().to_string();
        if let Some(number) =
            known.iter().position(|one| matches(one.path, &name) && what.starts_with(one.how))
        {
            compared.explained[number] += 1;
            continue;
        }
        let mut line = format!("{name}: {what}");
        if verbose && what == "content" {
            line += &difference(&ours.join(path), &theirs.join(path));
        }
        compared.unexplained.push(line);
    }
    Ok(compared)
}

/// Names of users and groups by their numbers. Scripts are given the next free number, so it depends on the order in
/// which packages are configured; who has a name is compared by it, as all that matters is who may do what.
struct Accounts {
    users: BTreeMap<u32, String>,
    groups: BTreeMap<u32, String>,
}

impl Accounts {
    fn read(root: &Path) -> Self {
        let names = |path: &str| {
            let text = fs::read_to_string(root.join(path)).unwrap_or_default();
            let entry = |line: &str| {
                let mut words = line.split(':');
                let name = words.next()?.to_owned();
                Some((words.nth(1)?.parse().ok()?, name))
            };
            text.lines().filter_map(entry).collect()
        };
        Self { users: names("etc/passwd"), groups: names("etc/group") }
    }

    fn name(&self, node: &mut Node) {
        let name = |names: &BTreeMap<u32, String>, id: &str| {
            let known = id.parse().ok().and_then(|id: u32| names.get(&id)).cloned();
            known.unwrap_or_else(|| id.to_owned())
        };
        node.owner = (name(&self.users, &node.owner.0), name(&self.groups, &node.owner.1));
    }
}

fn attributes(ours: &Node, theirs: &Node) -> String {
    format!("ours {ours}, theirs {theirs}")
}

/// Whether two paths of the same type have the same content.
fn same_content(a: &Path, b: &Path) -> io::Result<bool> {
    if !a.symlink_metadata()?.is_file() {
        return Ok(true);
    }
    Ok(a.metadata()?.len() == b.metadata()?.len() && fs::read(a)? == fs::read(b)?)
}

/// The first lines of what `diff` says.
fn difference(ours: &Path, theirs: &Path) -> String {
    let output = Command::new("diff").arg("-u0").args([ours, theirs]).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let lines: Vec<_> = text.iter().flat_map(|text| text.lines().skip(2).take(12)).collect();
    lines.iter().fold(String::new(), |all, line| all + "\n    " + line)
}

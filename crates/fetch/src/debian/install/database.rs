//! dpkg's database with the placed packages in it, as `dpkg --unpack` leaves it.
//!
//! ```text
//! /var/lib/dpkg/status                  a paragraph more for each package: `install ok unpacked`
//! /var/lib/dpkg/info/NAME.list          its paths · NAME[:ARCH] if it is `Multi-Arch: same`
//! /var/lib/dpkg/info/NAME.MEMBER        its control members: scripts, md5sums, conffiles, triggers, …
//! /var/lib/dpkg/triggers/File           which package waits for changes below which path
//! /var/lib/dpkg/triggers/TRIGGER        which packages wait for a trigger of this name
//! /var/lib/dpkg/triggers/Unincorp       triggers of installed packages that the new files activate
//! ```

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use md5::{Digest as _, Md5};
use reimage_castore::{Attrs, Change, Diff, Entry, Node, Store, TreePath, View, hex};

use super::{InstallError, Installed, file, merge::Merge, put_file, text};
use crate::debian::deb::{Control, DebError, Package};

const DIRECTORIES: [&str; 5] = [
    "var/lib/dpkg/alternatives",
    "var/lib/dpkg/info",
    "var/lib/dpkg/parts",
    "var/lib/dpkg/triggers",
    "var/lib/dpkg/updates",
];

/// The order in which dpkg writes the fields that it knows; all others follow as they come.
const FIELDS: [&str; 24] = [
    "Package",
    "Essential",
    "Protected",
    "Status",
    "Priority",
    "Section",
    "Installed-Size",
    "Origin",
    "Maintainer",
    "Bugs",
    "Architecture",
    "Multi-Arch",
    "Source",
    "Version",
    "Replaces",
    "Provides",
    "Depends",
    "Pre-Depends",
    "Recommends",
    "Suggests",
    "Breaks",
    "Conflicts",
    "Enhances",
    "Conffiles",
];

/// The database of a root, and what comes to it.
pub(super) struct Database<'a> {
    store: &'a Store,
    installed: Installed,
    /// By name and architecture, as dpkg sorts them.
    paragraphs: BTreeMap<(String, String), String>,
    /// By their names in `info`.
    files: BTreeMap<String, Entry>,
    /// Lines of `triggers/File`, in order.
    paths: Vec<Interest>,
    /// By the name of the trigger: the lines of its file.
    named: BTreeMap<String, Vec<String>>,
    named_before: BTreeSet<String>,
    activated: BTreeMap<String, BTreeSet<String>>,
    changed: bool,
}

/// Who waits for a path.
struct Interest {
    path: String,
    package: String,
    /// Whether who activates it need not wait.
    noawait: bool,
    /// Whether it was there before: only then it is activated, for who is not configured yet will look anyway.
    before: bool,
}

impl<'a> Database<'a> {
    pub(super) fn open(
        store: &'a Store,
        view: &View,
        installed: Installed,
    ) -> Result<Self, InstallError> {
        let mut paragraphs = BTreeMap::new();
        let status = String::from_utf8_lossy(installed.text()).into_owned();
        for paragraph in
            status.split("\n\n").map(|p| p.trim_matches('\n')).filter(|p| !p.is_empty())
        {
            let control = Control::paragraphs(paragraph.as_bytes()).map_err(|source| {
                InstallError::Database { path: file("var/lib/dpkg/status"), source }
            })?;
            let key = control.first().map(|c| (c.name().to_owned(), c.architecture().to_owned()));
            paragraphs.insert(key.unwrap_or_default(), format!("{paragraph}\n"));
        }
        let lines = text(store, view, "var/lib/dpkg/triggers/File")?;
        let lines = String::from_utf8_lossy(&lines).into_owned();
        let paths = lines.lines().filter_map(|line| {
            let (path, package) = line.rsplit_once(' ')?;
            let (package, noawait) = match package.strip_suffix("/noawait") {
                Some(package) => (package, true),
                None => (package, false),
            };
            Some(Interest { path: path.into(), package: package.into(), noawait, before: true })
        });
        let paths = paths.collect();
        let mut named = BTreeMap::new();
        for path in view.children(&file("var/lib/dpkg/triggers")) {
            let name = String::from_utf8_lossy(path.name().unwrap_or_default()).into_owned();
            if matches!(name.as_str(), "File" | "Lock" | "Unincorp") {
                continue;
            }
            let lines = text(store, view, &format!("var/lib/dpkg/triggers/{name}"))?;
            let lines = String::from_utf8_lossy(&lines).lines().map(str::to_owned).collect();
            named.insert(name, lines);
        }
        Ok(Self {
            store,
            installed,
            paragraphs,
            files: BTreeMap::new(),
            paths,
            named_before: named.keys().cloned().collect(),
            named,
            activated: BTreeMap::new(),
            changed: false,
        })
    }

    /// What was there before.
    pub(super) fn installed(&self) -> &Installed {
        &self.installed
    }

    /// Makes the directories of the database where the root has none: the package dpkg brings them otherwise.
    pub(super) fn make_directories(merge: &mut Merge<'_>) {
        for directory in DIRECTORIES {
            merge.directory(directory);
        }
    }

    /// Adds an unpacked package. With `settled` its conffiles are in their places already.
    pub(super) fn add(&mut self, package: &Package, settled: bool) -> Result<(), InstallError> {
        self.changed = true;
        let control = &package.control;
        let info = control.info_name();
        let (digest, size) = package.list;
        self.files.insert(format!("{info}.list"), Entry::file(digest, size));
        for (member, entry) in package.members.iter().filter(|(member, _)| *member != "control") {
            let mut entry = entry.clone();
            entry.attrs = Attrs { uid: 0, gid: 0, ..entry.attrs };
            self.files.insert(format!("{info}.{member}"), entry);
        }
        let conffiles = self.conffiles(package, settled)?;
        let key = (control.name().to_owned(), control.architecture().to_owned());
        self.paragraphs.insert(key, paragraph(control, &conffiles));
        self.activate(package);
        self.take_interest(package, &info)
    }

    /// The lines of the field `Conffiles`.
    fn conffiles(&self, package: &Package, settled: bool) -> Result<String, InstallError> {
        let mut field = String::new();
        for conffile in &package.conffiles {
            let digest = match package.data.get(&conffile.path).map(|entry| &entry.node) {
                Some(Node::File { digest, .. }) if settled => {
                    let bytes = self.store.read(digest).map_err(|source| DebError::Store {
                        package: package.control.name().to_owned(),
                        source,
                    })?;
                    hex(&Md5::digest(bytes))
                }
                // What dpkg writes of one that it has unpacked and not yet put in its place.
                _ => "newconffile".to_owned(),
            };
            let flag = if conffile.remove { " remove-on-upgrade" } else { "" };
            let path = String::from_utf8_lossy(conffile.path.as_bytes());
            let _ = write!(field, "\n /{path} {digest}{flag}");
        }
        Ok(field)
    }

    /// Notes which triggers of configured packages the files of this one activate.
    fn activate(&mut self, package: &Package) {
        let activator = package.control.info_name();
        for interest in self.paths.iter().filter(|interest| interest.before) {
            let Ok(path) = TreePath::new(&interest.path) else { continue };
            let below = package.data.below(&path).next().is_some();
            if below {
                let awaiter = if interest.noawait { "-" } else { &activator };
                self.activated.entry(interest.path.clone()).or_default().insert(awaiter.to_owned());
            }
        }
    }

    /// Notes what the package's `triggers` say.
    fn take_interest(&mut self, package: &Package, info: &str) -> Result<(), InstallError> {
        let triggers = package.member(self.store, "triggers")?;
        for line in triggers.lines().map(|line| line.split('#').next().unwrap_or_default()) {
            let mut words = line.split_whitespace();
            let (Some(directive), Some(name)) = (words.next(), words.next()) else { continue };
            let noawait = directive.ends_with("-noawait");
            match directive {
                "interest" | "interest-await" | "interest-noawait" if name.starts_with('/') => {
                    self.paths.push(Interest {
                        path: name.to_owned(),
                        package: info.to_owned(),
                        noawait,
                        before: false,
                    });
                }
                "interest" | "interest-await" | "interest-noawait" => {
                    let suffix = if noawait { "/noawait" } else { "" };
                    self.named.entry(name.to_owned()).or_default().push(format!("{info}{suffix}"));
                }
                "activate" | "activate-await" | "activate-noawait"
                    if self.named_before.contains(name) =>
                {
                    let awaiter = if noawait { "-" } else { info };
                    self.activated.entry(name.to_owned()).or_default().insert(awaiter.to_owned());
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Puts what has changed into the diff.
    pub(super) fn write(self, diff: &mut Diff) -> Result<(), InstallError> {
        if !self.changed {
            return Ok(());
        }
        for (name, entry) in self.files {
            diff.insert(file(&format!("var/lib/dpkg/info/{name}")), Change::Put(entry));
        }
        let mut put = |path: &str, text: &str| put_file(self.store, diff, path, text.as_bytes());
        let status: Vec<_> = self.paragraphs.into_values().collect();
        put("var/lib/dpkg/status", &(status.join("\n") + "\n"))?;
        put("var/lib/dpkg/info/format", "1\n")?;
        let lines = self.paths.iter().fold(String::new(), |mut lines, interest| {
            let Interest { path, package, noawait, before: _ } = interest;
            let _ = writeln!(lines, "{path} {package}{}", if *noawait { "/noawait" } else { "" });
            lines
        });
        if !lines.is_empty() {
            put("var/lib/dpkg/triggers/File", &lines)?;
        }
        for (name, mut lines) in self.named {
            lines.push(String::new());
            put(&format!("var/lib/dpkg/triggers/{name}"), &lines.join("\n"))?;
        }
        let lines = self.activated.iter().fold(String::new(), |mut lines, (name, awaiters)| {
            let awaiters: Vec<_> = awaiters.iter().map(String::as_str).collect();
            let _ = writeln!(lines, "{name} {}", awaiters.join(" "));
            lines
        });
        if !lines.is_empty() {
            put("var/lib/dpkg/triggers/Unincorp", &lines)?;
        }
        Ok(())
    }
}

/// A paragraph of the status file.
fn paragraph(control: &Control, conffiles: &str) -> String {
    let mut text = String::new();
    let mut add = |name: &str, value: &str| {
        let space = if value.is_empty() || value.starts_with('\n') { "" } else { " " };
        let _ = writeln!(text, "{name}:{space}{value}");
    };
    for field in FIELDS {
        match field {
            "Status" => add(field, "install ok unpacked"),
            "Conffiles" if !conffiles.is_empty() => add(field, conffiles),
            "Conffiles" => {}
            _ => {
                if let Some(value) = control.raw(field) {
                    add(field, value);
                }
            }
        }
    }
    // dpkg's own fields come before the description, what it does not know after it.
    if let Some(description) = control.raw("Description") {
        add("Description", description);
    }
    let known = |name: &str| {
        let mut known = FIELDS.iter().chain(&["Description"]);
        known.any(|field| field.eq_ignore_ascii_case(name))
    };
    for (name, value) in control.fields().filter(|(name, _)| !known(name)) {
        add(name, value);
    }
    text
}

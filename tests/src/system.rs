//! A root to run steps in without a network: programs of this machine with the libraries that they load.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    process::Command,
};

use crate::TestEnv;

impl TestEnv {
    /// Copies programs of this machine, by name, into the project's `root/bin`, and what they load to where they
    /// look for it.
    pub fn programs(&self, names: &[&str]) -> &Self {
        let mut files = BTreeSet::new();
        for name in names {
            let program = find(name);
            self.copy(&program, &format!("root/bin/{name}"));
            files.extend(libraries(&program));
        }
        for library in files {
            self.copy(&library, &format!("root{}", library.display()));
        }
        self
    }

    /// Copies the library of this machine's Python, which `programs(&["python3"])` needs, without what is compiled.
    pub fn python(&self) -> &Self {
        let ask = "import sysconfig; print(sysconfig.get_path('stdlib'))";
        let output = Command::new(find("python3")).args(["-c", ask]).output().expect("it runs");
        let library = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        let to = self.path(format!("root{library}"));
        fs_err::create_dir_all(&to).expect("writable");
        let script = "tar -C \"$0\" -cf - --exclude __pycache__ --exclude 'test*' --exclude 'config-*' --exclude 'dist-packages' . | tar -C \"$1\" -xf -";
        let status = Command::new("sh").args(["-c", script, &library]).arg(&to).status();
        assert!(status.expect("sh can be run").success());
        self
    }

    fn copy(&self, from: &Path, to: &str) {
        let to = self.path(to);
        fs_err::create_dir_all(to.parent().expect("it is below the root")).expect("writable");
        fs_err::copy(from, to).expect("programs can be read");
    }
}

/// Programs of this machine, by name, with the libraries that they load: where each lies in a root whose `/bin` and
/// `/lib` are links into `/usr`, and its content.
pub fn programs(names: &[&str]) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for name in names {
        let program = find(name);
        let directory = if program.starts_with("/usr/sbin") || program.starts_with("/sbin") {
            "sbin"
        } else {
            "bin"
        };
        found.insert(format!("usr/{directory}/{name}"), program.clone());
        for library in libraries(&program) {
            let within = library.display().to_string();
            let within = within.trim_start_matches("/usr").trim_start_matches('/').to_owned();
            found.insert(format!("usr/{within}"), library);
        }
    }
    let read = |path| fs_err::read(path).expect("programs can be read");
    found.into_iter().map(|(at, path)| (at, read(path))).collect()
}

fn find(name: &str) -> PathBuf {
    let places =
        ["/usr/bin", "/bin", "/usr/sbin", "/sbin"].map(|directory| Path::new(directory).join(name));
    places.into_iter().find(|path| path.is_file()).expect("every Linux machine has it")
}

/// What `ldd` says that a program loads.
fn libraries(program: &Path) -> Vec<PathBuf> {
    let output = Command::new("ldd").arg(program).output().expect("ldd is part of the C library");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from).collect()
}

//! The hermetic environment of one test, and the binary under test.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

use tempfile::TempDir;

use crate::Ran;

/// A machine of its own: `home`, `cache`, `data`, `config` and the project `work`, gone with the value.
#[derive(Debug)]
pub struct TestEnv {
    root: TempDir,
}

impl Default for TestEnv {
    fn default() -> Self {
        Self::new()
    }
}

impl TestEnv {
    /// An empty one.
    pub fn new() -> Self {
        let root = tempfile::Builder::new().prefix("reimage-test-").tempdir().expect("a directory");
        for name in ["home", "cache", "data", "config", "work"] {
            fs_err::create_dir(root.path().join(name)).expect("the directory is new");
        }
        // The project ends here, whatever lies above the temporary directory.
        fs_err::create_dir(root.path().join("work/.git")).expect("the directory is new");
        Self { root }
    }

    /// The directory that holds all of it.
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// A path below the project.
    pub fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        self.root.path().join("work").join(path)
    }

    /// Writes a file of the project.
    pub fn file(&self, path: impl AsRef<Path>, content: impl AsRef<[u8]>) -> &Self {
        self.write(self.path(path), content)
    }

    /// Writes the user's `config.toml`.
    pub fn config(&self, content: &str) -> &Self {
        self.write(self.root.path().join("config/reimage/config.toml"), content)
    }

    fn write(&self, path: PathBuf, content: impl AsRef<[u8]>) -> &Self {
        fs_err::create_dir_all(path.parent().expect("it is below the root")).expect("writable");
        fs_err::write(path, content).expect("writable");
        self
    }

    /// The text of a file of the project.
    pub fn read(&self, path: impl AsRef<Path>) -> String {
        fs_err::read_to_string(self.path(path)).expect("the file is there and text")
    }

    /// Runs `reimage` with these arguments in the project.
    #[must_use = "snapshot what it prints, or assert its exit status"]
    pub fn reimage<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Ran {
        self.run(self.command().args(arguments))
    }

    /// `reimage`, ready to run in the project: more arguments and variables may follow.
    pub fn command(&self) -> Command {
        let root = self.root.path();
        let mut command = Command::new(binary());
        command
            .current_dir(root.join("work"))
            .env_clear()
            .env("HOME", root.join("home"))
            .env("XDG_CACHE_HOME", root.join("cache"))
            .env("XDG_DATA_HOME", root.join("data"))
            .env("XDG_CONFIG_HOME", root.join("config"))
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .stdin(Stdio::null());
        command
    }

    /// Runs a command made by [`Self::command`].
    #[must_use = "snapshot what it prints, or assert its exit status"]
    pub fn run(&self, command: &mut Command) -> Ran {
        self.ran(command.output().expect("the binary can be run"))
    }

    /// What a command made by [`Self::command`] printed and how it ended.
    pub fn ran(&self, output: std::process::Output) -> Ran {
        Ran::new(output, self.root.path())
    }
}

/// The binary under test: `$REIMAGE_BIN`, else the workspace's, built in the profile of this test.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| given().unwrap_or_else(build))
}

#[expect(clippy::disallowed_methods, reason = "which binary to test is the tester's choice")]
fn given() -> Option<PathBuf> {
    std::env::var_os("REIMAGE_BIN").map(PathBuf::from)
}

/// Builds it: cargo does not build the binaries of other packages for a test.
fn build() -> PathBuf {
    let test = std::env::current_exe().expect("the test knows its own path");
    let profile = test.ancestors().nth(2).expect("tests lie in target/PROFILE/deps").to_owned();
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .args(["build", "--quiet", "--package", "reimage"])
        .current_dir(env!("CARGO_MANIFEST_DIR"));
    match profile.file_name().and_then(OsStr::to_str) {
        Some("debug") | None => {}
        Some(name) => {
            cargo.args(["--profile", name]);
        }
    }
    assert!(cargo.status().expect("cargo can be run").success(), "reimage cannot be built");
    profile.join("reimage")
}

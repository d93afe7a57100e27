//! A root file system from this machine's own programs, and short ways to run a command in it.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command as Program;
use std::sync::atomic::{AtomicUsize, Ordering};

use reimage_sandbox::{Command, Error, Outcome, Status, Streams, Zygote};

/// Programs of the test root. perl makes system calls that the shell cannot.
const PROGRAMS: &[&str] = &[
    "sh", "perl", "cat", "chmod", "cp", "dd", "env", "find", "id", "ln", "ls", "mkdir", "mkfifo",
    "mv", "nohup", "readlink", "rm", "setsid", "sleep", "stat", "tail", "touch", "true",
    "truncate", "uname", "wc", "hostname", "sync",
];

/// perl's syscall wants strings that it may write to; numbers are those of x86-64.
const SYSCALL: &str = "sub sc { my @a = @_; my $n = shift @a; syscall($n, @a) } ";

/// Everything that a test needs.
pub(crate) struct Lab {
    pub(crate) zygote: Zygote,
    /// Lower directory with the programs.
    pub(crate) root: PathBuf,
    dir: tempfile::TempDir,
    count: AtomicUsize,
}

/// What a command did.
pub(crate) struct Done {
    pub(crate) outcome: Outcome,
    pub(crate) output: String,
}

impl Done {
    /// The output of a command that must have succeeded.
    pub(crate) fn text(self) -> String {
        assert!(self.outcome.succeeded(), "{:?}: {}", self.outcome, self.output);
        self.output
    }

    pub(crate) fn code(&self) -> i32 {
        self.outcome.status.code()
    }
}

impl Lab {
    pub(crate) fn new(zygote: Zygote) -> Self {
        let dir = tempfile::Builder::new().prefix("reimage-sandbox-").tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let root = dir.path().join("root");
        make_root(&root);
        let lab = Self { zygote, root, dir, count: AtomicUsize::new(0) };
        let tmp = lab.shared("tmp");
        fs::create_dir(&tmp).unwrap();
        fs::set_permissions(&tmp, fs::Permissions::from_mode(0o1777)).unwrap();
        lab
    }

    /// One that has its root elsewhere.
    pub(crate) fn with(zygote: Zygote, root: PathBuf) -> Self {
        let dir = tempfile::Builder::new().prefix("reimage-sandbox-").tempdir().unwrap();
        Self { zygote, root, dir, count: AtomicUsize::new(0) }
    }

    /// A path that other users can reach.
    pub(crate) fn shared(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A fresh directory.
    pub(crate) fn fresh(&self) -> PathBuf {
        let name = format!("d{}", self.count.fetch_add(1, Ordering::Relaxed));
        let path = self.dir.path().join(name);
        fs::create_dir(&path).unwrap();
        path
    }

    /// A command in the test root.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(self.fresh(), words.iter().map(OsString::from));
        command.lowers = vec![self.root.clone()];
        command.env.insert("PATH".into(), "/bin".into());
        command
    }

    /// A shell script in the test root.
    pub(crate) fn script(&self, script: &str) -> Command {
        self.command(&["/bin/sh", "-e", "-c", script])
    }

    /// A perl script in the test root.
    pub(crate) fn perl(&self, script: &str) -> Command {
        self.command(&["perl", "-e", &format!("{SYSCALL}{script}")])
    }

    /// A layer with a program in C at `/c`.
    pub(crate) fn compiled(&self, source: &str) -> PathBuf {
        let layer = self.fresh();
        fs::write(layer.join("c.c"), source).unwrap();
        let mut cc = Program::new("cc");
        let status = cc.current_dir(&layer).args(["-pthread", "-o", "c", "c.c"]).status().unwrap();
        assert!(status.success());
        layer
    }

    /// Runs a command and gathers what it says on both streams.
    pub(crate) fn run(&self, command: &Command) -> Done {
        self.try_run(command).unwrap_or_else(|error| panic!("{error:?}"))
    }

    pub(crate) fn try_run(&self, command: &Command) -> Result<Done, Error> {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let null = fs::File::open("/dev/null").unwrap();
        let streams =
            Streams { input: null.as_fd(), output: writer.as_fd(), error: writer.as_fd() };
        let running = self.zygote.spawn(command, streams)?;
        drop(writer);
        let mut output = Vec::new();
        reader.read_to_end(&mut output).unwrap();
        let outcome = running.wait()?;
        Ok(Done { outcome, output: String::from_utf8_lossy(&output).into_owned() })
    }

    /// Runs a script that must succeed and returns what it says.
    pub(crate) fn sh(&self, script: &str) -> String {
        self.run(&self.script(script)).text()
    }

    /// Asserts the exit code of a command that was not hit by anything.
    pub(crate) fn expect(&self, command: &Command, code: i32) -> String {
        let done = self.run(command);
        assert_eq!(done.outcome.status, Status::Exited(code), "{}", done.output);
        assert_eq!(done.outcome.voided, [], "{}", done.output);
        done.output
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        reimage_sandbox::remove_tree(self.dir.path()).unwrap();
    }
}

/// Copies programs and the libraries that they load.
fn make_root(root: &Path) {
    let mut files = BTreeSet::new();
    for program in PROGRAMS {
        let found = ["/bin", "/usr/bin"]
            .iter()
            .map(|dir| Path::new(dir).join(program))
            .find(|path| path.exists());
        let Some(found) = found else {
            panic!("this machine lacks `{program}`, which the tests need")
        };
        let real = fs::canonicalize(&found).unwrap();
        copy(&real, &root.join("bin").join(program));
        let listed = Program::new("ldd").arg(&real).output().unwrap().stdout;
        for word in String::from_utf8(listed).unwrap().split_whitespace() {
            if word.starts_with('/') {
                files.insert(PathBuf::from(word));
            }
        }
    }
    for file in files {
        copy(&file, &root.join(file.strip_prefix("/").unwrap()));
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    fs::copy(from, to)
        .unwrap_or_else(|error| panic!("{} to {}: {error}", from.display(), to.display()));
}

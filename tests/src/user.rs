//! Whom a test runs as, and how to run as somebody without privileges.

use std::{
    ffi::OsStr,
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::Path,
    process::Command,
};

use crate::{Ran, TestEnv, binary};

/// A user that need not exist: nothing looks it up.
const PLAIN: u32 = 54_321;

/// Whether the tests run as root.
pub fn is_root() -> bool {
    fs_err::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

impl TestEnv {
    /// Runs `reimage` as a user who has one id and no privileges: the tester, unless that is root.
    #[must_use = "snapshot what it prints, or assert its exit status"]
    pub fn as_plain_user<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Ran {
        self.as_plain_user_by(&[], arguments)
    }

    /// The same, run by a program with these arguments, such as `nice`.
    #[must_use = "snapshot what it prints, or assert its exit status"]
    pub fn as_plain_user_by<A: AsRef<OsStr>>(
        &self,
        by: &[&str],
        arguments: impl IntoIterator<Item = A>,
    ) -> Ran {
        let template = self.command();
        if !is_root() {
            let reimage = binary().to_str().expect("its path is text");
            let words: Vec<_> = by.iter().chain([&reimage]).collect();
            let mut command = Command::new(words[0]);
            command.args(&words[1..]).args(arguments).env_clear().current_dir(self.path(""));
            command.envs(template.get_envs().filter_map(|(name, value)| Some((name, value?))));
            return self.run(&mut command);
        }
        own(self.root());
        // The binary may lie where only root may look.
        let open = tempfile::Builder::new().prefix("reimage-bin-").tempdir().expect("a directory");
        let reimage = open.path().join("reimage");
        // By another process: a program that a thread of ours is being forked with open to write cannot run.
        let copied = Command::new("cp").arg(binary()).arg(&reimage).status().expect("it runs");
        assert!(copied.success(), "a file can be copied");
        fs_err::set_permissions(open.path(), PermissionsExt::from_mode(0o755)).expect("ours");
        let mut command = Command::new("setpriv");
        command.args([format!("--reuid={PLAIN}"), format!("--regid={PLAIN}")]);
        command.arg("--clear-groups").args(by).arg(&reimage).args(arguments);
        command.env_clear().current_dir(self.path(""));
        command.envs(template.get_envs().filter_map(|(name, value)| Some((name, value?))));
        self.run(&mut command)
    }
}

#[expect(clippy::disallowed_methods, reason = "each is given away, in whatever order")]
fn own(path: &Path) {
    let found = fs_err::symlink_metadata(path).expect("ours");
    if found.is_dir() {
        for entry in fs_err::read_dir(path).expect("ours") {
            own(&entry.expect("ours").path());
        }
    }
    if !found.is_symlink() {
        chown(path, Some(PLAIN), Some(PLAIN)).expect("root may give away");
    }
}

//! What this process was started with: environment, working directory, clock, processors.
//!
//! Read here, once, and handed down as values. **Invariant:** no other file of the workspace reads any of it, so
//! none of it can reach a digest.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    io::IsTerminal,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crate::error::{CommandError, Kind};

/// The machine as this process sees it.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    /// The working directory.
    pub(crate) cwd: PathBuf,
    /// Where the machine's own configuration lies: `/etc`.
    pub(crate) etc: PathBuf,
    /// Seconds since 1970 when the process started.
    pub(crate) now: i64,
    /// Processors this process may use.
    pub(crate) processors: usize,
    /// Bytes of memory that are free for this process.
    pub(crate) memory: u64,
    /// What tells this very program from every other, if that can be told.
    pub(crate) program: Option<String>,
    /// Whether stdin is a terminal.
    pub(crate) stdin_terminal: bool,
    /// Whether stdout is a terminal.
    pub(crate) stdout_terminal: bool,
    /// Whether stderr is a terminal.
    pub(crate) stderr_terminal: bool,
    variables: BTreeMap<OsString, OsString>,
}

impl Machine {
    /// Reads it.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads clock, environment, cwd"
    )]
    pub(crate) fn read() -> Result<Self, CommandError> {
        let cwd = std::env::current_dir().map_err(|source| {
            CommandError::new(Kind::Environment, "The working directory cannot be found")
                .caused_by(source)
                .hint("change into a directory that exists")
        })?;
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX));
        Ok(Self {
            cwd,
            etc: "/etc".into(),
            now,
            processors: thread::available_parallelism().map_or(1, usize::from),
            memory: reimage_sandbox::available_memory() & !((1 << 20) - 1),
            program: program(),
            stdin_terminal: std::io::stdin().is_terminal(),
            stdout_terminal: std::io::stdout().is_terminal(),
            stderr_terminal: std::io::stderr().is_terminal(),
            variables: std::env::vars_os().collect(),
        })
    }

    /// An environment variable; an empty one is as good as none.
    pub(crate) fn variable(&self, name: &str) -> Option<&OsStr> {
        self.variables.get(OsStr::new(name)).map(OsString::as_os_str).filter(|v| !v.is_empty())
    }

    /// The present time.
    pub(crate) fn time(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(self.now.try_into().unwrap_or(0))
    }

    /// `path` as seen from the working directory.
    pub(crate) fn absolute(&self, path: &Path) -> PathBuf {
        self.cwd.join(path)
    }

    /// The directory that `variable` names (only an absolute path counts, as the XDG specification has it), else
    /// `fallback` below the home directory.
    pub(crate) fn xdg(&self, variable: &str, fallback: &str) -> Result<PathBuf, CommandError> {
        let named = self.variable(variable).map(PathBuf::from).filter(|path| path.is_absolute());
        if let Some(path) = named {
            return Ok(path);
        }
        let home = self.variable("HOME").map(PathBuf::from).filter(|path| path.is_absolute());
        home.map(|home| home.join(fallback)).ok_or_else(|| {
            CommandError::new(
                Kind::Environment,
                format!("Neither `{variable}` nor `HOME` names a directory to keep files in"),
            )
            .hint(format!("set `HOME` or `{variable}` to an absolute path"))
        })
    }
}

/// What tells this program from every other, another build of the same version among them: its file, which no build
/// writes twice within one tick of the clock.
fn program() -> Option<String> {
    let m = std::fs::metadata("/proc/self/exe").ok()?;
    let file = [m.dev(), m.ino(), m.size()].map(|number| number.to_string()).join(" ");
    let times = [m.mtime(), m.mtime_nsec(), m.ctime(), m.ctime_nsec()];
    let times = times.map(|number| number.to_string()).join(" ");
    Some(format!("{} {file} {times}", env!("CARGO_PKG_VERSION")))
}

#[cfg(test)]
impl Machine {
    /// A machine with these variables and nothing else.
    pub(crate) fn with(cwd: &Path, variables: &[(&str, &str)]) -> Self {
        Self {
            cwd: cwd.to_owned(),
            etc: cwd.join("etc"),
            now: 0,
            processors: 2,
            memory: 8 << 30,
            stdin_terminal: false,
            stdout_terminal: false,
            stderr_terminal: false,
            program: None,
            variables: variables.iter().map(|(k, v)| (k.into(), v.into())).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xdg_directories() {
        let at = |variables: &[(&str, &str)]| {
            Machine::with(Path::new("/w"), variables).xdg("XDG_CACHE_HOME", ".cache")
        };
        let path = |p: &str| PathBuf::from(p);
        assert_eq!(at(&[("HOME", "/h")]).expect("home"), path("/h/.cache"));
        assert_eq!(at(&[("HOME", "/h"), ("XDG_CACHE_HOME", "/c")]).expect("xdg"), path("/c"));
        assert_eq!(
            at(&[("HOME", "/h"), ("XDG_CACHE_HOME", "c")]).expect("home"),
            path("/h/.cache")
        );
        assert_eq!(at(&[("HOME", "/h"), ("XDG_CACHE_HOME", "")]).expect("home"), path("/h/.cache"));
        assert!(at(&[("HOME", "")]).is_err());
    }
}

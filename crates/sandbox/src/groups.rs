//! The control groups above us: how much memory and how many processes they leave us.

use std::fs::{self, File};
use std::iter;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Bytes of memory that this process and its children can use now, as far as the machine (`MemAvailable` of proc(5))
/// and the control groups (`memory.max` of cgroup v2, `memory.limit_in_bytes` of v1) let them; 0 if nobody says.
pub fn available_memory() -> u64 {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let machine = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let files = files(&groups, "memory", "memory.max", "memory.limit_in_bytes");
    bounds(files, |path| fs::read_to_string(path).ok()).fold(free(&machine), u64::min)
}

fn free(meminfo: &str) -> u64 {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse().ok());
    kilobytes.map_or(0, |kilobytes: u64| kilobytes.saturating_mul(1024))
}

/// A file of the groups that /proc/self/cgroup names, and of all above them: `v2` of the unified hierarchy, `v1` of
/// the controller's own. Within a container a path may be the host's, so that not all need be there.
fn files<'a>(
    groups: &'a str,
    controller: &'a str,
    v2: &'a str,
    v1: &'a str,
) -> impl Iterator<Item = PathBuf> {
    groups
        .lines()
        .filter_map(move |line| {
            let mut fields = line.splitn(3, ':').skip(1);
            let (controllers, path) = (fields.next()?, fields.next()?);
            let top = Path::new("/sys/fs/cgroup");
            match controllers {
                "" => Some((top.to_path_buf(), v2, path)),
                name if name == controller => Some((top.join(controller), v1, path)),
                _ => None,
            }
        })
        .flat_map(|(top, file, path)| {
            let below = Path::new(path.trim_start_matches('/'));
            let above = iter::successors(Some(below), |path| path.parent());
            above.map(move |path| top.join(path).join(file))
        })
}

/// The numbers in those files that can be read and hold one.
fn bounds(
    files: impl Iterator<Item = PathBuf>,
    read: impl Fn(&Path) -> Option<String>,
) -> impl Iterator<Item = u64> {
    files.filter_map(move |file| read(&file)?.trim().parse().ok())
}

/// What counts the forks that a limit of ours refused; open, as a sandbox has no /sys of the machine.
#[derive(Debug)]
pub(crate) struct Groups {
    events: Vec<File>,
}

impl Groups {
    /// Opens what is there.
    pub(crate) fn open() -> Self {
        let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let files = files(&groups, "pids", "pids.events", "pids.events");
        Self { events: files.filter_map(|file| File::open(file).ok()).collect() }
    }

    /// How many forks have been refused so far in the groups above us, by any of their limits.
    pub(crate) fn refused_forks(&self) -> u64 {
        let mut buffer = [0; 64];
        let counts = self.events.iter().filter_map(|file| {
            let length = file.read_at(&mut buffer, 0).ok()?;
            max(std::str::from_utf8(&buffer[..length]).ok()?)
        });
        counts.max().unwrap_or(0)
    }
}

/// The count in a pids.events file.
fn max(events: &str) -> Option<u64> {
    events.lines().find_map(|line| line.strip_prefix("max "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_bound_of_all_groups_counts() {
        let read = |path: &Path| {
            let text = match path.to_str()? {
                "/sys/fs/cgroup/a/b/memory.max" => "max",
                "/sys/fs/cgroup/a/memory.max" => "2000\n",
                "/sys/fs/cgroup/memory/x/memory.limit_in_bytes" => "3000",
                _ => return None,
            };
            Some(text.to_owned())
        };
        let all = |groups: &str| -> Vec<u64> {
            bounds(files(groups, "memory", "memory.max", "memory.limit_in_bytes"), read).collect()
        };
        assert_eq!(all("0::/a/b\n"), [2000]);
        assert_eq!(all("5:memory:/x\n4:cpu:/x\n"), [3000]);
        assert!(all("nonsense").is_empty());
        assert_eq!(free("MemTotal: 9 kB\nMemAvailable:    7 kB\n"), 7 << 10);
        assert!(available_memory() > 0);
    }

    #[test]
    fn refused_forks_are_counted() {
        assert_eq!(max("max 3\n"), Some(3));
        assert_eq!(max("max.imposed 4\nmax 3\n"), Some(3));
        assert_eq!(max(""), None);
        let _ = Groups::open().refused_forks();
    }
}

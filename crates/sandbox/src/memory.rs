//! How much memory there is to write to: the machine's, and what the control groups above us leave of it.

use std::{fs, iter, path::Path};

/// Bytes of memory that this process and its children can use now, as far as the machine (`MemAvailable` of proc(5))
/// and the control groups (`memory.max` of cgroup v2, `memory.limit_in_bytes` of v1) let them; 0 if nobody says.
pub fn available_memory() -> u64 {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let machine = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    bounds(&groups, |path| fs::read_to_string(path).ok()).fold(free(&machine), u64::min)
}

fn free(meminfo: &str) -> u64 {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse().ok());
    kilobytes.map_or(0, |kilobytes: u64| kilobytes.saturating_mul(1024))
}

/// The bounds of the groups that /proc/self/cgroup names, and of all above them.
fn bounds(groups: &str, read: impl Fn(&Path) -> Option<String>) -> impl Iterator<Item = u64> {
    groups
        .lines()
        .filter_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            let (controllers, path) = (fields.next()?, fields.next()?);
            match controllers {
                "" => Some(("/sys/fs/cgroup", "memory.max", path)),
                "memory" => Some(("/sys/fs/cgroup/memory", "memory.limit_in_bytes", path)),
                _ => None,
            }
        })
        .flat_map(|(top, file, path)| {
            // Within a container the path may be the host's: what is not there is passed over.
            let below = Path::new(path.trim_start_matches('/'));
            let above = iter::successors(Some(below), |path| path.parent());
            above.map(move |path| Path::new(top).join(path).join(file))
        })
        .filter_map(|file| read(&file)?.trim().parse().ok())
        .collect::<Vec<_>>()
        .into_iter()
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
        assert_eq!(bounds("0::/a/b\n", read).collect::<Vec<_>>(), [2000]);
        assert_eq!(bounds("5:memory:/x\n4:cpu:/x\n", read).collect::<Vec<_>>(), [3000]);
        assert_eq!(bounds("nonsense", read).count(), 0);
        assert_eq!(free("MemTotal: 9 kB\nMemAvailable:    7 kB\n"), 7 << 10);
        assert!(available_memory() > 0);
    }
}

//! Large files that stand for devices in every sandbox: made once, read by all.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use super::{Store, StoreError, error::Context, record::touch};
use crate::files::{Locked, remove_all};

/// A file that stands for a device; whoever changes what is in it changes its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Device {
    /// What it is called, its version among it: `urandom-1`.
    pub name: &'static str,
    /// Its size in bytes.
    pub size: u64,
    /// The time it has, in seconds since 1970.
    pub time: u64,
}

impl Store {
    /// The file of `device`, for all to read; `write` makes it if it is not there as it was made. It stays as long as the
    /// store is open.
    pub fn device(
        &self,
        device: &Device,
        write: impl FnOnce(&mut File) -> io::Result<()>,
    ) -> Result<PathBuf, StoreError> {
        let home = self.bucket("devices-v1").join(device.name);
        let file = home.join("device");
        if !self.is_in_use(&home) || !is_whole(&file, device) {
            let lock = self.bucket("locks").join(format!("device-{}", device.name));
            let _lock = Locked::wait(&lock).at("lock", &lock)?;
            if !self.is_in_use(&home) || !is_whole(&file, device) {
                remove_all(&home).at("remove", &home)?;
                let temp = self.tmp_name();
                fs::create_dir(&temp).at("make", &temp)?;
                make(&temp.join("device"), device, write).at("make", &file)?;
                fs::rename(&temp, &home).at("make", &home)?;
            }
        }
        Ok(file)
    }

    /// Whether it is there; then `prune` keeps it from now on.
    fn is_in_use(&self, home: &Path) -> bool {
        match fs::metadata(home).and_then(|m| m.modified()) {
            Ok(used) => used >= self.0.opened || touch(home).is_ok(),
            Err(_) => false,
        }
    }
}

/// As far as that can be seen without reading it: whoever writes to it changes its time, a power cut leaves it short.
fn is_whole(file: &Path, device: &Device) -> bool {
    fs::symlink_metadata(file).is_ok_and(|m| {
        let time = (m.mtime().cast_unsigned(), m.mtime_nsec());
        m.is_file() && m.len() == device.size && time == (device.time, 0)
    })
}

fn make(
    path: &Path,
    device: &Device,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<()> {
    let mut file = File::options().write(true).create_new(true).mode(0o444).open(path)?;
    write(&mut file)?;
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o444))?;
    file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(device.time))?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const DEVICE: Device = Device { name: "numbers-1", size: 4, time: 7 };

    fn made(store: &Store) -> (PathBuf, bool) {
        let mut made = false;
        let path = store.device(&DEVICE, |file| {
            made = true;
            file.write_all(b"1234")
        });
        (path.expect("made"), made)
    }

    #[test]
    fn made_once_and_again_when_it_was_changed() {
        let home = tempfile::tempdir().expect("a directory");
        let store = Store::open(home.path()).expect("a store");
        let (path, first) = made(&store);
        assert!(first);
        assert_eq!(fs::read(&path).expect("read"), b"1234");
        let m = fs::metadata(&path).expect("there");
        assert_eq!((m.mode() & 0o7777, m.mtime()), (0o444, 7));
        assert!(!made(&store).1 && !made(&Store::open(home.path()).expect("a store")).1);
        for damage in ["12345", "123", "4321"] {
            fs::remove_file(&path).expect("removed");
            fs::write(&path, damage).expect("written");
            assert!(made(&store).1, "{damage}");
            assert_eq!(fs::read(&path).expect("read"), b"1234");
        }
    }

    #[test]
    fn pruned_when_nobody_uses_it() {
        let home = tempfile::tempdir().expect("a directory");
        let path = made(&Store::open(home.path()).expect("a store")).0;
        let store = Store::open(home.path()).expect("a store");
        let policy = super::super::Policy {
            now: SystemTime::UNIX_EPOCH,
            max_size: Some(0),
            min_free: None,
            max_age: None,
            keep: std::collections::BTreeSet::new(),
            dry_run: false,
        };
        let _ = made(&store);
        store.prune(&policy).expect("pruned");
        assert!(path.exists(), "in use");
        drop(store);
        let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(9);
        let unused = path.parent().expect("its own directory");
        File::open(unused).and_then(|f| f.set_modified(long_ago)).expect("set");
        let store = Store::open(home.path()).expect("a store");
        let pruned = store.prune(&policy).expect("pruned");
        assert!(!path.exists() && pruned.freed() >= 4, "{pruned:?}");
        assert!(made(&store).1);
    }
}

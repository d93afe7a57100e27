//! Builds the root of a sandbox in the monitor's own mount namespace.
//!
//! ```text
//! /sys               a tmpfs of this namespace, over the host's, gone with it
//!   skeleton/        bottom layer: the mount points that a root may lack, so that none pollutes the diff
//!   names/r/         symlinks 0 1 2 … u w to the layers: no host path in /proc/mounts, no length limit
//!   files/           content of the bound files
//!   upper/ work/     with `UpperOn::Memory`
//!   root/            the overlay: the step's `/`
//! scratch/r/         upper/ work/ with `UpperOn::Disk` (i0, i1 …: of the inputs)
//! ```

mod devices;
mod inside;
mod overlay;
mod proc;

use std::ffi::{CStr, CString};
use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};

use crate::command::{Command, Input, MAX_LOWERS, UpperOn};
use crate::error::{During, Failure};

use inside::{
    bind_at, ensure, fd_path, make_dir, make_dirs, open_dir, open_in, target, write_file,
};
use overlay::{Writes, overlay};
pub(crate) use proc::cover;

/// A root that is mounted but not yet pivoted into.
pub(crate) struct Root {
    /// Where it is mounted.
    pub(crate) path: PathBuf,
    /// Its top directory.
    pub(crate) dir: OwnedFd,
    /// Where its writes go: what was asked for, or disk where memory will not do.
    pub(crate) upper_on: UpperOn,
    /// What the step writes to it.
    pub(crate) upper: OwnedFd,
    /// Path in the root of each input, and what the step writes to it.
    pub(crate) inputs: Vec<(PathBuf, OwnedFd)>,
    /// The tmpfs of this sandbox.
    pub(crate) aux: OwnedFd,
    /// Where that is mounted, until the root is left.
    pub(crate) aux_path: PathBuf,
    /// Paths of the root that no result holds.
    pub(crate) uncaptured: Vec<PathBuf>,
    /// When it was made, by the clock that times of files are taken from: seconds, nanoseconds. Nothing that was laid
    /// out before is younger, and nothing of ours or of the step's is older.
    pub(crate) made: (i64, u32),
}

/// Paths of every root that no result holds.
const UNCAPTURED: [&str; 6] = ["/proc", "/sys", "/dev", "/run", "/tmp", "/var/tmp"];

const QUIET: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV);

/// Directories that every root shows, and their modes.
const SKELETON: [(&str, u32); 9] = [
    ("proc", 0o755),
    ("dev", 0o755),
    ("sys", 0o755),
    ("run", 0o755),
    ("tmp", 0o1777),
    ("var", 0o755),
    ("var/tmp", 0o1777),
    ("etc", 0o755),
    ("root", 0o700),
];

/// Mounts everything but /proc, which only the new process 1 can mount.
pub(crate) fn build(command: &Command) -> Result<Root, Failure> {
    check(command)?;
    let private = MountPropagationFlags::REC | MountPropagationFlags::PRIVATE;
    mount_change("/", private).during(|| "make the mounts private".into())?;
    // Removing a directory that is a mount point elsewhere costs milliseconds, so none is made for it.
    let mut aux = PathBuf::from("/sys");
    if !aux.is_dir() {
        aux = command.scratch.join("mnt");
        make_dir(&aux, 0o755)?;
    }
    let size = match command.upper {
        UpperOn::Memory { .. } => "mode=0755,size=75%",
        UpperOn::Disk => "mode=0755,size=64m",
    };
    mount_tmpfs(&aux, QUIET, size)?;
    let made = rustix::fs::stat(&aux).during(|| "look at what was mounted".into())?;
    let made = (made.st_mtime, u32::try_from(made.st_mtime_nsec).unwrap_or(0));
    let upper_on = upper_on(command, &aux);
    skeleton(command, &aux)?;

    let base = match upper_on {
        UpperOn::Memory { .. } => &aux,
        UpperOn::Disk => &command.scratch,
    };
    let path = aux.join("root");
    make_dir(&path, 0o755)?;
    let skeleton = aux.join("skeleton");
    let lowers: Vec<&Path> = std::iter::once(skeleton.as_path())
        .chain(command.lowers.iter().map(PathBuf::as_path))
        .collect();
    let names = aux.join("names");
    make_dir(&names, 0o755)?;
    let writes = Writes { base, names: &names, name: "r" };
    let upper = overlay(&lowers, &writes, path.as_os_str().as_encoded_bytes())?;
    let dir = open_dir(&path)?;

    devices::devices(&dir, &command.entropy)?;
    devices::system(&target(&dir, Path::new("/sys"))?, command.machine)?;
    let mut uncaptured: Vec<PathBuf> = UNCAPTURED.iter().map(PathBuf::from).collect();
    let inside = |fd: &OwnedFd| -> Result<PathBuf, Failure> {
        let full = fs::read_link(fd_path(fd)).during(|| "name a mount point".into())?;
        Ok(Path::new("/").join(full.strip_prefix(&path).unwrap_or(&full)))
    };
    bound_files(command, &aux, &dir, |fd| {
        uncaptured.push(inside(fd)?);
        Ok(())
    })?;
    let mut inputs = Vec::new();
    for (at, input) in command.inputs.iter().enumerate() {
        let target = ensure(&dir, &input.target, true)?;
        let path = inside(&target)?;
        uncaptured.push(path.clone());
        let name = format!("i{at}");
        let writes = Writes { base, names: &names, name: &name };
        inputs.push((path, mount_input(input, &writes, &target)?));
    }
    for bind in &command.binds {
        let directory = fs::metadata(&bind.source)
            .during(|| format!("read the volume `{}`", bind.source.display()))?
            .is_dir();
        let at = ensure(&dir, &bind.target, directory)?;
        uncaptured.push(inside(&at)?);
        bind_at(&bind.source, &at, bind.read_only)?;
    }
    if command.workdir != Path::new("/") {
        ensure(&dir, &command.workdir, true)?;
    }
    let (aux, aux_path) = (open_dir(&aux)?, aux);
    Ok(Root { path, dir, upper_on, upper, inputs, aux, aux_path, uncaptured, made })
}

/// What is asked for, but disk where tmpfs has no user xattrs (before Linux 6.6): overlayfs needs them.
fn upper_on(command: &Command, aux: &Path) -> UpperOn {
    let set =
        rustix::fs::setxattr(aux, c"user.reimage.probe", b"", rustix::fs::XattrFlags::empty());
    if set.is_ok() { command.upper } else { UpperOn::Disk }
}

fn check(command: &Command) -> Result<(), Failure> {
    let lowers = std::iter::once(&command.lowers).chain(command.inputs.iter().map(|i| &i.lowers));
    for list in lowers {
        if list.len() > MAX_LOWERS {
            return Err(Failure::invalid(format!(
                "it stands on {} directories; the kernel stacks at most {MAX_LOWERS}: merge some",
                list.len()
            )));
        }
    }
    let inside = command.inputs.iter().map(|input| &input.target);
    let inside = inside.chain(command.binds.iter().map(|bind| &bind.target));
    for path in inside.chain(command.files.keys()).chain([&command.workdir]) {
        let plain =
            path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
        if !path.is_absolute() || !plain {
            return Err(Failure::invalid(format!(
                "`{}` is not a plain absolute path",
                path.display()
            )));
        }
    }
    if command.scratch.is_relative() {
        let path = command.scratch.display();
        return Err(Failure::invalid(format!("the scratch directory `{path}` is not absolute")));
    }
    if command.argv.is_empty() {
        return Err(Failure::invalid("it has no program"));
    }
    Ok(())
}

/// Makes the bottom layer: mount points, so that making them does not count as the step's change.
fn skeleton(command: &Command, aux: &Path) -> Result<(), Failure> {
    let skeleton = aux.join("skeleton");
    make_dir(&skeleton, 0o755)?;
    for (name, mode) in SKELETON {
        make_dir(&skeleton.join(name), mode)?;
    }
    let below = |path: &Path| skeleton.join(path.strip_prefix("/").unwrap_or(path));
    let targets = command.inputs.iter().map(|input| &input.target);
    for path in targets.chain([&command.workdir]) {
        make_dirs(&below(path))?;
    }
    for path in command.files.keys() {
        let path = below(path);
        if let Some(parent) = path.parent() {
            make_dirs(parent)?;
        }
        write_file(&path, b"")?;
    }
    Ok(())
}

fn mount_input(input: &Input, writes: &Writes<'_>, target: &OwnedFd) -> Result<OwnedFd, Failure> {
    let mut lowers: Vec<&Path> = input.lowers.iter().map(PathBuf::as_path).collect();
    let empty = writes.base.join(format!("{}-empty", writes.name));
    if lowers.is_empty() {
        make_dir(&empty, 0o755)?;
        lowers.push(&empty);
    }
    overlay(&lowers, writes, fd_path(target).as_bytes())
}

fn bound_files(
    command: &Command,
    aux: &Path,
    root: &OwnedFd,
    mut bound: impl FnMut(&OwnedFd) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let files = aux.join("files");
    make_dir(&files, 0o755)?;
    for (at, (path, content)) in command.files.iter().enumerate() {
        let file = files.join(at.to_string());
        write_file(&file, content)?;
        // A root in which this name is a dangling link or below a file has no such file: nothing to bind.
        if let Ok(target) = open_in(root, path) {
            bound(&target)?;
            bind_at(&file, &target, false)?;
        }
    }
    Ok(())
}

/// Opens the host's /proc, which stays usable through the descriptor after the pivot.
pub(crate) fn open_host_proc() -> Result<OwnedFd, Failure> {
    open_dir(Path::new("/proc"))
}

fn mount_tmpfs(at: &Path, flags: MountFlags, options: &str) -> Result<(), Failure> {
    let options = CString::new(options).expect("the options hold no NUL");
    let options: &CStr = &options;
    mount("tmpfs", at, "tmpfs", flags, options)
        .during(|| format!("mount a tmpfs on `{}`", at.display()))
}

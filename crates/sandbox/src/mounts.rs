//! Builds the root of a sandbox in the monitor's own mount namespace.
//!
//! ```text
//! scratch/mnt        a tmpfs of this namespace, gone with it
//!   skeleton/        bottom layer: the mount points that a root may lack, so that none pollutes the diff
//!   names/r/         symlinks 0 1 2 … u w to the layers: no host path in /proc/mounts, no length limit
//!   files/           content of the bound files
//!   upper/ work/     with `UpperOn::Memory`
//!   root/            the overlay: the step's `/`
//! scratch/r/         upper/ work/ with `UpperOn::Disk` (i0, i1 …: of the inputs)
//! ```

use std::ffi::CStr;
use std::fs;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::mount::{
    MountFlags, MountPropagationFlags, mount, mount_bind, mount_bind_recursive, mount_change,
    mount_remount,
};

use crate::command::{Command, Input, MAX_LOWERS, UpperOn};
use crate::error::{During, Failure};

/// A root that is mounted but not yet pivoted into.
pub(crate) struct Root {
    /// Where it is mounted.
    pub(crate) path: PathBuf,
    /// Its top directory.
    pub(crate) dir: OwnedFd,
    /// What the step writes to it.
    pub(crate) upper: OwnedFd,
    /// What the step writes to each input.
    pub(crate) input_uppers: Vec<OwnedFd>,
    /// The tmpfs of this sandbox.
    pub(crate) aux: OwnedFd,
    /// Paths of the root that no result holds.
    pub(crate) uncaptured: Vec<PathBuf>,
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
    let aux = command.scratch.join("mnt");
    make_dir(&aux, 0o755)?;
    let size = match (command.upper, command.limits.disk) {
        (UpperOn::Memory, Some(bytes)) => format!("mode=0755,size={}", bytes.max(1 << 20)),
        (UpperOn::Memory, None) => "mode=0755,size=75%".to_owned(),
        (UpperOn::Disk, _) => "mode=0755,size=64m".to_owned(),
    };
    mount_tmpfs(&aux, QUIET, &size)?;
    skeleton(command, &aux)?;

    let base = match command.upper {
        UpperOn::Memory => &aux,
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
    let writes =
        Writes { base, names: &names, name: "r", volatile: command.upper == UpperOn::Disk };
    let upper = overlay(&lowers, &writes, path.as_os_str().as_encoded_bytes())?;
    let dir = open_dir(&path)?;

    devices(&dir)?;
    let sys = target(&dir, Path::new("/sys"))?;
    system(&sys)?;
    let mut uncaptured: Vec<PathBuf> = UNCAPTURED.iter().map(PathBuf::from).collect();
    let inside = |fd: &OwnedFd| -> Result<PathBuf, Failure> {
        let full = fs::read_link(fd_path(fd)).during(|| "name a mount point".into())?;
        Ok(Path::new("/").join(full.strip_prefix(&path).unwrap_or(&full)))
    };
    bound_files(command, &aux, &dir, |fd| Ok(uncaptured.push(inside(fd)?)))?;
    let mut input_uppers = Vec::new();
    for (at, input) in command.inputs.iter().enumerate() {
        let target = ensure(&dir, &input.target, true)?;
        uncaptured.push(inside(&target)?);
        input_uppers.push(mount_input(command, input, at, base, &names, &target)?);
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
    let aux = open_dir(&aux)?;
    Ok(Root { path, dir, upper, input_uppers, aux, uncaptured })
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

/// Where the writes to an overlay go.
struct Writes<'a> {
    base: &'a Path,
    names: &'a Path,
    name: &'a str,
    /// No fsync ever, no syncfs of the whole file system at unmount.
    volatile: bool,
}

/// Mounts an overlay and returns its upper directory, which gets the attributes of the top lower's root.
fn overlay(lowers: &[&Path], writes: &Writes<'_>, at: &[u8]) -> Result<OwnedFd, Failure> {
    let top = writes.base.join(writes.name);
    let (upper, work) = (top.join("upper"), top.join("work"));
    for dir in [&top, &upper, &work] {
        make_dir(dir, 0o755)?;
    }
    if let Some(lower) = lowers.last() {
        copy_attributes(lower, &upper)?;
    }
    let names = writes.names.join(writes.name);
    make_dir(&names, 0o755)?;
    let link = |to: &Path, name: &str| {
        symlink(to, names.join(name)).during(|| format!("name the layer `{}`", to.display()))
    };
    let mut options = String::from("lowerdir=");
    for (at, lower) in lowers.iter().rev().enumerate() {
        link(lower, &at.to_string())?;
        options.push_str(if at == 0 { "" } else { ":" });
        options.push_str(&at.to_string());
    }
    link(&upper, "u")?;
    link(&work, "w")?;
    // userxattr implies metacopy=off and redirect_dir=nofollow, and refuses to be told so.
    options.push_str(",upperdir=u,workdir=w,userxattr,index=off,xino=off");
    if writes.volatile {
        options.push_str(",volatile");
    }
    rustix::process::chdir(&names).during(|| "enter the layers' names".into())?;
    let options = std::ffi::CString::new(options).expect("the options hold no NUL");
    mount("overlay", at, "overlay", QUIET, options.as_c_str()).during(|| {
        let list: Vec<_> = lowers.iter().skip(1).map(|path| path.display().to_string()).collect();
        format!("stack the directories [{}] with overlayfs", list.join(", "))
    })?;
    open_dir(&upper)
}

/// Gives the upper's root what the merged root must show: it hides the lowers' own attributes.
fn copy_attributes(from: &Path, to: &Path) -> Result<(), Failure> {
    let what = || format!("read the layer `{}`", from.display());
    let stat = rustix::fs::stat(from).during(what)?;
    if !rustix::fs::FileType::from_raw_mode(stat.st_mode).is_dir() {
        return Err(Failure::invalid(format!("the layer `{}` is no directory", from.display())));
    }
    let what = || format!("copy the attributes of `{}`", from.display());
    let same = rustix::fs::stat(to).during(what)?;
    if (stat.st_uid, stat.st_gid) != (same.st_uid, same.st_gid) {
        let (uid, gid) =
            (rustix::fs::Uid::from_raw(stat.st_uid), rustix::fs::Gid::from_raw(stat.st_gid));
        rustix::fs::chown(to, Some(uid), Some(gid)).during(what)?;
    }
    fs::set_permissions(to, fs::Permissions::from_mode(stat.st_mode & 0o7777)).during(what)?;
    crate::xattr::copy_user(from, to).during(what)?;
    let time =
        |seconds, nanoseconds| rustix::fs::Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
    let nanoseconds = stat.st_mtime_nsec.cast_signed();
    let times = rustix::fs::Timestamps {
        last_access: time(stat.st_mtime, nanoseconds),
        last_modification: time(stat.st_mtime, nanoseconds),
    };
    rustix::fs::utimensat(CWD, to, &times, rustix::fs::AtFlags::empty()).during(what)
}

fn mount_input(
    command: &Command,
    input: &Input,
    at: usize,
    base: &Path,
    names: &Path,
    target: &OwnedFd,
) -> Result<OwnedFd, Failure> {
    let lowers: Vec<&Path> = input.lowers.iter().map(PathBuf::as_path).collect();
    let empty = base.join(format!("e{at}"));
    let lowers = if lowers.is_empty() {
        make_dir(&empty, 0o755)?;
        vec![empty.as_path()]
    } else {
        lowers
    };
    let name = format!("i{at}");
    let volatile = command.upper == UpperOn::Disk;
    let writes = Writes { base, names, name: &name, volatile };
    overlay(&lowers, &writes, fd_path(target).as_bytes())
}

/// A minimal /dev: a tmpfs in which no device works but those bound from the host, read-only so that
/// their own attributes cannot be changed (writing to a device is not writing to its inode).
fn devices(root: &OwnedFd) -> Result<(), Failure> {
    let at = target(root, Path::new("/dev"))?;
    let flags = QUIET | MountFlags::NOEXEC;
    mount("dev", fd_path(&at), "tmpfs", flags, c"mode=0755,size=64k")
        .during(|| "mount /dev".into())?;
    let dev = target(root, Path::new("/dev"))?;
    for name in ["null", "zero", "full", "random", "urandom", "tty"] {
        let what = || format!("make /dev/{name}");
        openat(&dev, name, OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC, Mode::from(0o666))
            .during(what)?;
        let node = open_in(&dev, Path::new(name)).during(what)?;
        bind_at(&Path::new("/dev").join(name), &node, true)?;
    }
    for (name, mode) in [("pts", 0o755), ("shm", 0o1777)] {
        rustix::fs::mkdirat(&dev, name, Mode::from(mode)).during(|| format!("make /dev/{name}"))?;
    }
    let links = [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
        ("ptmx", "pts/ptmx"),
    ];
    for (name, to) in links {
        rustix::fs::symlinkat(to, &dev, name).during(|| format!("make /dev/{name}"))?;
    }
    let pts = target(root, Path::new("/dev/pts"))?;
    let flags = MountFlags::NOSUID | MountFlags::NOEXEC;
    let options = c"newinstance,ptmxmode=0666,mode=0620";
    mount("devpts", fd_path(&pts), "devpts", flags, options).during(|| "mount /dev/pts".into())?;
    let shm = target(root, Path::new("/dev/shm"))?;
    mount("shm", fd_path(&shm), "tmpfs", QUIET, c"mode=1777").during(|| "mount /dev/shm".into())
}

/// An empty /sys: nothing of the machine shows.
fn system(at: &OwnedFd) -> Result<(), Failure> {
    let flags = QUIET | MountFlags::NOEXEC | MountFlags::RDONLY;
    mount("sys", fd_path(at), "tmpfs", flags, c"mode=0755,size=4k").during(|| "mount /sys".into())
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

fn bind_at(source: &Path, target: &OwnedFd, read_only: bool) -> Result<(), Failure> {
    let what = || format!("make `{}` visible in the sandbox", source.display());
    let at = fd_path(target);
    mount_bind_recursive(source, at.as_str()).during(what)?;
    if read_only {
        // The mount covers `target`: reach it through the descriptor's own directory entry.
        let over = reopen(target).during(what)?;
        let flags = MountFlags::BIND | MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NOEXEC;
        mount_remount(fd_path(&over), flags, c"").during(what)?;
    }
    Ok(())
}

/// Opens what is now mounted over the place that `fd` was opened at.
fn reopen(fd: &OwnedFd) -> io::Result<OwnedFd> {
    let path = fs::read_link(fd_path(fd))?;
    Ok(openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty())?)
}

/// Opens `path` inside `root`, whose symbolic links cannot lead out.
pub(crate) fn open_in(root: impl AsFd, path: &Path) -> io::Result<OwnedFd> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    Ok(openat2(root, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve)?)
}

fn target(root: &OwnedFd, path: &Path) -> Result<OwnedFd, Failure> {
    open_in(root, path).during(|| format!("find `{}` in the root", path.display()))
}

/// Opens `path` inside `root`, making what is missing of it (0755, root).
fn ensure(root: &OwnedFd, path: &Path, directory: bool) -> Result<OwnedFd, Failure> {
    if let Ok(found) = open_in(root, path) {
        return Ok(found);
    }
    let what = || format!("make `{}` in the root", path.display());
    let mut at = target(root, Path::new("/"))?;
    let mut parts = path.components().peekable();
    let mut reached = PathBuf::from("/");
    while let Some(part) = parts.next() {
        let Component::Normal(name) = part else { continue };
        reached.push(name);
        if open_in(root, &reached).is_err() {
            if parts.peek().is_some() || directory {
                rustix::fs::mkdirat(&at, name, Mode::from(0o755)).during(what)?;
            } else {
                let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
                openat(&at, name, flags, Mode::from(0o644)).during(what)?;
            }
        }
        at = open_in(root, &reached).during(what)?;
    }
    Ok(at)
}

/// A name for a descriptor that mount(2) accepts.
pub(crate) fn fd_path(fd: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

fn open_dir(path: &Path) -> Result<OwnedFd, Failure> {
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    openat(CWD, path, flags, Mode::empty()).during(|| format!("open `{}`", path.display()))
}

/// Opens the host's /proc, which stays usable through the descriptor after the pivot.
pub(crate) fn open_host_proc() -> Result<OwnedFd, Failure> {
    open_dir(Path::new("/proc"))
}

fn mount_tmpfs(at: &Path, flags: MountFlags, options: &str) -> Result<(), Failure> {
    let options = std::ffi::CString::new(options).expect("the options hold no NUL");
    let options: &CStr = &options;
    mount("tmpfs", at, "tmpfs", flags, options)
        .during(|| format!("mount a tmpfs on `{}`", at.display()))
}

fn make_dir(path: &Path, mode: u32) -> Result<(), Failure> {
    let what = || format!("make the directory `{}`", path.display());
    fs::DirBuilder::new().mode(mode).create(path).during(what)
}

fn write_file(path: &Path, content: &[u8]) -> Result<(), Failure> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true).mode(0o644);
    let written = options.open(path).and_then(|mut file| file.write_all(content));
    written.during(|| format!("write `{}`", path.display()))
}

fn make_dirs(path: &Path) -> Result<(), Failure> {
    let what = || format!("make the directory `{}`", path.display());
    fs::DirBuilder::new().recursive(true).mode(0o755).create(path).during(what)
}

/// Masks what /proc tells or lets change about the machine. `proc` is a fresh mount of it.
/// `null` is /dev/null in the sandbox, whose mount is read-only, and so are its copies.
pub(crate) fn mask_proc(proc: &Path, null: &Path) -> Result<(), Failure> {
    let masked =
        ["kcore", "kmsg", "keys", "key-users", "timer_list", "sched_debug", "sysrq-trigger"];
    for name in masked {
        let path = proc.join(name);
        match mount_bind(null, &path) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => {}
            Err(error) => Err(error).during(|| format!("mask /proc/{name}"))?,
        }
    }
    let flags = MountFlags::BIND
        | MountFlags::RDONLY
        | MountFlags::NOSUID
        | MountFlags::NODEV
        | MountFlags::NOEXEC;
    for name in ["sys", "bus", "fs", "irq", "acpi", "scsi"] {
        let path = proc.join(name);
        match mount_bind(&path, &path) {
            Ok(()) => {
                mount_remount(&path, flags, c"").during(|| format!("protect /proc/{name}"))?
            }
            Err(rustix::io::Errno::NOENT) => {}
            Err(error) => Err(error).during(|| format!("protect /proc/{name}"))?,
        }
    }
    Ok(())
}

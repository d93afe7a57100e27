//! The first thing that `main` does: a user namespace for a plain user, then the zygote.
//!
//! A user namespace can only be entered by a process with one thread, and only from inside it can a plain
//! user delete files of mode 0000 or of subordinate ids, so the whole of `reimage` moves into it.

use std::fs;
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::Command as Program;

use rustix::process::{WaitOptions, getegid, geteuid, getpid, waitpid};
use rustix::thread::CapabilitySet;

use crate::error::Unavailable;
use crate::ids::{Ids, IdsSetting};
use crate::sys::{self, Fork};
use crate::zygote::Zygote;
use crate::{serve, wire};

/// Prepares this process and forks the zygote. Call it first in `main`, before any thread.
///
/// Never fails: where sandboxes cannot be made, [`Zygote::unavailable`] says why and everything but
/// executing goes on working.
pub fn start(setting: IdsSetting) -> Zygote {
    let prepared = prepare(setting);
    let ids = *prepared.as_ref().unwrap_or(&Ids::Notify);
    match fork_zygote(ids) {
        Ok(socket) => Zygote::new(ids, Some(socket), prepared.err()),
        Err(why) => Zygote::new(ids, None, Some(prepared.err().unwrap_or(why))),
    }
}

/// What to do on another architecture.
pub(crate) const ARCHITECTURE_ADVICE: &str =
    "build on an x86-64 machine, or use results that one has made";

/// What to do where a new /proc cannot be mounted.
pub(crate) const PROC_ADVICE: &str = "a container's /proc is masked: run it with `--security-opt systempaths=unconfined` (docker, podman) or \
     `procMount: Unmasked` (Kubernetes)";

fn prepare(setting: IdsSetting) -> Result<Ids, Unavailable> {
    if !cfg!(target_arch = "x86_64") {
        return Err(Unavailable {
            reason: format!(
                "steps run on x86-64 only so far, and this is {}",
                std::env::consts::ARCH
            ),
            advice: ARCHITECTURE_ADVICE.into(),
        });
    }
    match setting {
        IdsSetting::Auto if privileged() && maps_every_id() => Ok(Ids::Full),
        // Root of a container that maps enough ids: as good as subordinate ids of our own.
        IdsSetting::Auto | IdsSetting::Mapped if privileged() && least_covered() > 65_535 => {
            Ok(Ids::Mapped)
        }
        IdsSetting::Auto | IdsSetting::Notify => {
            try_namespace()?;
            enter_single().map_err(|error| refused(&error))?;
            Ok(Ids::Notify)
        }
        IdsSetting::Mapped => {
            try_namespace()?;
            enter_mapped()?;
            Ok(Ids::Mapped)
        }
    }
}

/// Whether we may mount here without a user namespace of our own.
pub(crate) fn privileged() -> bool {
    rustix::thread::capabilities(None)
        .is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_ADMIN | CapabilitySet::SETUID))
}

/// Whether we are in the initial user namespace, or one in which every id means itself.
fn maps_every_id() -> bool {
    least_covered() == u64::from(u32::MAX)
}

/// How many ids exist here, from 0 on.
fn least_covered() -> u64 {
    ["/proc/self/uid_map", "/proc/self/gid_map"]
        .iter()
        .map(|map| fs::read_to_string(map).map_or(0, |map| covered(&map)))
        .min()
        .unwrap_or(0)
}

/// How many ids from 0 on a map covers without a gap.
fn covered(map: &str) -> u64 {
    let mut ranges: Vec<(u64, u64)> = map
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace().map(|word| word.parse().ok());
            let (inside, _outside, count) = (words.next()??, words.next()??, words.next()??);
            Some((inside, count))
        })
        .collect();
    ranges.sort_unstable();
    ranges
        .into_iter()
        .fold(0, |end, (first, count)| if first <= end { end.max(first + count) } else { end })
}

/// Tries in a child whether a user namespace gives us mounts: `AppArmor` may grant the first without the second,
/// and a process that has tried cannot go back.
fn try_namespace() -> Result<(), Unavailable> {
    let child = sys::fork().map_err(|error| refused(&error))?;
    match child {
        Fork::Child => {
            let flags = libc::CLONE_NEWUSER | libc::CLONE_NEWNS | libc::CLONE_NEWNET;
            let tried = sys::namespaces(flags).and_then(|()| {
                Ok(rustix::mount::mount_change(
                    "/",
                    rustix::mount::MountPropagationFlags::REC
                        | rustix::mount::MountPropagationFlags::PRIVATE,
                )?)
            });
            let errno = tried.err().and_then(|error| error.raw_os_error()).unwrap_or(0);
            sys::terminate(errno)
        }
        Fork::Parent(pid) => {
            let waited = rustix::io::retry_on_intr(|| waitpid(Some(pid), WaitOptions::empty()));
            let errno = waited.ok().flatten().and_then(|(_, status)| status.exit_status());
            match errno {
                Some(0) => Ok(()),
                errno => Err(refused(&io::Error::from_raw_os_error(errno.unwrap_or(libc::EPERM)))),
            }
        }
    }
}

/// What to do on this machine when user namespaces are refused.
pub(crate) fn userns_advice() -> &'static str {
    let set_to = |path: &str, value: &str| {
        fs::read_to_string(Path::new("/proc/sys").join(path)).is_ok_and(|text| text.trim() == value)
    };
    if set_to("kernel/apparmor_restrict_unprivileged_userns", "1") {
        "AppArmor restricts user namespaces: install a profile for reimage that allows `userns`, or set \
         kernel.apparmor_restrict_unprivileged_userns=0"
    } else if set_to("kernel/unprivileged_userns_clone", "0") {
        "set kernel.unprivileged_userns_clone=1"
    } else if set_to("user/max_user_namespaces", "0") {
        "set user.max_user_namespaces to a positive number"
    } else {
        "in a container, allow user namespaces (seccomp profile) or run as root with CAP_SYS_ADMIN; after a \
         chroot they are refused, after a pivot_root not"
    }
}

/// Explains a refused user namespace by what this machine says about them.
fn refused(error: &io::Error) -> Unavailable {
    let reason = format!("the kernel refuses user namespaces: {error}");
    Unavailable { reason, advice: userns_advice().into() }
}

/// Enters a user namespace that maps our own ids to 0.
pub(crate) fn enter_single() -> io::Result<()> {
    let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
    sys::namespaces(libc::CLONE_NEWUSER)?;
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("0 {uid} 1"))?;
    fs::write("/proc/self/gid_map", format!("0 {gid} 1"))
}

/// Enters a user namespace that maps our ids to 0 and subordinate ids to the others.
fn enter_mapped() -> Result<(), Unavailable> {
    let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
    let (tools, users) =
        (Path::new("/usr/bin"), fs::read_to_string("/etc/passwd").unwrap_or_default());
    let name = user_name(&users, uid).unwrap_or_default();
    let mut maps = Vec::new();
    for (tool, file, id) in [("newuidmap", "/etc/subuid", uid), ("newgidmap", "/etc/subgid", gid)] {
        let text = fs::read_to_string(file).unwrap_or_default();
        let (first, count) = subordinate(&text, &name, uid).ok_or_else(|| Unavailable {
            reason: format!("{file} gives no subordinate ids to user {uid}"),
            advice: format!(
                "add a line `{name}:100000:65536` to it, or use the setting `ids = auto`"
            ),
        })?;
        maps.push((tools.join(tool), id, first, count.min(65_535)));
    }
    let io = |error: io::Error| Unavailable {
        reason: format!("the subordinate ids cannot be mapped: {error}"),
        advice: "install newuidmap and newgidmap (package uidmap), or use the setting `ids = auto`"
            .into(),
    };
    // The tools must run outside the namespace that they map.
    let entered = enter_mapped_by(|me| {
        maps.iter().all(|(tool, id, first, count)| {
            let map = [me, "0", &id.to_string(), "1", "1", &first.to_string(), &count.to_string()]
                .map(String::from);
            Program::new(tool).args(map).status().is_ok_and(|status| status.success())
        })
    });
    entered.map_err(io)?;
    let (user, group) = (rustix::fs::Uid::ROOT, rustix::fs::Gid::ROOT);
    rustix::thread::set_thread_res_gid(group, group, group).map_err(|error| io(error.into()))?;
    rustix::thread::set_thread_res_uid(user, user, user).map_err(|error| io(error.into()))
}

/// Enters a user namespace whose map is written, given our pid, by a child that stays outside.
fn enter_mapped_by(map: impl FnOnce(&str) -> bool) -> io::Result<()> {
    let me = getpid().as_raw_nonzero().to_string();
    let (mut ready, mut go) = io::pipe()?;
    match sys::fork()? {
        Fork::Child => {
            drop(go);
            let mut byte = [0];
            let mapped = ready.read_exact(&mut byte).is_ok() && map(&me);
            sys::terminate(i32::from(!mapped))
        }
        Fork::Parent(child) => {
            drop(ready);
            let entered = sys::namespaces(libc::CLONE_NEWUSER).and_then(|()| go.write_all(b"g"));
            drop(go);
            let waited = rustix::io::retry_on_intr(|| waitpid(Some(child), WaitOptions::empty()));
            entered?;
            match waited?.and_then(|(_, status)| status.exit_status()) {
                Some(0) => Ok(()),
                _ => Err(io::Error::other("the ids could not be mapped")),
            }
        }
    }
}

/// The file that gives whoever started us no subordinate ids, if there is one.
pub(crate) fn without_subordinate_ids() -> Option<&'static str> {
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let files = [("/etc/subuid", "/proc/self/uid_map"), ("/etc/subgid", "/proc/self/gid_map")];
    let lacks = |(file, map): &(&str, &str)| {
        // Root of a namespace of ours is who made it.
        let id = fs::read_to_string(map)
            .ok()
            .and_then(|map| map.split_whitespace().nth(1).and_then(|outside| outside.parse().ok()));
        let id: u32 = id.unwrap_or(0);
        let name = user_name(&users, id).unwrap_or_default();
        let text = fs::read_to_string(file).unwrap_or_default();
        id != 0 && subordinate(&text, &name, id).is_none()
    };
    files.into_iter().find(lacks).map(|(file, _)| file)
}

/// The name of a user id in a passwd file. (NSS would need the C library's plugins.)
fn user_name(passwd: &str, uid: u32) -> Option<String> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

/// The first range that a subuid file gives to a user: first id and count.
fn subordinate(text: &str, name: &str, uid: u32) -> Option<(u32, u32)> {
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let owner = fields.next()?;
        if owner != name && owner.parse() != Ok(uid) {
            return None;
        }
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    })
}

fn fork_zygote(ids: Ids) -> Result<std::os::fd::OwnedFd, Unavailable> {
    let broken = |error: io::Error| Unavailable {
        reason: format!("the process that starts sandboxes cannot be made: {error}"),
        advice: "raise the limits on processes and open files".into(),
    };
    let (ours, theirs) = wire::pair().map_err(broken)?;
    let parent = getpid();
    match sys::fork().map_err(broken)? {
        Fork::Child => {
            drop(ours);
            serve::run(ids, &theirs, parent)
        }
        Fork::Parent(_) => Ok(ours),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn id_maps_are_read_from_zero_without_gap() {
        assert_eq!(covered("         0          0 4294967295\n"), 4_294_967_295);
        assert_eq!(covered("0 1000 1\n1 100000 65536\n"), 65_537);
        assert_eq!(covered("1 100000 65536\n"), 0);
        assert_eq!(covered("0 1000 1\n2 100000 65536\n"), 1);
    }

    #[test]
    fn subordinate_ids_by_name_and_number() {
        let text = "other:1:2\nme:100000:65536\n1001:7:8\n";
        assert_eq!(subordinate(text, "me", 5), Some((100_000, 65_536)));
        assert_eq!(subordinate(text, "", 1001), Some((7, 8)));
        assert_eq!(subordinate(text, "nobody", 3), None);
        assert_eq!(user_name("root:x:0:0::/:\nme:x:12:3::/:\n", 12).as_deref(), Some("me"));
    }
}

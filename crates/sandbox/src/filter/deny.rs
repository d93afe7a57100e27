//! What no step may do and what does nothing in a step, whatever the id backend.

use super::{Action, Rule, When};
use crate::sys::PASS;

/// `CLONE_NEW*` of clone and unshare: namespaces are the sandbox's alone.
const NEW_NAMESPACES: u32 = 0x7e02_0080;

/// Refused with EPERM: they reach beyond the sandbox or widen the kernel's attack surface.
const FORBIDDEN: &[i64] = &[
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_setns,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_open_by_handle_at,
    libc::SYS_name_to_handle_at,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_adjtimex,
    libc::SYS_clock_adjtime,
    libc::SYS_fanotify_init,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
    libc::SYS_syslog,
    libc::SYS_vhangup,
    libc::SYS_kcmp,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
];

/// Answered with ENOSYS: callers have a fallback. clone3 hides its flags behind a pointer, `io_uring`
/// would pass by the monitor, the others name mounts and layers of the host.
const ABSENT: &[i64] = &[
    libc::SYS_clone3,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    SYS_STATMOUNT,
    SYS_LISTMOUNT,
    SYS_LSM_GET_SELF_ATTR,
    SYS_LSM_SET_SELF_ATTR,
    SYS_LSM_LIST_MODULES,
];
const SYS_STATMOUNT: i64 = 457;
const SYS_LISTMOUNT: i64 = 458;
const SYS_LSM_GET_SELF_ATTR: i64 = 459;
const SYS_LSM_SET_SELF_ATTR: i64 = 460;
const SYS_LSM_LIST_MODULES: i64 = 461;

/// Succeed and do nothing: what a step writes is verified and made durable by the store.
const NO_SYNC: &[i64] = &[
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_sync,
    libc::SYS_syncfs,
    libc::SYS_sync_file_range,
];

const TIOCSTI: u32 = 0x5412;
const TIOCLINUX: u32 = 0x541c;
const FIBMAP: u32 = 1;
const FS_IOC_FIEMAP: u32 = 0xc020_660b;
const FICLONE: u32 = 0x4004_9409;
const FICLONERANGE: u32 = 0x4020_940d;

fn rule(nr: i64, when: When, errno: i32) -> Rule {
    Rule {
        nr: u32::try_from(nr).expect("system call numbers are small and positive"),
        when,
        action: Action::Errno(errno),
    }
}

/// The further rules of a step that sees the baseline's machine.
pub(crate) fn fixed_machine() -> Vec<Rule> {
    vec![
        // On which of its processors a step runs is not its business.
        rule(libc::SYS_sched_setaffinity, When::Always, 0),
        // It would be told which one that is, in its memory.
        rule(libc::SYS_rseq, When::Always, libc::ENOSYS),
    ]
}

/// The further rule of a step whose random numbers are fixed: addresses are, too, whatever it asks for.
pub(crate) fn fixed_entropy() -> Vec<Rule> {
    vec![rule(libc::SYS_personality, When::Always, 0)]
}

/// The further rules of a step with a clock of its own.
pub(crate) fn fixed_clock() -> Vec<Rule> {
    let nr = u32::try_from(libc::SYS_clock_gettime).expect("a small and positive number");
    // How its own programs' clocks read the kernel's.
    let pass = Rule { nr, when: When::Is(2, &[PASS]), action: Action::Allow };
    // They wait until a time, and no C library calls them: callers fall back to futex.
    let absent = [SYS_FUTEX_WAITV, SYS_FUTEX_WAIT, SYS_FUTEX_REQUEUE];
    absent.map(|nr| rule(nr, When::Always, libc::ENOSYS)).into_iter().chain([pass]).collect()
}

const SYS_FUTEX_WAITV: i64 = 449;
const SYS_FUTEX_WAIT: i64 = 455;
const SYS_FUTEX_REQUEUE: i64 = 456;

/// The rules of every step.
pub(crate) fn baseline() -> Vec<Rule> {
    let always =
        |list: &'static [i64], errno| list.iter().map(move |nr| rule(*nr, When::Always, errno));
    let conditional = [
        (libc::SYS_clone, When::AnyBit(0, NEW_NAMESPACES), libc::EPERM),
        (libc::SYS_unshare, When::AnyBit(0, NEW_NAMESPACES), libc::EPERM),
        (libc::SYS_ioctl, When::Is(1, &[TIOCSTI, TIOCLINUX, FIBMAP]), libc::EPERM),
        // Where a file's holes and extents lie is the store's file system's business.
        (libc::SYS_ioctl, When::Is(1, &[FS_IOC_FIEMAP, FICLONE, FICLONERANGE]), libc::EOPNOTSUPP),
        (libc::SYS_lseek, When::Is(2, &[3, 4]), libc::EINVAL), // SEEK_DATA, SEEK_HOLE
        // UNIX, INET, INET6, NETLINK; never ALG, VSOCK, PACKET, BLUETOOTH and what else there is.
        (libc::SYS_socket, When::IsNot(0, &[1, 2, 10, 16]), libc::EAFNOSUPPORT),
        (libc::SYS_socketpair, When::IsNot(0, &[1, 2, 10, 16]), libc::EAFNOSUPPORT),
        // MS_SYNC alone: msync(MS_ASYNC) is how libunwind asks whether memory is mapped.
        (libc::SYS_msync, When::AnyBit(2, 4), 0),
        // A second listener cannot exist under ours; the same answer under every backend.
        (libc::SYS_seccomp, When::AnyBit(1, 8), libc::EBUSY),
    ];
    always(FORBIDDEN, libc::EPERM)
        .chain(always(ABSENT, libc::ENOSYS))
        .chain(always(NO_SYNC, 0))
        .chain(conditional.into_iter().map(|(nr, when, errno)| rule(nr, when, errno)))
        .collect()
}

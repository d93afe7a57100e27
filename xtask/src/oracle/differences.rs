//! What is known to differ from what Debian's own tools make, and why it does. Nothing else may.

/// A difference that is meant.
pub(super) struct Known {
    /// The paths: `*` stands for anything within a name, `**` for any number of names.
    pub(super) path: &'static str,
    /// How they differ: how the sentence begins that tells it.
    pub(super) how: &'static str,
    /// Why they differ.
    pub(super) reason: &'static str,
}

/// Why every run has another content.
const RANDOM: &str = "made anew in each run, from random numbers and the time";

/// Why contents that name numbers or list packages differ.
const ORDER: &str =
    "the order in which packages are configured is free, and this lists or numbers them by it";

/// Why we have caches of fonts that they have not.
const FONTS: &str = "fc-cache removes what it wrote of a directory that is newer than SOURCE_DATE_EPOCH, as one is there \
                     that dpkg changed in this run";

const fn content(path: &'static str, reason: &'static str) -> Known {
    Known { path, how: "content", reason }
}

const fn any(path: &'static str, reason: &'static str) -> Known {
    Known { path, how: "", reason }
}

const fn only_theirs(path: &'static str, reason: &'static str) -> Known {
    Known { path, how: "only theirs", reason }
}

/// Everything that may differ.
pub(super) const KNOWN: &[Known] = &[
    only_theirs("dev/**", "mmdebstrap makes devices; those of a container are its runtime's"),
    only_theirs(
        "etc/apt/sources.list",
        "the mirror that it was made from; a mirror is a machine's own",
    ),
    only_theirs("etc/apt/preferences.d", "made by mmdebstrap also where apt is not installed"),
    only_theirs("etc/apt/sources.list.d", "made by mmdebstrap also where apt is not installed"),
    only_theirs("etc/fstab", "written by mmdebstrap; a container mounts nothing"),
    only_theirs("etc/hostname", "copied from the machine by mmdebstrap"),
    only_theirs("etc/resolv.conf", "copied from the machine by mmdebstrap"),
    only_theirs("run/**", "what a step leaves in /run is not kept: it is the running system's"),
    only_theirs("var/cache/apt/**", "what apt makes when it runs; packages are laid without it"),
    only_theirs("var/lib/apt/**", "what apt makes when it runs; packages are laid without it"),
    only_theirs("var/log/apt", "what apt makes when it runs; packages are laid without it"),
    only_theirs("var/lib/dpkg/arch", "written by mmdebstrap, and says the native architecture"),
    only_theirs("var/lib/dpkg/*-old", "what dpkg keeps of the state before its last change"),
    only_theirs(
        "var/cache/debconf/*-old",
        "what debconf keeps of the state before its last change",
    ),
    only_theirs("etc/*-", "accounts as they were before their last change"),
    Known {
        path: "var/cache/apt/archives/partial",
        how: "ours 0755 root:root Directory, theirs 0700 _apt:root",
        reason: "apt gives it to its own user when it first runs",
    },
    Known {
        path: "var/lib/apt/lists/partial",
        how: "ours 0755 root:root Directory, theirs 0700 _apt:root",
        reason: "apt gives it to its own user when it first runs",
    },
    Known {
        path: "etc/machine-id",
        how: "ours 0444 root:root File, theirs 0644 root:root File",
        reason: "made anew by mmdebstrap, empty as ours is; systemd makes it unwritable",
    },
    Known {
        path: "var/log/journal",
        how: "ours 2755 root:systemd-journal Directory, theirs 2755 root:systemd-journal Directory \
              system.posix_acl_access",
        reason: "a tree keeps no access control lists (docs/encoding.md)",
    },
    // What packages make.
    content("etc/passwd", ORDER),
    content("etc/shadow", ORDER),
    content("etc/group", ORDER),
    content("etc/gshadow", ORDER),
    content("var/lib/ucf/*", ORDER),
    content("var/lib/dpkg/triggers/File", ORDER),
    any(
        "var/www/html/index.lighttpd.html",
        "made if no web server made a page before: the order again",
    ),
    any("etc/lighttpd/conf-enabled/99-unconfigured.conf", "goes with that page"),
    any("usr/lib/ccache/*", "a link for each compiler that was configured before: the order again"),
    content("var/cache/man/**", "a database that holds times and lies in the order of writing"),
    content("usr/share/python3/debpython/__pycache__/*", "holds the time of its source"),
    content(
        "usr/lib/python3/dist-packages/_distutils_hack/__pycache__/__init__.*.pyc",
        "written by whoever comes first, python that imports it or py3compile: the order again",
    ),
    Known { path: "var/cache/fontconfig/*", how: "only ours", reason: FONTS },
    content("var/log/fontconfig.log", FONTS),
    only_theirs("etc/ssh/ssh_host_*", "a secret: each machine makes its own"),
    only_theirs("etc/ssl/certs/*", "a certificate of a secret: each machine makes its own"),
    only_theirs("etc/ssl/private/ssl-cert-snakeoil.key", "a secret: each machine makes its own"),
    only_theirs("etc/hosts", "a step has its own, which is not kept"),
    content("etc/gitconfig", RANDOM), // git-lfs writes in the order of a map of Go
    content("etc/varnish/secret", RANDOM),
    content("etc/bind/rndc.key", RANDOM),
    any("var/lib/mysql/**", RANDOM),
    any("var/lib/postgresql/**", RANDOM),
    any("etc/ldap/slapd.d/**", RANDOM),
    content("var/lib/ldap/*", RANDOM),
    content("etc/aliases.db", RANDOM),
    content("etc/ssl/certs/java/cacerts", RANDOM),
    content("boot/initrd.img-*", RANDOM),
    any("var/lib/varnish/*", "named by the machine that it ran on"),
    content("etc/shells", ORDER),
    content("usr/share/info/dir.old", ORDER),
    content("etc/exim4/update-exim4.conf.conf", "names the machine that it ran on"),
    content("etc/mailname", "names the machine that it ran on"),
    content("var/lib/exim4/config.autogenerated", "names the machine that it ran on"),
    content("etc/postfix/main.cf", "names the machine that it ran on"),
    content("var/cache/debconf/config.dat", "names the machine that it ran on"),
];

/// What a program makes anew in each run, whoever runs it: left out where root's tree is compared with a plain user's.
pub(super) fn is_random(path: &str) -> bool {
    KNOWN.iter().any(|one| one.reason == RANDOM && matches(one.path, path))
}

/// Whether a pattern is that of `path`.
pub(super) fn matches(pattern: &str, path: &str) -> bool {
    let pattern: Vec<&str> = pattern.split('/').collect();
    let path: Vec<&str> = path.split('/').collect();
    names(&pattern, &path)
}

fn names(pattern: &[&str], path: &[&str]) -> bool {
    match (pattern, path) {
        ([], []) => true,
        (["**", rest @ ..], _) => (0..=path.len()).any(|skip| names(rest, &path[skip..])),
        ([first, rest @ ..], [name, below @ ..]) => {
            within(first.as_bytes(), name.as_bytes()) && names(rest, below)
        }
        _ => false,
    }
}

fn within(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern, name) {
        ([], []) => true,
        ([b'*', rest @ ..], _) => (0..=name.len()).any(|skip| within(rest, &name[skip..])),
        ([first, rest @ ..], [byte, below @ ..]) => first == byte && within(rest, below),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        assert!(matches("etc/*-", "etc/passwd-"));
        assert!(!matches("etc/*", "etc/a/b"));
        assert!(matches("var/lib/**", "var/lib/a/b"));
        assert!(matches("**/*.pyc", "usr/x.pyc"));
        assert!(!matches("etc/passwd", "etc/passwd-"));
    }
}

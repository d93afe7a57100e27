//! The ways to build that must not matter.

/// A plain user that need not exist: nothing looks it up.
const PLAIN: u32 = 54_321;

/// Who builds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    /// Real root.
    Root,
    /// A user with one id, of whom no file of the machine knows.
    Plain,
    /// A user with subordinate ids, mapped by newuidmap.
    Mapped,
}

/// One way to build.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a thing that happens or does not")]
pub(crate) struct Way {
    pub(crate) name: &'static str,
    pub(crate) who: Who,
    /// Where the checkout lies, below the scratch directory.
    pub(crate) checkout: &'static str,
    /// The home directory, where configuration and store lie, below the scratch directory.
    pub(crate) home: &'static str,
    /// Environment over the plain one.
    pub(crate) env: &'static [(&'static str, &'static str)],
    /// Of the build and of the checkout.
    pub(crate) umask: &'static str,
    pub(crate) jobs: &'static str,
    /// Days from F that the files of the checkout have as their time.
    pub(crate) days: i64,
    /// Files are made in reverse order.
    pub(crate) reversed: bool,
    pub(crate) hostname: Option<&'static str>,
    /// What `reimage` takes for the date of the machine.
    pub(crate) date: Option<&'static str>,
    /// Checkout, store and temporaries lie in memory.
    pub(crate) memory: bool,
    /// Killed again and again, a little later each time, until it gets through.
    pub(crate) killed: bool,
    /// Built, every file touched, built again in the same store.
    pub(crate) touched: bool,
    /// Built, checked out elsewhere with other times, built there with the same store.
    pub(crate) moved: bool,
}

const PLAINLY: Way = Way {
    name: "as root",
    who: Who::Root,
    checkout: "a",
    home: "home",
    env: &[],
    umask: "022",
    jobs: "2",
    days: -30,
    reversed: false,
    hostname: None,
    date: None,
    memory: false,
    killed: false,
    touched: false,
    moved: false,
};

/// Everything that must not matter, several at a time; the first is what the others are compared with.
pub(crate) const TOGETHER: [Way; 7] = [
    PLAINLY,
    Way {
        name: "plain user, another home, longer directory, umask 077, -j1, files reversed, in memory",
        who: Who::Plain,
        checkout: "a/longer/path/to/the/same/thing",
        home: "home/of/another/name",
        umask: "077",
        jobs: "1",
        reversed: true,
        memory: true,
        ..PLAINLY
    },
    Way {
        name: "newuidmap, time zone, language, umask 000, -j8, a checkout newer than F",
        who: Who::Mapped,
        env: &[
            ("TZ", "Pacific/Kiritimati"),
            ("LANG", "de_DE.UTF-8"),
            ("LC_ALL", "tr_TR.UTF-8"),
            ("SOURCE_DATE_EPOCH", "1"),
        ],
        umask: "000",
        jobs: "8",
        days: 400,
        ..PLAINLY
    },
    Way {
        name: "root, years later, another host name, umask 077",
        date: Some("2033-03-04 05:06:07"),
        hostname: Some("elsewhere"),
        days: 2000,
        umask: "077",
        ..PLAINLY
    },
    Way { name: "killed and resumed, root", killed: true, ..PLAINLY },
    Way {
        name: "killed and resumed, plain user, years before",
        date: Some("2019-12-31 23:59:50"),
        killed: true,
        who: Who::Plain,
        ..PLAINLY
    },
    Way {
        name: "touched, then another checkout, warm store",
        touched: true,
        moved: true,
        ..PLAINLY
    },
];

/// The same, one at a time: to see what it is that matters.
pub(crate) const EACH: [Way; 20] = [
    PLAINLY,
    Way { name: "as a plain user", who: Who::Plain, ..PLAINLY },
    Way { name: "as a user with newuidmap", who: Who::Mapped, ..PLAINLY },
    Way { name: "a longer directory", checkout: "a/longer/path/to/the/same/thing", ..PLAINLY },
    Way {
        name: "another home, plain user",
        home: "home/of/another/name",
        who: Who::Plain,
        ..PLAINLY
    },
    Way { name: "another time zone", env: &[("TZ", "Pacific/Kiritimati")], ..PLAINLY },
    Way {
        name: "another language",
        env: &[("LANG", "de_DE.UTF-8"), ("LC_ALL", "tr_TR.UTF-8"), ("SOURCE_DATE_EPOCH", "1")],
        ..PLAINLY
    },
    Way { name: "umask 077, root", umask: "077", ..PLAINLY },
    Way { name: "umask 077, plain user", umask: "077", who: Who::Plain, ..PLAINLY },
    Way { name: "umask 000, newuidmap", umask: "000", who: Who::Mapped, ..PLAINLY },
    Way { name: "a checkout newer than F", days: 400, ..PLAINLY },
    Way { name: "-j8, files made in reverse order", jobs: "8", reversed: true, ..PLAINLY },
    Way { name: "-j1, another host name", jobs: "1", hostname: Some("elsewhere"), ..PLAINLY },
    Way { name: "years later, root", date: Some("2033-03-04 05:06:07"), days: 2000, ..PLAINLY },
    Way {
        name: "years before, plain user",
        date: Some("2019-12-31 23:59:50"),
        days: -2500,
        who: Who::Plain,
        ..PLAINLY
    },
    Way { name: "in memory, plain user", memory: true, who: Who::Plain, ..PLAINLY },
    Way { name: "killed and resumed, root", killed: true, ..PLAINLY },
    Way { name: "killed and resumed, plain user", killed: true, who: Who::Plain, ..PLAINLY },
    Way { name: "touched and built again", touched: true, who: Who::Plain, ..PLAINLY },
    Way { name: "another checkout, warm store", moved: true, ..PLAINLY },
];

impl Who {
    /// Whether only root can build so: it becomes another, or stays what it is.
    pub(crate) fn needs_root(self) -> bool {
        self != Self::Root
    }

    /// The ids to become, none to stay.
    pub(crate) fn ids(self, mapped: Option<(u32, u32)>) -> Option<(u32, u32)> {
        match self {
            Self::Root => None,
            Self::Plain => Some((PLAIN, PLAIN)),
            Self::Mapped => mapped,
        }
    }
}

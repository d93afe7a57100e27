//! Debian packages that tests make themselves, byte for byte the same everywhere.

use tar::{Builder, EntryType, Header};

/// A package; of architecture `all` unless another is said.
pub struct Deb {
    name: String,
    version: String,
    architecture: String,
    fields: String,
    control: Builder<Vec<u8>>,
    data: Builder<Vec<u8>>,
}

impl Deb {
    /// One that has no files yet, and what packages have: the root first, and sums.
    pub fn new(name: &str, version: &str) -> Self {
        Self::bare(name, version).directory(".", 0o755, (0, 0)).control("md5sums", "")
    }

    /// One that has nothing in it yet.
    pub fn bare(name: &str, version: &str) -> Self {
        let (name, version) = (name.to_owned(), version.to_owned());
        let (control, data) = (Builder::new(Vec::new()), Builder::new(Vec::new()));
        let architecture = "all".to_owned();
        Self { name, version, architecture, fields: String::new(), control, data }
    }

    /// Says another architecture.
    #[must_use]
    pub fn architecture(mut self, architecture: &str) -> Self {
        architecture.clone_into(&mut self.architecture);
        self
    }

    /// Adds a field to its control file: `Depends: x`.
    #[must_use]
    pub fn field(mut self, line: &str) -> Self {
        self.fields += line;
        self.fields += "\n";
        self
    }

    /// Adds a control member, such as `postinst`.
    #[must_use]
    pub fn control(mut self, member: &str, text: &str) -> Self {
        append(&mut self.control, &format!("./{member}"), 0o755, (0, 0), text.as_bytes());
        self
    }

    /// Adds a file: its path without `/` in front, its mode and owner.
    #[must_use]
    pub fn file(mut self, path: &str, mode: u32, owner: (u64, u64), content: &[u8]) -> Self {
        append(&mut self.data, &format!("./{path}"), mode, owner, content);
        self
    }

    /// Adds a directory.
    #[must_use]
    pub fn directory(mut self, path: &str, mode: u32, owner: (u64, u64)) -> Self {
        let mut header = header(EntryType::Directory, mode, owner);
        self.data.append_data(&mut header, place(path) + "/", &[][..]).expect("in memory");
        self
    }

    /// Adds a link.
    #[must_use]
    pub fn symlink(mut self, path: &str, target: &str) -> Self {
        let mut header = header(EntryType::Symlink, 0o777, (0, 0));
        self.data.append_link(&mut header, format!("./{path}"), target).expect("in memory");
        self
    }

    /// Adds another name of a file of the package, which has this mode and owner.
    #[must_use]
    pub fn hard_link(mut self, path: &str, target: &str, mode: u32, owner: (u64, u64)) -> Self {
        let mut header = header(EntryType::Link, mode, owner);
        let target = format!("./{target}");
        self.data.append_link(&mut header, format!("./{path}"), target).expect("in memory");
        self
    }

    /// The package, and its paragraph of an index without what only the archive knows.
    pub fn build(self) -> (Vec<u8>, String) {
        let Self { name, version, architecture, fields, mut control, data } = self;
        let paragraph = format!(
            "Package: {name}\nVersion: {version}\nArchitecture: {architecture}\nMaintainer: Nobody <nobody@example.org>\n\
             {fields}Description: a test\n"
        );
        append(&mut control, "./control", 0o644, (0, 0), paragraph.as_bytes());
        let mut archive = b"!<arch>\n".to_vec();
        for (member, bytes) in [
            ("debian-binary", b"2.0\n".to_vec()),
            ("control.tar", control.into_inner().expect("in memory")),
            ("data.tar", data.into_inner().expect("in memory")),
        ] {
            let size = bytes.len();
            archive
                .extend(format!("{member:<16}{TIME:<12}0     0     100644  {size:<10}`\n").bytes());
            archive.extend(&bytes);
            if size % 2 == 1 {
                archive.push(b'\n');
            }
        }
        (archive, paragraph)
    }
}

/// When everything was made, in seconds since 1970.
const TIME: u64 = 1_700_000_000;

/// Where a path lies in an archive: `.` is the root.
fn place(path: &str) -> String {
    if path == "." { ".".to_owned() } else { format!("./{path}") }
}

fn header(kind: EntryType, mode: u32, (uid, gid): (u64, u64)) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(uid);
    header.set_gid(gid);
    header.set_mtime(TIME);
    header.set_size(0);
    header
}

fn append(to: &mut Builder<Vec<u8>>, path: &str, mode: u32, owner: (u64, u64), content: &[u8]) {
    let mut header = header(EntryType::Regular, mode, owner);
    header.set_size(content.len() as u64);
    to.append_data(&mut header, path, content).expect("in memory");
}

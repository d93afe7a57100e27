//! A Debian archive of our own on loopback: packages made here, signed by a key made here.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::Write as _,
    sync::{Arc, Mutex},
};

use flate2::{Compression, write::GzEncoder};
use sha2::{Digest as _, Sha256};

use crate::{
    Signer, TestEnv,
    loopback::{Reply, Seen, Server},
};

/// The one suite of a [`Mirror`]; its updates and security updates are there and empty.
pub const SUITE: &str = "homemade";

/// A package in the making; its architecture is `all`.
#[derive(Clone, Debug)]
pub struct Deb {
    name: String,
    version: String,
    fields: String,
    files: Vec<(String, String)>,
}

impl Deb {
    /// A package with nothing in it.
    pub fn new(name: &str, version: &str) -> Self {
        let (name, version) = (name.to_owned(), version.to_owned());
        Self { name, version, fields: String::new(), files: Vec::new() }
    }

    /// The same with a field of its control file: `Depends: other`.
    #[must_use]
    pub fn field(mut self, line: &str) -> Self {
        self.fields.push_str(line);
        self.fields.push('\n');
        self
    }

    /// The same with a file in an existing or a new directory of the root: `usr/tool`.
    #[must_use]
    pub fn file(mut self, path: &str, text: &str) -> Self {
        self.files.push((path.to_owned(), text.to_owned()));
        self
    }

    fn control(&self) -> String {
        let Self { name, version, fields, .. } = self;
        format!(
            "Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: Nobody <nobody@example.org>\n\
             {fields}Description: {name}\n"
        )
    }

    /// The .deb.
    pub fn build(&self) -> Vec<u8> {
        let control = [("control".to_owned(), self.control())];
        let mut deb = b"!<arch>\n".to_vec();
        let members = [
            ("debian-binary", b"2.0\n".to_vec()),
            ("control.tar.gz", gzip(&tar(&control))),
            ("data.tar.gz", gzip(&tar(&self.files))),
        ];
        for (name, data) in members {
            let size = data.len();
            writeln!(deb, "{name:<16}{:<12}{:<6}{:<6}{:<8}{size:<10}`", 0, 0, 0, 100_644)
                .expect("memory");
            deb.extend(data);
            if size % 2 == 1 {
                deb.push(b'\n');
            }
        }
        deb
    }
}

/// The archive; it ends with the value.
#[derive(Debug)]
pub struct Mirror {
    server: Server,
    signer: Signer,
    files: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
}

impl Mirror {
    /// An archive that has these packages.
    pub fn new(packages: &[Deb]) -> Self {
        let files = Arc::new(Mutex::new(BTreeMap::new()));
        let shared = Arc::clone(&files);
        let server = Server::new(move |seen: &Seen, _| {
            let files = shared.lock().expect("no test panics with the lock held");
            let found: Option<&Vec<u8>> = files.get(&seen.path);
            found.map_or_else(|| Reply::status(404), |bytes| Reply::ranged(seen, bytes))
        });
        let mirror = Self { server, signer: Signer::new(1), files };
        mirror.publish(packages);
        mirror
    }

    /// Has these packages from now on, and no others.
    pub fn publish(&self, packages: &[Deb]) {
        let mut published = BTreeMap::new();
        let mut index = String::new();
        for package in packages {
            let deb = package.build();
            let path = format!("pool/{}_{}_all.deb", package.name, package.version);
            let (size, digest) = (deb.len(), hex(&deb));
            let control = package.control();
            write!(index, "{control}Filename: {path}\nSize: {size}\nSHA256: {digest}\n\n")
                .expect("a string takes all that is written");
            published.insert(format!("/{path}"), deb);
        }
        for (suite, index) in [("", index.as_str()), ("-updates", ""), ("-security", "")] {
            let (suite, index) = (format!("{SUITE}{suite}"), gzip(index.as_bytes()));
            let (size, digest) = (index.len(), hex(&index));
            let release = format!(
                "Suite: {suite}\nCodename: {suite}\nDate: Sun, 01 Nov 2026 00:00:00 UTC\nAcquire-By-Hash: yes\n\
                 Architectures: amd64\nComponents: main\nSHA256:\n {digest} {size} main/binary-amd64/Packages.gz\n"
            );
            let directory = format!("/dists/{suite}");
            published
                .insert(format!("{directory}/InRelease"), self.signer.sign(&release).into_bytes());
            published
                .insert(format!("{directory}/main/binary-amd64/by-hash/SHA256/{digest}"), index);
        }
        *self.files.lock().expect("no test panics with the lock held") = published;
    }

    /// Makes it the mirror, and the only one, of this machine.
    pub fn configure(&self, env: &TestEnv) {
        let key = env.root().join("config/archive.asc");
        fs_err::write(key, self.signer.armored()).expect("writable");
        let url = self.server.url("");
        env.config(&format!(
            "[debian]\nmirrors = [\"{url}\"]\nsecurity_mirrors = [\"{url}\"]\nkeyrings = [\"../archive.asc\"]\n"
        ));
    }

    /// All requests so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.server.seen()
    }
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("a string takes all that is written");
        hex
    })
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

fn tar(files: &[(String, String)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut made = Vec::new();
    for (path, text) in files {
        for (end, _) in path.match_indices('/') {
            let directory = format!("./{}/", &path[..end]);
            if !made.contains(&directory) {
                append(&mut builder, &directory, tar::EntryType::Directory, 0o755, "");
                made.push(directory);
            }
        }
        append(&mut builder, &format!("./{path}"), tar::EntryType::Regular, 0o644, text);
    }
    builder.into_inner().expect("memory")
}

fn append(
    builder: &mut tar::Builder<Vec<u8>>,
    path: &str,
    kind: tar::EntryType,
    mode: u32,
    text: &str,
) {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(text.len() as u64);
    header.set_mtime(1_000_000_000);
    builder.append_data(&mut header, path, text.as_bytes()).expect("memory");
}

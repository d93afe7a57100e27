//! Compressed streams, archives, packages, and what repositories say.

use std::io::Write;

use super::texts;

pub(crate) fn seeds(target: &str) -> Option<Vec<Vec<u8>>> {
    Some(match target {
        "stream" => compressions().map(|compress| compress(b"some text, some text")).to_vec(),
        "archive" => {
            let mut seeds = vec![tar(), zip()];
            seeds.extend(compressions().map(|compress| compress(&tar())));
            seeds
        }
        "deb" => vec![deb("", plain), deb(".xz", xz), deb(".gz", gzip), deb(".zst", zstd)],
        "control" => texts(&[CONTROL]),
        "packages" => texts(&[PACKAGES, PROVIDERS]),
        "status" => texts(&[STATUS]),
        "relation" => {
            texts(&["a (>= 1) | b:any, c", "libc6 (<< 2.37-1~), x:native (= 1:2)", "a (> 1)"])
        }
        "version" => texts(&["1:2.10-3+b1\n1:2.10-3\n1:2.9~rc1", "0\n00\n1.0~~", "a\n-\n:"]),
        "release" => texts(&[RELEASE]),
        "inrelease" => vec![signed().join(&0)],
        "keyring" => vec![signed()[0].clone()],
        "apt-sources" => texts(&[SOURCES, LIST, SETTINGS]),
        _ => return None,
    })
}

/// An armored key, and a Release file that it signed.
fn signed() -> [Vec<u8>; 2] {
    [include_bytes!("signed.asc").to_vec(), include_bytes!("InRelease").to_vec()]
}

type Compress = fn(&[u8]) -> Vec<u8>;

fn compressions() -> [Compress; 4] {
    [gzip, bzip2, xz, zstd]
}

fn plain(bytes: &[u8]) -> Vec<u8> {
    bytes.to_vec()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("memory takes all")
}

fn bzip2(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("memory takes all")
}

fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 0);
    encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("memory takes all")
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).expect("memory takes all")
}

fn tar() -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut add = |kind, name: &str, link: &str, mode, data: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(data.len() as u64);
        header.set_mtime(1_000_000_000);
        if !link.is_empty() {
            header.set_link_name(link).expect("it is short");
        }
        tar.append_data(&mut header, name, data).expect("memory takes all");
    };
    add(tar::EntryType::Directory, "top/", "", 0o750, b"");
    add(tar::EntryType::Regular, "top/run", "", 0o4755, b"run");
    add(tar::EntryType::Symlink, "top/link", "run", 0o777, b"");
    add(tar::EntryType::Link, "top/again", "top/run", 0o644, b"");
    add(tar::EntryType::Regular, &format!("top/{}", "n".repeat(150)), "", 0o644, b"long");
    add(tar::EntryType::XHeader, "pax", "", 0o644, b"30 mtime=1500000000.123456789\n");
    add(tar::EntryType::Regular, "other/deep/x", "", 0o644, b"x");
    tar.into_inner().expect("memory takes all")
}

fn zip() -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default();
    zip.start_file("top/run", options.unix_permissions(0o755)).expect("memory takes all");
    zip.write_all(b"run run run run run").expect("memory takes all");
    zip.add_symlink("top/link", "run", options).expect("memory takes all");
    zip.add_directory("top/empty", options).expect("memory takes all");
    zip.finish().expect("memory takes all").into_inner()
}

fn deb(suffix: &str, compress: Compress) -> Vec<u8> {
    let mut control = tar::Builder::new(Vec::new());
    for (name, mode, text) in [
        ("./control", 0o644, CONTROL),
        ("./conffiles", 0o644, "/etc/x\n"),
        ("./postinst", 0o755, "#!/bin/sh\n"),
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_mode(mode);
        header.set_size(text.len() as u64);
        control.append_data(&mut header, name, text.as_bytes()).expect("memory takes all");
    }
    let control = control.into_inner().expect("memory takes all");
    let mut bytes = b"!<arch>\n".to_vec();
    for (name, data) in [
        ("debian-binary".to_owned(), b"2.0\n".to_vec()),
        (format!("control.tar{suffix}"), compress(&control)),
        (format!("data.tar{suffix}"), compress(&tar())),
    ] {
        let size = data.len();
        bytes.extend(
            format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{size:<10}`\n", 0, 0, 0, 100_644).bytes(),
        );
        bytes.extend(data);
        if size % 2 == 1 {
            bytes.push(b'\n');
        }
    }
    bytes
}

const CONTROL: &str = "Package: x\nVersion: 1:2.0-3\nArchitecture: amd64\nMulti-Arch: same\n\
    Maintainer: Nobody <n@example.org>\nDepends: a (>= 1) | b:any,\n c\nProvides: y (= 1), z\n\
    Description: x\n more\n .\n and more\n";

const PACKAGES: &str = "Package: a\nVersion: 1\nArchitecture: amd64\nEssential: yes\nDepends: b (>= 1) | c\n\
    Recommends: d\nFilename: pool/a.deb\nSize: 5\n\
    SHA256: ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb\n\n\
    Package: b\nVersion: 2~rc1\nArchitecture: all\nConflicts: d\nBreaks: c (<< 3)\nPre-Depends: e:any\n\
    Filename: pool/b.deb\nSize: 6\n\
    SHA256: ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb\n\n\
    Package: d\nVersion: 1\nArchitecture: amd64\nProvides: e (= 2), f\nReplaces: b\n\
    Filename: pool/d.deb\nSize: 7\n\
    SHA256: ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb\n";

const PROVIDERS: &str = "Package: mail\nVersion: 1\nArchitecture: amd64\nDepends: mta\n\
    Filename: pool/m.deb\nSize: 5\n\
    SHA256: ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb\n\n\
    Package: p\nVersion: 1\nArchitecture: amd64\nProvides: mta\nConflicts: mta\nMulti-Arch: foreign\n\
    Filename: pool/p.deb\nSize: 5\n\
    SHA256: ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb\n\n\
    Package: q\nVersion: 1\nArchitecture: amd64\nProvides: mta\nConflicts: mta\nDepends: mail\n\
    Filename: pool/q.deb\nSize: 5\n\
    SHA256: ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb\n";

const STATUS: &str = "Package: a\nStatus: install ok installed\nVersion: 1\nArchitecture: amd64\n\
    Depends: b\n\nPackage: b\nStatus: deinstall ok config-files\nVersion: 1\nArchitecture: all\n";

const RELEASE: &str = "Origin: Debian\nSuite: oldstable\nCodename: bookworm\n\
    Date: Sat, 10 Jun 2023 08:53:33 UTC\nValid-Until: Sat, 17 Jun 2030 08:53:33 UTC\n\
    Acquire-By-Hash: yes\nArchitectures: all amd64\nComponents: main contrib\n\
    No-Support-for-Architecture-all: Packages\nNotAutomatic: yes\nButAutomaticUpgrades: yes\nSHA256:\n \
    ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb 12 main/binary-amd64/Packages.xz\n";

const SOURCES: &str = "Types: deb deb-src\nURIs: http://127.0.0.1/debian\nSuites: bookworm bookworm-updates\n\
    Components: main\nSigned-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n xsBN\n -----END PGP PUBLIC KEY BLOCK-----\n\n\
    Types: deb\nURIs: http://127.0.0.1/s\nSuites: x\nSigned-By: /a.gpg\nEnabled: no\n";

const LIST: &str = "# a comment\ndeb [signed-by=/a.gpg,/b.gpg check-valid-until=no] http://127.0.0.1/debian bookworm main\n\
    deb-src http://127.0.0.1/debian bookworm main\n";

const SETTINGS: &str =
    "Acquire::Check-Valid-Until \"false\";\nAcquire { http { Proxy \"x\"; }; // c\n /* d */ };\n";

//! `docker-registry` on loopback, in a directory of its own.

use std::{
    net::{Ipv4Addr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use tempfile::TempDir;

use crate::{free_port, tool};

/// `ci` with the password `secret`.
const USERS: &str = "ci:$2y$05$6aHHMtZPAUjfiyR7iz/./eZ/VUZ2I1q3M4HhhmF/z27S8A8u6lJWy\n";

/// Who may use it, and how.
#[derive(Clone, Copy, Debug, Default)]
pub struct Closed {
    /// Only `ci`, whose password is `secret`.
    pub password: bool,
    /// Only with encryption, by a certificate that nobody else knows.
    pub tls: bool,
    /// Only who shows a certificate by the same authority.
    pub client: bool,
}

/// The registry; it ends with the value.
#[derive(Debug)]
pub struct DockerRegistry {
    directory: TempDir,
    port: u16,
    child: Child,
}

impl DockerRegistry {
    /// One that is open to everybody.
    pub fn open() -> Self {
        Self::new(Closed::default())
    }

    /// One that is closed.
    pub fn new(closed: Closed) -> Self {
        let directory = tempfile::Builder::new().prefix("reimage-registry-").tempdir();
        let directory = directory.expect("a directory");
        let root = directory.path().to_owned();
        let port = free_port();
        let at = |name: &str| root.join(name).to_str().expect("a plain name").to_owned();
        let mut config = vec![
            "version: 0.1".to_owned(),
            "log: {level: error, accesslog: {disabled: true}}".to_owned(),
            format!("storage: {{filesystem: {{rootdirectory: {}}}}}", at("data")),
            // Layers that lie elsewhere may do so.
            "validation: {manifests: {urls: {allow: ['^https://']}}}".to_owned(),
            "http:".to_owned(),
            format!("  addr: 127.0.0.1:{port}"),
        ];
        if closed.tls {
            certificates(&root);
            let (certificate, key) = (at("server.crt"), at("server.key"));
            config.push("  tls:".to_owned());
            config.push(format!("    certificate: {certificate}"));
            config.push(format!("    key: {key}"));
        }
        if closed.client {
            config.push(format!("    clientcas: [{}]", at("ca.crt")));
        }
        if closed.password {
            fs_err::write(at("users"), USERS).expect("writable");
            config.push(format!("auth: {{htpasswd: {{realm: tests, path: {}}}}}", at("users")));
        }
        fs_err::write(at("config.yml"), config.join("\n")).expect("writable");
        let log = fs_err::File::create(at("log")).expect("writable").into_file();
        let mut command = Command::new("docker-registry");
        command.args(["serve", &at("config.yml")]).env_clear();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = command.spawn().unwrap_or_else(|error| {
            panic!("{command:?}: {error}: `cargo xtask test` installs what the tests need")
        });
        let registry = Self { directory, port, child };
        for _ in 0..300 {
            if TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok() {
                return registry;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("{}", fs_err::read_to_string(registry.path("log")).unwrap_or_default());
    }

    /// `HOST:PORT`
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// A file of it: `ca.crt`, `client.crt`, `client.key`.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Throws away what no tag needs, as whoever keeps it does from time to time.
    pub fn collect_garbage(&self) {
        let config = self.path("config.yml");
        let config = config.to_str().expect("a plain name");
        tool("docker-registry", ["garbage-collect", "--delete-untagged", config]);
    }

    /// Bytes of all blobs in it.
    pub fn size(&self) -> u64 {
        let blobs = self.path("data/docker/registry/v2/blobs");
        let sizes = tool("find", [blobs.to_str().expect("plain"), "-type", "f", "-printf", "%s\n"]);
        sizes.lines().filter_map(|size| size.parse::<u64>().ok()).sum()
    }
}

impl Drop for DockerRegistry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An authority, and a server's and a client's certificate by it.
fn certificates(root: &Path) {
    let at = |name: &str| root.join(name).to_str().expect("a plain name").to_owned();
    let openssl = |arguments: &[&str]| {
        tool("openssl", arguments);
    };
    let new = ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    let (ca, ca_key) = (at("ca.crt"), at("ca.key"));
    let ca_arguments =
        ["-x509", "-days", "3650", "-subj", "/CN=tests", "-keyout", &ca_key, "-out", &ca];
    openssl(&[&new[..], &ca_arguments].concat());
    for (name, extension) in [
        ("server", "subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth\n"),
        ("client", "extendedKeyUsage=clientAuth\n"),
    ] {
        let [key, request, crt, ext] =
            ["key", "csr", "crt", "ext"].map(|kind| at(&format!("{name}.{kind}")));
        fs_err::write(&ext, extension).expect("writable");
        let subject = format!("/CN={name}");
        openssl(&[&new[..], &["-subj", &subject, "-keyout", &key, "-out", &request]].concat());
        openssl(&[
            "x509",
            "-req",
            "-days",
            "3650",
            "-in",
            &request,
            "-CA",
            &ca,
            "-CAkey",
            &ca_key,
            "-CAcreateserial",
            "-extfile",
            &ext,
            "-out",
            &crt,
        ]);
    }
}

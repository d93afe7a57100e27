//! `crane registry serve` on loopback: a registry that shares no code with docker's.

use std::{
    net::{Ipv4Addr, TcpStream},
    process::{Child, Command, Stdio},
    time::Duration,
};

use tempfile::TempDir;

use crate::free_port;

/// The registry; it ends with the value.
#[derive(Debug)]
pub struct CraneRegistry {
    /// Where its blobs are.
    _directory: TempDir,
    port: u16,
    child: Child,
}

impl CraneRegistry {
    /// One that is open to everybody.
    #[expect(clippy::new_without_default, reason = "it starts a program")]
    pub fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("reimage-registry-").tempdir();
        let (directory, port) = (directory.expect("a directory"), free_port());
        let mut command = Command::new("crane");
        command.args(["registry", "serve", "--address", &format!("127.0.0.1:{port}"), "--disk"]);
        command.arg(directory.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().unwrap_or_else(|error| {
            panic!("{command:?}: {error}: `cargo xtask test` installs what the tests need")
        });
        let registry = Self { _directory: directory, port, child };
        for _ in 0..300 {
            if TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok() {
                return registry;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("it does not listen");
    }

    /// `HOST:PORT`
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

impl Drop for CraneRegistry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

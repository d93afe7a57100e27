//! docker-registry on loopback, for as long as somebody needs it, and how much it is asked.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use crate::machine::remove;

/// How often a new registry is asked whether it is there, and how long it is waited for in between.
const TRIES: (u32, Duration) = (100, Duration::from_millis(100));

/// A running registry; what is in it goes with it.
pub(crate) struct Registry {
    server: Child,
    directory: PathBuf,
    port: u16,
}

impl Registry {
    /// Starts an empty one that keeps everything in `directory`.
    pub(crate) fn start(directory: &Path) -> Result<Self, String> {
        remove(directory)?;
        let failed = |e: std::io::Error| format!("{}: {e}", directory.display());
        fs::create_dir_all(directory).map_err(failed)?;
        let port =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|socket| socket.local_addr());
        let port = port.map_err(failed)?.port();
        let config = directory.join("config.yml");
        let text = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: \"127.0.0.1:{port}\"}}\n",
            directory.join("data").display()
        );
        fs::write(&config, text).map_err(failed)?;
        let log = File::create(directory.join("requests")).map_err(failed)?;
        let server = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .stdout(log)
            .stderr(Stdio::null())
            .spawn()
            .map_err(|e| format!("Cannot start docker-registry: {e}"))?;
        let this = Self { server, directory: directory.to_owned(), port };
        for _ in 0..TRIES.0 {
            if TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok() {
                return Ok(this);
            }
            thread::sleep(TRIES.1);
        }
        Err("docker-registry does not answer".to_owned())
    }

    /// `HOST:PORT`
    pub(crate) fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// How many requests it has answered: a line of its log each.
    pub(crate) fn requests(&self) -> Result<usize, String> {
        let log = fs::read_to_string(self.directory.join("requests")).map_err(|e| e.to_string())?;
        Ok(log.lines().filter(|line| line.contains(" HTTP/1.1\" ")).count())
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
        let _ = remove(&self.directory);
    }
}

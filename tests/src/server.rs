//! A server on loopback, as long as one answer takes.

use std::{
    io::{Read, Seek, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    process::{Command, Stdio},
    time::Duration,
};

/// How often it is asked before it counts as one that does not answer.
const TRIES: u32 = 300;

/// A port of loopback that nobody listens on.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback is there");
    listener.local_addr().expect("it is bound").port()
}

/// Starts a server, asks it for `path` until it answers, and ends it; gives the answer, head and body.
#[track_caller]
pub fn answer(server: &mut Command, port: u16, path: &str) -> String {
    // A file, not a pipe: what the server started may outlive it and hold a pipe open.
    let mut log = tempfile::tempfile().expect("a file");
    server.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log.try_clone().expect("a file"));
    let mut child = server.spawn().unwrap_or_else(|error| panic!("{server:?}: {error}"));
    let mut answer = None;
    for _ in 0..TRIES {
        answer = ask(port, path);
        if answer.is_some() || child.try_wait().expect("it is ours").is_some() {
            break;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    child.kill().expect("it is ours");
    child.wait().expect("it is ours");
    let mut error = String::new();
    let _ = (log.rewind(), log.read_to_string(&mut error));
    answer.unwrap_or_else(|| panic!("{server:?} does not answer:\n{error}"))
}

fn ask(port: u16, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    (!answer.is_empty()).then_some(answer)
}

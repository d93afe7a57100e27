//! Programs that keep credentials: `docker-credential-NAME`, told on stdin, answering on stdout.

use std::{
    io::{Read as _, Write as _},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use serde::Deserialize;

use super::{Credential, CredentialError};
use crate::Secret;

/// How long one may take, somebody's typing a password included.
const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes of an answer that are read.
const MAX_ANSWER: u64 = 1 << 20;
/// The name that stands before an identity token.
const TOKEN: &str = "<token>";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: String,
}

/// What the helper knows of a registry.
pub(super) fn get(name: &str, registry: &str) -> Result<Option<Credential>, CredentialError> {
    let (success, answer) = run(name, "get", registry.as_bytes())?;
    if !success {
        let said = answer.trim_ascii();
        // The words of every helper, by docker's own library.
        let nothing = [&b"credentials not found"[..], b"no credentials"];
        if said.is_empty() || nothing.iter().any(|n| contains(&said.to_ascii_lowercase(), n)) {
            return Ok(None);
        }
        return Err(failed(name, crate::error::detail(said)));
    }
    let answer: Answer = serde_json::from_slice(&answer)
        .map_err(|_| failed(name, "its answer is not what a helper answers".into()))?;
    if answer.secret.is_empty() {
        return Ok(None);
    }
    let secret = Secret::new(answer.secret);
    Ok(Some(match answer.username.as_str() {
        TOKEN => Credential::Identity(secret),
        username => Credential::Password { username: username.into(), password: secret },
    }))
}

/// Has the helper keep a login.
pub(super) fn store(
    name: &str,
    registry: &str,
    username: &str,
    password: &Secret,
) -> Result<(), CredentialError> {
    let login = serde_json::json!({
        "ServerURL": registry, "Username": username, "Secret": password.reveal(),
    });
    done(name, run(name, "store", login.to_string().as_bytes())?)
}

/// Has the helper forget a login.
pub(super) fn erase(name: &str, registry: &str) -> Result<(), CredentialError> {
    done(name, run(name, "erase", registry.as_bytes())?)
}

fn done(name: &str, (success, answer): (bool, Vec<u8>)) -> Result<(), CredentialError> {
    if success { Ok(()) } else { Err(failed(name, crate::error::detail(&answer))) }
}

fn contains(text: &[u8], words: &[u8]) -> bool {
    text.windows(words.len()).any(|window| window == words)
}

fn failed(name: &str, why: String) -> CredentialError {
    let why = if why.is_empty() { "it does not say why".to_owned() } else { why };
    CredentialError::Helper { name: name.into(), why }
}

/// Runs it; says whether it succeeded and what it printed.
fn run(name: &str, verb: &str, input: &[u8]) -> Result<(bool, Vec<u8>), CredentialError> {
    let io = |e: std::io::Error| failed(name, e.to_string());
    // A name, and no way to a program elsewhere.
    if name.contains('/') {
        return Err(failed(name, "its name has a `/`".into()));
    }
    let mut child = Command::new(format!("docker-credential-{name}"))
        .arg(verb)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .map_err(io)?;
    let (mut to, from) = (child.stdin.take(), child.stdout.take());
    let (send, answered) = mpsc::channel();
    // It is left to itself if the helper never answers: its pipe closes with the helper.
    thread::spawn(move || {
        let mut answer = Vec::new();
        let read = from.map_or(Ok(0), |from| from.take(MAX_ANSWER).read_to_end(&mut answer));
        let _ = send.send(read.map(|_| answer));
    });
    if let Some(to) = &mut to {
        // One that does not read has its answer anyway.
        let _ = to.write_all(input);
    }
    drop(to);
    let Ok(answer) = answered.recv_timeout(PATIENCE) else {
        end(&mut child);
        return Err(failed(name, format!("it did not answer within {} s", PATIENCE.as_secs())));
    };
    let answer = answer.map_err(io)?;
    Ok((child.wait().map_err(io)?.success(), answer))
}

fn end(child: &mut Child) {
    // It may have ended just now.
    let _ = child.kill();
    let _ = child.wait();
}

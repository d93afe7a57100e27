//! What a command printed, made equal on every machine.

use std::{fmt, path::Path, process::Output};

/// What a command printed and how it ended.
///
/// `Display` is for snapshots: stdout, then stderr, then the exit status; paths of this test and times replaced.
#[derive(Debug, Clone)]
pub struct Ran {
    /// Exit status; none: a signal ended it.
    pub status: Option<i32>,
    /// stdout as it was.
    pub stdout: Vec<u8>,
    /// stderr as it was.
    pub stderr: Vec<u8>,
    root: String,
}

impl Ran {
    pub(crate) fn new(output: Output, root: &Path) -> Self {
        let root = root.to_str().expect("temporary directories have plain names").to_owned();
        let Output { status, stdout, stderr } = output;
        Self { status: status.code(), stdout, stderr, root }
    }

    /// stdout, made equal on every machine.
    pub fn out(&self) -> String {
        self.normalized(&self.stdout)
    }

    /// stderr, made equal on every machine.
    pub fn err(&self) -> String {
        self.normalized(&self.stderr)
    }

    /// Panics, showing all, unless it returned `status`.
    #[track_caller]
    #[must_use = "it says what was printed"]
    pub fn expect(self, status: i32) -> Self {
        assert_eq!(self.status, Some(status), "\n{self}");
        self
    }

    fn normalized(&self, bytes: &[u8]) -> String {
        let text = String::from_utf8_lossy(bytes).replace(&self.root, "[ROOT]");
        let lines: Vec<_> = text.lines().map(|line| times(&ports(line.trim_end()))).collect();
        lines.join("\n")
    }
}

/// Replaces the ports that a system gives to servers, which have five digits.
fn ports(line: &str) -> String {
    const HOST: &str = "127.0.0.1:";
    let mut parts = line.split(HOST);
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let digits = part.bytes().take_while(u8::is_ascii_digit).count();
        let (port, rest) = part.split_at(digits);
        text += HOST;
        text += if digits == 5 { "[PORT]" } else { port };
        text += rest;
    }
    text
}

/// Replaces durations such as `0.04s`, `1m 05s` by `[TIME]`.
fn times(line: &str) -> String {
    let duration = |word: &str| {
        let number = word.strip_suffix('s').or_else(|| word.strip_suffix('m'));
        number.is_some_and(|n| {
            n.starts_with(|c: char| c.is_ascii_digit()) && n.parse::<f64>().is_ok()
        })
    };
    let mut words: Vec<&str> = Vec::new();
    for word in line.split(' ') {
        let (word, is) = if duration(word) { ("[TIME]", true) } else { (word, false) };
        if !(is && words.last() == Some(&"[TIME]")) {
            words.push(word);
        }
    }
    words.join(" ")
}

impl fmt::Display for Ran {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (text, head) in [(self.out(), ""), (self.err(), "------- stderr -------\n")] {
            if !text.is_empty() {
                writeln!(f, "{head}{text}")?;
            }
        }
        match self.status {
            Some(0) => Ok(()),
            Some(status) => writeln!(f, "[exit status: {status}]"),
            None => writeln!(f, "[ended by a signal]"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{ports, times};

    #[test]
    fn ports_are_replaced() {
        assert_eq!(
            ports("at 127.0.0.1:54321/a and 127.0.0.1:1"),
            "at 127.0.0.1:[PORT]/a and 127.0.0.1:1"
        );
    }

    #[test]
    fn times_are_replaced() {
        assert_eq!(times("done a 0.04s and 1m 05s."), "done a [TIME] and [TIME] 05s.");
        assert_eq!(times("done a 1m 05s"), "done a [TIME]");
        assert_eq!(times("s m 8000 x.s"), "s m 8000 x.s");
    }
}
